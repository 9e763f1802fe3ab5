"""Who may publish, whatever their clocks say."""

import pytest

from infra.runtime.clock import ManualClock
from infra.runtime.sql import open_database
from order.adapters.sql_lease import SqlLease
from order.main import MIGRATIONS

pytestmark = pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)
HOUR = 3_600.0


async def test_a_lease_is_nobody_elses_until_it_ends(database_url: str) -> None:
    async with open_database(database_url, service="order", migrations=MIGRATIONS) as database:
        clock = ManualClock()
        first, second = (SqlLease(database, clock, holder=holder) for holder in ("first", "second"))
        epoch = await first.acquire()
        assert epoch is not None
        assert await second.acquire() is None
        clock.advance(11)
        assert await second.acquire() == epoch + 1


async def test_a_lease_by_a_clock_that_was_an_hour_ahead_is_not_waited_for(database_url: str) -> None:
    async with open_database(database_url, service="order", migrations=MIGRATIONS) as database:
        clock = ManualClock()
        ahead = ManualClock(clock.now_us())
        ahead.advance(HOUR)
        epoch = await SqlLease(database, ahead, holder="dead").acquire()
        assert epoch is not None
        assert await SqlLease(database, clock, holder="next").acquire() == epoch + 1
