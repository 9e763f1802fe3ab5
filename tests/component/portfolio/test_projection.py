"""The portfolio folds from a real server into a real database, whatever breaks in between."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset_client import (
    Checkpoint,
    FencedError,
    LogEpochChangedError,
    Move,
    PositionExpiredError,
    Projection,
    VersionGapError,
)
from stateset_client.testing import FakeSync

from consumers.portfolio.model import Holding
from consumers.portfolio.store import PortfolioSession, PortfolioStore
from infra.runtime.database import Database
from tests.harness.fake_sync_events import eventually, line, order_event
from tests.harness.portfolio_store import digest_of, holding, open_portfolio, projection_of


class CutError(Exception):
    """The process dies here."""


class CutStore(PortfolioStore):
    """Dies once, between the effect and the commit."""

    def __init__(self, database: Database, after_transactions: int) -> None:
        super().__init__(database)
        self._left = after_transactions

    async def transact(self, work: Callable[[PortfolioSession], None]) -> None:
        def run_and_die(session: PortfolioSession) -> None:
            work(session)
            self._left -= 1
            if self._left < 0:
                session.flush()
                raise CutError

        await super().transact(run_and_die)


class SlowToOpenStore(PortfolioStore):
    """Whoever loads its checkpoint first has something happen before the stream is opened there."""

    def __init__(self, database: Database, meanwhile: Callable[[], Awaitable[None]]) -> None:
        super().__init__(database)
        self._meanwhile: Callable[[], Awaitable[None]] | None = meanwhile

    async def load(self) -> Checkpoint | None:
        loaded = await super().load()
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return loaded


class TellingStore(PortfolioStore):
    """Tells by transaction in which sequence shards were moved; none begins while it is not free."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.moved: list[list[int]] = []
        self.free = asyncio.Event()
        self.free.set()

    async def transact(self, work: Callable[[PortfolioSession], None]) -> None:
        self.moved.append([])
        await self.free.wait()
        await super().transact(work)

    def move(self, session: PortfolioSession, step: Move) -> bool:
        self.moved[-1].append(step.shard)
        return super().move(session, step)


@pytest.fixture
async def sync() -> AsyncIterator[FakeSync]:
    async with FakeSync.start(shards=3) as fake:
        yield fake


