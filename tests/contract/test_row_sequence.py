"""Rows are written in one sequence by all, so that consumers that take over from each other lock nobody out."""

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, event

from consumers.risk.main import RISK
from consumers.risk.store import EXPOSURES
from consumers.tables import add_rows
from tests.harness.serving_consumer import open_consumer

pytestmark = pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)


async def test_rows_are_added_by_key(database_url: str) -> None:
    written: list[list[str]] = []

    def hear(_connection: object, _cursor: object, _statement: str, rows: object, *_: object) -> None:
        written.append([row[0] for row in rows])  # type: ignore[attr-defined]  # those of executemany

    def work(connection: Connection) -> None:
        event.listen(connection, "before_cursor_execute", hear)
        add_rows(connection, EXPOSURES, [(customer, "USD", 1, 1) for customer in ("c", "a", "ü", "B", "b")])

    async with open_consumer(RISK, database_url) as database:
        await database.write(work)
        found = await database.read(lambda rows: rows.execute(sa.select(EXPOSURES.c.customer_id)).scalars().all())
    assert written == [["B", "a", "b", "c", "ü"]]
    assert sorted(found) == written[0]
