"""What every read model and every store of subscriptions promises, whatever it is made of."""

import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from stateset.order.v1.order_pb2 import Order

from infra.kernel.digest import Digest
from infra.kernel.filter import EVERYTHING, parse
from infra.kernel.position import Position
from infra.runtime.sql import open_database
from infra.runtime.subscriptions import TooManySubscriptionsError
from sync.adapters.memory import MemoryReadModel, MemorySubscriptions
from sync.adapters.sql_read_model import SqlReadModel
from sync.adapters.sql_subscriptions import SqlSubscriptions
from sync.adapters.wire import ORDER_FIELDS
from sync.application.ports import AHEAD_OF, ReadModel, Subscriptions
from sync.domain.errors import EpochNeverGivenError, SubscriptionFilterChangedError
from sync.domain.log import OrderRow
from sync.domain.ring import Limits
from sync.domain.settlement import Changes, Settlement
from sync.domain.snapshot import Wanted
from sync.domain.subscription import Ack, AckStatus, Opening, SubscriptionKey

START = Position(log_epoch="log-1", next_seq=(1, 1))
KEY = SubscriptionKey(principal="local", name="s-1")
NOW_US = 1_700_000_000_000_000
OPENING = Opening(key=KEY, log_epoch="log-1", filter="", filter_hash=b"", start={0: 1, 1: 1}, opened_us=NOW_US)


@dataclass
class Stores:
    read_model: ReadModel
    subscriptions: Subscriptions


@pytest.fixture
async def stores(database_url: str | None) -> AsyncIterator[Stores]:
    if database_url is None:
        yield Stores(MemoryReadModel(), MemorySubscriptions(subscriptions_max=2))
        return
    async with open_database(database_url, service="sync", migrations=Path("sync/migrations")) as database:
        yield Stores(SqlReadModel(database), SqlSubscriptions(database, subscriptions_max=2))


def order(order_id: str, version: int = 1, *, customer_id: str = "c-1", state: str = "FILLED") -> OrderRow:
    return OrderRow(
        order_id=order_id,
        customer_id=customer_id,
        store_id="",
        currency_code="USD",
        state=state,
        version=version,
        body=f"{order_id} at {version}".encode(),
    )


async def test_a_read_model_says_nothing_before_it_begins_and_then_where_it_stands(stores: Stores) -> None:
    assert await stores.read_model.position() is None
    await stores.read_model.begin(START)
    assert await stores.read_model.position() == START


async def test_orders_and_position_change_together(stores: Stores) -> None:
    await stores.read_model.begin(START)
    after = START.moved({1: 3})
    await stores.read_model.apply([order("o-1"), order("o-2")], after)
    assert after == await stores.read_model.position()
    assert order("o-1") == await stores.read_model.find("o-1")
    assert await stores.read_model.find("o-3") is None


async def test_what_begins_at_no_place_is_filled_until_it_is_said_how_far_it_is(stores: Stores) -> None:
    model = stores.read_model
    await model.begin(START._replace(next_seq=(0, 0)))
    assert await model.fill([order("o-1", 2), order("o-2")])
    assert await model.fill([order("o-1", 1), order("o-3")])
    assert await model.position() == START._replace(next_seq=(0, 0))
    await model.apply([], START.moved({0: 7}))
    assert not await model.fill([order("o-1", 3), order("o-4")])
    assert await model.find("o-4") is None
    assert await model.find("o-1") == order("o-1", 2)
    assert await model.position() == START.moved({0: 7})


async def test_one_that_is_condemned_stays_so(stores: Stores) -> None:
    model = stores.read_model
    await model.begin(START)
    for _ in range(2):
        await model.condemn()
        await model.apply([order("o-1")], START.moved({0: 9}))
        position = await model.position()
        assert position is not None
        assert position.log_epoch == f"{AHEAD_OF}{START.log_epoch}"


