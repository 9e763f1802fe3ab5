"""Single events against a model: whatever is answered, breaks off or is parked, each is finished exactly once."""

import gc
import random
import tracemalloc
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stateset.order.v1 import order_event_pb2, order_frame_pb2
from stateset.sync.v1 import sync_service_pb2

from infra.kernel.filter import parse
from infra.kernel.position import Position
from sync.adapters.memory_parking import mark_of
from sync.adapters.wire import EVENT_FIELDS, pieces_to_wire
from sync.domain.breaker import Breaker, BreakerPolicy
from sync.domain.delivery import Deliveries, Tracking
from sync.domain.done_set import Floor, Retried
from sync.domain.fanout import Fanout, Frame, Selection
from sync.domain.frames import AckItems, AckResult, AckThrough, Grant, Progress
from sync.domain.lines import Redelivery
from sync.domain.outcome import AckItem, Outcome
from sync.domain.parking import Mark, ParkedEvent
from sync.domain.ring import Limits, PassingEvent, Ring
from sync.domain.session import Session
from sync.domain.settlement import Settlement, settled
from sync.domain.subscription import AckOutcome, AckStatus, Opening, Subscription, SubscriptionKey, opened, sought
from sync.domain.terms import Terms
from tests.harness.sync_log import EPOCH, LogMaker, orders_of

SHARDS = 2
ORDERS = 4
KEY = SubscriptionKey(principal="p", name="s")
NO_LIMITS = Limits(events_max=100, bytes_max=1 << 20)
Event = order_event_pb2.OrderEvent
Place = tuple[int, int]


@dataclass
class Store:
    """What a database would hold, and the log."""

    log: LogMaker
    fanout: Fanout
    filter_text: str
    parked_max: int
    subscription: Subscription | None = None
    parked: dict[Place, ParkedEvent] = field(default_factory=dict)

    def open(self, unacked: int) -> tuple[Session, int]:
        selection = Selection.of(tuple(range(SHARDS)), parse(self.filter_text, EVENT_FIELDS))
        opening = Opening(
            key=KEY,
            log_epoch=EPOCH,
            filter=self.filter_text,
            filter_hash=selection.filter_hash,
            start=dict.fromkeys(range(SHARDS), 1),
        )
        self.subscription = opened(self.subscription, opening, 0)
        floors = self.subscription.floors
        terms = Terms(
            log_epoch=EPOCH,
            selection=selection,
            next_seqs=tuple(floors[shard].next_seq for shard in range(SHARDS)),
            delivery_epoch=self.subscription.delivery_epoch,
            credit=Grant(events=0, bytes=1 << 30),
            heartbeat_seconds=1e9,
            batch_events_max=7,
            tracking=Tracking(
                events_max=unacked,
                bytes_max=1 << 30,
                floors=floors,
                opened_us=0,
                marks=self.marks(),
                breaker=BreakerPolicy(outcomes=6, pause_seconds=1),
            ),
        )
        return Session(terms, self.fanout, now=0), self.subscription.delivery_epoch

    def marks(self) -> list[Mark]:
        return [mark_of(each) for each in self.parked.values()]

    def commit(self, settlement: Settlement) -> AckOutcome:
        room = self.parked_max - len(self.parked)
        self.subscription, outcome = settled(self.subscription, settlement, parking_room=room)
        if outcome.status is AckStatus.COMMITTED:
            for park in () if outcome.parking_full else settlement.changes.parked:
                self.parked[park.event.shard, park.event.seq] = park.event
            for place in settlement.changes.unparked:
                self.parked.pop(place, None)
        return outcome


