"""Faults at instants of a stretch of work that a seed decides, so that a failure can be played again."""

import asyncio
import os
import random
import signal
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from infra.runtime.supervisor import Child
from tests.harness.waiting import eventually

RESTART_SECONDS = 180.0  # a broker takes eight by itself, a minute with what deleted topics left on a crowded machine
_JITTER = 10  # commands
_MANY_TIMES = 50
_MANY_COMMANDS = 20_000  # of a campaign in which each fault happens so many times
_COMMANDS_PER_ORDER_MIN = 4.5
_REPLAYED_ORDERS_MIN = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        name: For the person who plays it again.
        ready: Returns when it can happen once more: what it hits works.
        strike: Makes it happen. It may last; the work goes on meanwhile.
        share: How often it happens where others happen once.
    """

    name: str
    ready: Callable[[], Awaitable[None]]
    strike: Callable[[], Coroutine[Any, Any, None]]
    share: float = 1.0

    def times(self, each: int) -> int:
        """How often it happens where others happen so many times; once at least."""
        return max(1, round(self.share * each))


class Observer(Protocol):
    """Is told what goes wrong, and when it is over."""

    def struck(self, fault: str) -> None:
        """The fault of this name happens."""

    def healed(self, fault: str) -> None:
        """What it hit works again."""


class Nobody:
    """Does not care."""

    def struck(self, fault: str) -> None:
        """See `Observer.struck`."""

    def healed(self, fault: str) -> None:
        """See `Observer.healed`."""


def seed() -> int:
    """The environment's SEED, else a new one."""
    return int(os.environ.get("SEED") or random.SystemRandom().randrange(1_000_000))


def times() -> int:
    """How often each fault happens: the environment's FAULTS, else five times."""
    return int(os.environ.get("FAULTS") or 5)


def commands_for(faults: int, *, apart: int) -> int:
    """How many commands give each of so many faults an instant of its own; a long campaign has many in any case.

    Args:
        faults: All of them.
        apart: So many commands lie between two on average. Who sends them has fewer in flight, by twice the jitter.
    """
    return max((faults + 2) * apart, _MANY_COMMANDS if times() >= _MANY_TIMES else 0)


def orders_for(faults: int, *, apart: int) -> int:
    """How many orders give each of so many faults an instant of its own."""
    return max(_REPLAYED_ORDERS_MIN, round(commands_for(faults, apart=apart) / _COMMANDS_PER_ORDER_MIN))


def schedule(seed: int, commands: int, faults: Sequence[Fault], times: int, *, apart: int) -> list[tuple[int, Fault]]:
    """After how many answered commands which fault happens: as often as each should, never at the end, in any order."""
    drawn = random.Random(seed)  # noqa: S311 - the seed is the point
    all_of_them = [fault for fault in faults for _ in range(fault.times(times))]
    drawn.shuffle(all_of_them)
    slots = sorted(drawn.sample(range(1, commands // apart), len(all_of_them)))
    return [
        (slot * apart + drawn.randrange(-_JITTER, _JITTER), fault)
        for slot, fault in zip(slots, all_of_them, strict=True)
    ]


class Progress:
    """How many commands were answered."""

    answered = 0

    async def goes_on(self, commands: int) -> None:
        """Returns when so many more were answered."""
        before = self.answered
        await eventually(lambda: self.answered >= before + commands, within_seconds=RESTART_SECONDS)


class Campaign:
    """Lets faults happen while work goes on.

    A fault that cannot happen yet, since what it hits is still down from the last time, is waited for, and the work
    with it: so every fault hits something that works, with other commands under way.

    Args:
        schedule: As the function of that name makes it.
        commands: How many commands there are. The last one waits until nothing is broken any more.
        progress: Is kept.
        tasks: Where the faults run.
        observer: Is told of them.
    """

    def __init__(
        self,
        schedule: Sequence[tuple[int, Fault]],
        commands: int,
        progress: Progress,
        tasks: asyncio.TaskGroup,
        observer: Observer,
    ) -> None:
        self.happened: Counter[str] = Counter()
        self._progress = progress
        self._due = deque(schedule)
        self._faults = {fault.name: fault for _, fault in schedule}
        self._commands = commands
        self._tasks = tasks
        self._observer = observer
        self._turn = asyncio.Lock()

    async def after_command(self, answered: int) -> None:
        """To be awaited after each command, with how many there were."""
        self._progress.answered = answered
        async with self._turn:
            while self._due and answered >= self._due[0][0]:
                _, fault = self._due.popleft()
                await fault.ready()
                self.happened[fault.name] += 1
                self._tasks.create_task(self._happen(fault), name=fault.name)
                await asyncio.sleep(0)  # it has begun, so that whoever waits for the same victim sees it
        if answered == self._commands:
            for fault in self._faults.values():
                await fault.ready()

    async def _happen(self, fault: Fault) -> None:
        self._observer.struck(fault.name)
        await fault.strike()
        await fault.ready()
        self._observer.healed(fault.name)


class Victim:
    """A supervised process that faults happen to, one after the other."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.ends = 0
        self._deaths_before = -1
        self._turn = asyncio.Lock()

    async def ready(self) -> None:
        """Returns when it serves, and nothing is being done to it."""
        async with self._turn:
            await self._serves()

    async def kill(self) -> None:
        """SIGKILL. Its supervisor starts it again."""
        async with self._turn:
            self.send(signal.SIGKILL)

    async def restart(self) -> None:
        """SIGTERM: it finishes what it has begun and ends. Its supervisor starts it again."""
        async with self._turn:
            self.send(signal.SIGTERM)

    async def freeze(self, until: Callable[[], Awaitable[None]]) -> None:
        """SIGSTOP, and SIGCONT as soon as `until` returns: it goes on as if no time had passed."""
        async with self._turn:
            self.send(signal.SIGSTOP)
            try:
                await until()
            finally:
                self.send(signal.SIGCONT)

    async def kill_without(self, deleted: Callable[[], Awaitable[None]]) -> None:
        """Freezes it, lets `deleted` take away what it has kept, and kills it: it starts again with nothing."""
        async with self._turn:
            await self._serves()
            self.send(signal.SIGSTOP)
            try:
                await deleted()
            finally:
                self.send(signal.SIGKILL)

    async def disturb(self, what: Callable[[], Awaitable[None]]) -> None:
        """Does something that it must be alive for."""
        async with self._turn:
            await self._serves()
            await what()

    def send(self, number: signal.Signals, pid: int | None = None) -> None:
        """A signal to its process, or to one below it; one that ends it is counted."""
        to = pid if pid is not None else self.child.pid
        assert to is not None, f"{self.child.name} does not run"
        if number in (signal.SIGKILL, signal.SIGTERM):
            self.ends += 1
            self._deaths_before = self.child.deaths
        os.kill(to, number)

    async def _serves(self) -> None:
        child = self.child
        await eventually(
            lambda: child.deaths > self._deaths_before and child.ready.is_set() and child.pid is not None,
            within_seconds=RESTART_SECONDS,
        )


def killed(victim: Victim) -> Fault:
    """The victim's process is killed."""
    return Fault(name=f"{victim.child.name} is killed", ready=victim.ready, strike=victim.kill)
