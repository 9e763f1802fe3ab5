"""Streams over real gRPC, on a log in memory: where they start, how they end, what is refused."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import grpc.aio
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from stateset.common.v1 import position_pb2
from stateset.stream.v1 import stream_pb2

from infra.kernel.position import Position
from tests.harness.sync_client import PLENTY, Stream, open_server, start_at
from tests.harness.sync_log import LogMaker
from tests.harness.waiting import eventually

ALL = stream_pb2.Start(point=stream_pb2.START_POINT_EARLIEST)
LATEST = stream_pb2.Start(point=stream_pb2.START_POINT_LATEST)


async def test_a_stream_begins_with_opened_and_brings_the_whole_log_then_the_tail() -> None:
    log = LogMaker()
    log.groups(50)
    async with open_server(log.source) as client:
        stream = client.stream_events(stream_pb2.Open(start=ALL))
        await stream.until_phase(stream_pb2.PHASE_LIVE)
        assert stream.frames[0].WhichOneof("frame") == "opened"
        assert len(stream.events) == 50
        log.groups(7)
        await stream.until_events(57)
        assert dict(enumerate(log.position.next_seq)) == stream.next_seqs
        assert all(seqs == list(range(1, len(seqs) + 1)) for seqs in stream.seqs().values())


async def test_a_stream_from_a_position_brings_exactly_what_follows() -> None:
    log = LogMaker()
    log.groups(20)
    middle = log.position
    log.groups(20)
    async with open_server(log.source) as client:
        stream = client.stream_events(stream_pb2.Open(start=start_at(middle)))
        await stream.until_events(20)
        assert list(middle.next_seq) == list(stream.frames[0].opened.position.next_seq)
        assert all(seqs[0] == middle.next_seq[shard] for shard, seqs in stream.seqs().items())


async def test_the_latest_start_brings_only_what_is_recorded_from_then_on() -> None:
    log = LogMaker()
    log.groups(20)
    async with open_server(log.source) as client:
        await client.stream_events(stream_pb2.Open(start=ALL)).until_events(20)
        stream = client.stream_events(stream_pb2.Open(start=LATEST))
        await stream.until_phase(stream_pb2.PHASE_LIVE)
        log.group("o-new")
        await stream.until_events(1)
        assert [event.order_id for event in stream.events] == ["o-new"]


async def test_a_filter_brings_what_matches_and_its_position_fits_no_other_filter() -> None:
    log = LogMaker()
    for number in range(30):
        log.group(customer_id=f"c-{number % 3}", products=("p-1", f"p-{number}"))
    async with open_server(log.source) as client:
        stream = client.stream_events(stream_pb2.Open(start=ALL, filter="customer_id = c-1 AND NOT product_id = p-4"))
        await stream.until_phase(stream_pb2.PHASE_LIVE)
        assert len(stream.events) == 9
        reached = (await stream.until("progress")).at
        other = client.stream_events(stream_pb2.Open(start=start_at(reached)))
        assert await other.refusal() == (StatusCode.INVALID_ARGUMENT, "POSITION_FILTER_MISMATCH", [])


async def test_shards_that_are_not_asked_for_are_neither_sent_nor_spoken_of() -> None:
    log = LogMaker()
    log.groups(30)
    async with open_server(log.source) as client:
        stream = client.stream_events(stream_pb2.Open(start=ALL, shards=[2, 0]))
        await stream.until_phase(stream_pb2.PHASE_LIVE)
        assert {0, 2} == set(stream.seqs())
        progress = await stream.until("progress")
        assert [log.position.next_seq[0], 0, log.position.next_seq[2]] == list(progress.at.next_seq)


@pytest.mark.parametrize(
    ("position", "code", "reason"),
    [
        (Position(log_epoch="another", next_seq=(1, 1, 1)), StatusCode.FAILED_PRECONDITION, "LOG_EPOCH_CHANGED"),
        (Position(log_epoch="", next_seq=(1, 1)), StatusCode.INVALID_ARGUMENT, "POSITION_MALFORMED"),
        (Position(log_epoch="", next_seq=(1, 0, 1)), StatusCode.INVALID_ARGUMENT, "POSITION_MALFORMED"),
        (Position(log_epoch="", next_seq=(999, 1, 1)), StatusCode.FAILED_PRECONDITION, "POSITION_AHEAD"),
        (Position(log_epoch="", next_seq=(1, 1, 1)), StatusCode.OUT_OF_RANGE, "POSITION_EXPIRED"),
    ],
)
async def test_a_position_that_cannot_be_served_is_refused_and_never_jumped(
    position: Position, code: StatusCode, reason: str
) -> None:
    log = LogMaker()
    log.groups(30)
    if not position.log_epoch:
        position = Position(log_epoch=log.log_epoch, next_seq=position.next_seq)
    async with open_server(log.source) as client:
        await eventually(lambda: log.source.confirmed == log.position)
        if reason == "POSITION_EXPIRED":
            log.source.trim(2, 3)
            log.source.confirmed = None
            await eventually(lambda: log.source.confirmed is not None)
        stream = client.stream_events(stream_pb2.Open(start=start_at(position)))
        assert (code, reason, []) == await stream.refusal()


async def test_an_empty_position_is_none() -> None:
    async with open_server(LogMaker().source) as client:
        nowhere = stream_pb2.Start(position=position_pb2.Position())
        stream = client.stream_events(stream_pb2.Open(start=nowhere))
        assert (await stream.refusal())[:2] == (StatusCode.INVALID_ARGUMENT, "POSITION_MALFORMED")


async def test_who_watches_its_health_does_not_hold_up_the_end_of_a_server() -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_server(LogMaker().source))
        channel = grpc.aio.insecure_channel(client.address)
        health: Any = health_pb2_grpc.HealthStub(channel)
        watching = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        await stack.aclose()
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await watching.read() is grpc.aio.EOF
        assert await watching.code() is StatusCode.OK, "it was cut"
        await channel.close()


async def test_a_position_ahead_of_what_is_known_is_not_refused_while_the_log_cannot_be_asked() -> None:
    log = LogMaker()
    async with open_server(log.source) as client:
        await eventually(lambda: log.source.confirmed is not None)
        log.source.available = False
        stream = client.stream_events(stream_pb2.Open(start=start_at(log.position.moved({0: 9}))))
        assert await stream.refusal() == (StatusCode.UNAVAILABLE, "LOG_UNAVAILABLE", [])


async def test_a_position_that_the_log_has_and_the_server_has_not_yet_is_waited_for() -> None:
    log = LogMaker()
    async with open_server(log.source) as client:
        await eventually(lambda: log.source.confirmed is not None)
        log.groups(10)
        stream = client.stream_events(stream_pb2.Open(start=start_at(log.position)))
        await stream.until_phase(stream_pb2.PHASE_LIVE)
        log.group()
        await stream.until_events(1)
        assert len(stream.events) == 1


async def test_a_malformed_open_is_refused_with_every_violation_at_once() -> None:
    log = LogMaker()
    async with open_server(log.source) as client:
        opening = stream_pb2.Open(
            subscription="s" * 129,
            shards=[0, 3],
            filter="colour = red",
            credit=stream_pb2.Credit(events=-1, bytes=-1),
            batch_events_max=-1,
        )
        opening.heartbeat_interval.FromMilliseconds(100)
        code, reason, fields = await (await client.subscribe(opening)).refusal()
        assert (code, reason) == (StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        assert {
            "frame.open.subscription",
            "frame.open.shards",
            "frame.open.filter",
            "frame.open.credit.events",
            "frame.open.credit.bytes",
            "frame.open.batch_events_max",
            "frame.open.heartbeat_interval",
        } == set(fields)


async def test_a_server_stream_has_neither_subscription_nor_credit() -> None:
    log = LogMaker()
    async with open_server(log.source) as client:
        stream = client.stream_events(stream_pb2.Open(subscription="s-1", credit=PLENTY))
        code, _, fields = await stream.refusal()
        assert code == StatusCode.INVALID_ARGUMENT
        assert fields == ["open.subscription", "open.credit"]


async def test_the_first_frame_must_open_and_no_other_may() -> None:
    log = LogMaker()
    async with open_server(log.source) as client:
        stream = await client.subscribe()
        await stream.say(credit=PLENTY)
        assert await stream.refusal() == (StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", ["frame.open"])
        stream = await client.subscribe(stream_pb2.Open(start=ALL))
        await stream.until("opened")
        await stream.say(open=stream_pb2.Open())
        assert await stream.refusal() == (StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", ["frame.open"])


async def test_a_caller_that_closes_gets_its_acks_answered_and_an_ok() -> None:
    log = LogMaker()
    log.groups(5)
    async with open_server(log.source) as client:
        stream = await client.subscribe(stream_pb2.Open(subscription="s-1", credit=PLENTY))
        await stream.until_events(5)
        await stream.say(ack=stream_pb2.Ack(ack_id="last", through=start_at(log.position).position))
        await stream.say(close=stream_pb2.Close())
        assert (await stream.until("ack_result")).status == stream_pb2.ACK_STATUS_COMMITTED
        while await stream.next() is not None:
            pass
        assert await stream.call.code() == StatusCode.OK


async def test_a_drain_ends_every_stream_with_go_away_at_its_position_and_an_ok() -> None:
    log = LogMaker()
    log.groups(5)

    async def see_it_end(stream: Stream) -> None:
        go_away = await stream.until("go_away")
        assert stream.next_seqs == dict(enumerate(go_away.position.next_seq))
        closed = await stream.until("closed")
        assert (closed.status.code, closed.position) == (0, go_away.position)
        assert await stream.next() is None
        assert await stream.call.code() == StatusCode.OK

    async with asyncio.timeout(20), asyncio.TaskGroup() as endings, open_server(log.source) as client:
        plain = client.stream_events(stream_pb2.Open(start=ALL))
        slow = await client.subscribe(stream_pb2.Open(start=ALL, credit=stream_pb2.Credit(events=2, bytes=1 << 20)))
        await plain.until_events(5)
        await slow.until_events(2)
        for stream in (plain, slow):
            endings.create_task(see_it_end(stream))


async def test_a_server_that_is_full_says_so() -> None:
    log = LogMaker()
    async with open_server(log.source, streams_max=1) as client:
        first = client.stream_events(stream_pb2.Open(start=ALL))
        await first.until("opened")
        second = client.stream_events(stream_pb2.Open(start=ALL))
        assert await second.refusal() == (StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", [])
        first.call.cancel()
