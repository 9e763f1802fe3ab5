"""The one place where the Sync Server's parts meet."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stateset.sync.v1 import sync_service_pb2

from infra.kernel.position import Position
from infra.runtime.addresses import refuse_taken
from infra.runtime.clock import Clock, SystemClock
from infra.runtime.grpc.channel import open_channel
from infra.runtime.grpc.draining import Draining
from infra.runtime.grpc.health import Condition
from infra.runtime.grpc.server import Service, open_server
from infra.runtime.kafka.cluster import Cluster
from infra.runtime.lifespan import StartupError
from infra.runtime.log import get_logger
from infra.runtime.metrics import open_admin
from infra.runtime.sql import open_database
from sync.adapters.grpc_servicer import Parts, SyncServicer
from sync.adapters.grpc_status import DOMAIN, ERRORS
from sync.adapters.kafka_places import open_offsets
from sync.adapters.kafka_source import KafkaSource
from sync.adapters.order_source import OrderSource
from sync.adapters.sql_parking import SqlParking
from sync.adapters.sql_read_model import SqlReadModel
from sync.adapters.sql_subscriptions import SqlSubscriptions
from sync.adapters.wire import pieces_to_wire
from sync.application.accounting import Accounting
from sync.application.acks import Acks
from sync.application.beginning import Beginning
from sync.application.catch_up import CatchUp
from sync.application.floors import Floors
from sync.application.freshness import Freshness
from sync.application.horizons import Horizons
from sync.application.ingest import Ingest
from sync.application.lag import LagMeter, Lags
from sync.application.management import Management
from sync.application.offset_ports import Offsets
from sync.application.opening import Openings
from sync.application.parked import ParkingPlaces
from sync.application.ports import EventSource, Parking, ReadModel, Subscriptions
from sync.application.positions import Positions
from sync.application.proofs import Proofs
from sync.application.queries import Queries
from sync.application.redelivery import Redeliveries
from sync.application.snapshots import Snapshots
from sync.application.stream import Common
from sync.application.subscribe import Helpers, Streams
from sync.application.subscription_gauges import SubscriptionGauges
from sync.domain.breaker import BreakerPolicy
from sync.domain.fanout import Fanout
from sync.domain.ring import Ring
from sync.gateway.main import open_gateway
from sync.gateway.server import listening_at
from sync.settings import SyncSettings

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
FRESH: Final = "stateset.sync.v1.SyncService.fresh"
_log = get_logger(__name__)


async def serve(settings: SyncSettings, stop: asyncio.Event) -> None:
    """Serves until `stop` is set, then drains.

    Raises:
        StartupError: It cannot start as it was told to.
    """
    refuse_taken(settings.grpc_address, settings.admin_address, settings.http_address)
    bus = _bus(settings)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(open_admin(settings.admin_address))
        database = await stack.enter_async_context(
            open_database(settings.database, service="sync", migrations=_MIGRATIONS)
        )
        channel = await stack.enter_async_context(open_channel(settings.order_address))
        orders = OrderSource(channel, name=settings.name)
        source = orders if bus is None else KafkaSource(orders, bus, topic_prefix=settings.topic_prefix)
        read_model = SqlReadModel(database)
        position = await _begun(Beginning(read_model, source), stop)
        if position is not None:
            offsets = await stack.enter_async_context(_offsets(bus, settings.topic_prefix))
            subscriptions = SqlSubscriptions(
                database,
                subscriptions_max=settings.subscriptions_max,
                parked_events_max=settings.parked_events_max,
            )
            parts = Ports(source, read_model, subscriptions, SqlParking(database), offsets)
            serving = await stack.enter_async_context(open_sync(settings, parts, position))
            _log.info(
                "serving",
                port=serving.grpc,
                http_port=serving.http,
                log_epoch=position.log_epoch,
                shards=len(position.next_seq),
            )
            await stop.wait()


def _bus(settings: SyncSettings) -> Cluster | None:
    """The Kafka that carries the log, as the settings say; none if that is the Order Service's own stream.

    Raises:
        StartupError: It is Kafka, and nobody has said where that is, or how it can be entered.
    """
    if settings.bus == "direct":
        return None
    if not settings.kafka_bootstrap_servers:
        raise StartupError("--bus kafka needs --kafka-bootstrap-servers host:port")
    return Cluster.read(settings.kafka_bootstrap_servers, settings.kafka_client_config)


@asynccontextmanager
async def _offsets(bus: Cluster | None, topic_prefix: str) -> AsyncIterator[Offsets | None]:
    """Where events are on the bus, if that is Kafka."""
    if bus is None:
        yield None
        return
    async with open_offsets(bus, topic_prefix=topic_prefix) as offsets:
        yield offsets


@dataclass(frozen=True, slots=True)
class Ports:
    """What the server stands on."""

    source: EventSource
    read_model: ReadModel
    subscriptions: Subscriptions
    parking: Parking
    offsets: Offsets | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """The ports of a server that serves."""

    grpc: int
    http: int


@asynccontextmanager
async def open_sync(settings: SyncSettings, ports: Ports, position: Position) -> AsyncIterator[Serving]:
    """Puts the server together around its ports, at the read model's position, and serves while the context lasts.

    Yields:
        Where it listens.
    """
    # Listens before the server says that it serves: who is told so finds HTTP, too.
    with listening_at(settings.http_address) as listening:
        async with _serving(settings, ports, position, listening) as grpc:
            yield Serving(grpc=grpc, http=listening.getsockname()[1])


@asynccontextmanager
async def _serving(
    settings: SyncSettings, ports: Ports, position: Position, listening: socket.socket
) -> AsyncIterator[int]:
    clock = SystemClock()
    ring = Ring(position.next_seq, ring_bytes_max=settings.ring_bytes_max)
    draining = Draining()
    freshness = Freshness(position, clock, draining)
    acks = Acks(ports.subscriptions, clock)
    horizons = Horizons(ports.source, ring, freshness, clock)
    meter = LagMeter(horizons, ring, freshness)
    fresh = Condition(FRESH)
    # Two groups: where the first one fails, streams still end in words, and what has been acked is still answered.
    async with asyncio.TaskGroup() as tasks, asyncio.TaskGroup() as serving:
        openings = Openings(
            ports.source,
            ring,
            freshness,
            horizons,
            ports.subscriptions,
            _accounting(settings, ports, clock),
            stream_seconds_max=settings.stream_seconds_max,
        )
        streams = Streams(
            openings,
            Helpers(
                CatchUp(
                    ports.source,
                    Snapshots(ports.read_model, readers_max=settings.snapshot_readers_max),
                    readers_max=settings.catch_up_readers_max,
                ),
                Redeliveries(ports.parking),
                Proofs(ports.read_model),
            ),
            Common(fanout=Fanout(ring, pieces_to_wire), acks=acks, freshness=freshness, meter=meter),
            tasks=serving,
            streams_max=settings.streams_max,
        )
        ingest = Ingest(ports.source, ports.read_model, ring, freshness, clock=clock, wake=streams.wake)
        background = [
            tasks.create_task(ingest.run(), name="ingest"),
            tasks.create_task(
                freshness.watch(
                    ports.source, lambda seconds: fresh.set(holds=seconds <= settings.staleness_seconds_max)
                ),
                name="freshness",
            ),
            serving.create_task(acks.run(), name="acks"),
            serving.create_task(streams.drain_when(draining), name="drain"),
            tasks.create_task(SubscriptionGauges(streams.all, meter).run(), name="subscription-gauges"),
        ]
        floors = Floors(acks, freshness, horizons)
        parts = Parts(
            streams=streams,
            floors=floors,
            queries=Queries(ports.read_model, freshness),
            lags=Lags(ports.subscriptions, ports.parking, meter, freshness),
            management=Management(openings, ports.subscriptions, streams, freshness),
            places=ParkingPlaces(ports.parking, ports.subscriptions, streams),
            positions=Positions(ports.source, ports.offsets),
        )
        servicer = SyncServicer(parts, draining, shards=len(position.next_seq))
        service = Service(sync_service_pb2.DESCRIPTOR.services_by_name["SyncService"], servicer)
        async with (
            open_server(
                settings.grpc_address,
                [service],
                domain=DOMAIN,
                errors=ERRORS,
                draining=draining,
                conditions=[fresh],
            ) as port,
            open_gateway(
                listening,
                _backends(settings, port),
                streams,
                draining,
                shards=len(position.next_seq),
                origins=settings.origins,
                connections_max=settings.http_connections_max,
            ),
        ):
            try:
                yield port
            finally:
                draining.set()  # HTTP ends before gRPC, on which it stands
        for task in background:
            task.cancel()


def _backends(settings: SyncSettings, port: int) -> dict[str, str]:
    """Who serves what the gateway offers. This process is one of them: its calls go the way of everybody's."""
    return {
        "order": settings.order_address,
        "sync": f"{settings.grpc_address.rpartition(':')[0]}:{port}",
        "risk": settings.risk_address,
        "portfolio": settings.portfolio_address,
        "analytics": settings.analytics_address,
    }


def _accounting(settings: SyncSettings, ports: Ports, clock: Clock) -> Accounting:
    breaker = BreakerPolicy(
        outcomes=settings.breaker_outcomes,
        retries_percent_max=settings.breaker_retries_percent_max,
        pause_seconds=settings.breaker_pause_seconds,
        pause_seconds_max=settings.breaker_pause_seconds_max,
    )
    return Accounting(parking=ports.parking, clock=clock, unacked_bytes_max=settings.unacked_bytes_max, breaker=breaker)


async def _begun(beginning: Beginning, stop: asyncio.Event) -> Position | None:
    """The position to serve from; none if asked to stop before there is one."""
    async with asyncio.TaskGroup() as tasks:
        begun, stopped = tasks.create_task(beginning.position()), tasks.create_task(stop.wait())
        await asyncio.wait([begun, stopped], return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        stopped.cancel()
    return None if begun.cancelled() else begun.result()
