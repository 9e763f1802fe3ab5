"""The pure pieces under the streams: cursor, credit, waits, ids."""

import uuid

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_frame_pb2 import EventBatch
from stateset.stream.v1.stream_pb2 import AckItem, Digest
from stateset_client import GapError, PoisonError, StateSetError, StreamLimits
from stateset_client.credit import CreditWindow
from stateset_client.cursor import Cursor
from stateset_client.ids import new_request_id
from stateset_client.inbox import Inbox
from stateset_client.poison import parking
from stateset_client.retry import Backoff, may_retry


def run(first_seq: int, last_seq: int) -> EventBatch:
    return EventBatch(shard=1, first_seq=first_seq, last_seq=last_seq, events=[OrderEvent(seq=first_seq)])


def cursor(*, filtered: bool = False) -> Cursor:
    return Cursor(Position(log_epoch="log", next_seq=[7, 3]), [0, 1], filtered=filtered)


def test_a_batch_that_is_due_moves_its_shard_alone() -> None:
    here = cursor()
    batch = here.advance(run(3, 5), delivery_epoch=2)
    assert (batch.first_seq, batch.last_seq, batch.delivery_epoch) == (3, 5, 2)
    assert batch.position == here.position == Position(log_epoch="log", next_seq=[7, 6])


@pytest.mark.parametrize("first_seq", [1, 2, 4, 9])
def test_a_batch_that_is_not_due_is_a_gap_and_moves_nothing(first_seq: int) -> None:
    here = cursor()
    with pytest.raises(GapError):
        here.advance(run(first_seq, first_seq), delivery_epoch=1)
    assert here.position.next_seq == [7, 3]


def test_progress_past_what_was_sent_is_a_gap_unless_it_was_filtered_out() -> None:
    at = Position(log_epoch="log", next_seq=[7, 9])
    with pytest.raises(GapError):
        list(cursor().cover(at, 1))
    here = cursor(filtered=True)
    (batch,) = here.cover(at, 1)
    assert (batch.shard, batch.first_seq, batch.last_seq, len(batch.events)) == (1, 3, 8, 0)
    assert here.position.next_seq == [7, 9]


def test_progress_of_shards_that_are_not_read_says_nothing() -> None:
    here = Cursor(Position(log_epoch="log", next_seq=[0, 3]), [1], filtered=False)
    assert list(here.cover(Position(log_epoch="log", next_seq=[50, 3]), 1)) == []


def test_a_stream_that_is_reopened_elsewhere_is_a_gap() -> None:
    cursor().check_reopened(Position(next_seq=[7, 3]))
    with pytest.raises(GapError):
        cursor().check_reopened(Position(next_seq=[8, 3]))


@given(st.lists(st.integers(min_value=1, max_value=40), max_size=60))
def test_what_is_granted_and_what_is_held_never_exceed_the_window(sizes: list[int]) -> None:
    window = CreditWindow(100, 10_000)
    available = window.opening().events
    for size in sizes:
        sent = min(size, available)
        available -= sent
        window.receive(sent, sent)
        assert available + sent <= 100
        window.consume(sent, sent)
        credit = window.grant()
        available += credit.events if credit else 0
        assert 0 < available <= 100


def test_a_window_is_full_of_events_or_of_bytes() -> None:
    for events, size in ((100, 1), (1, 1_000)):
        window = CreditWindow(100, 1_000)
        window.receive(events - 1, size - 1)
        assert not window.is_full
        window.receive(1, 1)
        assert window.is_full
        window.consume(1, 1)
        assert not window.is_full


