"""What was written under an older revision is served by this one."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import text

from infra.kernel.filter import EVERYTHING
from infra.runtime.sql import open_database
from order.adapters.sql_log import open_log
from order.adapters.sql_orders import SqlOrders
from order.adapters.wire_order import order_to_wire
from order.main import MIGRATIONS
from tests.contract.order.conftest import SHARDS
from tests.harness.orders import carry_out, place

ORDERS = 1_001  # more than are moved at a time


@pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)
async def test_orders_of_before_there_were_lists_by_time_have_their_place_in_them(
    database_url: str, tmp_path: Path
) -> None:
    older = tmp_path / "migrations"
    older.mkdir()
    for revision in ("0001", "0002"):
        shutil.copy(next(MIGRATIONS.glob(f"{revision}_*.py")), older)
    rows = []
    for number in range(ORDERS):
        order = carry_out(place(1, order_id=f"o-{number:04}"))._replace(place_time_us=ORDERS - number)
        rows.append({"order_id": order.order_id, "body": order_to_wire(order).SerializeToString()})
    insert = text("INSERT INTO orders VALUES (:order_id, 'c-1', 's-1', 'USD', 'PENDING', 1, :body)")
    async with open_database(database_url, service="order", migrations=older) as database:
        await database.write(lambda connection: connection.execute(insert, rows))
    async with open_database(database_url, service="order", migrations=MIGRATIONS) as database:
        await open_log(database, SHARDS)
        found = await SqlOrders(database).list_orders(EVERYTHING, None, 2 * ORDERS)
    assert [(row["order_id"], ORDERS - number) for number, row in enumerate(rows)] == [
        (order.order_id, order.place_time_us) for order in found
    ]
