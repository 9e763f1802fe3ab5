"""How many subscriptions every log keeps."""

from collections.abc import AsyncIterator

import pytest

from infra.runtime.sql import open_database
from infra.runtime.subscriptions import TooManySubscriptionsError
from order.adapters.memory import MemoryLog
from order.adapters.sql_log import open_log
from order.application.ports import Log
from order.main import MIGRATIONS

SHARDS = 3


@pytest.fixture
async def log(database_url: str | None) -> AsyncIterator[Log]:
    """A log with room for two subscriptions."""
    if database_url is None:
        yield MemoryLog(SHARDS, subscriptions_max=2)
        return
    async with open_database(database_url, service="order", migrations=MIGRATIONS) as database:
        yield await open_log(database, SHARDS, subscriptions_max=2)


async def test_there_is_room_for_so_many_subscriptions_and_those_that_are_there_open_again(log: Log) -> None:
    for name in ("s-1", "s-2"):
        await log.open_subscription(name)
    for _ in range(2):
        with pytest.raises(TooManySubscriptionsError):
            await log.open_subscription("s-3")
    assert await log.open_subscription("s-1") == (2, {})