async def test_an_older_version_changes_nothing(stores: Stores) -> None:
    await stores.read_model.begin(START)
    await stores.read_model.apply([order("o-1", 3)], START.moved({0: 4}))
    await stores.read_model.apply([order("o-1", 2, state="PENDING")], START.moved({0: 4}))
    await stores.read_model.apply([replace(order("o-1", 3), body=b"again")], START.moved({0: 4}))
    assert order("o-1", 3) == await stores.read_model.find("o-1")


async def test_pages_follow_each_other_by_id_without_a_gap(stores: Stores) -> None:
    await stores.read_model.begin(START)
    ids = ["O-1", "o-1", "o-10", "o-2", "ö-1"]
    await stores.read_model.apply([order(each) for each in reversed(ids)], START.moved({0: 6}))
    found, after, more = [], "", True
    while more:
        page = await stores.read_model.page(EVERYTHING, after=after, limit=2)
        found += [each.order_id for each in page.orders]
        after, more = found[-1], page.more
    assert ids == found


@pytest.mark.parametrize(
    ("filter_text", "expected"),
    [
        ("customer_id = c-1", ["o-1", "o-3"]),
        ("NOT state = FILLED", ["o-3"]),
        ("customer_id = c-2 OR state = CANCELED", ["o-2", "o-3"]),
        ("store_id:*", []),
        ('order_id > "o-1"', ["o-2", "o-3"]),
    ],
)
async def test_a_filter_finds_the_same_everywhere(stores: Stores, filter_text: str, expected: list[str]) -> None:
    await stores.read_model.begin(START)
    orders = [order("o-1"), order("o-2", customer_id="c-2"), order("o-3", state="CANCELED")]
    await stores.read_model.apply(orders, START.moved({0: 4}))
    page = await stores.read_model.page(parse(filter_text, ORDER_FIELDS), after="", limit=10)
    assert expected == [each.order_id for each in page.orders]


async def test_a_chunk_keeps_to_its_limits_and_the_last_one_is_empty(stores: Stores) -> None:
    await stores.read_model.begin(START)
    after = START.moved({0: 4})
    bodies = {each: Order(order_id=each, version=1).SerializeToString() for each in ("o-1", "o-2", "o-3", "o-4")}
    await stores.read_model.apply([replace(order(each), body=body) for each, body in bodies.items()], after)
    size = len(bodies["o-1"])
    found, last = [], ""
    for events_max, bytes_max in ((3, 2 * size), (1, 9 * size), (9, 1)):
        chunk = await stores.read_model.chunk(wanted(last, events_max, bytes_max))
        found.append(list(chunk.orders))
        last = chunk.last_order_id
        assert chunk.at == after
    assert found == [[bodies["o-1"], bodies["o-2"]], [bodies["o-3"]], [bodies["o-4"]]]
    over = await stores.read_model.chunk(wanted(last, 9, 9 * size))
    assert (over.orders, over.last_order_id) == ([], "")


def wanted(after: str, events_max: int, bytes_max: int) -> Wanted:
    limits = Limits(events_max=events_max, bytes_max=bytes_max)
    return Wanted(term=EVERYTHING, shards=frozenset((0, 1)), shards_all=2, after=after, limits=limits)


async def test_the_digest_is_that_of_the_newest_versions_at_the_position(stores: Stores) -> None:
    await stores.read_model.begin(START)
    after = START.moved({0: 4})
    await stores.read_model.apply([order("o-1", 2), order("o-2", 1)], after)
    expected = Digest()
    expected.add("o-2", 1)
    expected.add("o-1", 2)
    assert (after, expected) == await stores.read_model.digest(EVERYTHING)


