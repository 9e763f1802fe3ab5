"""Where the portfolio's parts meet."""

import asyncio
from pathlib import Path
from typing import Final

from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.portfolio.v1.portfolio_service_pb2 import DESCRIPTOR

from consumers import runner
from consumers.portfolio.model import Line, Snapshot
from consumers.portfolio.service import PortfolioServicer
from consumers.portfolio.settings import PortfolioSettings
from consumers.portfolio.store import PortfolioSession, PortfolioStore
from infra.runtime.grpc.server import Service


def snapshot_of(event: OrderEvent) -> Snapshot:
    """The order as the event left it; what kind of change that was does not matter."""
    order = event.order
    lines = [
        Line(
            product_id=line.product_id,
            filled=line.filled,
            returned=line.returned,
            leaves=line.leaves,
            price_nanos=line.unit_price.nanos,
            filled_minor_units=line.filled_amount.minor_units,
        )
        for line in order.lines
    ]
    return Snapshot(customer_id=order.customer_id, currency_code=order.currency_code, lines=lines)


def apply(event: OrderEvent, session: PortfolioSession) -> None:
    """The effect of one event."""
    session.apply(event.order_id, event.version, snapshot_of(event))


PORTFOLIO: Final[runner.Consumer[PortfolioSession]] = runner.Consumer(
    name="portfolio",
    migrations=Path(__file__).parent / "migrations",
    store=PortfolioStore,
    apply=apply,
    services=lambda database, frontier: [
        Service(DESCRIPTOR.services_by_name["PortfolioService"], PortfolioServicer(database, frontier))
    ],
)


async def serve(settings: PortfolioSettings, stop: asyncio.Event) -> None:
    """Runs the portfolio until `stop` is set.

    Raises:
        StartupError: It cannot run as it was told to.
    """
    await runner.serve(PORTFOLIO, settings, stop)
