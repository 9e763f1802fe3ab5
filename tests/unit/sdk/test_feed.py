"""What a feed makes of the ways in which gRPC ends a stream."""

import asyncio
from collections.abc import Sequence
from typing import cast

import grpc
import grpc.aio
import pytest
from stateset.stream.v1 import stream_pb2 as stream
from stateset_client import StateSetError, StreamLimits, Subscription, UnavailableError
from stateset_client.endpoint import Arrival, Link
from stateset_client.feed import Feed
from stateset_client.outage import Outage


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