class Subscriber:
    """Handles each order's events one after the other, and checks what comes."""

    def __init__(self, store: Store, unacked: int) -> None:
        self.store = store
        self.unacked = unacked
        self.now = 0.0
        self.done: set[Place] = set()
        self.applied: defaultdict[str, list[int]] = defaultdict(list)
        self.alone: set[Place] = set()  # parked by itself: may be applied after its followers
        self.sought = False
        self.connect()

    def connect(self) -> None:
        self.session, self.epoch = self.store.open(self.unacked)
        self.queues: defaultdict[str, list[Event]] = defaultdict(list)
        self.results: list[AckResult] = []
        self.next_seqs = list(self.session.position.next_seq)

    def read(self, credit: int = 10_000) -> None:
        self.session.grant(Grant(events=credit, bytes=0))
        for _ in range(1_000):
            frame = self.session.next_frame(self.now, 0)
            changes = self.session.acking.diversion(self.now, 0)
            if changes is not None:
                settlement = Settlement(key=KEY, delivery_epoch=self.epoch, changes=changes)
                self.session.acking.diverted(self.store.commit(settlement), self.now)
            elif frame is None:
                return
            self.take(frame)

    def take(self, frame: object) -> None:
        if isinstance(frame, Frame):
            for batch in sync_service_pb2.SubscribeResponse.FromString(frame.message).frame.events.batches:
                assert batch.first_seq == self.next_seqs[batch.shard], "a range was passed over in silence"
                self.next_seqs[batch.shard] = batch.last_seq + 1
                for event in batch.events:
                    self.arrive(event)
        elif isinstance(frame, Redelivery):
            for _, chunk in frame.deliveries:
                self.arrive(order_frame_pb2.EventBatch.FromString(chunk).events[0])
        elif isinstance(frame, AckResult):
            self.results.append(frame)
        elif isinstance(frame, Progress):
            assert frame.at == self.session.position
            self.next_seqs = list(frame.at.next_seq)

    def arrive(self, event: Event) -> None:
        assert place_of(event) not in self.done, "COMMITTED was delivered again"
        queue = self.queues[event.order_id]
        if not self.alone & {place_of(event), *map(place_of, queue)}:
            assert not queue or queue[-1].version < event.version
        queue.append(event)

    def answer(self, number: int, outcome: Outcome, delay: float = 0.0) -> None:
        """Answers the first event of an order, as a handler that takes them one after another does."""
        waiting = [order_id for order_id, queue in sorted(self.queues.items()) if queue]
        if not waiting:
            return
        order_id = waiting[number % len(waiting)]
        event = self.queues[order_id].pop(0)
        covered = self.drop_behind(event) if outcome in (Outcome.RETRY, Outcome.PARK_KEY) else []
        (status,) = self.settle([AckItem(shard=event.shard, seq=event.seq, outcome=outcome, delay_seconds=delay)])
        if status is AckStatus.PARKING_FULL:
            self.check_covered([*covered, *self.drop_behind(event)])
            return
        if status is AckStatus.OUT_OF_ORDER and self.sought:
            return  # out of the parking place it came before an earlier one that is to come again; it comes after that
        assert status is AckStatus.COMMITTED
        self.check_covered(covered)
        if outcome is Outcome.PARK:
            self.alone.add(place_of(event))
        elif outcome in (Outcome.DONE, Outcome.SKIP):
            self.apply(event)

    def drop_behind(self, event: Event) -> list[Event]:
        """The later events of its order: they come again, or are parked. An earlier one that came late is not one."""
        queue = self.queues[event.order_id]
        self.queues[event.order_id] = [each for each in queue if each.seq < event.seq]
        return [each for each in queue if each.seq > event.seq]

    def apply(self, event: Event) -> None:
        self.done.add(place_of(event))
        if place_of(event) not in self.alone:
            versions = self.applied[event.order_id]
            assert not versions or versions[-1] < event.version, "an order's events were applied out of order"
            versions.append(event.version)

    def check_covered(self, followers: list[Event]) -> None:
        """DONE for what RETRY or PARK_KEY covers is OUT_OF_ORDER."""
        items = [AckItem(shard=each.shard, seq=each.seq, outcome=Outcome.DONE) for each in followers]
        if items and not self.alone & {place_of(each) for each in followers}:
            assert set(self.settle(items)) == {AckStatus.OUT_OF_ORDER}

    def settle(self, items: list[AckItem]) -> list[AckStatus]:
        ack = AckItems(ack_id="a", items=tuple(items))
        verdict = self.session.judge(ack, self.now, 0)
        settlement = Settlement(key=KEY, delivery_epoch=self.epoch, changes=verdict.changes)
        self.session.acking.settled("a", verdict, self.store.commit(settlement), self.now)
        self.read(0)
        return [status for _, status in self.results.pop().items]

    def sweep(self) -> None:
        """As a stream does at a heartbeat, or before it ends."""
        acking = self.session.acking
        changes = acking.sweep(self.session.position.next_seq)
        assert acking.is_swept(self.session.position.next_seq)
        if changes is not None:
            acking.swept(self.store.commit(Settlement(key=KEY, delivery_epoch=self.epoch, changes=changes)))

    def seek(self) -> None:
        """To the begin of the log: all comes again, but for what is parked, which stays there."""
        assert self.store.subscription is not None
        earliest = dict.fromkeys(range(SHARDS), 1)
        self.store.subscription = sought(self.store.subscription, EPOCH, earliest)
        self.done.clear()
        self.applied.clear()
        self.alone |= self.store.parked.keys()
        self.sought = True
        self.connect()

    def replay_all(self) -> None:
        """As ReplayParked does, for a stream that looks at once."""
        store = self.store
        store.parked = {place: replace(each, replaying=True) for place, each in store.parked.items()}
        deliveries = self.session.deliveries
        assert deliveries is not None
        assert not deliveries.parking
        deliveries.remark(store.marks(), self.now)
        deliveries.replay([each for _, each in sorted(store.parked.items())], self.now)


