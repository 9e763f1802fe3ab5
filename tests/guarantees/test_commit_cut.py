"""A connection that is lost in a COMMIT: what the database has done, and what the writer is told."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

import order
from infra.runtime.database import DatabaseUnavailableError
from infra.runtime.sql import open_database
from tests.harness.postgres import fresh_database
from tests.harness.tcp_proxy import CommitCutter, Moment

MIGRATIONS = Path(order.__file__).parent / "migrations"
COUNT = text("SELECT count(*) FROM relay_cursors")
INSERT = text("INSERT INTO relay_cursors (topic, shard, topic_id, next_seq) VALUES ('t', 0, 'x', 1)")


@pytest.fixture
async def url(postgres_server: str) -> AsyncIterator[str]:
    async with fresh_database(postgres_server) as fresh:
        yield fresh


@pytest.mark.parametrize(("moment", "rows"), [("before", 0), ("after", 1)])
async def test_a_write_whose_commit_is_cut_is_in_doubt_and_never_said_to_be_done(
    url: str, moment: Moment, rows: int
) -> None:
    server = make_url(url)
    commits = CommitCutter()
    async with commits.listening(server.port or 5432) as port:
        proxied = server.set(port=port).render_as_string(hide_password=False)
        async with open_database(proxied, service="order", migrations=MIGRATIONS) as database:
            commits.arm("stateset_order", moment)
            assert await database.read(lambda connection: connection.execute(COUNT).scalar_one()) == 0
            with pytest.raises(DatabaseUnavailableError):
                await database.write(lambda connection: connection.execute(INSERT))
            assert await database.read(lambda connection: connection.execute(COUNT).scalar_one()) == rows
    assert commits.cuts == {("stateset_order", moment): 1}
