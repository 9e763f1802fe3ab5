"""Where Analytics' parts meet."""

import asyncio
from pathlib import Path
from typing import Final

from stateset.analytics.v1.analytics_service_pb2 import DESCRIPTOR
from stateset.order.v1.order_event_pb2 import OrderEvent

from consumers import runner
from consumers.analytics.service import AnalyticsServicer
from consumers.analytics.settings import AnalyticsSettings
from consumers.analytics.store import AnalyticsSession, AnalyticsStore
from consumers.analytics.wire import step_of
from infra.runtime.grpc.server import Service


def apply(event: OrderEvent, session: AnalyticsSession) -> None:
    """Counts the event once: the projection passes each version of an order on one time only."""
    session.apply(event.order_id, event.version, step_of(event))


ANALYTICS: Final[runner.Consumer[AnalyticsSession]] = runner.Consumer(
    name="analytics",
    migrations=Path(__file__).parent / "migrations",
    store=AnalyticsStore,
    apply=apply,
    services=lambda database, frontier: [
        Service(DESCRIPTOR.services_by_name["AnalyticsService"], AnalyticsServicer(database, frontier))
    ],
)


async def serve(settings: AnalyticsSettings, stop: asyncio.Event) -> None:
    """Runs Analytics until `stop` is set.

    Raises:
        StartupError: It cannot run as it was told to.
    """
    await runner.serve(ANALYTICS, settings, stop)