def subscribed(*, filter_text: str = "", parked_max: int = 1_000, unacked: int = 100) -> Subscriber:
    fanout = Fanout(Ring((1,) * SHARDS, ring_bytes_max=1 << 30), pieces_to_wire)
    return Subscriber(Store(LogMaker(SHARDS), fanout, filter_text, parked_max), unacked)


def place_of(event: Event) -> Place:
    return event.shard, event.seq


def matching(log: LogMaker, filter_text: str) -> Iterator[Place]:
    for batch in log.batches:
        for event in batch.events:
            if not filter_text or event.attributes["customer_id"] == "c-1":
                yield batch.shard, event.seq


publish = st.tuples(st.just("publish"), st.integers(0, ORDERS - 1), st.integers(1, 3))
read = st.tuples(st.just("read"), st.integers(0, 9), st.just(0))

OUTCOMES = ["DONE", "DONE", "DONE", "RETRY", "PARK", "PARK_KEY", "SKIP"]
answer = st.tuples(st.sampled_from(OUTCOMES), st.integers(0, 9), st.integers(0, 3))
other = st.tuples(st.sampled_from(["wait", "crash", "replay", "sweep", "seek"]), st.integers(1, 5), st.just(0))


@given(
    steps=st.lists(publish | read | answer | answer | other, max_size=70),
    unacked=st.sampled_from([3, 8, 100]),
    filter_text=st.sampled_from(["", "customer_id = c-1"]),
    parked_max=st.sampled_from([2, 1_000]),
)
@example(  # what is parked in vain, or comes again, while others are to be parked first
    steps=[
        *[("publish", 3, 1), ("publish", 1, 2), ("publish", 3, 1), ("read", 3, 0), ("PARK_KEY", 1, 0)],
        *[("publish", 1, 2), ("publish", 3, 1), ("crash", 1, 0), ("read", 1, 0), ("read", 9, 0), ("PARK_KEY", 0, 2)],
    ],
    unacked=100,
    filter_text="customer_id = c-1",
    parked_max=2,
)
@settings(max_examples=400)
def test_each_event_is_finished_exactly_once_in_its_orders_sequence(
    steps: list[tuple[str, int, int]], unacked: int, filter_text: str, parked_max: int
) -> None:
    subscriber = subscribed(filter_text=filter_text, parked_max=parked_max, unacked=unacked)
    store, log, fanout = subscriber.store, subscriber.store.log, subscriber.store.fanout
    for kind, first, second in steps:
        if kind == "publish":
            customer_id = f"c-{first % 2}"
            fanout.ring.append([log.group(f"o-{first}", size=second, customer_id=customer_id)])
        elif kind == "read":
            subscriber.read(first)
        elif kind == "wait":
            subscriber.now += first
            subscriber.read(0)
        elif kind == "crash":
            subscriber.connect()
        elif kind == "replay":
            subscriber.replay_all()
        elif kind == "sweep":
            subscriber.sweep()
        elif kind == "seek":
            subscriber.seek()
            if first > 2:
                subscriber.replay_all()  # before the stream has come to what is parked
        else:
            subscriber.answer(first, Outcome(kind), delay=float(second))
        check_done_set(store, subscriber)
    drain(store, subscriber)
    expected = set(matching(log, filter_text))
    assert expected == subscriber.done
    assert not store.parked
    subscriber.sweep()
    assert store.subscription is not None
    heads = dict(enumerate(log.position.next_seq))
    assert heads == {shard: floor.next_seq for shard, floor in store.subscription.floors.items()}


