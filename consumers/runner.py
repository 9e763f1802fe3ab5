"""The life of a consumer process: a projection that folds, a server that answers, and what they tell each other."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from prometheus_client import Counter, Gauge
from stateset.common.v1 import position_pb2
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset_client import (
    CheckpointStore,
    FencedError,
    GapError,
    LogEpochChangedError,
    PositionError,
    PositionExpiredError,
    Progress,
    Projection,
    StateSetError,
    StreamLimits,
    VersionGapError,
)

from infra.kernel.position import Position, check_log
from infra.runtime.addresses import refuse_taken
from infra.runtime.clock import Clock, SystemClock
from infra.runtime.database import Database, DatabaseUnavailableError
from infra.runtime.grpc.draining import Draining
from infra.runtime.grpc.server import Service, open_server
from infra.runtime.grpc.status import StalePositionError
from infra.runtime.grpc.wire import position_from_wire, timestamp_from_wire
from infra.runtime.lifespan import EndedError, StartupError
from infra.runtime.log import LogLevel, get_logger
from infra.runtime.metrics import open_admin
from infra.runtime.settings import Settings
from infra.runtime.sql import open_database, shown

Session = TypeVar("Session")

COMMITS = Counter("stateset_consumer_commits_total", "Transactions in which events took effect.")
STALENESS_SECONDS = Gauge("stateset_consumer_staleness_seconds", "Time since everything in the log had taken effect.")
_WAIT_SHARE: Final = 0.9  # of the caller's time: the rest carries our answer to it before it gives up by itself
_DATABASE_PAUSE_SECONDS: Final = 0.5  # a server that was killed is back within a few; a lost connection at once
_HEARTBEAT_SECONDS: Final = 2.0  # an idle consumer's answers are known to be this fresh; each one costs a frame
_log = get_logger(__name__)

_ENDS: Final[Mapping[type[Exception], tuple[type[Exception], str]]] = {
    LogEpochChangedError: (
        StartupError,
        (
            "{database} was folded from another log than the one at {sync} ({said}): "
            "name another file with --database, or another --sync-address"
        ),
    ),
    PositionExpiredError: (
        StartupError,
        (
            "the log's retention has taken events that {database} needs ({said}): "
            "put a copy of it in its place that has had them, and let --log-retention-hours keep the log for longer"
        ),
    ),
    PositionError: (
        StartupError,
        "{database} cannot go on from its checkpoint at {sync} ({said}): name a new file with --database",
    ),
    VersionGapError: (
        StartupError,
        (
            "{database} lacks an event ({said}), so that its figures are not to be trusted: "
            "name a new file with --database, or put a copy in its place"
        ),
    ),
    FencedError: (
        EndedError,
        "{said}: run this consumer once, for another one on {database} or of its name at {sync} has taken its place",
    ),
    GapError: (
        EndedError,
        (
            "{sync} left out an event ({said}), and nothing behind it was folded: start again, "
            "and look at the Sync Server's log if that ends the same way"
        ),
    ),
    StateSetError: (EndedError, "{sync} does not let {database} be folded ({said}): see to that, and start again"),
}
"""By what a projection ends with: whether to start again may help, and what to do."""


class ConsumerSettings(Settings):
    """What every consumer can be told."""

    database: str
    """URL of the consumer's own database."""
    grpc_address: str
    """Where it answers queries: host:port."""
    admin_address: str
    """Where it serves /metrics: host:port."""
    sync_address: str = "127.0.0.1:50052"
    """The Sync Server whose events it folds: host:port."""
    log_level: LogLevel = "INFO"
    """The least severe level that is logged."""


