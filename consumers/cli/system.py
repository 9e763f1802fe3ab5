"""The system on one machine: which services there are, how each is started, and where it listens."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import grpc.aio
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from consumers.cli.arguments import SHARDS
from consumers.cli.database import Postgres
from infra.runtime.grpc.channel import open_channel
from infra.runtime.kafka.admin import BrokerAwayError, TopicAdmin
from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.local.broker import LocalBroker
from infra.runtime.kafka.local.jars import kafka_version
from infra.runtime.lifespan import StartupError
from infra.runtime.sqlite import url_of
from infra.runtime.supervisor import Child, Program, supervise
from infra.runtime.topics import LOG_TOPICS

HOST: Final = "127.0.0.1"
LOGS: Final = "logs"  # the folder in the data folder
_HEALTH_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service of the system.

    Attributes:
        name: Its name here, and that of its database and its log.
        module: What `python -m` starts.
        settings: Every setting that it reads, as in its environment variables after `STATESET_NAME_`.
        reads_from: The service whose address it is told, if there is one.
        offers: The services whose RPCs its gateway offers, beside the one it reads from and its own.
    """

    name: str
    module: str
    settings: frozenset[str]
    reads_from: str = ""
    offers: tuple[str, ...] = ()

    @property
    def migrations(self) -> Path:
        """The folder that says which database files are the service's."""
        spec = find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            raise StartupError(f"{self.module} is not installed: run `make setup`")
        return Path(spec.submodule_search_locations[0]) / "migrations"


def _consumer(name: str) -> Service:
    return Service(
        name=name,
        module=f"consumers.{name}",
        settings=frozenset("ADMIN_ADDRESS DATABASE GRPC_ADDRESS LOG_LEVEL SYNC_ADDRESS".split()),
        reads_from="sync",
    )