def check_done_set(store: Store, subscriber: Subscriber) -> None:
    """The durable done-set holds what was committed, and nothing else that matches."""
    assert store.subscription is not None
    for shard, seq in matching(store.log, store.filter_text):
        done = store.subscription.floors[shard].is_done(seq)
        if (shard, seq) in store.parked and subscriber.sought:
            continue  # it is done once the stream has passed it
        assert done == ((shard, seq) in subscriber.done or (shard, seq) in store.parked), (shard, seq)


def drain(store: Store, subscriber: Subscriber) -> None:
    """Everything is answered with DONE until nothing is left."""
    store.parked_max = 1_000
    for _ in range(400):
        subscriber.now += 100
        subscriber.read()
        while any(subscriber.queues.values()):
            subscriber.answer(0, Outcome.DONE)
        subscriber.read()
        if not store.parked and not any(subscriber.queues.values()):
            expected = set(matching(store.log, store.filter_text))
            if expected == subscriber.done:
                return
        subscriber.replay_all()


def test_what_follows_an_order_that_is_being_parked_is_not_sent_meanwhile() -> None:
    subscriber = subscribed()
    store, log, fanout = subscriber.store, subscriber.store.log, subscriber.store.fanout
    fanout.ring.append([log.group("o-1")])
    subscriber.read()
    (event,) = subscriber.queues.pop("o-1")
    ack = AckItems(ack_id="a", items=(AckItem(shard=event.shard, seq=event.seq, outcome=Outcome.PARK_KEY),))
    verdict = subscriber.session.judge(ack, 0, 0)
    fanout.ring.append([log.group("o-1")])
    subscriber.read()
    assert not subscriber.queues["o-1"]
    assert subscriber.next_seqs[event.shard] == event.seq + 1, "it is not passed either, before it is parked"
    settlement = Settlement(key=KEY, delivery_epoch=subscriber.epoch, changes=verdict.changes)
    subscriber.session.acking.settled("a", verdict, store.commit(settlement), 0)
    subscriber.read()
    assert sorted(store.parked) == [(event.shard, event.seq), (event.shard, event.seq + 1)]


def test_what_is_on_its_way_back_waits_while_an_earlier_event_of_its_order_is_parked_again() -> None:
    subscriber = subscribed()
    store, log, fanout = subscriber.store, subscriber.store.log, subscriber.store.fanout
    batch = log.group("o-1", size=2)
    fanout.ring.append([batch])
    subscriber.read()
    subscriber.answer(0, Outcome.PARK_KEY)
    later = (batch.shard, batch.last_seq)
    store.parked[later] = replace(store.parked[later], replaying=True)
    deliveries = subscriber.session.deliveries
    assert deliveries is not None
    deliveries.remark(store.marks(), 0)
    deliveries.replay([store.parked[later]], 0)
    subscriber.read()
    assert not subscriber.queues["o-1"]
    subscriber.replay_all()
    subscriber.read()
    assert [event.version for event in subscriber.queues["o-1"]] == [1, 2]


def test_what_was_finished_out_of_the_parking_place_does_not_come_again_though_a_seek_moved_below_it() -> None:
    subscriber = subscribed()
    store, log, fanout = subscriber.store, subscriber.store.log, subscriber.store.fanout
    fanout.ring.append([log.group("o-1"), log.group("o-1")])
    subscriber.read()
    subscriber.answer(0, Outcome.PARK)
    subscriber.answer(0, Outcome.DONE)
    subscriber.seek()
    subscriber.replay_all()
    subscriber.read(1)
    (parked,) = subscriber.queues["o-1"]
    subscriber.answer(0, Outcome.DONE)
    again = AckItem(shard=parked.shard, seq=parked.seq, outcome=Outcome.DONE)
    assert subscriber.settle([again]) == [AckStatus.ALREADY]
    subscriber.read()
    assert [event.version for event in subscriber.queues["o-1"]] == [2]
    assert store.subscription is not None
    assert store.subscription.floors[parked.shard].is_done(parked.seq), "so the next stream does not send it either"