class Frontier:
    """How far the store is, when that was the whole log, and who waits for more."""

    def __init__(self, clock: Clock, draining: Draining) -> None:
        self.position: Position | None = None
        self._clock = clock
        self._draining = draining
        self._as_of_us = 0
        self._moved = asyncio.Event()
        STALENESS_SECONDS.set_function(lambda: max(0, clock.now_us() - self._as_of_us) / 1e6)

    @property
    def as_of_us(self) -> int:
        """Everything that the log recorded until then has taken effect; 0 until that is known."""
        return self._as_of_us

    def now_us(self) -> int:
        """The time by this process's clock."""
        return self._clock.now_us()

    def advance(self, reached: position_pb2.Position, progress: Progress | None) -> None:
        """The store includes everything below `reached`; `progress` says when that is the whole log."""
        before, self.position = self.position, position_from_wire(reached)
        if progress is not None and self.position.covers(position_from_wire(progress.at)):
            # A Sync Server that does not know yet, as it was just started, takes nothing back.
            self._as_of_us = timestamp_from_wire(progress.as_of) or self._as_of_us
        if before == self.position:
            return
        COMMITS.inc()
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def reach(self, wanted: position_pb2.Position, seconds: float) -> None:
        """Waits until the store includes everything below `wanted`; one without shards asks for nothing.

        Raises:
            LogEpochChangedError: It is a position of another log.
            PositionMalformedError: It has another number of shards.
            StalePositionError: It did not get there within nine tenths of `seconds`.
            StoppingError: The process is about to leave, and it did not get there before.
        """
        if not wanted.next_seq:
            return
        with suppress(TimeoutError):
            async with self._draining.waiting(), asyncio.timeout(seconds * _WAIT_SHARE):
                while not self._covers(position_from_wire(wanted)):
                    await self._moved.wait()
                return
        raise StalePositionError("the events up to min_position have not taken effect here yet; try again")

    def _covers(self, wanted: Position) -> bool:
        if self.position is None:
            return False
        check_log(wanted, self.position.log_epoch, len(self.position.next_seq))
        return self.position.covers(wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer(Generic[Session]):
    """What makes one consumer differ from the next.

    Attributes:
        name: Of the consumer, its subscription and its database.
        migrations: The folder of its alembic revisions.
        store: Its tables as a projection sees them.
        apply: The effect of one event.
        services: What it answers.
    """

    name: str
    migrations: Path
    store: Callable[[Database], CheckpointStore[Session]]
    apply: Callable[[OrderEvent, Session], None]
    services: Callable[[Database, Frontier], Sequence[Service]]


async def serve(consumer: Consumer[Session], settings: ConsumerSettings, stop: asyncio.Event) -> None:
    """Folds and answers until `stop` is set, then drains.

    Raises:
        StartupError: The database or an address cannot be used, or the checkpoint does not fit the log.
        EndedError: It cannot go on for now, such as where another process has taken its place.
    """
    refuse_taken(settings.grpc_address, settings.admin_address)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(settings.database, service=consumer.name, migrations=consumer.migrations)
        )
        draining = Draining()
        frontier = Frontier(SystemClock(), draining)
        await stack.enter_async_context(open_admin(settings.admin_address))
        port = await stack.enter_async_context(
            open_server(
                settings.grpc_address,
                consumer.services(database, frontier),
                domain=f"{consumer.name}.stateset.dev",
                errors={},
                draining=draining,
            )
        )
        projection = Projection(
            settings.sync_address,
            consumer.name,
            store=consumer.store(database),
            apply=consumer.apply,
            limits=StreamLimits(heartbeat_seconds=_HEARTBEAT_SECONDS),
            on_commit=frontier.advance,
        )
        _log.info("serving", grpc_port=port, sync_address=settings.sync_address)
        async with asyncio.TaskGroup() as tasks:
            folding = tasks.create_task(_keep_folding(projection, settings), name=f"{consumer.name}-projection")
            await stop.wait()
            folding.cancel()


async def _keep_folding(projection: Projection[Session], settings: ConsumerSettings) -> None:
    """A database that goes away is waited for: what is in it afterwards says where to go on."""
    while True:
        try:
            await _fold(projection, settings)
        except DatabaseUnavailableError as error:
            _log.warning("folding goes on when the database can be used again", error=str(error))
            await asyncio.sleep(_DATABASE_PAUSE_SECONDS)


async def _fold(projection: Projection[Session], settings: ConsumerSettings) -> None:
    try:
        await projection.run()
    except StateSetError as error:
        kind, advice = next(_ENDS[each] for each in type(error).__mro__ if each in _ENDS)
        told = advice.format(database=shown(settings.database), sync=settings.sync_address, said=error.message)
        _log.error("the projection has ended", reason=error.reason, error=told)
        raise kind(told) from error
