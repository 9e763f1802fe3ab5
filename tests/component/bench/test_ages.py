"""The age of events at subscribers in other processes, against a server that says when its events were recorded."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest
from stateset.common.v1 import event_metadata_pb2
from stateset.order.v1 import order_event_pb2, order_frame_pb2
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2

from tests.bench.ages import audience, percentile_ms
from tests.bench.processes import BenchError

EVENTS = 3
AGE_MS = 500


def message(**frame: object) -> bytes:
    return sync_service_pb2.StreamEventsResponse(
        frame=order_frame_pb2.ServerFrame(**frame)  # type: ignore[arg-type] # one of the frames
    ).SerializeToString()


def events_recorded_at(record_time_us: int) -> order_frame_pb2.Events:
    event = order_event_pb2.OrderEvent(metadata=event_metadata_pb2.EventMetadata())
    event.metadata.record_time.FromMicroseconds(record_time_us)
    return order_frame_pb2.Events(batches=[order_frame_pb2.EventBatch(events=[event] * EVENTS)])


@asynccontextmanager
async def serving(*, ends: bool = False) -> AsyncIterator[str]:
    """A log whose subscribers are live at once, and are then sent events that are half a second old."""

    async def stream(_request: bytes, _: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
        yield message(phase_change=stream_pb2.PhaseChange(phase=stream_pb2.PHASE_LIVE))
        if ends:
            return
        yield message(events=events_recorded_at(time.time_ns() // 1000 - AGE_MS * 1000))
        await asyncio.Event().wait()

    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(stream)
    methods = {"StreamEvents": handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("stateset.sync.v1.SyncService", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def taken(address: str, folder: Path, *, events: int) -> Counter[int]:
    with audience(address, folder, processes=2, subscribers=6, filters=2) as listeners:
        ages = listeners.take()
        deadline = time.monotonic() + 20
        while ages.total() < events and time.monotonic() < deadline:
            ages.update(listeners.take())
        return ages


async def test_every_event_counts_once_for_each_subscriber_with_its_age(tmp_path: Path) -> None:
    async with serving() as address:
        ages = await asyncio.to_thread(taken, address, tmp_path, events=6 * EVENTS)

    assert ages.total() == 6 * EVENTS
    assert AGE_MS <= percentile_ms(ages, 1) <= percentile_ms(ages, 100) < AGE_MS + 10_000


async def test_a_stream_that_ends_is_an_error_that_says_so(tmp_path: Path) -> None:
    async with serving(ends=True) as address:
        with pytest.raises(BenchError, match="subscribers have ended"):
            await asyncio.to_thread(taken, address, tmp_path, events=1)


@pytest.mark.parametrize(("percent", "age_ms"), [(1, 0.5), (50, 0.5), (51, 2.0), (99, 2.0), (99.1, 70.0), (100, 70.0)])
def test_a_percentile_is_the_age_that_so_many_do_not_exceed(percent: float, age_ms: float) -> None:
    assert percentile_ms({20: 49, 700: 1, 5: 50}, percent) == pytest.approx(age_ms)