def test_what_was_discarded_does_not_come_though_a_seek_moved_below_it() -> None:
    subscriber = subscribed()
    store, log, fanout = subscriber.store, subscriber.store.log, subscriber.store.fanout
    fanout.ring.append([log.group("o-1"), log.group("o-1")])
    subscriber.read()
    subscriber.answer(0, Outcome.PARK)
    subscriber.seek()
    store.parked.clear()
    assert subscriber.session.deliveries is not None
    subscriber.session.deliveries.remark([], subscriber.now)
    subscriber.read()
    assert [event.version for event in subscriber.queues["o-1"]] == [2]


@pytest.fixture
def paused() -> Subscriber:
    """One whose next event tries whether it can go on; its first one is parked, and the others wait in one shard."""
    subscriber = subscribed()
    log, fanout = subscriber.store.log, subscriber.store.fanout
    fanout.ring.append([log.group(order_of(0))])
    subscriber.read()
    subscriber.answer(0, Outcome.PARK)
    for number in range(5):
        fanout.ring.append([log.group(order_of(1, number))])
        subscriber.read()
        subscriber.answer(0, Outcome.RETRY, delay=1_000)
    fanout.ring.append([log.group(order_of(0, 1)), log.group(order_of(0, 2))])
    subscriber.read()
    assert not any(subscriber.queues.values())
    subscriber.now += 2
    return subscriber


def order_of(shard: int, number: int = 0) -> str:
    return next(islice(orders_of(shard, SHARDS), number, None))


def test_a_try_that_somebody_discards_is_followed_by_another_one(paused: Subscriber) -> None:
    paused.replay_all()
    paused.read()
    assert {order_id for order_id, queue in paused.queues.items() if queue} == {order_of(0)}
    paused.store.parked.clear()
    assert paused.session.deliveries is not None
    paused.session.deliveries.remark([], paused.now)
    paused.read()
    assert {order_id for order_id, queue in paused.queues.items() if queue} == {order_of(0), order_of(0, 1)}


def test_a_try_that_is_acked_by_a_position_lets_the_stream_go_on(paused: Subscriber) -> None:
    paused.read()
    (tried,) = [event for queue in paused.queues.values() for event in queue]
    through = Position(
        log_epoch=EPOCH, next_seq=tuple(tried.seq + 1 if at == tried.shard else 0 for at in range(SHARDS))
    )
    floors = paused.session.check_ack(AckThrough(ack_id="a", through=through))
    assert paused.session.acking.finish_through(floors, paused.now)
    paused.read()
    assert {order_id for order_id, queue in paused.queues.items() if queue} == {order_of(0, 1), order_of(0, 2)}


def test_what_was_to_come_again_later_and_is_finished_leaves_nothing_behind() -> None:
    tracking = Tracking(
        events_max=10,
        bytes_max=1 << 20,
        floors={0: Floor(next_seq=1, delivery_epoch=1)},
        opened_us=0,
        marks=(),
        breaker=BreakerPolicy(retries_percent_max=100),
    )
    account = Deliveries(tracking, (1,), 0.0)

    def memory_after(first: int) -> int:
        for seq in range(first, first + 1_000):
            account.pass_by([PassingEvent(0, seq, f"o-{seq}", b"event", 5)], 0.0)
            for item in (
                AckItem(shard=0, seq=seq, outcome=Outcome.RETRY, delay_seconds=3600.0),
                AckItem(shard=0, seq=seq, outcome=Outcome.DONE),
            ):
                account.settled(account.judge([item], 0.0, 0), 0.0, parking_full=False)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = memory_after(1)
        assert memory_after(1_001) < before + 10_000
    finally:
        tracemalloc.stop()


@pytest.fixture
def full() -> Deliveries:
    """The account of a stream that was sent two events of an order; there is no room in the parking place."""
    tracking = Tracking(
        events_max=100,
        bytes_max=1 << 20,
        floors={0: Floor(next_seq=1, delivery_epoch=1)},
        opened_us=0,
        marks=(),
        breaker=BreakerPolicy(pause_seconds=1.0),
    )
    account = Deliveries(tracking, (1,), 0.0)
    account.pass_by([PassingEvent(0, seq, "o-1", b"event", 5) for seq in (1, 2)], 0.0)
    return account


def test_an_event_for_which_there_is_no_room_waits_behind_one_that_comes_again_later(full: Deliveries) -> None:
    parking = full.judge([AckItem(shard=0, seq=2, outcome=Outcome.PARK)], 0.0, 0)
    retry = full.judge([AckItem(shard=0, seq=1, outcome=Outcome.RETRY, delay_seconds=3600.0)], 0.1, 0)
    full.settled(parking, 0.2, parking_full=True)
    full.settled(retry, 0.2, parking_full=False)
    assert full.next_redelivery(3600.0, NO_LIMITS) is None
    redelivery = full.next_redelivery(3600.1, NO_LIMITS)
    assert redelivery is not None
    assert len(redelivery.deliveries) == 2


