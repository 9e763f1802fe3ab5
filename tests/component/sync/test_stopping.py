"""How calls end that are open when the server is asked to stop, over real gRPC."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
import pytest
from grpc import StatusCode
from stateset.common.v1 import position_pb2
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2 as sync

from tests.harness.order_service import refused
from tests.harness.sync_client import Client, open_server
from tests.harness.sync_log import LogMaker

ALL = stream_pb2.Start(point=stream_pb2.START_POINT_EARLIEST)
FAR = [10**6, 1, 1]


async def never() -> AsyncIterator[sync.PutCheckpointsRequest]:
    await asyncio.Event().wait()
    yield sync.PutCheckpointsRequest()


def read(client: Client, log: LogMaker) -> Any:  # noqa: ANN401 - a call
    position = position_pb2.Position(log_epoch=log.log_epoch, next_seq=FAR)
    return client.stub.GetOrder(sync.GetOrderRequest(order_id="o-1", min_position=position), timeout=60)


@pytest.mark.parametrize(
    "begin",
    [
        lambda client, _log: client.stub.Subscribe(timeout=60).read(),
        lambda client, _log: client.stub.PutCheckpoints(never(), timeout=60),
        read,
    ],
)
async def test_a_call_that_only_waits_is_told_that_the_server_stops(begin: Callable[[Client, LogMaker], Any]) -> None:
    async def told(call: Any) -> None:  # noqa: ANN401 - a call
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        end = refused(raised.value)
        assert (end.code, end.reason, end.retry_seconds) == (StatusCode.UNAVAILABLE, "STOPPING", 0.2)

    log = LogMaker()
    async with asyncio.TaskGroup() as endings, open_server(log.source) as client:
        endings.create_task(told(begin(client, log)))
        await client.stub.ListSubscriptions(sync.ListSubscriptionsRequest())  # so that what was sent before has come


async def test_a_reader_that_takes_nothing_does_not_keep_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.runtime.grpc.server.DRAIN_SECONDS", 600.0)
    log = LogMaker()
    log.groups(2_000, padding=4_000)  # more than the buffers of a connection hold
    async with asyncio.timeout(60), open_server(log.source) as client:
        stuck = client.stream_events(stream_pb2.Open(start=ALL))
        await stuck.until_events(1)
        reader = client.stream_events(stream_pb2.Open(start=ALL))
        await reader.until_events(2_000)
