"""How much of the log the read model covers, and as of when."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from infra.kernel.position import AtLeast, Position, check_log
from infra.runtime.clock import Clock
from infra.runtime.grpc.draining import Draining
from infra.runtime.grpc.status import StalePositionError
from infra.runtime.lifespan import StartupError
from infra.runtime.log import get_logger
from sync.application.metrics import STALENESS_SECONDS, STALLED_SHARDS
from sync.application.ports import EventSource, SourceUnavailableError
from sync.domain.log import LogHead
from sync.domain.stall import Watch

_READINGS_MAX: Final = 60  # a minute of them; beyond that every second one is enough to say how old we are
_POLL_SECONDS: Final = 1.0
_STALL_SECONDS: Final = 8.0  # two looks, each a poll late at most: noticed within 10 s
_HISTORY_MAX: Final = 128  # readings; of the older half every second one goes when they are that many
_log = get_logger(__name__)


class Reading(NamedTuple):
    """The log's head, and when it was asked for by this process's steady clock: no wall clock says how old it is."""

    head: LogHead
    asked_at: float


class Freshness:
    """The read model's position, who waits for it, and the readings of the log's head that it does not cover yet.

    Attributes:
        as_of_us: The log was covered up to this time, by the clock of the Order Service; earlier than it was before
            where that clock was set back. 0 if it is not known yet.
    """

    def __init__(self, position: Position, clock: Clock, draining: Draining) -> None:
        self.position = position
        self.head: LogHead | None = None
        self.as_of_us = 0
        self._clock = clock
        self._draining = draining
        self._current_at: float | None = None
        self._pending: list[Reading] = []
        self._history: list[Reading] = []
        self._moved = asyncio.Event()
        self._stall = Watch(_STALL_SECONDS)
        self._stalled: frozenset[int] = frozenset()

    def move(self, position: Position) -> None:
        """The read model now includes everything below `position`."""
        self.position = position
        self._settle()
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def read(self, head: LogHead, asked_at: float) -> None:
        """The log's head was read: it was asked for then, by `Clock.monotonic`."""
        self.head = head
        reading = Reading(head, asked_at)
        if self._pending and self._pending[-1].head.next_seq == head.next_seq:
            self._pending.pop()
        elif len(self._pending) >= _READINGS_MAX:
            del self._pending[1::2]
        self._pending.append(reading)
        self._remember(reading)
        self._settle()

    def behind_seconds(self, next_seqs: Sequence[int], shards: Sequence[int]) -> float | None:
        """Since the log's head in these shards was last known to be where a reader stands, or before; none if never."""

        def is_ahead(reading: Reading) -> bool:
            return any(reading.head.next_seq[shard] > next_seqs[shard] for shard in shards)

        covered = bisect_left(self._history, True, key=is_ahead)  # noqa: FBT003 - what is_ahead says
        return self._since(self._history[covered - 1].asked_at) if covered else None

    def staleness_seconds(self) -> float:
        """Since the read model was last known to cover the log to its head; all of the time that there is if never."""
        return self._clock.now_us() / 1e6 if self._current_at is None else self._since(self._current_at)

    def _since(self, at: float) -> float:
        return max(0.0, self._clock.monotonic() - at)

    async def reach(self, at_least: AtLeast) -> None:
        """Waits until the read model includes what the caller wants it to.

        Raises:
            LogEpochChangedError: It is a position of another log.
            PositionMalformedError: It has another number of shards.
            StalePositionError: It did not get there in time.
            StoppingError: The server is about to leave, and it did not get there before.
        """
        wanted = at_least.position
        if wanted is None:
            return
        check_log(wanted, self.position.log_epoch, len(self.position.next_seq))
        with suppress(TimeoutError):
            async with self._draining.waiting(), asyncio.timeout(at_least.seconds):
                while not self.position.covers(wanted):
                    await self._moved.wait()
                return
        raise StalePositionError(f"the read model is at {list(self.position.next_seq)}, not yet at the position asked")

    async def watch(self, source: EventSource, tell: Callable[[float], None]) -> None:
        """Reads the head every second for as long as the server lives, and says in return what is durable here.

        Whatever it is that keeps the read model from going on with the log, it is told of within ten seconds.

        Args:
            source: Of the log.
            tell: Is told the staleness each time, in seconds.

        Raises:
            StartupError: The log is another one than the read model's.
        """
        while True:
            asked_at = self._clock.monotonic()
            try:
                head = await source.head()
            except SourceUnavailableError as error:
                _log.warning("the log's head cannot be read", error=str(error))
            else:
                refuse_other_log(self.position, head)
                self.read(head, asked_at)
                self._look(head)
                await source.confirm(self.position)
            STALENESS_SECONDS.set(self.staleness_seconds())
            tell(self.staleness_seconds())
            await asyncio.sleep(_POLL_SECONDS)

    def _look(self, head: LogHead) -> None:
        now = self._clock.monotonic()
        if self._stall.seconds_left(now) > 0:
            return
        before, self._stalled = self._stalled, frozenset(self._stall.look(self.position, head, now))
        STALLED_SHARDS.set(len(self._stalled))
        if self._stalled - before:
            _log.error("shards stand still while the log goes on", reason="STALLED", shards=sorted(self._stalled))
        elif before and not self._stalled:
            _log.info("all shards go on")

    def _remember(self, reading: Reading) -> None:
        if self._history and self._history[-1].head.next_seq == reading.head.next_seq:
            self._history.pop()
        elif len(self._history) >= _HISTORY_MAX:
            del self._history[1 : _HISTORY_MAX // 2 : 2]
        self._history.append(reading)

    def _settle(self) -> None:
        covered = [reading for reading in self._pending if _covers(self.position, reading.head)]
        if covered:
            self.as_of_us, self._current_at = covered[-1].head.read_time_us, covered[-1].asked_at
            self._pending = self._pending[self._pending.index(covered[-1]) + 1 :]


def refuse_other_log(position: Position, head: LogHead) -> None:
    """Compares the read model with the log.

    Raises:
        StartupError: They do not belong together.
    """
    if position.log_epoch != head.log_epoch or len(position.next_seq) != len(head.next_seq):
        raise StartupError(
            f"the read model is of log {position.log_epoch} with {len(position.next_seq)} shards, "
            f"the Order Service has log {head.log_epoch} with {len(head.next_seq)}: "
            "name another file with --database, or another --order-address"
        )


def _covers(position: Position, head: LogHead) -> bool:
    return all(mine >= theirs for mine, theirs in zip(position.next_seq, head.next_seq, strict=True))
