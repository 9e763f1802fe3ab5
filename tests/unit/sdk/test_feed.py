"""What a feed makes of the ways in which gRPC ends a stream."""

import asyncio
from collections.abc import Sequence
from typing import cast

import grpc
import grpc.aio
import pytest
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_frame_pb2 import EventBatch, Events, ServerFrame
from stateset.stream.v1 import stream_pb2 as stream
from stateset_client import SNAPSHOT, StateSetError, StreamLimits, Subscription, UnavailableError
from stateset_client.endpoint import Arrival, Link
from stateset_client.feed import Feed
from stateset_client.outage import Outage

from tests.harness.fake_sync_events import eventually


class EndingLink:
    """A stream that ends with its first read."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        self._code = code
        self._message = message

    async def read(self) -> Arrival | None:
        raise grpc.aio.AioRpcError(self._code, grpc.aio.Metadata(), grpc.aio.Metadata(), self._message)

    async def write(self, frame: stream.ClientFrame) -> None:
        raise asyncio.InvalidStateError(frame)

    async def close(self) -> None:
        pass


async def end_of(links: Sequence[EndingLink]) -> StateSetError:
    """What a feed that is given these streams, one after the other, ends with."""
    given = iter(links)
    feed = Feed(lambda _spec: cast(Link, next(given)), stream.Open(), StreamLimits(), address="sync:1", two_way=True)
    async with asyncio.timeout(20):
        await feed.run()
    with pytest.raises(StateSetError) as ended:
        await feed.inbox.take(events_max=1, batches_max=1)
    return ended.value


async def test_a_status_that_grpc_has_lost_is_a_break_and_the_next_stream_tells_it() -> None:
    lost = EndingLink(grpc.StatusCode.INTERNAL, "Internal error from Core")
    refused = EndingLink(grpc.StatusCode.PERMISSION_DENIED, "not yours")
    assert (await end_of([lost, refused])).code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_server_that_fails_is_an_answer() -> None:
    failed = EndingLink(grpc.StatusCode.INTERNAL, "an internal error, logged under 7f")
    assert (await end_of([failed])).code is grpc.StatusCode.INTERNAL


async def test_a_server_that_cannot_be_reached_is_told_in_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    away = EndingLink(grpc.StatusCode.UNAVAILABLE, "connection refused")
    await end_of([away, away, EndingLink(grpc.StatusCode.PERMISSION_DENIED, "not yours")])
    [record] = caplog.records
    assert (record.name, record.levelname) == ("stateset_client", "WARNING")
    assert record.message == "cannot read from sync:1 for 0 s now, trying again: UNAVAILABLE: connection refused"


def test_a_server_that_stays_away_is_told_of_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage("sync:1")
    for second in range(150):
        outage.failed(UnavailableError("away", code=grpc.StatusCode.UNAVAILABLE), 1_000.0 + second)
    outage.end()
    outage.failed(UnavailableError("away", code=grpc.StatusCode.UNAVAILABLE), 1_200.0)
    assert [record.message.split(" now")[0] for record in caplog.records] == [
        f"cannot read from sync:1 for {seconds} s" for seconds in (0, 60, 120, 0)
    ]


def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="host:port"):
        Subscription("", "s-1")


class OpenLink:
    """A stream that brings what it is given, and then nothing more for as long as it is open."""

    def __init__(self, *frames: ServerFrame) -> None:
        self._frames = list(frames)
        self.read_frames = 0

    async def read(self) -> Arrival | None:
        if not self._frames:
            await asyncio.Event().wait()
        self.read_frames += 1
        return 100, self._frames.pop(0)

    async def write(self, frame: stream.ClientFrame) -> None:
        """It is heard."""

    async def close(self) -> None:
        pass


class BrokenLink(OpenLink):
    """A stream that brings what it is given, and breaks."""

    async def read(self) -> Arrival | None:
        if self._frames:
            return await super().read()
        return await EndingLink(grpc.StatusCode.UNAVAILABLE, "it broke").read()


OPENED = ServerFrame(opened=stream.Opened(position=Position(log_epoch="log", next_seq=[1])))


class Reader(Subscription):
    """One of a stream in this process."""

    def __init__(self) -> None:
        super().__init__("sync:1", "s")
        self.link: object = OpenLink(OPENED)

    def _connect(self, _spec: stream.Open) -> Link:
        return cast(Link, self.link)


async def test_a_stream_without_credit_stops_reading_at_so_many_bytes() -> None:
    frames = [
        ServerFrame(events=Events(batches=[EventBatch(first_seq=seq, last_seq=seq, events=[OrderEvent(seq=seq)])]))
        for seq in range(1, 50)
    ]
    link = OpenLink(OPENED, *frames)
    limits = StreamLimits(credit_bytes=1_000)
    feed = Feed(lambda _spec: cast(Link, link), stream.Open(), limits, address="sync:1", two_way=False)
    reading = asyncio.create_task(feed.run())
    for taken in range(49):
        await eventually(lambda: link.read_frames == min(50, 1 + 10 + taken))  # noqa: B023 - of this turn
        arrivals = await feed.inbox.take(events_max=1, batches_max=1)
        feed.consume(arrivals.events, arrivals.size_bytes)
    reading.cancel()


async def test_whoever_waits_for_a_stream_is_told_when_it_is_closed_and_so_is_who_asks_later() -> None:
    reader = Reader()
    async with reader:
        position = (await reader.opened()).position
        waiting = [asyncio.create_task(each) for each in (anext(reader), reader.ack(position))]
        await asyncio.sleep(0)
    for each in (*waiting, anext(reader), reader.ack(position), reader.take(events_max=1)):
        with pytest.raises(StateSetError, match="the stream is closed"):
            async with asyncio.timeout(5):
                await each


async def test_what_has_come_is_not_handed_out_after_the_end() -> None:
    reader = Reader()
    reader.link = OpenLink(
        OPENED, ServerFrame(events=Events(batches=[EventBatch(first_seq=1, last_seq=1, events=[OrderEvent(seq=1)])]))
    )
    async with reader:
        await reader.opened()
        await asyncio.sleep(0)
    with pytest.raises(StateSetError, match="the stream is closed"):
        await anext(reader)


async def test_a_failure_that_nobody_foresaw_is_told_to_whoever_waits() -> None:
    reader = Reader()
    reader.link = None  # which has no read
    async with reader:
        for each in (reader.opened(), anext(reader), reader.ack(Position())):
            with pytest.raises(StateSetError, match=r"the reader has failed: .*NoneType"):
                async with asyncio.timeout(5):
                    await each


async def test_a_stream_without_a_snapshot_has_none_to_read() -> None:
    async with asyncio.timeout(5), Reader() as reader:
        assert [part async for part in reader.snapshot()] == []


async def test_who_is_canceled_while_a_stream_is_closed_is_canceled() -> None:
    went_on = False

    async def user() -> None:
        nonlocal went_on
        async with Reader() as reader:
            await reader.opened()
            asyncio.get_running_loop().call_soon(task.cancel)
        went_on = True

    task = asyncio.create_task(user())
    await asyncio.wait([task], timeout=20)
    assert task.cancelled()
    assert not went_on


async def test_ranges_in_which_nothing_matched_do_not_pile_up_before_a_reader_that_stands_still() -> None:
    frames = [
        ServerFrame(progress=stream.Progress(at=Position(log_epoch="log", next_seq=[seq]))) for seq in range(2, 100)
    ]
    link = OpenLink(OPENED, *frames)
    feed = Feed(lambda _spec: cast(Link, link), stream.Open(filter="x"), StreamLimits(), address="sync:1", two_way=True)
    reading = asyncio.create_task(feed.run())
    await eventually(lambda: link.read_frames == 99)
    [batch] = (await feed.inbox.take(events_max=99, batches_max=99)).batches
    assert (batch.first_seq, batch.last_seq) == (1, 98)
    reading.cancel()


async def test_a_stream_that_breaks_before_its_snapshot_begins_is_opened_with_it_again() -> None:
    later = Position(log_epoch="log", next_seq=[9])
    whole = OpenLink(
        ServerFrame(opened=stream.Opened(position=later)),
        ServerFrame(snapshot_begin=stream.SnapshotBegin(at=later)),
        ServerFrame(snapshot_end=stream.SnapshotEnd(at=later)),
    )
    links, asked = [BrokenLink(OPENED), whole], list[stream.Open]()

    def connect(spec: stream.Open) -> Link:
        asked.append(spec)
        return cast(Link, links.pop(0))

    feed = Feed(connect, stream.Open(start=SNAPSHOT), StreamLimits(), address="sync:1", two_way=True)
    reading = asyncio.create_task(feed.run())
    async with asyncio.timeout(20):
        part, _ = await feed.inbox.take_part()
    reading.cancel()
    assert (part.is_last, part.begin) == (True, later)
    assert [each.start for each in asked] == [SNAPSHOT, SNAPSHOT]
