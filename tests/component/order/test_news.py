"""How processes on one PostgreSQL hear of each other's commits, with nobody looking at the log."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from order.adapters.postgres_news import open_news
from order.application.heads import Heads
from tests.harness.postgres import fresh_database
from tests.harness.waiting import eventually


@pytest.fixture
async def url(postgres_server: str) -> AsyncIterator[str]:
    async with fresh_database(postgres_server) as fresh:
        yield fresh


def fresh_heads() -> Heads:
    return Heads("e-1", [1, 1, 1])


async def reach(heads: Heads, *next_seq: int) -> None:
    await eventually(lambda: heads.position.next_seq == next_seq)


async def test_each_hears_of_the_others_commits(url: str) -> None:
    ours, theirs, late = fresh_heads(), fresh_heads(), fresh_heads()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(open_news(url, ours))
        ours.advance({0: 5})
        await stack.enter_async_context(open_news(url, theirs))
        await reach(theirs, 5, 1, 1)  # what had been committed before it came
        theirs.advance({1: 7})
        await reach(ours, 5, 7, 1)
        await stack.enter_async_context(open_news(url, late))
        await reach(late, 5, 7, 1)
        late.advance({2: 3})
        ours.advance({0: 6})
        for each in (ours, theirs, late):
            await reach(each, 6, 7, 3)


async def test_a_url_means_to_news_what_it_means_to_the_service(url: str) -> None:
    server = make_url(url)
    nobody, somebody = "127.0.0.1:1", f"{server.host}:{server.port}"
    several = server.set(host=None, port=None, query={"host": (nobody, somebody)})
    for each in (server.set(query={"ssl": "prefer"}), several):
        told = each.render_as_string(hide_password=False)
        ours, theirs = fresh_heads(), fresh_heads()
        async with open_news(told, ours), open_news(told, theirs):
            ours.advance({0: 5})
            await reach(theirs, 5, 1, 1)


async def test_a_lost_connection_is_made_again(url: str) -> None:
    ours, theirs = fresh_heads(), fresh_heads()
    async with open_news(url, ours), open_news(url, theirs):
        ours.advance({0: 5})
        await reach(theirs, 5, 1, 1)
        connection = await asyncpg.connect(url)
        cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1"
        assert await connection.fetchval(cut, "stateset_order_news") == 2
        await connection.close()
        ours.advance({0: 6})
        await reach(theirs, 6, 1, 1)
        theirs.advance({2: 2})
        await reach(ours, 6, 1, 2)


async def test_a_file_has_nobody_to_tell() -> None:
    heads = fresh_heads()
    async with open_news("sqlite:///order.db", heads):
        heads.advance({0: 2})
    assert heads.position.next_seq == (2, 1, 1)
