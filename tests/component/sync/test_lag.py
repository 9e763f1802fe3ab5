"""How far behind a reader is, as its stream and GetLag tell it, and what a broken bound does to health."""

from dataclasses import replace
from typing import Any

import grpc.aio
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2 as sync

from infra.runtime.clock import SystemClock
from sync.adapters.memory import MemorySource
from sync.domain.log import LogHead
from sync.main import FRESH
from tests.harness.sync_client import PLENTY, Client, open_server, refusal_of, start_at
from tests.harness.sync_log import LogMaker
from tests.harness.waiting import eventually, eventually_async

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
HALF_A_SECOND = {"nanos": 500_000_000}


class TimelySource(MemorySource):
    """Says truly when it was read."""

    async def head(self) -> LogHead:
        return replace(await super().head(), read_time_us=SystemClock().now_us())


async def lag_of(client: Client, name: str = "s-1") -> sync.GetLagResponse:
    reply: sync.GetLagResponse = await client.stub.GetLag(sync.GetLagRequest(name=name))
    return reply


async def test_a_stream_says_how_far_behind_it_is_why_and_which_order_blocks_it() -> None:
    log = LogMaker(1)
    log.groups(20)
    async with open_server(log.source) as client:
        await eventually(lambda: log.source.confirmed == log.position)
        credit = stream_pb2.Credit(events=5, bytes=1 << 20)
        opening = stream_pb2.Open(subscription="s-1", credit=credit, heartbeat_interval=HALF_A_SECOND)  # type: ignore[arg-type]  # as keyword arguments take it
        stream = await client.subscribe(opening)
        lag = await stream.until("lag")
        assert (lag.events, lag.unacked, lag.bound_by) == (15, 5, stream_pb2.LAG_BOUND_CREDIT)
        assert (lag.credit_left.events, lag.blocking_order_id, lag.retention_headroom) == (0, "o-1", 0)
        await stream.say(ack=stream_pb2.Ack(ack_id="a", through=start_at(log.earliest.moved({0: 4})).position))
        lag = await stream.until("lag")
        assert (lag.unacked, lag.blocking_order_id, lag.retention_headroom) == (2, "o-4", 3)
        await stream.say(credit=PLENTY)
        while (lag := await stream.until("lag")).events:
            pass
        assert lag.bound_by == stream_pb2.LAG_BOUND_NONE
        assert lag.HasField("time")


async def test_the_order_that_blocks_is_one_that_the_filter_lets_through_or_none() -> None:
    log = LogMaker(1)
    async with open_server(log.source) as client:
        opening = stream_pb2.Open(
            subscription="s-1",
            filter="order_id = mine",
            credit=PLENTY,
            heartbeat_interval=HALF_A_SECOND,  # type: ignore[arg-type]  # as above
        )
        stream = await client.subscribe(opening)
        log.group("theirs")
        while (lag := await stream.until("lag")).unacked < 1:
            pass
        assert lag.blocking_order_id == ""
        log.group("theirs")
        log.group("mine")
        while (lag := await stream.until("lag")).unacked < 3:
            pass
        assert lag.blocking_order_id == "mine"


async def test_lag_is_told_at_a_heartbeat_only_when_it_has_changed() -> None:
    log = LogMaker()
    log.groups(5)
    async with open_server(log.source) as client:
        await eventually(lambda: log.source.confirmed == log.position)
        stream = client.stream_events(stream_pb2.Open(heartbeat_interval=HALF_A_SECOND))  # type: ignore[arg-type]  # as above
        await stream.until_phase(stream_pb2.PHASE_LIVE)
        for _ in range(3):
            await stream.until("heartbeat")
        assert [frame.lag.events for frame in stream.frames if frame.HasField("lag")] == [0]


async def test_the_lag_of_a_subscription_that_nobody_has_open_grows_with_the_log() -> None:
    log = LogMaker()
    log.groups(9)
    async with open_server(log.source) as client:
        stream = await client.subscribe(stream_pb2.Open(subscription="s-1", credit=PLENTY))
        await stream.until_events(9)
        await stream.say(ack=stream_pb2.Ack(ack_id="a", through=start_at(log.position).position))
        await stream.until("ack_result")
        open_lag = await lag_of(client)
        assert (open_lag.lag.events, open_lag.lag.bound_by, open_lag.streams) == (0, stream_pb2.LAG_BOUND_NONE, 1)
        stream.call.cancel()
        log.groups(4)

        async def alone() -> bool:
            found = await lag_of(client)
            return (found.lag.events, found.lag.bound_by, found.streams) == (4, stream_pb2.LAG_BOUND_ABSENT, 0)

        await eventually_async(alone)
        assert list((await lag_of(client)).floor.next_seq) == list(stream.next_seqs.values())


async def test_the_lag_of_an_unknown_subscription_is_not_found() -> None:
    async with open_server(LogMaker().source) as client:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await lag_of(client, "nobody")
        assert refusal_of(raised.value) == (StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND", [])
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await lag_of(client, "")
        assert refusal_of(raised.value) == (StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", ["name"])


async def test_a_broken_bound_of_staleness_shows_in_health_and_heals() -> None:
    log = LogMaker()
    log.source = TimelySource(log.log_epoch, log.shards)
    log.groups(3)
    async with (
        open_server(log.source, staleness_seconds_max=1.5) as client,
        grpc.aio.insecure_channel(client.address) as channel,
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)

        async def says(status: int) -> bool:
            reply = await health.Check(health_pb2.HealthCheckRequest(service=FRESH))
            return bool(reply.status == status)

        await eventually_async(lambda: says(SERVING))
        log.source.available = False
        await eventually_async(lambda: says(NOT_SERVING))
        whole = await health.Check(health_pb2.HealthCheckRequest(service="stateset.sync.v1.SyncService"))
        assert whole.status == SERVING, "reads are still answered, and say how old they are"
        log.source.available = True
        await eventually_async(lambda: says(SERVING))


async def test_the_server_measures_the_open_streams_of_its_subscriptions() -> None:
    log = LogMaker()
    log.groups(9)
    async with open_server(log.source) as client:
        credit = stream_pb2.Credit(events=5, bytes=1 << 20)
        stream = await client.subscribe(stream_pb2.Open(subscription="measured", credit=credit))
        await stream.until_events(5)

        def told(kind: str) -> float | None:
            return REGISTRY.get_sample_value(f"stateset_sync_subscription_{kind}_events", {"subscription": "measured"})

        await eventually(lambda: (told("lag"), told("unacked"), told("credit")) == (4, 5, 0))