@pytest.mark.parametrize(
    "filter_text", ["customer_id = c-1", "NOT state = FILLED", "customer_id = c-2 OR state = CANCELED", "store_id:*"]
)
async def test_the_digest_of_a_filter_is_that_of_what_it_lists(stores: Stores, filter_text: str) -> None:
    await stores.read_model.begin(START)
    after = START.moved({0: 4})
    orders = [order("o-1"), order("o-2", 2, customer_id="c-2"), order("o-3", state="CANCELED")]
    await stores.read_model.apply(orders, after)
    term = parse(filter_text, ORDER_FIELDS)
    expected = Digest()
    for each in (await stores.read_model.page(term, after="", limit=10)).orders:
        expected.add(each.order_id, each.version)
    assert (after, expected) == await stores.read_model.digest(term)


async def test_a_digest_takes_no_more_memory_for_more_orders(stores: Stores) -> None:
    await stores.read_model.begin(START)
    for begin in range(0, 8_000, 1_000):
        orders = [order(f"o-{number}") for number in range(begin, begin + 1_000)]
        await stores.read_model.apply(orders, START.moved({0: begin + 1_001}))
    tracemalloc.start()
    try:
        _, digest = await stores.read_model.digest(EVERYTHING)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert digest.count == 8_000
    assert peak_bytes < 800_000  # all the rows at once take more than a million


def ack(through: dict[int, int], *, epoch: int, key: SubscriptionKey = KEY) -> Ack:
    return Ack(key=key, ack_id="a", delivery_epoch=epoch, through=through)


async def test_each_opening_takes_a_new_delivery_epoch_and_keeps_the_floors(stores: Stores) -> None:
    assert await stores.subscriptions.find(KEY) is None
    first = await stores.subscriptions.open(OPENING)
    (outcome,) = await stores.subscriptions.commit([ack({0: 5}, epoch=first.delivery_epoch)])
    assert (outcome.status, outcome.floors) == (AckStatus.COMMITTED, {0: 5, 1: 1})
    second = await stores.subscriptions.open(OPENING)
    assert second.delivery_epoch > first.delivery_epoch
    assert [second.next_seq(0), second.next_seq(1)] == [5, 1]
    assert second == await stores.subscriptions.find(KEY)


async def test_a_floor_never_goes_back(stores: Stores) -> None:
    epoch = (await stores.subscriptions.open(OPENING)).delivery_epoch
    outcomes = await stores.subscriptions.commit(
        [ack({0: 5}, epoch=epoch), ack({0: 3}, epoch=epoch), ack({0: 2, 1: 2}, epoch=epoch)]
    )
    assert [each.status for each in outcomes] == [AckStatus.COMMITTED, AckStatus.ALREADY, AckStatus.COMMITTED]
    assert outcomes[-1].floors == {0: 5, 1: 2}
    stored = await stores.subscriptions.find(KEY)
    assert stored is not None
    assert [stored.next_seq(0), stored.next_seq(1)] == [5, 2]


async def test_an_ack_of_a_superseded_stream_changes_nothing_not_even_where_it_was_not_superseded(
    stores: Stores,
) -> None:
    older = await stores.subscriptions.open(OPENING)
    await stores.subscriptions.open(replace(OPENING, start={0: 1}))
    (outcome,) = await stores.subscriptions.commit([ack({0: 9, 1: 9}, epoch=older.delivery_epoch)])
    assert outcome.status == AckStatus.FENCED
    (outcome,) = await stores.subscriptions.commit([ack({1: 9}, epoch=older.delivery_epoch)])
    assert (outcome.status, outcome.floors) == (AckStatus.COMMITTED, {0: 1, 1: 9})


async def test_principals_do_not_share_names(stores: Stores) -> None:
    epoch = (await stores.subscriptions.open(OPENING)).delivery_epoch
    (outcome,) = await stores.subscriptions.commit(
        [ack({0: 5}, epoch=epoch, key=SubscriptionKey(principal="someone", name="s-1"))]
    )
    assert outcome.status == AckStatus.FENCED


async def test_another_filter_is_refused_and_changes_nothing(stores: Stores) -> None:
    first = await stores.subscriptions.open(OPENING)
    with pytest.raises(SubscriptionFilterChangedError):
        await stores.subscriptions.open(replace(OPENING, filter="type:*", filter_hash=b"12345678"))
    assert first == await stores.subscriptions.find(KEY)


