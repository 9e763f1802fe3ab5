"""The Sync Server and its fake behind one face: what a suite needs to show that readers cannot tell them apart."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

from stateset.common.v1.position_pb2 import Position
from stateset.sync.v1 import sync_service_pb2
from stateset_client.testing import FakeSync

from infra.runtime.grpc.wire import position_to_wire
from tests.harness.fake_sync_events import order_event
from tests.harness.sync_client import open_server
from tests.harness.sync_log import LogMaker


class Bed(Protocol):
    """A server with a log that the test writes."""

    address: str

    async def record(self, order_id: str, *, customer_id: str = "c-1") -> None:
        """One more event of the order; returns when the server has it."""

    @property
    def head(self) -> Position:
        """Behind the last event."""


class _Fake:
    def __init__(self, fake: FakeSync) -> None:
        self.address = fake.address
        self._fake = fake
        self._versions: dict[str, int] = {}

    async def record(self, order_id: str, *, customer_id: str = "c-1") -> None:
        version = self._versions[order_id] = self._versions.get(order_id, 0) + 1
        self._fake.append(order_event(order_id, version, (), customer_id=customer_id))

    @property
    def head(self) -> Position:
        return self._fake.head


class _Real:
    def __init__(self, log: LogMaker, address: str, stub: object) -> None:
        self.address = address
        self._log = log
        self._stub = stub

    async def record(self, order_id: str, *, customer_id: str = "c-1") -> None:
        self._log.group(order_id, customer_id=customer_id)
        request = sync_service_pb2.GetDigestRequest(min_position=self.head)
        await self._stub.GetDigest(request, timeout=20)  # type: ignore[attr-defined]  # gRPC's stub has no type

    @property
    def head(self) -> Position:
        return position_to_wire(self._log.position)


@asynccontextmanager
async def _fake() -> AsyncIterator[Bed]:
    async with FakeSync.start(shards=3, matches=lambda text, event: event.order.customer_id in text) as fake:
        yield _Fake(fake)


@asynccontextmanager
async def _real() -> AsyncIterator[Bed]:
    log = LogMaker()
    async with open_server(log.source) as client:
        yield _Real(log, client.address, client.stub)


SERVERS: Final[dict[str, Callable[[], AbstractAsyncContextManager[Bed]]]] = {"fake": _fake, "real": _real}
