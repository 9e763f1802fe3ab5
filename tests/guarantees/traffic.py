"""Clients that share orders, repeat, race, give up, ask what became of it, and read what anybody has written."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from tests.guarantees.calls import Calls
from tests.guarantees.commands import SharedOrder, Wish, wish
from tests.guarantees.history import FENCED, OK, UNKNOWN, Answered, History, Settled, now_ns

_ORDERS_AT_ONCE: Final = 6  # few, so that commands meet on them
_RESOLVE_SECONDS: Final = 120.0  # a client's patience; longer than any outage, so that the checker and not it decides
_PAUSE_SECONDS: Final = 0.1
_IMPATIENT_SECONDS: Final = 0.02
_CHANCES: Final = {"twice": 0.1, "again": 0.1, "impatient": 0.05, "fence_race": 0.03, "asks": 0.5, "late": 0.5}


@dataclass(slots=True)
class Turns:
    """How many operations may still begin: whoever runs the traffic decides how much of it there is, and when."""

    _left: int = 0
    _under_way: int = 0
    _over: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _spent: asyncio.Event = field(default_factory=asyncio.Event)

    def grant(self, operations: int) -> None:
        """So many more."""
        self._left += operations
        self._spent.clear()
        self._news.set()

    def end(self) -> None:
        """None but those that were granted before."""
        self._over = True
        self._news.set()

    async def take(self) -> bool:
        """Waits for a turn; False once there will be none."""
        while not self._left:
            if self._over:
                return False
            self._news.clear()
            await self._news.wait()
        self._left -= 1
        self._under_way += 1
        return True

    def finish(self) -> None:
        """A turn that was taken is over."""
        self._under_way -= 1
        if not self._left and not self._under_way:
            self._spent.set()

    async def spent(self) -> None:
        """Returns when every turn that was granted is over."""
        await self._spent.wait()


class Pool:
    """The orders that clients work on at the moment."""

    def __init__(self, prefix: str) -> None:
        self._ids = (f"{prefix}-{number}" for number in count(1))
        self._orders = [SharedOrder(next(self._ids)) for _ in range(_ORDERS_AT_ONCE)]

    def pick(self, drawn: random.Random) -> SharedOrder:
        """One of them; one that has had enough is replaced."""
        place = drawn.randrange(_ORDERS_AT_ONCE)
        if self._orders[place].done:
            self._orders[place] = SharedOrder(next(self._ids))
        return self._orders[place]


class Client:
    """One client. What it asks for is the seed's; how its calls meet those of others is the machine's."""

    def __init__(self, name: str, calls: Calls, pool: Pool, history: History, seed: int) -> None:
        self._name = name
        self._calls = calls
        self._pool = pool
        self._history = history
        self._drawn = random.Random(f"{seed}/{name}")  # noqa: S311 - the seed is the point
        self._requests = count(1)

    async def run(self, turns: Turns, after_operation: Callable[[], Awaitable[None]]) -> None:
        """One operation after the other, as long as there are turns."""
        while await turns.take():
            order = self._pool.pick(self._drawn)
            [operation] = self._drawn.choices((self._command, self._read, self._read_model), weights=(6, 2, 2))
            await operation(order)
            await after_operation()
            turns.finish()

    async def _read(self, order: SharedOrder) -> None:
        min_seqs = order.next_seqs if self._drawn.random() < 1 / 2 else []
        answered = await self._calls.read(self._any_server(), order.order_id, min_seqs)
        order.learn(answered, order.next_seqs)

    async def _read_model(self, order: SharedOrder) -> None:
        await self._calls.read_model(order.order_id, order.next_seqs)

    async def _command(self, order: SharedOrder) -> None:
        sent = wish(order, f"{self._name}-{next(self._requests):06}", self._drawn)
        answers = await self._first_attempts(sent)
        started = asyncio.get_running_loop().time()
        while not (known := _known(answers)) and asyncio.get_running_loop().time() < started + _RESOLVE_SECONDS:
            await asyncio.sleep(_PAUSE_SECONDS)
            answers.append(await self._resolve(sent))
        answers += await self._repeats(sent, answers)
        for answered in answers:
            covered = answered.outcome == OK and answered.events
            order.learn(answered, self._position(order, answered) if covered else order.next_seqs)
        self._history.note(Settled(now_ns(), sent.request.request_id, known))

    async def _first_attempts(self, sent: Wish) -> list[Answered]:
        """Once; or twice at once, by any two servers; or while somebody else fences it; or without patience."""
        if self._chance("twice"):
            return list(await asyncio.gather(self._send(sent), self._send(sent)))
        if self._chance("fence_race"):
            return list(await asyncio.gather(self._send(sent), self._ask(sent, fence=True)))
        if self._chance("impatient"):
            return [await self._send(sent, seconds=_IMPATIENT_SECONDS)]
        return [await self._send(sent)]

    async def _resolve(self, sent: Wish) -> Answered:
        """Sends it again, or asks what became of it, for good or for now."""
        if self._chance("asks"):
            return await self._ask(sent, fence=self._drawn.random() < 2 / 3)
        return await self._send(sent)

    async def _repeats(self, sent: Wish, answers: Sequence[Answered]) -> list[Answered]:
        """A repeat of what was answered, or a straggler of what was fenced."""
        fenced = any(answered.outcome == FENCED for answered in answers)
        return [await self._send(sent)] if self._chance("late" if fenced else "again") else []

    async def _send(self, sent: Wish, **seconds: float) -> Answered:
        return await self._calls.command(self._any_server(), sent.method, sent.request, guard=sent.guard, **seconds)

    async def _ask(self, sent: Wish, *, fence: bool) -> Answered:
        request = sent.request
        return await self._calls.ask(self._any_server(), request.order_id, request.request_id, fence=fence)

    def _position(self, order: SharedOrder, answered: Answered) -> list[int]:
        return self._calls.position_of(order.order_id, answered.next_seqs)

    def _any_server(self) -> int:
        return self._drawn.randrange(self._calls.servers)

    def _chance(self, name: str) -> bool:
        return self._drawn.random() < _CHANCES[name]


def _known(answers: Sequence[Answered]) -> bool:
    return any(answered.outcome != UNKNOWN for answered in answers)
