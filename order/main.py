"""The Order Service's composition root."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from stateset.order.v1 import fulfillment_service_pb2, log_service_pb2, order_service_pb2, return_service_pb2

from infra.runtime.addresses import refuse_taken
from infra.runtime.clock import SystemClock
from infra.runtime.grpc.draining import Draining
from infra.runtime.grpc.server import Service, open_server
from infra.runtime.kafka.cluster import Cluster
from infra.runtime.lifespan import StartupError
from infra.runtime.log import get_logger
from infra.runtime.metrics import open_admin
from infra.runtime.sql import open_database
from infra.runtime.topics import LOG_TOPICS
from order.adapters.commands import Commands
from order.adapters.grpc_erasures import Erasures
from order.adapters.grpc_fulfillment import FulfillmentServicer
from order.adapters.grpc_ingest import OrderIngest
from order.adapters.grpc_log import LogServicer
from order.adapters.grpc_reads import OrderReads
from order.adapters.grpc_records import RecordReads
from order.adapters.grpc_replay import Replays
from order.adapters.grpc_results import CommandResults
from order.adapters.grpc_returns import ReturnServicer
from order.adapters.grpc_servicer import OrderServicer
from order.adapters.grpc_status import DOMAIN, ERRORS
from order.adapters.grpc_streams import EventStreams
from order.adapters.kafka_publisher import KafkaBus
from order.adapters.kafka_replay import KafkaReplay
from order.adapters.postgres_news import open_news
from order.adapters.sql_lease import SqlLease
from order.adapters.sql_log import open_log
from order.adapters.sql_orders import SqlOrders
from order.adapters.sql_records import SqlRecords
from order.adapters.wire import WireCodec
from order.application.expiry import Expiry
from order.application.grouped_reads import GroupedReads
from order.application.heads import Heads
from order.application.ports import Log
from order.application.queries import Queries
from order.application.relay import Relay
from order.application.relay_ports import Lease, ReplayBus
from order.application.replay import Replay
from order.application.sweep import Sweep
from order.application.trimming import Trimming
from order.application.writer import Writer, WriterLimits
from order.domain.policy import Acceptance, LateFills, OrderLimits, Policy
from order.settings import OrderSettings

MIGRATIONS = Path(__file__).parent / "migrations"
_FOLLOW_SECONDS = 0.2  # how late a stream hears of another process's event at the most, should the news be lost
_log = get_logger(__name__)


async def serve(settings: OrderSettings, stop: asyncio.Event) -> None:
    """Runs the service until `stop` is set, then drains it."""
    refuse_taken(settings.grpc_address, settings.admin_address)
    if settings.grpc_shared_address and settings.database.startswith("sqlite"):
        raise StartupError("--grpc-shared-address is for processes on one PostgreSQL: a SQLite file serves one process")
    cluster = Cluster.read(settings.kafka_bootstrap_servers, settings.kafka_client_config)
    clock = SystemClock()
    draining = Draining()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(open_admin(settings.admin_address))
        database = await stack.enter_async_context(
            open_database(settings.database, service="order", migrations=MIGRATIONS)
        )
        log = await open_log(database, settings.shards, subscriptions_max=settings.subscriptions_max)
        heads = Heads(log.log_epoch, [1] * log.shards)
        await heads.look(log, clock)
        await stack.enter_async_context(heads.following(log, clock, _FOLLOW_SECONDS))
        await stack.enter_async_context(open_news(settings.database, heads))
        lease = SqlLease(database, clock, holder=f"{socket.gethostname()}:{os.getpid()}")
        replay_bus: ReplayBus | None = None
        if cluster.servers:
            await stack.enter_async_context(_relaying(settings, cluster, log, heads, lease))
            replay_bus = _replay_bus(settings, cluster, log)
        limits = WriterLimits(
            group_commands_max=settings.group_commands_max, queue_commands_max=settings.queue_commands_max
        )
        writer = Writer(log, WireCodec(log.log_epoch, log.shards), heads, clock, limits, _policy(settings))
        await stack.enter_async_context(writer.running())
        await stack.enter_async_context(Expiry(log, writer, clock).running())
        await stack.enter_async_context(Sweep(log, clock).running())
        await stack.enter_async_context(_trimming(settings, log, lease).running())
        orders = SqlOrders(database)
        grouped = GroupedReads(orders)
        await stack.enter_async_context(grouped.running())
        commands, queries = Commands(writer), Queries(log, orders, grouped, heads, draining)
        streams = EventStreams(log, heads, clock, draining)
        await stack.enter_async_context(streams.running())
        records = RecordReads(SqlRecords(database), queries)
        ingest, erasures = OrderIngest(writer), Erasures(commands, queries, log, clock)
        reads, results = OrderReads(queries), CommandResults(log, clock)
        replays = Replays(Replay(log, orders, replay_bus), log.shards)
        services = [
            Service(_ORDER, OrderServicer(commands, ingest, erasures, reads, results, streams)),
            Service(_FULFILLMENT, FulfillmentServicer(commands, records)),
            Service(_RETURNS, ReturnServicer(commands, records)),
            Service(_LOG, LogServicer(log, lease, queries, replays, clock)),
        ]
        port = await stack.enter_async_context(
            open_server(
                settings.grpc_address,
                services,
                domain=DOMAIN,
                errors=ERRORS,
                draining=draining,
                shared_address=settings.grpc_shared_address,
            )
        )
        _log.info("serving", port=port, log_epoch=log.log_epoch, shards=log.shards)
        await stop.wait()
        _log.info("stopping")


def _replay_bus(settings: OrderSettings, cluster: Cluster, log: Log) -> ReplayBus:
    return KafkaReplay(cluster, topic_prefix=settings.topic_prefix, log_epoch=log.log_epoch, shards=log.shards)


def _trimming(settings: OrderSettings, log: Log, lease: Lease) -> Trimming:
    topics = [topic.name(settings.topic_prefix) for topic in LOG_TOPICS] if settings.kafka_bootstrap_servers else []
    seconds = settings.log_retention_hours * 3600
    return Trimming(log, lease, SystemClock(), retention_seconds=seconds, topics=topics)


def _policy(settings: OrderSettings) -> Policy:
    pre_trade = OrderLimits(
        total_max=settings.order_total_max,
        quantity_max=settings.line_quantity_max,
        restricted_products=frozenset(settings.restricted_products),
    )
    return Policy(
        acceptance=Acceptance(settings.acceptance),
        late_fills=LateFills(settings.late_fills),
        pre_trade=pre_trade,
    )


@asynccontextmanager
async def _relaying(
    settings: OrderSettings, cluster: Cluster, log: Log, heads: Heads, lease: Lease
) -> AsyncIterator[None]:
    """Publishes the log while the context lasts.

    Raises:
        StartupError: The topics hold something else.
    """
    bus = KafkaBus(cluster, topic_prefix=settings.topic_prefix, log_epoch=log.log_epoch, shards=log.shards)
    relay = Relay(log, heads, lease, bus, SystemClock())
    await relay.check()
    async with relay.running():
        yield


_ORDER = order_service_pb2.DESCRIPTOR.services_by_name["OrderService"]
_FULFILLMENT = fulfillment_service_pb2.DESCRIPTOR.services_by_name["FulfillmentService"]
_RETURNS = return_service_pb2.DESCRIPTOR.services_by_name["ReturnService"]
_LOG = log_service_pb2.DESCRIPTOR.services_by_name["LogService"]
