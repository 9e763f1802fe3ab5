"""Sessions over one ring: whatever is published, granted and filtered, each gets exactly what is its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from hypothesis import given, settings
from hypothesis import strategies as st
from stateset.order.v1 import order_event_pb2, order_frame_pb2
from stateset.sync.v1 import sync_service_pb2

from infra.kernel.filter import parse
from sync.adapters.wire import EVENT_FIELDS, pieces_to_wire
from sync.domain.fanout import FRAME_BYTES_MAX, Fanout, Frame, Selection
from sync.domain.frames import Grant, Phase, PhaseChange, Progress
from sync.domain.ring import Ring
from sync.domain.session import Session
from sync.domain.terms import Terms
from tests.harness.sync_log import EPOCH, LogMaker

SHARDS = 3
BATCH_EVENTS_MAX = 20
PLENTY = Grant(events=1_000_000, bytes=1 << 30)
FILTERS = ["", "customer_id = c-1", "product_id = p-2 AND NOT customer_id = c-0", "customer_id = nobody"]


@dataclass
class Reader:
    """A session, and everything that it was sent. It reads as an honest caller would, and checks as it goes."""

    session: Session
    feed_from: LogMaker
    due: list[int] = field(default_factory=lambda: [1] * SHARDS)
    seqs: dict[int, list[int]] = field(default_factory=dict)
    phases: list[Phase] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)

    def read(self, frames_max: int = 10_000) -> None:
        for _ in range(frames_max):
            frame = self.session.next_frame(now=0, as_of_us=0)
            if isinstance(frame, Frame):
                self._take(frame)
            elif isinstance(frame, PhaseChange):
                self.phases.append(frame.phase)
            elif isinstance(frame, Progress):
                assert frame.at == self.session.position
                self.due = list(frame.at.next_seq)
            elif frame is None and not self._fed():
                return

    def _take(self, frame: Frame) -> None:
        self.frames.append(frame)
        for batch in batches_of(frame):
            assert self.due[batch.shard] == batch.first_seq, "a range was passed over in silence"
            self.due[batch.shard] = batch.last_seq + 1
        events = list(events_of(frame))
        assert len(events) == frame.events
        assert sum(event.ByteSize() for event in events) == frame.size
        for event in events:
            self.seqs.setdefault(event.shard, []).append(event.seq)
        for first, following in zip_longest(events, events[1:]):
            metadata = first.metadata
            if metadata.group_index + 1 < metadata.group_size:
                assert following is not None, "a group was split between messages"
                assert first.seq + 1 == following.seq

    def _fed(self) -> bool:
        """Hands on what the ring has lost, as the catch-up does."""
        for shard in self.session.needs():
            next_seq = self.session.position.next_seq[shard]
            for batch in self.feed_from.batches:
                if batch.shard == shard and batch.first_seq == next_seq:
                    self.session.feed(batch)
                    return True
        return False


def batches_of(frame: Frame) -> Sequence[order_frame_pb2.EventBatch]:
    return sync_service_pb2.SubscribeResponse.FromString(frame.message).frame.events.batches


def events_of(frame: Frame) -> Iterator[order_event_pb2.OrderEvent]:
    for batch in batches_of(frame):
        yield from batch.events


def open_fanout(log: LogMaker, *, ring_bytes_max: int = 1 << 30) -> Fanout:
    return Fanout(Ring(log.position.next_seq, ring_bytes_max=ring_bytes_max), pieces_to_wire)


def open_reader(log: LogMaker, fanout: Fanout, *, filter_text: str = "", credit: Grant | None = PLENTY) -> Reader:
    terms = Terms(
        log_epoch=EPOCH,
        selection=Selection.of(tuple(range(SHARDS)), parse(filter_text, EVENT_FIELDS)),
        next_seqs=(1,) * SHARDS,
        delivery_epoch=0,
        credit=credit,
        heartbeat_seconds=5,
        batch_events_max=BATCH_EVENTS_MAX,
    )
    return Reader(Session(terms, fanout, now=0), log)


def expected(log: LogMaker, filter_text: str = "") -> dict[int, list[int]]:
    term = parse(filter_text, EVENT_FIELDS)
    found: dict[int, list[int]] = {}
    for batch in log.batches:
        for event in batch.events:
            if term.holds(event.attributes):
                found.setdefault(batch.shard, []).append(event.seq)
    return found


publish = st.tuples(st.just("publish"), st.integers(0, 5), st.integers(1, 4), st.integers(0, 2))
grant = st.tuples(st.just("grant"), st.integers(0, 3), st.integers(1, 9), st.integers(1, 4_000))
read = st.tuples(st.just("read"), st.integers(0, 3), st.integers(1, 12), st.just(0))


@given(steps=st.lists(publish | grant | read, max_size=80), ring_bytes_max=st.sampled_from([1_500, 1 << 30]))
@settings(max_examples=300, deadline=None)
def test_everybody_gets_exactly_what_matches_in_order_and_no_group_is_split(
    steps: list[tuple[str, int, int, int]], ring_bytes_max: int
) -> None:
    log = LogMaker(SHARDS)
    fanout = open_fanout(log, ring_bytes_max=ring_bytes_max)
    readers = [open_reader(log, fanout, filter_text=each, credit=Grant(events=0, bytes=0)) for each in FILTERS]
    for kind, first, second, third in steps:
        if kind == "publish":
            group = log.group(f"o-{first}", size=second, customer_id=f"c-{third}", products=(f"p-{first}", "p-1"))
            fanout.ring.append([group])
            for each in readers:
                each.session.offer()
        elif kind == "grant":
            readers[first].session.grant(Grant(events=second, bytes=third))
        else:
            readers[first].read(second)
    for each, filter_text in zip(readers, FILTERS, strict=True):
        each.session.grant(PLENTY)
        each.read()
        assert expected(log, filter_text) == each.seqs
        assert log.position.next_seq == each.session.position.next_seq
        assert each.phases[-1] == Phase.LIVE


@given(grants=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2_000)), max_size=20))
def test_credit_is_overdrawn_by_one_group_at_most(grants: list[tuple[int, int]]) -> None:
    log = LogMaker(SHARDS)
    fanout = open_fanout(log)
    fanout.ring.append(log.groups(40, size=3))
    largest = max(event.size for event in log.events)
    one = open_reader(log, fanout, credit=Grant(events=0, bytes=0))
    for events, size in grants:
        one.session.grant(Grant(events=events, bytes=size))
        one.read()
        assert sum(frame.events for frame in one.frames) <= max(0, sum(each for each, _ in grants)) + 2
        assert sum(frame.size for frame in one.frames) <= sum(each for _, each in grants) + 3 * largest


def test_subscribers_that_read_the_same_are_sent_the_same_object() -> None:
    log = LogMaker(SHARDS)
    fanout = open_fanout(log)
    readers = [open_reader(log, fanout) for _ in range(10)]
    for _ in range(5):
        fanout.ring.append(log.groups(30))
        for each in readers:
            each.read()
    messages = {id(frame.message) for each in readers for frame in each.frames}
    assert len(readers[0].frames) == len(messages)


def test_a_slow_reader_does_not_follow_in_the_small_steps_of_a_fast_one() -> None:
    log = LogMaker(SHARDS)
    fanout = open_fanout(log)
    fast, slow = open_reader(log, fanout), open_reader(log, fanout)
    for _ in range(BATCH_EVENTS_MAX):
        fanout.ring.append([log.group()])
        fast.read()
    slow.read()
    assert len(fast.frames) == BATCH_EVENTS_MAX
    assert [frame.events for frame in slow.frames] == [BATCH_EVENTS_MAX]


def test_a_frame_keeps_its_limits_but_for_a_group_that_is_larger() -> None:
    log = LogMaker(SHARDS)
    fanout = open_fanout(log)
    fanout.ring.append(log.groups(100, size=3))
    fanout.ring.append([log.group(size=50)])
    fanout.ring.append(log.groups(4, size=2, padding=FRAME_BYTES_MAX // 3))
    one = open_reader(log, fanout)
    one.read()
    assert expected(log) == one.seqs
    assert {50} == {frame.events for frame in one.frames if frame.events > BATCH_EVENTS_MAX}
    assert all(frame.size <= FRAME_BYTES_MAX or frame.events == 2 for frame in one.frames)


def test_no_shard_waits_for_another_to_be_read_to_its_end() -> None:
    log = LogMaker(SHARDS)
    fanout = open_fanout(log)
    fanout.ring.append(log.groups(300))
    one = open_reader(log, fanout)
    one.read(frames_max=2 + SHARDS)
    assert set(range(SHARDS)) == set(one.seqs)


def test_a_live_reader_that_lets_its_offers_lie_falls_behind_and_comes_back_by_itself() -> None:
    log = LogMaker(SHARDS)
    fanout = open_fanout(log)
    one = open_reader(log, fanout)
    one.read()
    for offers in range(1, 100):
        fanout.ring.append([log.group()])
        one.session.offer()
        assert one.session.phase is (Phase.LIVE if offers <= 64 else Phase.BEHIND)
    one.read()
    assert one.phases == [Phase.CATCHING_UP, Phase.LIVE, Phase.BEHIND, Phase.LIVE]
    assert expected(log) == one.seqs


def test_messages_of_several_shards_may_also_be_put_one_after_the_other() -> None:
    log = LogMaker(SHARDS)
    fanout = open_fanout(log)
    fanout.ring.append(log.groups(9))
    one = open_reader(log, fanout)
    one.read()
    joined = b"".join(frame.message for frame in one.frames)
    whole = Frame(joined, 9, 0, ())
    assert expected(log) == {
        shard: [event.seq for event in events_of(whole) if event.shard == shard] for shard in expected(log)
    }
