"""The demo's database on a real server that others use, too."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from consumers.cli.demo.own_database import NAME, own_database
from infra.runtime.lifespan import StartupError


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def server(postgres_server: str) -> AsyncIterator[str]:
    """A server that has never seen a demo."""
    await drop(postgres_server)
    yield postgres_server
    await drop(postgres_server)


async def drop(url: str) -> None:
    async with session(url) as connection:
        await connection.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")


async def test_each_demo_finds_an_empty_database_beside_the_one_that_was_named(server: str) -> None:
    for _ in range(2):
        async with own_database(server) as url, session(url) as connection:
            assert await connection.fetchval("SELECT current_database()") == NAME
            await connection.execute("CREATE TABLE orders (id int)")  # refused if an earlier demo's were still there


async def test_a_url_means_to_the_demo_what_it_means_to_the_services(server: str) -> None:
    async with own_database(make_url(server).set(query={"ssl": "prefer"}).render_as_string(hide_password=False)) as url:
        assert make_url(url).query == {"ssl": "prefer"}
    for unusable in ("postgresql://ann@127.0.0.1:99999/orders", "postgresql://ann@127.0.0.1:any/orders"):
        with pytest.raises(StartupError):
            async with own_database(unusable):
                pytest.fail("there is no such port")


async def test_a_database_that_is_in_use_is_refused_and_stays(server: str) -> None:
    async with own_database(server) as url:
        async with session(url) as connection:
            await connection.execute("CREATE TABLE orders (id int)")
        with pytest.raises(StartupError, match="being accessed by other users"):
            async with own_database(server):
                pytest.fail("two demos on one database")
        async with session(url) as connection:
            assert await connection.fetchval("SELECT count(*) FROM orders") == 0


async def test_a_database_that_no_demo_has_made_is_refused_and_stays(server: str) -> None:
    async with session(server) as connection:
        await connection.execute(f"CREATE DATABASE {NAME}")
    theirs = make_url(server).set(database=NAME).render_as_string(hide_password=False)
    async with session(theirs) as connection:
        await connection.execute("CREATE TABLE holiday_photos (name text)")

    with pytest.raises(StartupError, match=f"has a database {NAME} that no demo has made"):
        async with own_database(server):
            pytest.fail("it was taken")

    async with session(theirs) as connection:
        assert await connection.fetchval("SELECT count(*) FROM holiday_photos") == 0


async def test_a_server_that_is_not_there_is_refused_without_its_password() -> None:
    with pytest.raises(StartupError, match=r"by way of postgresql://ann:\*\*\*@127\.0\.0\.1:1/orders") as refused:
        async with own_database("postgresql://ann:secret@127.0.0.1:1/orders"):
            pytest.fail("nobody listens on port 1")
    assert "secret" not in str(refused.value)
