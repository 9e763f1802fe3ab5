"""The actual side: what the services say, by their RPCs alone."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from stateset.order.v1.log_service_pb2 import GetDigestRequest as GetLogDigestRequest
from stateset.order.v1.order_pb2 import ORDER_VIEW_FULL, Order
from stateset.order.v1.order_service_pb2 import StreamOrderEventsRequest
from stateset.stream.v1.stream_pb2 import START_POINT_EARLIEST, Open, Start
from stateset.sync.v1.sync_service_pb2 import GetDigestRequest, ListOrdersRequest, StreamEventsRequest

from consumers.cli.demo.figures import NOTHING, Figures, Total
from consumers.cli.demo.folded import Analytics, Portfolio, Risk, state_name
from consumers.cli.demo.log_reader import Reading, read_log
from consumers.cli.demo.published import Published
from consumers.cli.demo.services import READ_SECONDS, Services, pages
from infra.kernel.position import Position

_PAGE_ORDERS: Final = 50  # full ones: the largest basket is 20 KiB, a reply may have 1 MiB
_FROM_START: Final = Open(start=Start(point=START_POINT_EARLIEST))


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Everything that the checks look at.

    Attributes:
        figures: The totals that the expected side has, too.
        still_open: Units and cents that Portfolio takes for open or committed; nothing should be.
        open_cents: What Risk takes for open; nothing should be.
        heads: By shard, the seq that the log's next event will have.
        positions: By service, how far it has read.
        readings: By service, what its stream delivered from the first event to the heads.
        digests: By service, count and hash over the orders that it holds.
        published: What the topics hold, where there are any.
    """

    figures: Figures
    still_open: Total
    open_cents: int
    heads: tuple[int, ...]
    positions: Mapping[str, tuple[int, ...]]
    readings: Mapping[str, Reading]
    digests: Mapping[str, tuple[int, str]]
    published: Published | None


@dataclass(slots=True)
class _Orders:
    """Totals over the read model's orders."""

    orders: int = 0
    lines: int = 0
    placed: Total = NOTHING
    canceled: Total = NOTHING
    states: Counter[str] = field(default_factory=Counter)
    customers: defaultdict[str, Total] = field(default_factory=lambda: defaultdict(Total))
    products: defaultdict[str, Total] = field(default_factory=lambda: defaultdict(Total))

    def add(self, order: Order) -> None:
        self.orders += 1
        self.lines += len(order.lines)
        self.states[state_name(order.state)] += 1
        units = sum(line.quantity for line in order.lines)
        self.placed = self.placed.plus(units, order.total.minor_units)
        self.customers[order.customer_id] = self.customers[order.customer_id].plus(units, order.total.minor_units)
        for line in order.lines:
            self.products[line.product_id] = self.products[line.product_id].plus(line.quantity, line.amount.minor_units)
            if line.canceled:
                unfilled_cents = line.amount.minor_units - line.filled_amount.minor_units
                self.canceled = self.canceled.plus(line.canceled, unfilled_cents)


async def observe(
    services: Services, head: Position, positions: Mapping[str, tuple[int, ...]], published: Published | None
) -> Observation:
    """Asks every service for everything that it knows.

    Raises:
        grpc.aio.AioRpcError: A service refused or did not answer.
        DemoError: A stream did not reach the head.
    """
    orders = await _orders(services)
    portfolio = await Portfolio.of(services)
    risk = await Risk.of(services)
    analytics = await Analytics.of(services)
    return Observation(
        figures=Figures(
            orders=orders.orders,
            lines=orders.lines,
            placed=orders.placed,
            canceled=orders.canceled,
            states=orders.states,
            customers=orders.customers,
            products=orders.products,
            holdings=portfolio.holdings,
            cash=portfolio.cash,
            exposures=risk.exposures,
            days=analytics.days,
            transitions=analytics.transitions,
            funnel=analytics.funnel,
            events=sum(next_seq - 1 for next_seq in head.next_seq),
        ),
        still_open=portfolio.still_open,
        open_cents=risk.open_cents,
        heads=head.next_seq,
        positions=positions,
        readings=await _readings(services, head.next_seq),
        digests=await _digests(services),
        published=published,
    )


async def _orders(services: Services) -> _Orders:
    totals = _Orders()
    async for page in pages(services.sync.ListOrders, ListOrdersRequest(page_size=_PAGE_ORDERS, view=ORDER_VIEW_FULL)):
        for order in page.orders:
            totals.add(order)
    return totals


async def _readings(services: Services, heads: tuple[int, ...]) -> dict[str, Reading]:
    by_order = services.order.StreamOrderEvents(StreamOrderEventsRequest(open=_FROM_START))
    by_sync = services.sync.StreamEvents(StreamEventsRequest(open=_FROM_START))
    try:
        return {"order": await read_log(aiter(by_order), heads), "sync": await read_log(aiter(by_sync), heads)}
    finally:
        by_order.cancel()
        by_sync.cancel()


async def _digests(services: Services) -> dict[str, tuple[int, str]]:
    order = await services.client.get_digest(GetLogDigestRequest(), timeout_seconds=READ_SECONDS)
    sync = await services.sync.GetDigest(GetDigestRequest(), timeout=READ_SECONDS)
    return {
        "order": (order.digest.count, order.digest.hash.hex()),
        "sync": (sync.digest.count, sync.digest.hash.hex()),
    }
