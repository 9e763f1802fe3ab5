"""Acks of all streams, whatever they name, made durable together."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from infra.runtime.clock import Clock
from infra.runtime.database import DatabaseLockedError
from sync.application.metrics import ACKS
from sync.application.ports import Subscriptions
from sync.domain.settlement import Settlement
from sync.domain.subscription import Ack, AckOutcome, SubscriptionKey

_WAITING_MAX: Final = 4_096  # then the streams' requests are read no further
_TRANSACTION_ACKS_MAX: Final = 256

Answer = Callable[[AckOutcome | Exception], None]
Group = list[tuple[Ack | Settlement, Answer]]


class Acks:
    """Groups what waits while a transaction runs into the next one: a lone ack waits for nothing.

    Attributes:
        clock: When something was set aside.
    """

    def __init__(self, subscriptions: Subscriptions, clock: Clock) -> None:
        self.clock = clock
        self._subscriptions = subscriptions
        self._waiting: asyncio.Queue[tuple[Ack | Settlement, Answer]] = asyncio.Queue(_WAITING_MAX)

    async def submit(self, ack: Ack | Settlement, answer: Answer) -> None:
        """Hands over an ack; `answer` is called once its outcome is durable, or with what went wrong."""
        await self._waiting.put((ack, answer))

    async def run(self) -> None:
        """Commits until it is canceled."""
        while True:
            group = [await self._waiting.get()]
            while len(group) < _TRANSACTION_ACKS_MAX and not self._waiting.empty():
                group.append(self._waiting.get_nowait())
            await self._commit(group)

    async def _commit(self, group: Group) -> None:
        try:
            outcomes = await self._subscriptions.commit([ack for ack, _ in group])
        except Exception as error:  # noqa: BLE001 - each stream is told, and the next group may do better
            parts = _by_subscription(group)
            if isinstance(error, DatabaseLockedError) and len(parts) > 1:
                for part in parts:  # it is one of them that somebody holds: the others are not to end with it
                    await self._commit(part)
                return
            for _, answer in group:
                answer(error)
            return
        for (_, answer), outcome in zip(group, outcomes, strict=True):
            ACKS.labels(outcome.status).inc()
            answer(outcome)


def _by_subscription(group: Group) -> list[Group]:
    parts: defaultdict[SubscriptionKey, Group] = defaultdict(list)
    for ack, answer in group:
        parts[ack.key].append((ack, answer))
    return list(parts.values())