async def test_there_is_room_for_so_many_subscriptions_and_those_that_are_there_open_again(stores: Stores) -> None:
    second, third = (replace(OPENING, key=replace(KEY, name=name)) for name in ("s-2", "s-3"))
    await stores.subscriptions.open(OPENING)
    await stores.subscriptions.open(second)
    with pytest.raises(TooManySubscriptionsError):
        await stores.subscriptions.open(third)
    assert await stores.subscriptions.find(third.key) is None
    assert (await stores.subscriptions.open(OPENING)).delivery_epoch == 2


async def test_another_log_starts_the_floors_anew_and_fences_the_streams_of_the_old_one(stores: Stores) -> None:
    first = await stores.subscriptions.open(OPENING)
    await stores.subscriptions.commit([ack({0: 5}, epoch=first.delivery_epoch)])
    again = await stores.subscriptions.open(replace(OPENING, log_epoch="log-2"))
    assert [again.next_seq(0), again.next_seq(1)] == [1, 1]
    (outcome,) = await stores.subscriptions.commit([ack({0: 5}, epoch=first.delivery_epoch)])
    assert outcome.status == AckStatus.FENCED


async def test_an_opening_is_above_the_epoch_of_the_callers_checkpoint(stores: Stores) -> None:
    assert (await stores.subscriptions.open(replace(OPENING, checkpoint_epoch=7))).delivery_epoch == 8
    assert (await stores.subscriptions.open(replace(OPENING, checkpoint_epoch=3))).delivery_epoch == 9


async def test_an_epoch_that_nobody_can_have_given_is_refused_and_changes_nothing(stores: Stores) -> None:
    claim = replace(OPENING, checkpoint_epoch=NOW_US + 1)
    with pytest.raises(EpochNeverGivenError):
        await stores.subscriptions.open(claim)
    assert await stores.subscriptions.find(KEY) is None
    first = await stores.subscriptions.open(OPENING)
    with pytest.raises(EpochNeverGivenError):
        await stores.subscriptions.open(claim)
    assert first == await stores.subscriptions.find(KEY)


async def test_after_the_highest_claim_everybody_can_open_again_with_what_was_given_here_and_elsewhere(
    stores: Stores,
) -> None:
    claimed = await stores.subscriptions.open(replace(OPENING, checkpoint_epoch=NOW_US))
    await stores.subscriptions.delete(KEY)
    for opening in (
        replace(OPENING, checkpoint_epoch=claimed.delivery_epoch),
        replace(OPENING, key=replace(KEY, name="s-2")),
    ):
        newest = opening.checkpoint_epoch
        for _ in range(3):
            again = await stores.subscriptions.open(replace(opening, checkpoint_epoch=newest))
            assert again.delivery_epoch > max(newest, claimed.delivery_epoch)
            newest = again.delivery_epoch
    later = replace(OPENING, checkpoint_epoch=newest, opened_us=NOW_US + 1_000)
    assert (await MemorySubscriptions().open(later)).delivery_epoch == newest + 1


async def test_a_subscription_is_created_without_a_delivery_epoch_and_stays_as_it_is(stores: Stores) -> None:
    made = await stores.subscriptions.create(OPENING)
    assert made.delivery_epoch == 0
    assert [made.next_seq(0), made.next_seq(1)] == [1, 1]
    assert made == await stores.subscriptions.create(replace(OPENING, start={0: 9, 1: 9}))
    assert (await stores.subscriptions.open(OPENING)).delivery_epoch == 1
    with pytest.raises(SubscriptionFilterChangedError):
        await stores.subscriptions.create(replace(OPENING, filter="type:*", filter_hash=b"12345678"))