@pytest.mark.parametrize("wrong", [0, -1, 8e6, 1 << 63, "9"])
@pytest.mark.parametrize("name", ["credit_events", "credit_bytes"])
def test_credit_that_can_be_none_is_refused_at_once(name: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be a whole number from 1 to 2\^63 - 1, not {wrong!r}"):
        StreamLimits(**{name: wrong})  # type: ignore[arg-type]  # that is the point


def at(*next_seq: int) -> Position:
    return Position(log_epoch="log", next_seq=next_seq, filter_hash=b"12345678")


@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), max_size=30), st.integers(0, 30))
async def test_ranges_in_which_nothing_matched_wait_as_one_for_each_shard(steps: list[list[int]], taken: int) -> None:
    """Read at any moment, they follow each other as if each had been read when it came."""
    inbox, cursor = Inbox(), Cursor(at(1, 1, 1), [0, 1, 2], filtered=True)
    here, reached = [1, 1, 1], [1, 1, 1]
    for number, step in enumerate([*steps, [1, 1, 1]]):
        here = [seq + more for seq, more in zip(here, step, strict=True)]
        for batch in cursor.cover(at(*here), 1):
            inbox.put_covered(batch)
        assert len(inbox._batches) <= 3  # noqa: SLF001 - what waits is what this is about
        if number in (taken, len(steps)) and here != reached:
            for batch in (await inbox.take(1_000, 1_000)).batches:
                assert batch.first_seq == reached[batch.shard]
                reached[batch.shard] = batch.last_seq + 1
                assert batch.position == at(*reached)
            assert reached == here


async def test_a_range_in_which_nothing_matched_joins_none_before_events_a_digest_or_another_opening() -> None:
    inbox, cursor = Inbox(), Cursor(at(1), [0], filtered=True)

    def cover(until: int, delivery_epoch: int = 1) -> None:
        for batch in cursor.cover(at(until), delivery_epoch):
            inbox.put_covered(batch)

    cover(5)
    inbox.put(cursor.advance(EventBatch(first_seq=5, last_seq=5, events=[OrderEvent(seq=5)]), 1), 9)
    cover(7)
    inbox.note_digest(Digest())
    cover(9)
    cover(11)
    cover(13, 2)
    first = await inbox.take(1_000, 3)
    assert [each.last_seq for each in first.batches] == [4, 5, 6]
    assert first.digest is not None
    assert [each.last_seq for each in (await inbox.take(1_000, 9)).batches] == [10, 12]


def test_a_new_stream_is_granted_what_the_waiting_events_leave() -> None:
    window = CreditWindow(100, 1_000)
    window.opening()
    window.receive(30, 400)
    assert (window.opening().events, window.opening().bytes) == (70, 600)
    window.receive(90, 900)
    assert (window.opening().events, window.opening().bytes) == (1, 1)


def test_waits_grow_to_a_ceiling_and_never_undercut_what_the_peer_said() -> None:
    backoff = Backoff()
    assert all(0 <= backoff.next_seconds() <= 2 for _ in range(50))
    assert backoff.next_seconds(3.0) >= 3.0
    backoff.reset()
    assert backoff.next_seconds() <= 0.1


@pytest.mark.parametrize(
    ("code", "retry_after_seconds", "expected"),
    [
        (StatusCode.UNAVAILABLE, None, True),
        (StatusCode.CANCELLED, None, True),
        (StatusCode.RESOURCE_EXHAUSTED, 0.5, True),
        (StatusCode.RESOURCE_EXHAUSTED, None, False),
        (StatusCode.DEADLINE_EXCEEDED, None, False),
        (StatusCode.INTERNAL, None, False),
    ],
)
def test_only_what_the_contract_calls_safe_is_repeated(
    code: StatusCode, retry_after_seconds: float | None, *, expected: bool
) -> None:
    assert may_retry(StateSetError("", code=code, retry_after_seconds=retry_after_seconds)) is expected


def test_request_ids_are_uuid7_and_differ() -> None:
    ids = {new_request_id() for _ in range(1_000)}
    assert len(ids) == 1_000
    assert {uuid.UUID(each).version for each in ids} == {7}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("caf\udce9", "PoisonError: caf?"),
        ("a\0b", "PoisonError: ab"),
        ("\N{GRINNING FACE}", "PoisonError: \N{GRINNING FACE}"),
    ],
)
def test_whatever_an_error_says_can_be_told_to_the_server(text: str, reason: str) -> None:
    parked = parking(OrderEvent(order_id="o-1"), PoisonError(text))
    assert AckItem.FromString(AckItem(reason=parked.reason).SerializeToString()).reason == reason