@asynccontextmanager
async def running(projection: Projection[PortfolioSession]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(projection.run(), name="projection")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def caught_up(store: PortfolioStore, sync: FakeSync) -> None:
    async with asyncio.timeout(60):
        while (checkpoint := await store.load()) is None or checkpoint.position != sync.head:  # noqa: ASYNC110 - a row has no event
            await asyncio.sleep(0.01)


def trade(sync: FakeSync, orders: int, *, first: int = 0) -> None:
    """Each order is placed and filled: 3 units of its product, one customer in seven."""
    numbers = range(first, first + orders)
    for number in numbers:
        sync.append(placed(number))
    for number in numbers:
        sync.append(filled(number))


def placed(number: int) -> OrderEvent:
    return order_event(f"o-{number}", 1, [line("pen", leaves=3)], customer_id=f"c-{number % 7}")


def filled(number: int) -> OrderEvent:
    return order_event(f"o-{number}", 2, [line("pen", filled=3)], customer_id=f"c-{number % 7}")


async def test_each_event_counts_once_though_the_process_dies_before_every_commit(
    sync: FakeSync, tmp_path: Path
) -> None:
    trade(sync, 70)
    async with open_portfolio(tmp_path) as database:
        for _ in range(4):
            projection = projection_of(sync.address, database, CutStore(database, 3), events_max=4)
            with pytest.raises(CutError):
                async with asyncio.timeout(60):
                    await projection.run()
        store = PortfolioStore(database)
        async with running(projection_of(sync.address, database)):
            await caught_up(store, sync)
        for customer in range(7):
            assert await holding(database, f"c-{customer}", "pen") == Holding(30, 0, 4500)


async def test_live_and_rebuilt_agree_whatever_the_breaks_and_the_size_of_transactions(
    sync: FakeSync, tmp_path: Path
) -> None:
    chance = random.Random(20261123)  # noqa: S311 - a seed to replay
    async with open_portfolio(tmp_path, "live.db") as live, open_portfolio(tmp_path, "rebuilt.db") as rebuilt:
        async with running(projection_of(sync.address, live, events_max=3)):
            for round_number in range(6):
                trade(sync, 15, first=15 * round_number)
                await asyncio.sleep(0)
                chance.choice([sync.disconnect, sync.go_away])()
            await caught_up(PortfolioStore(live), sync)
        async with running(projection_of(sync.address, rebuilt)):
            await caught_up(PortfolioStore(rebuilt), sync)
        assert await digest_of(live) == await digest_of(rebuilt)
        assert (await digest_of(live)).count == 14


async def test_a_commit_becomes_the_servers_floor(sync: FakeSync, tmp_path: Path) -> None:
    trade(sync, 5)
    async with open_portfolio(tmp_path) as database, running(projection_of(sync.address, database)):
        await eventually(lambda: sync.floors.get("portfolio") == sync.head)


async def test_the_stored_checkpoint_decides_and_not_the_servers_floor(sync: FakeSync, tmp_path: Path) -> None:
    trade(sync, 5)
    sync.floors["portfolio"] = sync.head
    async with open_portfolio(tmp_path) as database:
        async with running(projection_of(sync.address, database)):
            await caught_up(PortfolioStore(database), sync)
        assert await holding(database, "c-0", "pen") == Holding(3, 0, 450)


async def test_a_server_that_has_lost_its_subscriptions_does_not_stop_a_projection(
    sync: FakeSync, tmp_path: Path
) -> None:
    for times in range(3):
        async with open_portfolio(tmp_path) as database, running(projection_of(sync.address, database)):
            trade(sync, 5, first=10 * times)
            await caught_up(PortfolioStore(database), sync)
            sync.lose_subscriptions()
            trade(sync, 5, first=10 * times + 5)
            await caught_up(PortfolioStore(database), sync)


async def test_a_change_of_tomorrow_is_folded_by_the_order_that_it_carries(sync: FakeSync, tmp_path: Path) -> None:
    sync.append(order_event("o-1", 1, [line("pen", filled=3)]))
    tomorrow = order_event("o-1", 2, [line("pen", filled=3, returned=1)])
    unknown_change = b"\xfa\x7d\x03\x0a\x01x"  # field 2015, length-delimited: no reader of today knows it
    sync.append(OrderEvent.FromString(tomorrow.SerializeToString() + unknown_change))
    async with open_portfolio(tmp_path) as database:
        async with running(projection_of(sync.address, database)):
            await caught_up(PortfolioStore(database), sync)
        assert await holding(database, "c-1", "pen") == Holding(2, 0, 450)


async def test_a_version_that_was_applied_is_dropped_and_one_that_is_missing_is_an_error(
    sync: FakeSync, tmp_path: Path
) -> None:
    for version, leaves in ((1, 5), (2, 4), (1, 5)):
        sync.append(order_event("o-1", version, [line("pen", leaves=leaves)]))
    async with open_portfolio(tmp_path) as database:
        store = PortfolioStore(database)
        async with running(projection_of(sync.address, database)) as task:
            await caught_up(store, sync)
            assert await holding(database, "c-1", "pen") == Holding(0, 4, 0)
            before = await store.load()
            sync.append(order_event("o-1", 4, [line("pen", leaves=1)]))
            with pytest.raises(VersionGapError):
                await task
        assert await store.load() == before


async def test_a_checkpoint_that_somebody_else_moved_ends_the_projection_and_changes_nothing(
    sync: FakeSync, tmp_path: Path
) -> None:
    trade(sync, 3)
    async with open_portfolio(tmp_path) as database:
        store = PortfolioStore(database)
        async with running(projection_of(sync.address, database)) as task:
            await caught_up(store, sync)
            stolen = Move(shard=0, first_seq=sync.head.next_seq[0], next_seq=999, delivery_epoch=99)
            await store.transact(lambda session: _assert(store.move(session, stolen)))
            before = await digest_of(database)
            sync.append(placed(100), shard=0)
            while not task.done():
                assert await digest_of(database) == before
            with pytest.raises(FencedError):
                await task
        assert await digest_of(database) == before


def _assert(moved: bool) -> None:  # noqa: FBT001 - what a store answered
    assert moved


async def claimed(store: PortfolioStore, delivery_epoch: int) -> None:
    async with asyncio.timeout(60):
        while (checkpoint := await store.load()) is None or checkpoint.delivery_epoch != delivery_epoch:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


async def goes_on(newer: asyncio.Task[None], store: PortfolioStore, sync: FakeSync, *, first: int) -> None:
    """A projection that was slow to open claims the store, and applies three more orders."""
    await claimed(store, 3)
    trade(sync, 3, first=first)
    await caught_up(store, sync)
    assert not newer.done()


async def test_shards_are_moved_in_one_sequence_by_all_who_may_take_over_from_each_other(
    sync: FakeSync, tmp_path: Path
) -> None:
    """Else two of them wait for each other's rows."""
    async with open_portfolio(tmp_path) as database:
        store = TellingStore(database)
        async with running(projection_of(sync.address, database, store)):
            sync.append(placed(0), shard=0)
            await caught_up(store, sync)
            store.free.clear()
            for number, shard in enumerate((1, 2, 0, 1), start=1):  # the first is what the transaction that waits is of
                sync.append(placed(number), shard=shard)
                await eventually(lambda: len(store.moved) > 2 and sync.sent_events == number + 1)  # noqa: B023 - of this turn
            store.free.set()
            await caught_up(store, sync)
    assert store.moved[-1] == [0, 1, 2]


async def test_of_two_projections_on_one_store_the_newer_goes_on_and_the_older_changes_nothing_any_more(
    sync: FakeSync, tmp_path: Path
) -> None:
    trade(sync, 3)
    async with open_portfolio(tmp_path) as database, running(projection_of(sync.address, database)) as older:
        store = PortfolioStore(database)
        await caught_up(store, sync)
        async with running(projection_of(sync.address, database)) as newer:
            await claimed(store, 2)
            trade(sync, 3, first=3)
            with pytest.raises(FencedError):
                await older
            await caught_up(store, sync)
            assert not newer.done()
        assert await holding(database, "c-4", "pen") == Holding(3, 0, 450)


async def test_of_two_projections_that_begin_on_one_empty_store_the_newer_goes_on(
    sync: FakeSync, tmp_path: Path
) -> None:
    trade(sync, 3)
    async with open_portfolio(tmp_path) as database, AsyncExitStack() as stack:
        store = PortfolioStore(database)

        async def another_begins() -> None:
            await stack.enter_async_context(running(projection_of(sync.address, database)))
            await caught_up(store, sync)

        slow = SlowToOpenStore(database, another_begins)
        async with running(projection_of(sync.address, database, slow)) as newer:
            await goes_on(newer, store, sync, first=3)
        assert await holding(database, "c-4", "pen") == Holding(3, 0, 450)


async def test_what_the_older_projection_committed_before_the_newer_claimed_the_store_counts_once(
    sync: FakeSync, tmp_path: Path
) -> None:
    trade(sync, 3)
    async with open_portfolio(tmp_path) as database, running(projection_of(sync.address, database)):
        store = PortfolioStore(database)
        await caught_up(store, sync)

        async def older_goes_on() -> None:
            trade(sync, 3, first=3)
            await caught_up(store, sync)

        slow = SlowToOpenStore(database, older_goes_on)
        async with running(projection_of(sync.address, database, slow)) as newer:
            await goes_on(newer, store, sync, first=6)
        for customer in range(7):
            assert await holding(database, f"c-{customer}", "pen") == (
                Holding(6, 0, 900) if customer < 2 else Holding(3, 0, 450)
            )


async def test_a_projection_claims_no_store_that_a_newer_one_has(sync: FakeSync, tmp_path: Path) -> None:
    trade(sync, 3)
    async with open_portfolio(tmp_path) as database:
        store = PortfolioStore(database)
        async with running(projection_of(sync.address, database)):
            await caught_up(store, sync)

        async def newer_claims() -> None:
            stays = Move(shard=0, first_seq=sync.head.next_seq[0], next_seq=sync.head.next_seq[0], delivery_epoch=99)
            await store.transact(lambda session: _assert(store.move(session, stays)))

        with pytest.raises(FencedError):
            async with asyncio.timeout(60):
                await projection_of(sync.address, database, SlowToOpenStore(database, newer_claims)).run()


async def test_a_reader_that_was_overtaken_ends(sync: FakeSync, tmp_path: Path) -> None:
    async with open_portfolio(tmp_path) as database, running(projection_of(sync.address, database)) as task:
        trade(sync, 1)
        await caught_up(PortfolioStore(database), sync)
        sync.take_over("portfolio")
        trade(sync, 1, first=1)
        with pytest.raises(FencedError):
            await task


async def test_the_checkpoint_of_another_log_is_refused(sync: FakeSync, tmp_path: Path) -> None:
    trade(sync, 1)
    async with open_portfolio(tmp_path) as database:
        async with running(projection_of(sync.address, database)):
            await caught_up(PortfolioStore(database), sync)
        sync.recreate()
        with pytest.raises(LogEpochChangedError):
            await projection_of(sync.address, database).run()


async def test_a_store_without_a_checkpoint_does_not_begin_where_the_first_events_are_gone(
    sync: FakeSync, tmp_path: Path
) -> None:
    trade(sync, 20)
    async with open_portfolio(tmp_path) as database:
        sync.forget(1, 2)
        with pytest.raises(PositionExpiredError, match=r"the log begins at seq \[1, 2, 1\] by shard"):
            async with asyncio.timeout(60):
                await projection_of(sync.address, database).run()
        assert await PortfolioStore(database).load() is None


async def test_a_store_that_has_had_the_events_that_are_gone_goes_on(sync: FakeSync, tmp_path: Path) -> None:
    trade(sync, 5)
    async with open_portfolio(tmp_path) as database:
        async with running(projection_of(sync.address, database)):
            await caught_up(PortfolioStore(database), sync)
        for shard, seq in enumerate(sync.head.next_seq):
            sync.forget(shard, seq)
        trade(sync, 5, first=5)
        async with running(projection_of(sync.address, database)):
            await caught_up(PortfolioStore(database), sync)


async def test_twenty_thousand_events_take_seconds(sync: FakeSync, tmp_path: Path) -> None:
    for number in range(10_000):
        lines = [line(f"p-{(number + item) % 5_000}", leaves=2) for item in range(4)]
        sync.append(order_event(f"o-{number}", 1, lines, customer_id=f"c-{number % 500}"))
        done = [line(f"p-{(number + item) % 5_000}", filled=2) for item in range(4)]
        sync.append(order_event(f"o-{number}", 2, done, customer_id=f"c-{number % 500}"))
    async with open_portfolio(tmp_path) as database, running(projection_of(sync.address, database)):
        await caught_up(PortfolioStore(database), sync)
