"""What was written under an older revision is served by this one."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from infra.kernel.filter import EVERYTHING
from infra.runtime.clock import ManualClock
from infra.runtime.sql import open_database
from order.adapters.sql_log import open_log
from order.adapters.sql_orders import SqlOrders
from order.adapters.wire_order import order_to_wire
from order.domain.lifecycle import record_content
from order.main import MIGRATIONS
from tests.contract.order.conftest import SHARDS, writing
from tests.harness.orders import carry_out, place, submission

ORDERS = 1_001  # more than are moved at a time

pytestmark = pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)


def migrations_until(last: str, folder: Path) -> Path:
    """The service's revisions as they were when `last` was the newest."""
    older = folder / "migrations"
    older.mkdir()
    for revision in MIGRATIONS.glob("[0-9]*.py"):
        if revision.name[:4] <= last:
            shutil.copy(revision, older)
    return older


async def test_orders_of_before_there_were_lists_by_time_have_their_place_in_them(
    database_url: str, tmp_path: Path
) -> None:
    rows = []
    for number in range(ORDERS):
        order = carry_out(place(1, order_id=f"o-{number:04}"))._replace(place_time_us=ORDERS - number)
        rows.append({"order_id": order.order_id, "body": order_to_wire(order).SerializeToString()})
    insert = text("INSERT INTO orders VALUES (:order_id, 'c-1', 's-1', 'USD', 'PENDING', 1, :body)")
    older = migrations_until("0002", tmp_path)
    async with open_database(database_url, service="order", migrations=older) as database:
        await database.write(lambda connection: connection.execute(insert, rows))
    async with open_database(database_url, service="order", migrations=MIGRATIONS) as database:
        await open_log(database, SHARDS)
        found = await SqlOrders(database).list_orders(EVERYTHING, None, 2 * ORDERS)
    assert [(row["order_id"], ORDERS - number) for number, row in enumerate(rows)] == [
        (order.order_id, order.place_time_us) for order in found
    ]


async def test_the_id_of_an_order_whose_record_had_a_row_of_its_own_still_counts_once(
    database_url: str, tmp_path: Path
) -> None:
    command = place(3)
    order = {"body": order_to_wire(carry_out(command)).SerializeToString()}
    record = {"content": record_content(command)}

    def write(connection: Connection) -> None:
        connection.execute(
            text("INSERT INTO orders VALUES ('o-1', 'c-1', 's-1', 'USD', 'PENDING', 1, :body, 1, NULL)"), order
        )
        connection.execute(text("INSERT INTO order_records VALUES ('o-1', 'order', 'o-1', :content, NULL)"), record)

    older = migrations_until("0006", tmp_path)
    async with open_database(database_url, service="order", migrations=older) as database:
        await database.write(write)
    async with open_database(database_url, service="order", migrations=MIGRATIONS) as database:
        log = await open_log(database, SHARDS)
        async with writing(log, ManualClock()) as writer:
            assert [(await writer.submit(submission(each))).refused for each in (command, place(4))] == [False, True]
        assert [head.next_seq for head in await log.heads()] == [1] * SHARDS