SERVICES: Final = (
    Service(
        name="order",
        module="order",
        settings=frozenset(
            """
            ACCEPTANCE ADMIN_ADDRESS DATABASE GROUP_COMMANDS_MAX GRPC_ADDRESS GRPC_SHARED_ADDRESS
            KAFKA_BOOTSTRAP_SERVERS KAFKA_CLIENT_CONFIG LATE_FILLS LINE_QUANTITY_MAX LOG_LEVEL LOG_RETENTION_HOURS
            ORDER_TOTAL_MAX QUEUE_COMMANDS_MAX RESTRICTED_PRODUCTS SHARDS SUBSCRIPTIONS_MAX TOPIC_PREFIX
            """.split()
        ),
    ),
    Service(
        name="sync",
        module="sync",
        settings=frozenset(
            """
            ADMIN_ADDRESS ANALYTICS_ADDRESS BREAKER_OUTCOMES BREAKER_PAUSE_SECONDS
            BREAKER_PAUSE_SECONDS_MAX BREAKER_RETRIES_PERCENT_MAX BUS CATCH_UP_READERS_MAX DATABASE
            GRPC_ADDRESS HTTP_ADDRESS HTTP_CONNECTIONS_MAX HTTP_ORIGINS KAFKA_BOOTSTRAP_SERVERS KAFKA_CLIENT_CONFIG
            LOG_LEVEL NAME ORDER_ADDRESS PARKED_EVENTS_MAX PORTFOLIO_ADDRESS RING_BYTES_MAX RISK_ADDRESS
            SNAPSHOT_READERS_MAX STALENESS_SECONDS_MAX STREAMS_MAX STREAM_SECONDS_MAX SUBSCRIPTIONS_MAX
            TOPIC_PREFIX UNACKED_BYTES_MAX
            """.split()
        ),
        reads_from="order",
        offers=("risk", "portfolio", "analytics"),
    ),
    _consumer("risk"),
    _consumer("portfolio"),
    _consumer("analytics"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kafka:
    """The broker between the Order Service and the Sync Server.

    Attributes:
        cluster: Where it is, and how its clients are let in.
        topic_prefix: Begins the names of the topics.
        broker: The broker itself, if it is ours to run.
    """

    cluster: Cluster
    topic_prefix: str
    broker: LocalBroker | None

    def admin(self) -> TopicAdmin:
        """Its topics."""
        return TopicAdmin(self.cluster, shards=_shards(os.environ), prefix=self.topic_prefix)

    @property
    def topics(self) -> tuple[str, ...]:
        """The names of the topics that hold the log."""
        return tuple(topic.name(self.topic_prefix) for topic in LOG_TOPICS)

    @property
    def options(self) -> tuple[str, ...]:
        """What a service that uses it is told."""
        return (
            *("--kafka-bootstrap-servers", self.cluster.servers, "--kafka-client-config", self.cluster.config_file),
            *("--topic-prefix", self.topic_prefix),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One of several Order Services that share the service's address.

    Attributes:
        name: Its name here and that of its log.
        grpc: Where it alone serves its RPCs.
        admin: Where it serves its metrics.
    """

    name: str
    grpc: str
    admin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where a system is to live.

    Attributes:
        data_dir: Holds the logs, and what is ours of the databases and the bus.
        grpc: By service, the address of its RPCs.
        admin: By service, the address of its metrics.
        http: The address of the gateway, which is the Sync Server's.
        kafka: The bus; without it, the Sync Server reads the Order Service's stream.
        postgres: The database; without it, each service has a file in the data folder.
        order_workers: The processes of the Order Service, where it is more than one.
        options: By service, what else it is told on its command line.
    """

    data_dir: Path
    grpc: Mapping[str, str]
    admin: Mapping[str, str]
    http: str
    kafka: Kafka | None = None
    postgres: Postgres | None = None
    order_workers: Sequence[Worker] = ()
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def file(self, service: Service) -> Path:
        """The service's database, where that is a file."""
        return self.data_dir / f"{service.name}.db"

    def workers(self, service: Service) -> Sequence[Worker]:
        """The service's processes."""
        alone = Worker(name=service.name, grpc=self.grpc[service.name], admin=self.admin[service.name])
        return (self.order_workers if service.name == "order" else ()) or (alone,)

    def program(self, service: Service, worker: Worker, is_ready: Callable[[], Awaitable[bool]]) -> Program:
        """A process of the service for the supervisor. Its database goes by the environment: it may hold a password."""
        url = self.postgres.url if self.postgres else url_of(self.file(service))
        return Program(
            name=worker.name,
            command=self._command(service, worker),
            is_ready=is_ready,
            environment={f"STATESET_{service.name.upper()}_DATABASE": url},
        )

    def _command(self, service: Service, worker: Worker) -> tuple[str, ...]:
        address = self.grpc[service.name]
        told = [name for name in (service.reads_from, *service.offers) if name]
        others = [part for name in told for part in (f"--{name}-address", self.grpc[name])]
        gateway = ("--http-address", self.http) if service.offers else ()
        return (
            *(sys.executable, "-P", "-m", service.module),  # -P: a folder named order where we stand is not ours
            *("--grpc-address", worker.grpc),
            *("--admin-address", worker.admin),
            *(("--grpc-shared-address", address) if worker.grpc != address else ()),
            *others,
            *gateway,
            *self._bus(service.name),
            *self.options.get(service.name, ()),
        )

    def _bus(self, service: str) -> tuple[str, ...]:
        if service == "sync":
            return ("--bus", "kafka", *self.kafka.options) if self.kafka else ("--bus", "direct")
        return self.kafka.options if self.kafka and service == "order" else ()


@asynccontextmanager
async def open_system(
    plan: Plan, tell: Callable[[str], None], *, broker_may_be_away: bool = False
) -> AsyncIterator[Mapping[str, Child]]:
    """Runs every service of the plan while the context lasts, and beneath them what is ours of database and bus.

    Args:
        plan: Where it is to live.
        tell: Is told what happens, a line at a time.
        broker_may_be_away: Start without a broker that is not ours and does not answer; the services wait for it.

    Yields:
        The processes by name, all of them serving.

    Raises:
        StartupError: As `supervise`; also if database or broker cannot be had, or the topics there do not fit.
    """
    programs = [
        plan.program(service, worker, _serving(worker.grpc)) for service in SERVICES for worker in plan.workers(service)
    ]
    logs = plan.data_dir / LOGS
    async with AsyncExitStack() as stack:
        children = await stack.enter_async_context(supervise(await _beneath(plan, tell), logs=logs, tell=tell))
        if plan.kafka is not None:
            await _provide_topics(plan.kafka, tell, may_be_away=broker_may_be_away and plan.kafka.broker is None)
        children |= await stack.enter_async_context(supervise(programs, logs=logs, tell=tell))
        yield children


async def _provide_topics(kafka: Kafka, tell: Callable[[str], None], *, may_be_away: bool) -> None:
    """Makes topics where none is. Those that are there may be another log's: only who asks for it changes them."""
    try:
        found = await kafka.admin().provide()
    except BrokerAwayError as error:
        if not may_be_away:
            raise
        tell(f"{error}; its topics may be missing: once it is there, `stateset topics apply` makes those it lacks")
        return
    for difference in found:
        if difference.is_missing:
            tell(difference.mended)
        else:
            tell(str(difference) if difference.is_lost else f"{difference}; `stateset topics apply` sets it")


async def _beneath(plan: Plan, tell: Callable[[str], None]) -> list[Program]:
    """What the services stand on and is ours to run, ready to be started."""
    programs = []
    if plan.postgres is not None and plan.postgres.server is not None:
        programs.append(await plan.postgres.server.program())
    if plan.kafka is not None and plan.kafka.broker is not None:
        await _fetch(plan.kafka.broker, tell)
        programs.append(plan.kafka.broker.program())
    return programs


async def _fetch(broker: LocalBroker, tell: Callable[[str], None]) -> None:
    if broker.installation.maven is not None:
        tell(f"fetching Kafka {kafka_version()} into {broker.installation.jars}, once")
        await asyncio.to_thread(broker.installation.complete, os.environ)


def _shards(environment: Mapping[str, str]) -> int:
    """Those of a new log. What is no number is refused by the Order Service, in its own words."""
    told = environment.get("STATESET_ORDER_SHARDS", "")
    return int(told) if told.isdecimal() and int(told) else SHARDS


def _serving(address: str) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        async with open_channel(address) as channel:
            check = channel.unary_unary(
                f"/{health.SERVICE_NAME}/Check",
                request_serializer=HealthCheckRequest.SerializeToString,
                response_deserializer=HealthCheckResponse.FromString,
            )
            try:
                reply = await check(HealthCheckRequest(), timeout=_HEALTH_SECONDS)
            except grpc.aio.AioRpcError:
                return False
        return reply.status == HealthCheckResponse.SERVING

    return ask
