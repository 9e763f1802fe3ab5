"""Lists walk along an index: what a page costs does not depend on how many orders there are."""

import re
from collections.abc import AsyncIterator
from functools import partial
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Select

from infra.kernel.filter import parse
from infra.runtime.database import Database
from infra.runtime.sql import open_database
from order.adapters.sql_orders import history_query, page_query
from order.adapters.sql_records import due_query
from order.main import MIGRATIONS
from tests.contract.order.test_orders import FIELDS
from tests.harness.many_orders import ID_PREFIX, write_orders

ORDERS = 20_000
AFTER = (5_000_000_000, f"{ID_PREFIX}{5_000:012x}")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, service="order", migrations=MIGRATIONS) as opened:
        await write_orders(opened, ORDERS, customers=20)
        yield opened


def plan(query: Select[Any], connection: Connection) -> str:
    """What the database would do, in its own words."""
    compiled = query.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    explain = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}[connection.dialect.name]
    values = tuple(compiled.params[name] for name in compiled.positiontup or ())
    rows = connection.exec_driver_sql(f"{explain} {compiled.string}", values)
    return "\n".join(str(row[-1]) for row in rows)


def condition(found: str, index: str) -> str:
    """What the plan looks up in the index; what is only compared on the way is not in it."""
    looked_up = re.search(rf"{index} (?:on \w+.*\s+Index Cond: )?(\(.*\))", found)
    return looked_up[1] if looked_up else ""


PAGES: tuple[tuple[str, str, list[str]], ...] = (
    ("", "orders_by_time", []),
    ('place_time > "1970-01-01T00:10:00Z"', "orders_by_time", ["place_time_us"]),
    ("customer_id = customer-7", "orders_by_customer", ["customer_id"]),
    (
        'customer_id = customer-7 AND place_time > "1970-01-01T00:10:00Z"',
        "orders_by_customer",
        ["customer_id", "place_time_us"],
    ),
    ("customer_id = customer-7 AND state != PENDING", "orders_by_customer", ["customer_id"]),
    ("state = PENDING", "orders_by_state", ["state"]),
    ('state = PENDING AND place_time < "1970-01-01T04:00:00Z"', "orders_by_state", ["state", "place_time_us"]),
)


@pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)
async def test_every_page_of_a_list_is_read_along_an_index(database: Database) -> None:
    for (text, index, looked_up), after in product(PAGES, (None, AFTER)):
        found = await database.read(partial(plan, page_query(parse(text, FIELDS), after, 51)))
        assert not any(bad in found for bad in ("Sort", "TEMP B-TREE", "Seq Scan on orders")), found
        assert index in found, found
        for column in looked_up if after is None else [*looked_up, "place_time_us"]:
            assert column in condition(found, index), found


@pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)
async def test_a_history_is_read_along_an_index(database: Database) -> None:
    def work(connection: Connection) -> str:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL enable_seqscan = off"))  # there are no events here
        return plan(history_query("o-1", 0, 51), connection)

    found = await database.read(work)
    assert not any(bad in found for bad in ("Sort", "TEMP B-TREE")), found
    for column in ("order_id", "seq"):
        assert column in condition(found, "order_events_by_order"), found


@pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)
async def test_orders_that_are_due_are_found_among_those_that_expire(database: Database) -> None:
    found = await database.read(partial(plan, due_query(5, 64)))
    assert "orders_due" in found, found
    assert not any(bad in found for bad in ("Sort", "TEMP B-TREE", "Seq Scan")), found
