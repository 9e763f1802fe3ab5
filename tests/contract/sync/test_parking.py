"""What every store of single events promises: done-sets, and the parking place, whatever it is made of."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import text

from infra.runtime.sql import open_database
from sync.adapters.memory import MemorySubscriptions
from sync.adapters.sql_parking import SqlParking
from sync.adapters.sql_subscriptions import SqlSubscriptions
from sync.application.ports import Parking, Subscriptions
from sync.domain.done_set import Floor, Retried
from sync.domain.parking import Choice, Mark, ParkedEvent
from sync.domain.settlement import Changes, Park, Settlement
from sync.domain.subscription import Ack, AckOutcome, AckStatus, Opening, SubscriptionKey

KEY = SubscriptionKey(principal="local", name="s-1")
OTHER = SubscriptionKey(principal="local", name="s-2")
OPENING = Opening(key=KEY, log_epoch="log-1", filter="", filter_hash=b"", start={0: 1, 1: 1})
PARKED_MAX = 4


@dataclass
class Stores:
    subscriptions: Subscriptions
    parking: Parking

    async def settle(self, epoch: int, changes: Changes, key: SubscriptionKey = KEY) -> AckOutcome:
        (outcome,) = await self.subscriptions.commit([Settlement(key=key, delivery_epoch=epoch, changes=changes)])
        return outcome

    async def floor(self, shard: int = 0) -> Floor:
        stored = await self.subscriptions.find(KEY)
        assert stored is not None
        return stored.floors[shard]

    async def places(self) -> list[tuple[int, int]]:
        page = await self.parking.page(KEY, after=(-1, 0), limit=100)
        return [(each.shard, each.seq) for each in page.events]


@pytest.fixture
async def stores(database_url: str | None) -> AsyncIterator[Stores]:
    if database_url is None:
        memory = MemorySubscriptions(parked_events_max=PARKED_MAX)
        yield Stores(memory, memory.parking)
        return
    async with open_database(database_url, service="sync", migrations=Path("sync/migrations")) as database:
        yield Stores(SqlSubscriptions(database, parked_events_max=PARKED_MAX), SqlParking(database))


def parked(shard: int, seq: int, order_id: str = "o-1", *, whole_order: bool = False) -> ParkedEvent:
    return ParkedEvent(
        shard=shard,
        seq=seq,
        order_id=order_id,
        chunk=f"{order_id} {seq}".encode(),
        whole_order=whole_order,
        reason="because",
        attempts=2,
        parked_time_us=1_700_000_000_000_000,
    )


def done(shard: int, *stretches: tuple[int, int]) -> Changes:
    return Changes(shards={shard}, done={shard: list(stretches)})


def parks(events: Sequence[ParkedEvent], *, again: bool = False) -> Changes:
    return Changes(
        shards={event.shard for event in events},
        parked=[Park(event=event, first=event.seq, again=again) for event in events],
    )


async def test_single_events_are_done_above_the_floor_and_lift_it_once_nothing_is_left_between(stores: Stores) -> None:
    epoch = (await stores.subscriptions.open(OPENING)).delivery_epoch
    outcome = await stores.settle(epoch, done(0, (3, 5), (8, 9)))
    assert (outcome.status, outcome.floors) == (AckStatus.COMMITTED, {0: 1, 1: 1})
    assert await stores.floor() == Floor(next_seq=1, delivery_epoch=epoch, done=((3, 5), (8, 9)))
    outcome = await stores.settle(epoch, done(0, (1, 3)))
    assert outcome.floors == {0: 5, 1: 1}
    assert await stores.floor() == Floor(next_seq=5, delivery_epoch=epoch, done=((8, 9),))


async def test_several_settlements_of_one_transaction_build_on_each_other(stores: Stores) -> None:
    epoch = (await stores.subscriptions.open(OPENING)).delivery_epoch
    settlements = [
        Settlement(key=KEY, delivery_epoch=epoch, changes=changes)
        for changes in (done(0, (2, 3)), done(0, (1, 2)), done(1, (4, 5)))
    ]
    outcomes = await stores.subscriptions.commit(settlements)
    assert [outcome.floors[0] for outcome in outcomes] == [1, 3, 3]
    assert (await stores.floor(1)).done == ((4, 5),)


async def test_what_was_retried_is_kept_until_the_event_is_done(stores: Stores) -> None:
    epoch = (await stores.subscriptions.open(OPENING)).delivery_epoch
    await stores.settle(epoch, Changes(shards={0}, attempts={0: {2: Retried(1, 7_000), 3: Retried(1)}}))
    await stores.settle(epoch, Changes(shards={0}, attempts={0: {3: Retried(2, 9_000, 5_000)}}))
    assert (await stores.floor()).attempts == {2: Retried(1, 7_000), 3: Retried(2, 9_000, 5_000)}
    await stores.settle(epoch, done(0, (2, 3)))
    assert (await stores.floor()).attempts == {3: Retried(2, 9_000, 5_000)}


async def test_what_was_retried_out_of_the_parking_place_is_kept_there_until_somebody_replays_it(
    stores: Stores,
) -> None:
    older = (await stores.subscriptions.open(OPENING)).delivery_epoch
    await stores.settle(older, parks([parked(0, 2)]))
    epoch = (await stores.subscriptions.open(OPENING)).delivery_epoch
    for each, retried in ((older, Retried(9, 9, 9)), (epoch, Retried(3, 9_000, 5_000))):
        await stores.settle(each, Changes(shards={0}, parked_attempts={(0, 2): retried, (0, 3): retried}))
    expected = replace(parked(0, 2), attempts=3, due_us=9_000, delay_us=5_000)
    assert list((await stores.parking.page(KEY, after=(-1, 0), limit=9)).events) == [expected]
    await stores.parking.replay(KEY, Choice())
    (now,) = (await stores.parking.page(KEY, after=(-1, 0), limit=9)).events
    assert (now.attempts, now.due_us, now.replaying) == (3, 0, True)


async def test_a_position_joins_what_was_done_above_it(stores: Stores) -> None:
    epoch = (await stores.subscriptions.open(OPENING)).delivery_epoch
    await stores.settle(epoch, done(0, (4, 6), (9, 10)))
    (outcome,) = await stores.subscriptions.commit([Ack(key=KEY, ack_id="a", delivery_epoch=epoch, through={0: 4})])
    assert outcome.floors[0] == 6
    assert (await stores.floor()).done == ((9, 10),)


async def test_an_opening_keeps_the_done_set_unless_it_says_where_to_start(stores: Stores) -> None:
    epoch = (await stores.subscriptions.open(OPENING)).delivery_epoch
    await stores.settle(epoch, done(0, (4, 6)))
    again = await stores.subscriptions.open(OPENING)
    assert again.floors[0] == Floor(next_seq=1, delivery_epoch=again.delivery_epoch, done=((4, 6),))
    reset = await stores.subscriptions.open(replace(OPENING, start={0: 3}, resets=True))
    assert reset.floors[0] == Floor(next_seq=3, delivery_epoch=reset.delivery_epoch)
    assert reset == await stores.subscriptions.find(KEY)


async def test_the_settlement_of_a_superseded_stream_changes_nothing_not_even_where_it_was_not_superseded(
    stores: Stores,
) -> None:
    older = (await stores.subscriptions.open(OPENING)).delivery_epoch
    await stores.settle(older, parks([parked(0, 1)]))
    await stores.subscriptions.open(replace(OPENING, start={0: 1}))
    both = parks([parked(0, 2), parked(1, 2)])
    both.unparked.append((0, 1))
    assert (await stores.settle(older, both)).status is AckStatus.FENCED
    assert await stores.places() == [(0, 1)]
    assert (await stores.floor(1)).done == ()
    assert (await stores.settle(older, parks([parked(1, 2)]))).status is AckStatus.COMMITTED
    assert (await stores.settle(older, done(0, (2, 3)), OTHER)).status is AckStatus.FENCED


async def test_what_is_parked_is_done_and_listed_as_it_was_by_shard_and_seq(stores: Stores) -> None:
    epoch = (await stores.subscriptions.open(OPENING)).delivery_epoch
    await stores.settle(epoch, parks([parked(1, 1), parked(0, 2), parked(0, 1)]))
    assert (await stores.floor()).next_seq == 3
    first = await stores.parking.page(KEY, after=(-1, 0), limit=2)
    assert (list(first.events), first.more) == ([parked(0, 1), parked(0, 2)], True)
    rest = await stores.parking.page(KEY, after=(0, 2), limit=2)
    assert (list(rest.events), rest.more) == ([parked(1, 1)], False)
    assert not (await stores.parking.page(OTHER, after=(-1, 0), limit=2)).events


async def test_a_full_parking_place_takes_nothing_and_the_rest_of_the_settlement_counts(stores: Stores) -> None:
    epoch = (await stores.subscriptions.open(OPENING)).delivery_epoch
    await stores.settle(epoch, parks([parked(0, seq) for seq in (1, 2, 3)]))
    too_many = parks([parked(0, 4), parked(0, 5)])
    too_many.finish(0, (7, 8))
    outcome = await stores.settle(epoch, too_many)
    assert (outcome.status, outcome.parking_full) == (AckStatus.COMMITTED, True)
    assert await stores.places() == [(0, 1), (0, 2), (0, 3)]
    assert await stores.floor() == Floor(next_seq=4, delivery_epoch=epoch, done=((7, 8),))
    assert not (await stores.settle(epoch, parks([parked(0, 4)]))).parking_full
    assert not (await stores.settle(epoch, parks([parked(0, 4, whole_order=True)], again=True))).parking_full


async def test_a_replay_is_of_one_event_an_order_or_all_and_an_order_that_is_parked_as_a_whole_stays_together(
    stores: Stores,
) -> None:
    epoch = (await stores.subscriptions.open(OPENING)).delivery_epoch
    alone = [parked(0, 1), parked(1, 1, "o-2")]
    whole = [parked(0, seq, "o-3", whole_order=True) for seq in (2, 3)]
    await stores.settle(epoch, parks([*alone, *whole]))
    before = await stores.parking.revision(KEY)
    assert await stores.parking.replay(KEY, Choice(event=(0, 1))) == 1
    assert await stores.parking.replay(KEY, Choice(event=(0, 9))) == 0
    assert await stores.parking.revision(KEY) > before
    view = await stores.parking.view(KEY, [0], replaying_max=10)
    assert list(view.replaying) == [replace(parked(0, 1), replaying=True)]
    assert list(view.marks) == [
        Mark(shard=0, seq=1, order_id="o-1", whole_order=False, replaying=True),
        *(Mark(shard=0, seq=seq, order_id="o-3", whole_order=True) for seq in (2, 3)),
    ]
    assert await stores.parking.replay(KEY, Choice(event=(0, 3))) == 2
    view = await stores.parking.view(KEY, [0], replaying_max=2)
    assert [each.seq for each in view.replaying] == [1, 2]
    assert await stores.parking.replay(KEY, Choice(order_id="o-2")) == 1
    assert await stores.parking.replay(KEY, Choice()) == 4


async def test_what_is_finished_or_discarded_leaves_the_parking_place(stores: Stores) -> None:
    epoch = (await stores.subscriptions.open(OPENING)).delivery_epoch
    await stores.settle(epoch, parks([parked(0, seq, f"o-{seq}") for seq in (1, 2, 3)]))
    await stores.settle(epoch, Changes(shards={0}, unparked=[(0, 1)]))
    assert await stores.places() == [(0, 2), (0, 3)]
    before = await stores.parking.revision(KEY)
    assert await stores.parking.discard(KEY, Choice(order_id="o-2")) == 1
    assert await stores.parking.revision(KEY) > before
    assert await stores.places() == [(0, 3)]
    assert await stores.parking.discard(KEY, Choice()) == 1


async def test_what_is_parked_again_is_no_longer_replayed_and_says_why_this_time(stores: Stores) -> None:
    epoch = (await stores.subscriptions.open(OPENING)).delivery_epoch
    await stores.settle(epoch, parks([parked(0, 1)]))
    await stores.parking.replay(KEY, Choice())
    again = replace(parked(0, 1, whole_order=True), reason="still", attempts=5)
    await stores.settle(epoch, parks([again], again=True))
    page = await stores.parking.page(KEY, after=(-1, 0), limit=10)
    assert list(page.events) == [again]


async def test_a_seek_forgets_what_was_done_above_the_floors_that_it_moves_and_leaves_the_parking_place(
    stores: Stores,
) -> None:
    epoch = (await stores.subscriptions.open(OPENING)).delivery_epoch
    changes = parks([parked(0, 1)])
    changes.finish(0, (5, 6))
    changes.finish(1, (5, 6))
    await stores.settle(epoch, changes)
    await stores.subscriptions.seek(KEY, "log-1", {0: 2})
    assert await stores.floor() == Floor(next_seq=2, delivery_epoch=epoch + 1)
    assert await stores.floor(1) == Floor(next_seq=1, delivery_epoch=epoch + 1, done=((5, 6),))
    assert await stores.places() == [(0, 1)]
    assert await stores.parking.count(KEY) == 1


async def test_the_parking_place_goes_with_its_subscription_and_with_its_log(stores: Stores) -> None:
    epoch = (await stores.subscriptions.open(OPENING)).delivery_epoch
    await stores.settle(epoch, parks([parked(0, 1)]))
    epoch = (await stores.subscriptions.open(replace(OPENING, log_epoch="log-2"))).delivery_epoch
    assert await stores.places() == []
    await stores.settle(epoch, parks([parked(0, 1)]))
    await stores.subscriptions.seek(KEY, "log-3", {0: 1, 1: 1})
    assert await stores.places() == []
    epoch = (await stores.subscriptions.open(replace(OPENING, log_epoch="log-3"))).delivery_epoch
    await stores.settle(epoch, parks([parked(0, 1)]))
    await stores.subscriptions.delete(KEY)
    await stores.subscriptions.open(OPENING)
    assert await stores.parking.count(KEY) == 0


async def test_attempts_that_were_stored_before_there_were_times_are_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/test.db"
    async with open_database(url, service="sync", migrations=Path("sync/migrations")) as database:
        subscriptions = SqlSubscriptions(database)
        await subscriptions.open(OPENING)
        older = text("""UPDATE subscription_floors SET above = '[[[4, 6]], {"2": 3}]'""")
        await database.write(lambda connection: connection.execute(older).rowcount)
        stored = await subscriptions.find(KEY)
    assert stored is not None
    assert stored.floors[0].attempts == {2: Retried(3)}
