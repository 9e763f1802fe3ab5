"""How streams end: every end but a broken connection says Closed first, and nobody is waited for who is gone."""

import grpc.aio
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc import StatusCode
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2 as sync

from tests.harness.sync_client import PLENTY, Client, Stream, open_server, start_at
from tests.harness.sync_log import LogMaker
from tests.harness.tcp_link import Link
from tests.harness.waiting import eventually, eventually_async

EARLIEST = stream_pb2.Start(point=stream_pb2.START_POINT_EARLIEST)


def opening(**more: object) -> stream_pb2.Open:
    return stream_pb2.Open(subscription="s-1", start=EARLIEST, credit=PLENTY, **more)  # type: ignore[arg-type]  # any field


async def end_of(stream: Stream) -> tuple[StatusCode, stream_pb2.Closed]:
    """The call's status, and the last frame."""
    code = StatusCode.OK
    try:
        while await stream.next() is not None:
            pass
    except grpc.aio.AioRpcError as error:
        code = error.code()
    assert stream.frames[-1].HasField("closed"), "the last frame must be Closed"
    closed = stream.frames[-1].closed
    assert closed.status.code == code.value[0], "the frame and the call must say the same"
    return code, closed


def reason_of(closed: stream_pb2.Closed) -> str:
    info = ErrorInfo()
    assert closed.status.details[0].Unpack(info)
    return info.reason


async def streams_of(client: Client) -> int:
    found = await client.stub.GetSubscription(sync.GetSubscriptionRequest(name="s-1"))
    return int(found.subscription.streams)


async def test_opened_says_what_holds_for_the_stream() -> None:
    log = LogMaker()
    log.groups(9)
    async with open_server(log.source) as client:
        stream = await client.subscribe(opening(filter="customer_id = c-1", shards=[0, 2]))
        opened = await stream.until("opened")
        assert (opened.filter, opened.batch_events_max) == ("customer_id = c-1", 500)
        assert list(opened.earliest.next_seq) == [1, 0, 1]


async def test_a_close_ends_with_ok_at_the_position_that_was_reached() -> None:
    log = LogMaker()
    log.groups(9)
    async with open_server(log.source) as client:
        stream = await client.subscribe(opening())
        await stream.until_events(9)
        await stream.say(close=stream_pb2.Close())
        code, closed = await end_of(stream)
        assert code is StatusCode.OK
        assert list(closed.position.next_seq) == list(log.position.next_seq)


async def test_a_superseded_stream_ends_as_fenced_once_its_ack_is_answered() -> None:
    log = LogMaker()
    log.groups(9)
    async with open_server(log.source) as client:
        older = await client.subscribe(opening())
        await older.until_events(9)
        newer = await client.subscribe(opening())
        await newer.until_events(9)
        await older.say(ack=stream_pb2.Ack(ack_id="a", through=start_at(log.position).position))
        assert (await older.until("ack_result")).status == stream_pb2.ACK_STATUS_FENCED
        code, closed = await end_of(older)
        assert (code, reason_of(closed)) == (StatusCode.ABORTED, "FENCED")


async def test_a_position_that_expires_in_mid_stream_ends_it_out_of_range() -> None:
    log = LogMaker(1)
    async with open_server(log.source, ring_bytes_max=4_000) as client:
        credit = stream_pb2.Credit(events=1, bytes=1 << 20)
        stream = await client.subscribe(stream_pb2.Open(start=EARLIEST, credit=credit))
        await stream.until_phase(stream_pb2.PHASE_LIVE)
        log.group(padding=500)
        await stream.until_events(1)
        log.groups(40, padding=500)
        await eventually(lambda: log.source.confirmed == log.position)
        log.source.trim(0, 30)
        await stream.say(credit=PLENTY)
        code, closed = await end_of(stream)
        assert (code, reason_of(closed)) == (StatusCode.OUT_OF_RANGE, "POSITION_EXPIRED")
        assert list(closed.position.next_seq) == [stream.next_seqs[0]]


async def test_a_stream_ends_itself_with_go_away_when_it_is_old() -> None:
    log = LogMaker()
    log.groups(9)
    async with open_server(log.source, stream_seconds_max=1.0) as client:
        stream = await client.subscribe(opening())
        code, closed = await end_of(stream)
        assert code is StatusCode.OK
        assert stream.frames[-2].HasField("go_away")
        assert stream.frames[-2].go_away.position == closed.position


async def test_a_caller_that_falls_silent_for_too_long_is_taken_for_gone() -> None:
    log = LogMaker()
    async with open_server(log.source) as client:
        stream = await client.subscribe(opening(silence_max={"seconds": 1}))
        code, closed = await end_of(stream)
        assert (code, reason_of(closed)) == (StatusCode.UNAVAILABLE, "CALLER_SILENT")


async def test_a_connection_that_is_frozen_half_open_is_noticed_by_the_callers_silence() -> None:
    log = LogMaker()
    async with (
        open_server(log.source) as client,
        (link := Link(client.address)).listening() as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stream = await Client(channel).subscribe(opening(silence_max={"seconds": 2}))
        await stream.until_phase(stream_pb2.PHASE_LIVE)
        assert await streams_of(client) == 1
        link.go_dead()

        async def gone() -> bool:
            return await streams_of(client) == 0

        await eventually_async(gone, within_seconds=14)  # well before the connection itself is given up


@pytest.mark.parametrize("seconds", [0, 301])
async def test_a_silence_out_of_bounds_is_refused(seconds: int) -> None:
    async with open_server(LogMaker().source) as client:
        stream = await client.subscribe(opening(silence_max={"seconds": seconds}))
        assert await stream.refusal() == (StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", ["frame.open.silence_max"])
