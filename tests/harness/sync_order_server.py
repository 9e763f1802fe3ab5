"""An Order Service of two streams and one head: it speaks the contract, from a log in memory, on the real wire."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

from stateset.order.v1 import log_service_pb2, order_frame_pb2, order_pb2, order_service_pb2
from stateset.stream.v1 import stream_pb2

from infra.kernel.position import Position
from infra.runtime.grpc.call import Call
from infra.runtime.grpc.draining import Draining
from infra.runtime.grpc.server import Service, open_server
from infra.runtime.grpc.status import StoppingError
from infra.runtime.grpc.wire import position_from_wire, position_to_wire, timestamp_to_wire
from sync.adapters.wire import pieces_to_wire
from sync.domain.log import Batch
from sync.domain.ring import Limits, Segment
from tests.harness.sync_log import LogMaker

_EVERYTHING = Limits(events_max=1 << 30, bytes_max=1 << 30)


class FakeOrderService:
    """Serves a log; says GoAway, breaks streams, forgets batches and counts openings as the test wants it to."""

    def __init__(self, log: LogMaker) -> None:
        self.openings: list[stream_pb2.Open] = []
        self.subscriptions: list[stream_pb2.Open] = []
        self.grants: list[stream_pb2.Credit] = []
        self.acks: list[stream_pb2.Ack] = []
        self.leave_after_batches: int | None = None
        self.breaks = 0
        self.hears = asyncio.Event()
        self.hears.set()
        self.keep: Callable[[Batch], bool] = lambda _: True
        self._log = log

    def __getattr__(self, name: str) -> object:
        """Every other method of the contract: it is not served here."""
        if name.startswith("_"):
            raise AttributeError(name)
        return self._unserved

    async def GetLogHead(self, _request: log_service_pb2.GetLogHeadRequest, _call: Call) -> object:  # noqa: N802 - named as in the contract
        head = await self._log.source.head()
        shards = [
            log_service_pb2.ShardHead(shard=shard, next_seq=next_seq, earliest_seq=earliest)
            for shard, (next_seq, earliest) in enumerate(zip(head.next_seq, head.earliest_seq, strict=True))
        ]
        return log_service_pb2.GetLogHeadResponse(
            log_epoch=head.log_epoch, shards=shards, read_time=timestamp_to_wire(head.read_time_us)
        )

    async def ListOrders(self, request: order_service_pb2.ListOrdersRequest, _call: Call) -> object:  # noqa: N802 - named as in the contract
        first = int(request.page_token or 0)
        page = [page async for page in self._log.source.orders()][first : first + 1]
        orders = [order_pb2.Order.FromString(row.body) for rows in page for row in rows]
        for order in orders:
            order.personal.email = "somebody@example.org"
        token = str(first + 1) if page else ""
        return order_service_pb2.ListOrdersResponse(orders=orders, next_page_token=token)

    async def StreamOrderEvents(  # noqa: N802 - named as in the contract
        self, request: order_service_pb2.StreamOrderEventsRequest, _call: Call
    ) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._frames(request.open)) as frames:
            async for frame in frames:
                yield frame

    async def SubscribeOrderEvents(  # noqa: N802 - named as in the contract
        self, requests: AsyncIterator[order_service_pb2.SubscribeOrderEventsRequest], _call: Call
    ) -> AsyncGenerator[bytes, None]:
        requests = aiter(requests)
        opening = (await anext(requests)).frame.open
        if opening.subscription:
            await self.hears.wait()
            self.subscriptions.append(opening)
            await self._listen(requests)
            return
        listening = asyncio.create_task(self._listen(requests), name="listening")
        try:
            async with aclosing(self._frames(opening)) as frames:
                async for frame in frames:
                    yield frame
        finally:
            listening.cancel()

    async def _listen(self, requests: AsyncIterator[order_service_pb2.SubscribeOrderEventsRequest]) -> None:
        async for request in requests:
            if request.frame.HasField("credit"):
                self.grants.append(request.frame.credit)
            if request.frame.HasField("ack"):
                self.acks.append(request.frame.ack)
            if request.frame.HasField("close"):
                return

    async def _frames(self, opening: stream_pb2.Open) -> AsyncGenerator[bytes, None]:
        self.openings.append(opening)
        if self.breaks:
            self.breaks -= 1
            raise StoppingError
        start = position_from_wire(opening.start.position)
        shards: Sequence[int] = opening.shards or range(self._log.shards)
        sent = 0
        async with aclosing(self._log.source.read(start, shards)) as batches:
            yield _opened(start)
            async for batch in batches:
                if sent == self.leave_after_batches:
                    self.leave_after_batches = None
                    yield _frame(order_frame_pb2.ServerFrame(go_away=stream_pb2.GoAway()))
                    return
                if self.keep(batch):
                    yield pieces_to_wire([Segment.of(batch).cut(batch.first_seq, _EVERYTHING)])
                    sent += 1

    async def _unserved(self, _request: object, _call: Call) -> object:
        raise NotImplementedError


def _opened(start: Position) -> bytes:
    return _frame(order_frame_pb2.ServerFrame(opened=stream_pb2.Opened(position=position_to_wire(start))))


def _frame(frame: order_frame_pb2.ServerFrame) -> bytes:
    return order_service_pb2.StreamOrderEventsResponse(frame=frame).SerializeToString()


@asynccontextmanager
async def serve_orders(fake: FakeOrderService, address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    """Serves until the context ends; yields the address."""
    services = [
        Service(order_service_pb2.DESCRIPTOR.services_by_name["OrderService"], fake),
        Service(log_service_pb2.DESCRIPTOR.services_by_name["LogService"], fake),
    ]
    draining = Draining()
    async with open_server(address, services, domain="order.stateset.dev", errors={}, draining=draining) as port:
        yield f"127.0.0.1:{port}"
