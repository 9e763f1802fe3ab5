"""From the log to the bus: whoever holds the lease publishes every event once, in order, with no gap."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from infra.kernel.position import PositionExpiredError
from infra.runtime.clock import Clock
from infra.runtime.database import DatabaseUnavailableError
from infra.runtime.lifespan import StartupError, background
from infra.runtime.log import get_logger
from order.application.heads import Heads
from order.application.ports import Log, LoggedEvent
from order.application.relay_ports import Bus, BusRefusedError, BusUnavailableError, Lease, LeaseLostError, Publication
from order.domain.errors import LogHoleError, StoreUnavailableError

_PASS_EVENTS_MAX: Final = 12_000  # of all shards, read and sent at once; more only takes memory
_RUN_EVENTS_MIN: Final = 64  # of one shard, however many there are: a query for less costs more than what it finds
_TRANSACTION_EVENTS_MAX: Final = 10_000
_TRANSACTION_SECONDS: Final = 0.25  # readers of committed records wait for so long …
_TRANSACTION_SECONDS_MAX: Final = 2.0  # … or so long: nothing is sent during a commit, which takes 10 to 50 ms …
_COMMIT_SHARE: Final = 0.1  # … but more where the broker is busy, and then has to be made less often
_QUIET_SECONDS: Final = 0.05  # where nothing more has come for a while, it holds nobody up
_KEEP_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.1
_PAUSE_SECONDS_MAX: Final = 5.0
_CHECK_SECONDS: Final = 5.0
_log = get_logger(__name__)

BACKLOG_EVENTS: Final = Gauge("stateset_order_relay_backlog_events", "Events that are not on the bus for good.")
BACKLOG_SECONDS: Final = Gauge("stateset_order_relay_backlog_age_seconds", "Age of the oldest of them.")
PUBLISHED: Final = Counter("stateset_order_relay_published_events_total", "Events that were put on the bus for good.")
TAKEOVERS: Final = Counter("stateset_order_relay_takeovers_total", "Times that this process began to publish.")
FAILURES: Final = Counter("stateset_order_relay_failures_total", "Times that publishing ended, by error.", ["error"])
HOP_SECONDS: Final = Histogram(
    "stateset_order_relay_hop_seconds",
    "From an event's record time until it is on the bus for good.",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 600),
)
LEADING: Final = Gauge("stateset_order_relay_leading", "1 while this process publishes.")
REFUSED: Final = Gauge("stateset_order_relay_refused", "1 while the bus cannot take this log and nothing is written.")

_EXPECTED: Final = (
    BusUnavailableError,
    BusRefusedError,
    LeaseLostError,
    DatabaseUnavailableError,
    StoreUnavailableError,
    PositionExpiredError,
)


class Relay:
    """Publishes for as long as it runs. Whatever happens to the bus, commands go on and the relay tries again."""

    def __init__(self, log: Log, heads: Heads, lease: Lease, bus: Bus, clock: Clock) -> None:
        self._log = log
        self._heads = heads
        self._lease = lease
        self._bus = bus
        self._clock = clock
        self._publication: Publication | None = None
        self._holes: set[tuple[int, int]] = set()  # that were told of

    async def check(self) -> None:
        """Looks, before anything is served, at what is on the bus; a bus that is away is no obstacle.

        Raises:
            StartupError: It holds another log, or more than this one.
        """
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                await self._refuse_ahead(await self._bus.next_seqs())
        except (BusUnavailableError, TimeoutError) as error:
            _log.warning("the bus cannot be looked at yet: commands go on, and the relay tries again", error=str(error))
        except BusRefusedError as error:
            raise StartupError(str(error)) from error

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Publishes while the context lasts; on leaving, what was sent is committed if the bus still works."""
        async with background(self._run(), name="relay"), background(self._measure(), name="relay-measure"):
            yield

    async def _run(self) -> None:
        pause = _PAUSE_SECONDS
        while True:
            began = self._clock.monotonic()
            try:
                await self._take_turn()
            except Exception as error:  # noqa: BLE001 - whatever it is, orders must not wait for it
                self._tell(error)
            if self._clock.monotonic() - began > _PAUSE_SECONDS_MAX:
                pause = _PAUSE_SECONDS
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter among relays
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)

    async def _take_turn(self) -> None:
        """Publishes until something fails; returns at once while another relay holds the lease."""
        epoch = await self._lease.acquire()
        if epoch is None:
            return
        try:
            earliest = await self._log.earliest()
            async with self._bus.take_over(await self._lease.cursors(), earliest) as publication:
                await self._refuse_ahead(publication.next_seqs)
                _refuse_gap(publication.next_seqs, earliest)
                await self._keep(epoch, publication)  # a new topic is known as such before its first record
                self._announce(epoch, publication)
                await self._publish(epoch, publication)
        finally:
            self._publication = None
            LEADING.set(0)
            with suppress(DatabaseUnavailableError):
                await self._lease.release(epoch)

    async def _publish(self, epoch: int, publication: Publication) -> None:
        transaction = _Transaction(publication, self._clock)
        next_seqs = publication.next_seqs
        keep_at = self._clock.monotonic() + _KEEP_SECONDS
        with self._heads.watching() as moved:
            while True:
                moved.clear()
                # A commit waits for the broker most of its time: the next events are read meanwhile.
                _, runs = await asyncio.gather(transaction.commit_when_due(), self._read(next_seqs))
                await transaction.add(runs)
                if self._clock.monotonic() >= keep_at:
                    await self._keep(epoch, publication)
                    keep_at = self._clock.monotonic() + _KEEP_SECONDS
                if not runs:
                    await _first(moved, transaction.seconds_left)

    async def _read(self, next_seqs: list[int]) -> list[list[LoggedEvent]]:
        """The next run of each shard that has more; `next_seqs` move behind them."""
        behind = self._behind(next_seqs)
        share = max(_RUN_EVENTS_MIN, _PASS_EVENTS_MAX // max(1, len(behind)))
        runs = [run for shard in behind if (run := await self._next_run(shard, next_seqs[shard], share))]
        for run in runs:
            next_seqs[run[0].shard] = run[-1].seq + 1
        return runs

    async def _next_run(self, shard: int, from_seq: int, events_max: int) -> list[LoggedEvent]:
        """The next events of a shard that has more; none where they are lost: the other shards go on."""
        try:
            run = await self._log.read_events(shard, from_seq, events_max)
        except LogHoleError:
            run = []
        if not run and (shard, from_seq) not in self._holes:
            self._holes.add((shard, from_seq))
            FAILURES.labels(LogHoleError.__name__).inc()
            _log.error("a shard is published no further", reason="LOG_HOLE", error=str(LogHoleError(shard, from_seq)))
        return run

    async def _keep(self, epoch: int, publication: Publication) -> None:
        if not await publication.is_intact():
            raise BusUnavailableError("a topic is not the one it was: starting over")
        if not await self._lease.keep(epoch, publication.cursors):
            raise LeaseLostError("another relay has taken the lease")

    async def _refuse_ahead(self, next_seqs: Sequence[int]) -> None:
        for shard, (published, head) in enumerate(zip(next_seqs, await self._log.heads(), strict=True)):
            if published > head.next_seq:
                raise BusRefusedError(
                    f"the topics hold seq {published - 1} of shard {shard}, which the log has not reached (its next is "
                    f"{head.next_seq}): this database is older than they are; if it was restored, stop and run "
                    "`stateset log new-epoch`; then `stateset topics reset` empties them, another topic_prefix leaves "
                    "them as they are"
                )

    def _behind(self, next_seqs: Sequence[int]) -> list[int]:
        heads = self._heads.position.next_seq
        return [shard for shard, next_seq in enumerate(next_seqs) if next_seq < heads[shard]]

    def _announce(self, epoch: int, publication: Publication) -> None:
        self._publication = publication
        TAKEOVERS.inc()
        LEADING.set(1)
        REFUSED.set(0)
        _log.info("publishing", lease_epoch=epoch, next_seqs=publication.next_seqs)

    def _tell(self, error: Exception) -> None:
        FAILURES.labels(type(error).__name__).inc()
        if isinstance(error, BusRefusedError):
            REFUSED.set(1)
            _log.error("nothing is published", reason="TOPIC_REFUSED", error=str(error))
        elif isinstance(error, _EXPECTED):
            _log.warning("publishing ended and is tried again", error=str(error))
        else:
            _log.error("the relay failed and is tried again", exc_info=error)

    async def _measure(self) -> None:
        """Every second how much is not on the bus and since when, whether or not this process publishes."""
        while True:
            try:
                with suppress(DatabaseUnavailableError, StoreUnavailableError, PositionExpiredError):
                    await self._measure_backlog()
            except Exception as error:  # noqa: BLE001 - as for publishing
                _log.error("the backlog cannot be measured and is tried again", exc_info=error)
            await asyncio.sleep(_KEEP_SECONDS)

    async def _measure_backlog(self) -> None:
        kept = self._publication.cursors if self._publication else await self._lease.cursors()
        next_seqs = [  # what is noted of topics that are no more may be below what is kept
            max(earliest, min((cursor.next_seq for (_, of), cursor in kept.items() if of == shard), default=earliest))
            for shard, earliest in enumerate(await self._log.earliest())
        ]
        heads = self._heads.position.next_seq
        oldest_us = self._clock.now_us()
        for shard in self._behind(next_seqs):
            events = await self._next_run(shard, next_seqs[shard], 1)
            oldest_us = min([oldest_us, *(event.record_time_us for event in events[:1])])
        BACKLOG_EVENTS.set(sum(max(0, head - each) for head, each in zip(heads, next_seqs, strict=True)))
        BACKLOG_SECONDS.set((self._clock.now_us() - oldest_us) / 1e6)


def _refuse_gap(next_seqs: Sequence[int], earliest: Sequence[int]) -> None:
    for shard, (lacking, kept) in enumerate(zip(next_seqs, earliest, strict=True)):
        if lacking < kept:
            raise BusRefusedError(
                f"the topics lack seq {lacking} of shard {shard} and what follows it, and the log begins at {kept}: "
                "its retention has taken what is between; `stateset topics reset` empties the topics, which then "
                "begin where the log does, another topic_prefix leaves them as they are"
            )


class _Transaction:
    """What was sent since the last commit, and when it has to be committed."""

    def __init__(self, publication: Publication, clock: Clock) -> None:
        self._publication = publication
        self._clock = clock
        self._events = 0
        self._record_times_us: list[int] = []  # of the first event of each run
        self._seconds = _TRANSACTION_SECONDS
        self._due_at = self._quiet_at = 0.0

    @property
    def seconds_left(self) -> float:
        """How long the commit may wait; without one, until the lease is to be kept."""
        return min(self._due_at, self._quiet_at) - self._clock.monotonic() if self._events else _KEEP_SECONDS

    async def add(self, runs: Sequence[Sequence[LoggedEvent]]) -> None:
        """Sends them."""
        if not runs:
            return
        self._due_at = self._due_at if self._events else self._clock.monotonic() + self._seconds
        await self._publication.publish(runs)
        self._quiet_at = self._clock.monotonic() + _QUIET_SECONDS
        self._events += sum(map(len, runs))
        self._record_times_us += [run[0].record_time_us for run in runs]

    async def commit_when_due(self) -> None:
        """Commits what was sent, if it is full or has waited long enough."""
        if self._events < _TRANSACTION_EVENTS_MAX and self.seconds_left > 0:
            return
        began = self._clock.monotonic()
        await self._publication.commit()
        took = self._clock.monotonic() - began
        self._seconds = min(_TRANSACTION_SECONDS_MAX, max(_TRANSACTION_SECONDS, took / _COMMIT_SHARE))
        PUBLISHED.inc(self._events)
        now_us = self._clock.now_us()
        for record_time_us in self._record_times_us:
            HOP_SECONDS.observe(max(0, now_us - record_time_us) / 1e6)
        self._events = 0
        self._record_times_us.clear()


async def _first(moved: asyncio.Event, seconds: float) -> None:
    """Returns when there is more to read, or after so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await moved.wait()