def test_the_pause_grows_while_the_parking_place_stays_full_and_ends_with_it(full: Deliveries) -> None:
    now, pauses = 0.0, []
    for is_full in (True, True, True, False):
        parking = full.judge([AckItem(shard=0, seq=1, outcome=Outcome.PARK)], now, 0)
        full.settled(parking, now, parking_full=is_full)
        if is_full:
            pauses.append(full.breaker.due(now) - now)
            now = full.breaker.due(now)
            assert full.next_redelivery(now, NO_LIMITS) is not None
            full.breaker.sent()
    assert pauses == [1.0, 2.0, 4.0]
    assert not full.breaker.paused


stretches = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 6)), max_size=12)


@given(stretches=stretches, floor=st.integers(1, 10), attempts=st.dictionaries(st.integers(1, 30), st.integers(1, 3)))
def test_a_done_set_holds_exactly_what_was_finished(
    stretches: list[tuple[int, int]], floor: int, attempts: dict[int, int]
) -> None:
    retried = {seq: Retried(count) for seq, count in attempts.items()}
    before = Floor(next_seq=floor, delivery_epoch=1).retried(retried)
    ranges = [(first, first + length) for first, length in stretches]
    random.Random(floor).shuffle(ranges)  # noqa: S311 - any sequence
    after = before
    for each in ranges:
        after = after.finished([each])
    assert after == before.finished(ranges)
    model = set(range(floor)) | {seq for first, end in ranges for seq in range(first, end)}
    for seq in range(1, 40):
        assert after.is_done(seq) == (seq in model)
        assert after.after_done(seq) == next(each for each in range(seq, 99) if each not in model)
    assert after.next_seq == next(each for each in range(1, 99) if each not in model)
    assert after.attempts == {seq: each for seq, each in retried.items() if seq not in model}


def test_a_breaker_pauses_when_most_of_the_recent_outcomes_are_retry_and_longer_each_time() -> None:
    breaker = Breaker(BreakerPolicy(outcomes=4, retries_percent_max=50, pause_seconds=1, pause_seconds_max=3))
    for retry in (True, False, True, False, True):
        breaker.saw(0, retry=retry)
    assert not breaker.paused
    breaker.saw(0, retry=True)
    assert breaker.paused
    now = 0.0
    for pause_seconds in (1, 2, 3, 3):
        assert breaker.due(now) == now + pause_seconds
        assert breaker.room(now + pause_seconds - 0.1) == 0
        now += pause_seconds
        assert breaker.room(now) == 1
        breaker.sent()
        assert breaker.room(now) == 0
        breaker.saw(now, retry=True)
    breaker.saw(now, retry=False)
    assert not breaker.paused
    assert breaker.room(now) > 1


@pytest.mark.parametrize(
    ("due_seconds", "delay_seconds", "expected"),
    [(-5, 9, 10.0), (0, 9, 10.0), (30, 40, 40.0), (30, 20, 30.0), (7_200, 3_600, 3_610.0)],
)
def test_what_another_stream_was_to_send_later_comes_then_and_never_later_than_after_its_delay(
    due_seconds: int, delay_seconds: int, expected: float
) -> None:
    """Its server's clock may have been ahead."""
    opened_us = 1_700_000_000_000_000
    retried = Retried(1, opened_us + due_seconds * 1_000_000, delay_seconds * 1_000_000)
    floor = Floor(next_seq=1, delivery_epoch=2, attempts={1: retried})
    policy = BreakerPolicy()
    tracking = Tracking(events_max=9, bytes_max=9, floors={0: floor}, opened_us=opened_us, marks=[], breaker=policy)
    deliveries = Deliveries(tracking, [1], now=10.0)
    assert deliveries.pass_by([PassingEvent(0, 1, "o-1", b"", 0)], now=10.0) == {(0, 1)}
    assert deliveries.next_redelivery(expected - 0.1, Limits(events_max=9, bytes_max=9)) is None
    assert deliveries.next_redelivery(expected, Limits(events_max=9, bytes_max=9)) is not None
