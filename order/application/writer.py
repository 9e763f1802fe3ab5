"""The group-commit loop: commands that wait while a transaction is under way share the next one.

A commit costs milliseconds and a row microseconds, so the size of the groups decides the speed of the service. One
transaction is in flight at a time; while it is, the next group gathers.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client import Histogram

from infra.kernel.shard import shard_of
from infra.runtime.clock import Clock
from infra.runtime.grpc.status import DeadlineTooShortError
from infra.runtime.log import get_logger
from order.application.group import Group, Reply
from order.application.heads import Heads
from order.application.ports import Codec, Log, RowLockedError, ShardLockedError, Submission, View, Writes
from order.domain.errors import LogHoleError, OverloadedError, StoreUnavailableError
from order.domain.policy import Policy

GROUP_COMMANDS = Histogram(
    "stateset_order_group_commands", "Commands committed together.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
COMMIT_SECONDS = Histogram(
    "stateset_order_commit_seconds",
    "Time of one group's transaction.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
)
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterLimits:
    """Bounds of the writer.

    Attributes:
        group_commands_max: Larger groups cost less each, and make their first command wait longer.
        group_bytes_max: The same, counted in request bytes.
        queue_commands_max: Commands that may wait; more are refused as overload.
        queue_seconds_max: Nobody else may join while the first in the queue has waited for longer. More rides out a
            longer stall of the database; less keeps the answers of an overloaded service worth having.
        least_seconds: A caller that has less left is refused: a group commit takes longer.
        gather_commands: The writer waits for this many, if it has reason to expect them…
        gather_seconds: … but never longer than this, not counting what the event loop is busy for meanwhile…
        quiet_seconds: … and only while they keep coming: so long without a new one, and it goes to work.
    """

    group_commands_max: int = 256
    group_bytes_max: int = 1_048_576
    queue_commands_max: int = 4096
    queue_seconds_max: float = 1.0
    least_seconds: float = 0.005
    gather_commands: int = 64
    gather_seconds: float = 0.02
    quiet_seconds: float = 0.002


class _Waiting(NamedTuple):
    submission: Submission
    future: asyncio.Future[Reply]
    since: float


class Writer:
    """Carries out commands, one group at a time, in the order in which they came."""

    def __init__(
        self, log: Log, codec: Codec, heads: Heads, clock: Clock, limits: WriterLimits, policy: Policy
    ) -> None:
        """Does nothing yet.

        Args:
            log: Where commands take effect.
            codec: How replies and events are encoded.
            heads: Told of every commit.
            clock: Record times and deadlines.
            limits: How large a group may be and how long it gathers.
            policy: How the business wants its orders treated.
        """
        self._log = log
        self._codec = codec
        self._heads = heads
        self._clock = clock
        self._limits = limits
        self._policy = policy
        self._queue: deque[_Waiting] = deque()
        self._enough = asyncio.Event()
        self._taken = asyncio.Event()
        self._wanted = 1
        self._expected = 0.0
        self._closing = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Carries out what is submitted while the context lasts; on leaving, whatever waits is still answered."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._run(), name="writer")
            try:
                yield
            finally:
                self._closing = True
                self._enough.set()

    def admit(self) -> None:
        """Lets one more command come; asked before it is read, so that refusing costs less than serving.

        Raises:
            OverloadedError: Too many commands wait, or have waited for too long; nothing was done.
        """
        if self._is_full():
            raise OverloadedError(f"{len(self._queue)} commands are waiting; nothing was done")

    async def room(self) -> None:
        """Waits while as many commands wait as are committed together, or nobody may join them.

        For those who have many commands and can wait with them: they keep the writer busy and the queue open to others.
        """
        while self._is_full() or len(self._queue) >= self._limits.group_commands_max:
            self._taken.clear()
            await self._taken.wait()

    def _is_full(self) -> bool:
        return bool(self._queue) and (
            len(self._queue) >= self._limits.queue_commands_max
            or self._clock.monotonic() - self._queue[0].since > self._limits.queue_seconds_max
        )

    async def submit(self, submission: Submission) -> Reply:
        """The answer to the command, once it is durable.

        A caller that goes away while its command waits takes it back; later, it only stops waiting.

        Raises:
            OrderError: The command is refused in a way that may differ next time.
            OverloadedError: Too many commands wait, or have waited for too long; nothing was done.
            DeadlineTooShortError: Its turn came too late; nothing was done.
            LogHoleError: The database has lost commits of the order's shard; nothing was done.
            StoreUnavailableError: The database cannot be used.
        """
        self.admit()
        return await self.enqueue(submission)

    def enqueue(self, submission: Submission) -> "asyncio.Future[Reply]":
        """The answer to come, for a caller with many commands, who would need a task for each to `submit` them.

        For those who have just waited for `room`: nothing is refused here, however slowly they come. It ends as
        `submit` does. Cancelling it takes back a command that still waits.
        """
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(submission, future, self._clock.monotonic()))
        if len(self._queue) >= self._wanted:
            self._enough.set()
        return future

    async def _run(self) -> None:
        while self._queue or not self._closing:
            await self._gather()
            group = self._take()
            if group:
                await self._commit(group)
                self._expected = max(len(group) + len(self._queue), 0.95 * self._expected)

    async def _gather(self) -> None:
        """Waits for a first command, then for as many as the last groups make likely; a lone caller for nothing.

        While the event loop is busy nobody can come, and waiting costs nothing: only a quiet time that it was free for
        says that the rest stay away. So groups fill up under load, and do not wait without.
        """
        if not self._queue:
            await self._wait_for(1)
        wanted = min(self._limits.gather_commands, round(self._expected))
        quiet_seconds, waited_seconds = self._limits.quiet_seconds, 0.0
        loop = asyncio.get_running_loop()
        while len(self._queue) < wanted and waited_seconds < self._limits.gather_seconds and not self._closing:
            came, due = len(self._queue), loop.time() + quiet_seconds
            timer = loop.call_at(due, self._enough.set)
            await self._wait_for(wanted)
            timer.cancel()
            if len(self._queue) == came and loop.time() < due + quiet_seconds:
                return
            waited_seconds += quiet_seconds

    async def _wait_for(self, commands: int) -> None:
        """Until so many wait, or something else has to be looked at."""
        self._wanted = commands
        self._enough.clear()
        if not self._closing:
            await self._enough.wait()

    def _take(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        bytes_left = self._limits.group_bytes_max
        latest = self._clock.monotonic() + self._limits.least_seconds
        while self._queue and len(group) < self._limits.group_commands_max and bytes_left > 0:
            waiting = self._queue.popleft()
            if waiting.future.done():
                continue
            if waiting.submission.deadline < latest:
                waiting.future.set_exception(DeadlineTooShortError("its turn came too late; nothing was done"))
                continue
            bytes_left -= waiting.submission.size_bytes
            group.append(waiting)
        self._taken.set()
        return group

    async def _commit(self, group: list[_Waiting]) -> None:
        """Commits the group and answers it; in parts, if a shard or a row is locked or a command spoils the whole."""
        commands = Group(
            [each.submission for each in group], shards=self._log.shards, codec=self._codec, policy=self._policy
        )
        try:
            with COMMIT_SECONDS.time():
                await self._log.commit(commands.needs, lambda view: self._decided(commands, view))
        except RowLockedError as error:
            await self._commit_parts(group, [[each] for each in group], error)
        except StoreUnavailableError as error:
            _answer(group, [error] * len(group))
        except ShardLockedError as error:
            await self._commit_parts(group, self._by_shard(group), StoreUnavailableError(str(error)))
        except LogHoleError as error:
            _log.error("a shard takes no commands", reason="LOG_HOLE", error=str(error))
            await self._commit_parts(group, self._by_shard(group), error)
        except Exception as error:  # noqa: BLE001 - whatever it is, every caller is answered and the loop goes on
            await self._commit_parts(group, [[each] for each in group], error)
        else:
            GROUP_COMMANDS.observe(len(group))
            self._heads.advance({shard: head.next_seq for shard, head in commands.writes.heads.items()})
            _answer(group, commands.outcomes)

    def _decided(self, commands: Group, view: View) -> Writes:
        """Gives no seq a second time: a standby that was promoted may lack commits that readers have seen."""
        known = self._heads.position.next_seq
        for shard, head in view.heads.items():
            if head.next_seq < known[shard]:
                raise LogHoleError(shard, head.next_seq)
        return commands.decide(view, self._clock.now_us())

    async def _commit_parts(self, group: list[_Waiting], parts: list[list[_Waiting]], error: Exception) -> None:
        """Commits each part by itself after the whole has failed; a group that has but one part has its answer."""
        if len(parts) == 1:
            _answer(group, [error] * len(group))
            return
        _log.warning("group failed, trying its parts", commands=len(group), parts=len(parts), exc_info=error)
        for part in parts:
            await self._commit(part)

    def _by_shard(self, group: list[_Waiting]) -> list[list[_Waiting]]:
        parts: dict[int, list[_Waiting]] = {}
        for each in group:
            parts.setdefault(shard_of(each.submission.command.order_id, self._log.shards), []).append(each)
        return list(parts.values())


def _answer(group: list[_Waiting], outcomes: list[Reply | Exception]) -> None:
    for waiting, outcome in zip(group, outcomes, strict=True):
        if waiting.future.done():  # its caller went away; setting a result would kill the loop
            continue
        if isinstance(outcome, Exception):
            waiting.future.set_exception(outcome)
        else:
            waiting.future.set_result(outcome)
