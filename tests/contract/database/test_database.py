"""What every database promises to the work that is handed to it."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.util import await_only
from structlog.testing import capture_logs

from infra.runtime.database import Database, DatabaseUnavailableError
from infra.runtime.sql import open_database
from order.main import MIGRATIONS

ADD = "INSERT INTO order_personal (order_id, body) VALUES ('o-1', 'x')"


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return str(request.getfixturevalue("postgres_server")) if kind == "postgresql" else kind


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url, service="order", migrations=MIGRATIONS) as opened:
        yield opened


def add_on_the_driver(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    done = driver.execute(ADD)
    if asyncio.iscoroutine(done):
        await_only(done)


def rows(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM order_personal")).scalar_one())


async def test_work_that_raises_leaves_nothing_behind_not_even_what_it_did_on_the_driver(database: Database) -> None:
    def fail(connection: Connection) -> None:
        add_on_the_driver(connection)
        raise ValueError("after the write")

    with pytest.raises(ValueError, match="after the write"):
        await database.write(fail)
    assert await database.read(rows) == 0
    await database.write(add_on_the_driver)
    assert await database.read(rows) == 1


async def test_work_whose_caller_has_gone_fails_in_silence(database: Database) -> None:
    def fail(_connection: Connection) -> None:
        raise ValueError("that nobody waits for")

    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    for work in (database.read, database.write):
        caller = asyncio.create_task(work(fail))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        await work(rows)
    gc.collect()
    assert told == []


DURABLE: dict[str, dict[str, object]] = {
    "sqlite": {"PRAGMA journal_mode": "wal", "PRAGMA synchronous": 2},
    "postgresql": {"SHOW fsync": "on", "SHOW full_page_writes": "on", "SHOW synchronous_commit": "on"},
}


async def test_a_commit_waits_until_the_disk_says_that_it_has_it(database: Database) -> None:
    def settings(connection: Connection) -> dict[str, object]:
        asked = DURABLE[connection.dialect.name]
        return {question: connection.execute(text(question)).scalar_one() for question in asked}

    assert await database.write(settings) in DURABLE.values()


async def test_a_read_sees_one_snapshot(database: Database) -> None:
    loop = asyncio.get_running_loop()

    def read_twice(connection: Connection) -> tuple[int, int]:
        first = rows(connection)
        write = asyncio.run_coroutine_threadsafe(database.write(add_on_the_driver), loop)
        wait(connection, write)
        return first, rows(connection)

    assert await database.read(read_twice) == (0, 0)
    assert await database.read(rows) == 1


def wait(connection: Connection, future: Any) -> None:  # noqa: ANN401 - of either kind
    """Work runs on the event loop or on a thread: both wait for another transaction to end."""
    if connection.dialect.is_async:
        await_only(asyncio.wrap_future(future))
    else:
        future.result(10)


FAILING = {
    "sqlite": ["SELECT :email FROM nowhere"],
    "postgresql": ["SET LOCAL statement_timeout = 1", "SELECT pg_sleep(9), CAST(:email AS TEXT)"],
}


async def test_why_it_cannot_be_used_is_logged_once_a_second_and_without_what_was_asked(database: Database) -> None:
    def fail(connection: Connection) -> None:
        *before, failing = FAILING[connection.dialect.name]
        for statement in before:
            connection.execute(text(statement))
        connection.execute(text(failing), {"email": "ada@example.org"})

    with capture_logs() as told:
        for _ in range(3):
            with pytest.raises(DatabaseUnavailableError) as caught:
                await database.read(fail)
    assert [(each["event"], each["log_level"]) for each in told] == [("the database cannot be used now", "warning")]
    assert "ada" not in told[0]["error"] + str(caught.value) + str(caught.value.__cause__)
