"""A log in memory whose commits a test holds back, and an Order Service on it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from stateset.order.v1 import order_service_pb2, order_service_pb2_grpc

from infra.runtime.clock import Clock
from infra.runtime.grpc.channel import open_channel
from infra.runtime.grpc.draining import Draining
from infra.runtime.grpc.server import Service, open_server
from order.adapters.commands import Commands
from order.adapters.grpc_erasures import Erasures
from order.adapters.grpc_ingest import OrderIngest
from order.adapters.grpc_reads import OrderReads
from order.adapters.grpc_results import CommandResults
from order.adapters.grpc_servicer import OrderServicer
from order.adapters.grpc_status import DOMAIN, ERRORS
from order.adapters.grpc_streams import EventStreams
from order.adapters.memory import MemoryLog
from order.adapters.wire import WireCodec
from order.application.grouped_reads import GroupedReads
from order.application.heads import Heads
from order.application.ports import Needs, View, Writes
from order.application.queries import Queries
from order.application.writer import Writer, WriterLimits
from order.domain.policy import Policy
from tests.harness.ports import free_address
from tests.harness.waiting import eventually

SHARDS = 3


class HeldLog(MemoryLog):
    """Commits when it is let to, and fails as it is told to."""

    def __init__(self) -> None:
        super().__init__(shards=SHARDS)
        self.free = asyncio.Event()
        self.groups: list[int] = []
        self.fail: Callable[[Needs], Exception | None] = lambda _needs: None

    async def commit(self, needs: Needs, decide: Callable[[View], Writes]) -> None:
        """See `Log.commit`."""
        self.groups.append(len(needs.orders))
        await self.free.wait()
        error = self.fail(needs)
        if error is not None:
            raise error
        await super().commit(needs, decide)

    async def until_committing(self, groups: int) -> None:
        """Waits until so many commits were begun."""
        await eventually(lambda: len(self.groups) >= groups)


@asynccontextmanager
async def held_service(log: HeldLog, clock: Clock, limits: WriterLimits) -> AsyncIterator[Any]:
    """The stub of an Order Service on the log; the commits are free when it ends."""
    heads = Heads(log.log_epoch, [1] * SHARDS)
    writer = Writer(log, WireCodec(log.log_epoch, SHARDS), heads, clock, limits, Policy())
    grouped, draining = GroupedReads(log), Draining()
    commands, queries = Commands(writer), Queries(log, log, grouped, heads, draining)
    servicer = OrderServicer(
        commands,
        OrderIngest(writer),
        Erasures(commands, queries, log, clock),
        OrderReads(queries),
        CommandResults(log, clock),
        EventStreams(log, heads, clock, draining),
    )
    service = Service(order_service_pb2.DESCRIPTOR.services_by_name["OrderService"], servicer)
    address = free_address()
    async with (
        writer.running(),
        grouped.running(),
        open_server(address, [service], domain=DOMAIN, errors=ERRORS, draining=draining),
        open_channel(address) as channel,
    ):
        try:
            yield order_service_pb2_grpc.OrderServiceStub(channel)
        finally:
            log.free.set()
