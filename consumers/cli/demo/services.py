"""The services as the demo asks them: reads only, each with a deadline."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import grpc.aio
from stateset.analytics.v1.analytics_service_pb2 import QueryMetricsRequest
from stateset.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from stateset.common.v1.position_pb2 import Freshness
from stateset.order.v1.log_service_pb2 import GetLogHeadRequest
from stateset.order.v1.order_service_pb2_grpc import OrderServiceStub
from stateset.portfolio.v1.portfolio_service_pb2 import ListHoldingsRequest
from stateset.portfolio.v1.portfolio_service_pb2_grpc import PortfolioServiceStub
from stateset.risk.v1.risk_service_pb2 import ListExposuresRequest
from stateset.risk.v1.risk_service_pb2_grpc import RiskServiceStub
from stateset.sync.v1.sync_service_pb2 import ListOrdersRequest
from stateset.sync.v1.sync_service_pb2_grpc import SyncServiceStub
from stateset_client import OrderClient

from consumers.cli.demo.failure import DemoError
from infra.kernel.position import Position
from infra.runtime.grpc.channel import open_channel

if TYPE_CHECKING:  # these exist for type checkers alone
    from stateset.analytics.v1.analytics_service_pb2_grpc import AnalyticsServiceAsyncStub
    from stateset.order.v1.order_service_pb2_grpc import OrderServiceAsyncStub
    from stateset.portfolio.v1.portfolio_service_pb2_grpc import PortfolioServiceAsyncStub
    from stateset.risk.v1.risk_service_pb2_grpc import RiskServiceAsyncStub
    from stateset.sync.v1.sync_service_pb2_grpc import SyncServiceAsyncStub

READ_SECONDS: Final = 30.0
_CATCH_UP_SECONDS: Final = 60.0  # a restart, and then some thousand events a second
_CATCH_UP_EVENTS_PER_SECOND: Final = 500
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """A client of each service."""

    client: OrderClient
    order: "OrderServiceAsyncStub"
    sync: "SyncServiceAsyncStub"
    risk: "RiskServiceAsyncStub"
    portfolio: "PortfolioServiceAsyncStub"
    analytics: "AnalyticsServiceAsyncStub"


class _Reply(Protocol):
    """The answer of any list."""

    @property
    def freshness(self) -> Freshness:
        """How far it is."""


@asynccontextmanager
async def connect(addresses: Mapping[str, str]) -> AsyncIterator[Services]:
    """Clients of the services at the addresses, which are by service name."""
    async with AsyncExitStack() as stack:
        channels = {name: await stack.enter_async_context(open_channel(address)) for name, address in addresses.items()}
        yield Services(
            client=await stack.enter_async_context(OrderClient.connect(addresses["order"])),
            order=OrderServiceStub(channels["order"]),
            sync=SyncServiceStub(channels["sync"]),
            risk=RiskServiceStub(channels["risk"]),
            portfolio=PortfolioServiceStub(channels["portfolio"]),
            analytics=AnalyticsServiceStub(channels["analytics"]),
        )


async def log_head(services: Services) -> Position:
    """Where the log ends."""
    head = await services.client.get_log_head(GetLogHeadRequest(), timeout_seconds=READ_SECONDS)
    shards = sorted(head.shards, key=lambda each: each.shard)
    return Position(log_epoch=head.log_epoch, next_seq=tuple(shard.next_seq for shard in shards))


async def catch_up(services: Services, heads: Sequence[int]) -> Mapping[str, tuple[int, ...]]:
    """Waits until each reader of the log has reached the heads; returns their positions.

    Raises:
        DemoError: One takes too long.
    """
    one, seconds = 1, READ_SECONDS
    readers: Mapping[str, Callable[[], Awaitable[_Reply]]] = {
        "sync": lambda: services.sync.ListOrders(ListOrdersRequest(page_size=one), timeout=seconds),
        "risk": lambda: services.risk.ListExposures(ListExposuresRequest(page_size=one), timeout=seconds),
        "portfolio": lambda: services.portfolio.ListHoldings(ListHoldingsRequest(page_size=one), timeout=seconds),
        "analytics": lambda: services.analytics.QueryMetrics(QueryMetricsRequest(page_size=one), timeout=seconds),
    }
    budget_seconds = _CATCH_UP_SECONDS + sum(heads) / _CATCH_UP_EVENTS_PER_SECOND
    return {name: await _reach(name, ask, tuple(heads), budget_seconds) for name, ask in readers.items()}


async def pages(method: Callable[..., Awaitable[Any]], request: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - every list has its own messages
    """Every page of a list."""
    while True:
        page = await method(request, timeout=READ_SECONDS)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def _reach(
    name: str, ask: Callable[[], Awaitable[_Reply]], heads: tuple[int, ...], budget_seconds: float
) -> tuple[int, ...]:
    last: object = "nowhere yet"
    try:
        async with asyncio.timeout(budget_seconds):
            while last != heads:
                await asyncio.sleep(_POLL_SECONDS)
                try:
                    last = tuple((await ask()).freshness.position.next_seq)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAVAILABLE:
                        raise DemoError(f"{name} answered {error.code().name}: {error.details()}") from error
                    last = f"not to be reached ({error.details()})"
    except TimeoutError:
        raise DemoError(
            f"{name} did not catch up within {budget_seconds:.0f} s: it is {last}, the log {heads}"
        ) from None
    return heads
