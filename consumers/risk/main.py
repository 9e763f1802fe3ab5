"""Where Risk's parts meet."""

import asyncio
from pathlib import Path
from typing import Final

from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.risk.v1.risk_service_pb2 import DESCRIPTOR

from consumers import runner
from consumers.risk.model import Line, Snapshot
from consumers.risk.service import RiskServicer
from consumers.risk.settings import RiskSettings
from consumers.risk.store import RiskSession, RiskStore
from infra.runtime.grpc.server import Service


def snapshot_of(event: OrderEvent) -> Snapshot:
    """The order as the event left it; what kind of change that was does not matter."""
    order = event.order
    lines = [
        Line(
            leaves=line.leaves,
            price_nanos=line.unit_price.nanos,
            filled_minor_units=line.filled_amount.minor_units,
        )
        for line in order.lines
    ]
    return Snapshot(customer_id=order.customer_id, currency_code=order.currency_code, lines=lines)


def apply(event: OrderEvent, session: RiskSession) -> None:
    """The effect of one event."""
    session.apply(event.order_id, event.version, snapshot_of(event))


RISK: Final[runner.Consumer[RiskSession]] = runner.Consumer(
    name="risk",
    migrations=Path(__file__).parent / "migrations",
    store=RiskStore,
    apply=apply,
    services=lambda database, frontier: [
        Service(DESCRIPTOR.services_by_name["RiskService"], RiskServicer(database, frontier))
    ],
)


async def serve(settings: RiskSettings, stop: asyncio.Event) -> None:
    """Runs Risk until `stop` is set.

    Raises:
        StartupError: It cannot run as it was told to.
    """
    await runner.serve(RISK, settings, stop)