async def test_a_seek_moves_floors_either_way_and_fences_who_was_there(stores: Stores) -> None:
    assert await stores.subscriptions.seek(KEY, "log-1", {0: 3}) is None
    epoch = (await stores.subscriptions.open(OPENING)).delivery_epoch
    await stores.subscriptions.commit([ack({0: 7, 1: 7}, epoch=epoch)])
    moved = await stores.subscriptions.seek(KEY, "log-1", {0: 3})
    assert moved is not None
    assert (moved.next_seq(0), moved.next_seq(1), moved.delivery_epoch) == (3, 7, epoch + 1)
    assert moved == await stores.subscriptions.find(KEY)
    (outcome,) = await stores.subscriptions.commit([ack({1: 9}, epoch=epoch)])
    assert outcome.status is AckStatus.FENCED


async def test_subscriptions_are_paged_by_name_and_by_principal_and_can_be_deleted(stores: Stores) -> None:
    other = replace(OPENING, key=SubscriptionKey(principal="someone", name="s-0"))
    for opening in (OPENING, other):
        await stores.subscriptions.create(opening)
    assert [name for name, _ in await stores.subscriptions.page("local", after="", limit=9)] == ["s-1"]
    assert await stores.subscriptions.page("local", after="s-1", limit=9) == []
    for _ in range(2):
        await stores.subscriptions.delete(KEY)
    assert await stores.subscriptions.find(KEY) is None
    assert await stores.subscriptions.find(other.key) is not None


async def test_an_epoch_of_a_deleted_subscription_is_given_to_no_later_one(stores: Stores) -> None:
    older = [await stores.subscriptions.open(OPENING) for _ in range(3)]
    await stores.subscriptions.delete(KEY)
    made = await stores.subscriptions.create(OPENING)
    acks = [ack({0: 5, 1: 5}, epoch=each.delivery_epoch) for each in older]
    settlements = [
        Settlement(key=KEY, delivery_epoch=each.delivery_epoch, changes=Changes(shards={0}, done={0: [(1, 5)]}))
        for each in older
    ]
    for _ in range(4):
        outcomes = await stores.subscriptions.commit([*acks, *settlements])
        assert {outcome.status for outcome in outcomes} == {AckStatus.FENCED}
        again = await stores.subscriptions.open(OPENING)
        assert again.delivery_epoch > made.delivery_epoch
        assert [again.next_seq(0), again.next_seq(1)] == [1, 1]


async def test_a_subscription_knows_its_first_opening_and_another_one_of_its_name_knows_its_own(stores: Stores) -> None:
    for _ in range(2):
        made = await stores.subscriptions.create(OPENING)
        assert made.first_epoch == made.delivery_epoch + 1
        await stores.subscriptions.seek(KEY, "log-1", {0: 3})
        first = await stores.subscriptions.open(OPENING)
        assert first.first_epoch == first.delivery_epoch
        await stores.subscriptions.seek(KEY, "log-1", {0: 1})
        again = await stores.subscriptions.open(OPENING)
        assert (again.first_epoch, again) == (first.delivery_epoch, await stores.subscriptions.find(KEY))
        of_another_log = await stores.subscriptions.open(replace(OPENING, log_epoch="log-2"))
        assert of_another_log.first_epoch == of_another_log.delivery_epoch
        await stores.subscriptions.delete(KEY)


async def test_an_opening_with_a_checkpoint_is_never_taken_for_the_first(stores: Stores) -> None:
    taken = await stores.subscriptions.open(replace(OPENING, checkpoint_epoch=7, opened_us=1_000))
    assert taken.delivery_epoch > taken.first_epoch, "what was sent before, a lost database knew"


async def test_a_deletion_forgets_no_epoch_that_an_earlier_one_took(stores: Stores) -> None:
    other = replace(OPENING, key=replace(KEY, name="s-2"))
    newest = await stores.subscriptions.open(replace(OPENING, checkpoint_epoch=7))
    await stores.subscriptions.create(other)
    for key in (KEY, other.key):
        await stores.subscriptions.delete(key)
    assert (await stores.subscriptions.open(OPENING)).delivery_epoch > newest.delivery_epoch
