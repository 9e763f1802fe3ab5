"""Events handled one by one, without a database of one's own: retried, and set aside if they cannot be handled."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import repeat
from typing import Final, NamedTuple

from stateset.order.v1.order_event_pb2 import OrderEvent

from stateset_client.batch import AckStatus, Batch, Outcome, Settled
from stateset_client.covers import Covers
from stateset_client.poison import PoisonError, parking
from stateset_client.settling import settle_until_answered
from stateset_client.subscription import Subscription

_TAKEN_EVENTS_MAX: Final = 1_000
# Then the server holds the order's later events back. After any other status it has settled the event before, or sends
# it again, and waits for an answer to all that it has sent behind it.
_HELD: Final = frozenset({AckStatus.COMMITTED, AckStatus.PARKING_FULL})


class _Waiting(NamedTuple):
    event: OrderEvent
    attempt: int
    arrival: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """What follows a handler that raises.

    Attributes:
        attempts_max: After so many the event is parked, and its order's later events with it.
        delay_seconds: Before the second attempt; each further delay is twice as long.
        delay_seconds_max: The longest.
        at_once_max: Orders that are handled at the same time.
    """

    attempts_max: int = 5
    delay_seconds: float = 1.0
    delay_seconds_max: float = 300.0
    at_once_max: int = 64


class EventHandler:
    """Calls a function for every event: an order's events one after another, those of many orders at once.

        limits = StreamLimits(unacked_events_max=1_000)
        async with Subscription("sync:50052", "mailer", limits=limits) as subscription:
            await EventHandler(subscription, send_mail).run()

    An event is settled when the function returns. After a crash or a lost connection one that was not comes again, so
    the function must bear that; whoever cannot uses a `Projection`.

    Args:
        subscription: Opened with `unacked_events_max`, which also bounds what waits here.
        handle: May raise: the event comes again later, and is parked in the end; at once for a `PoisonError`.
        policy: When is what.
    """

    def __init__(
        self,
        subscription: Subscription,
        handle: Callable[[OrderEvent], Awaitable[None]],
        *,
        policy: RetryPolicy | None = None,
    ) -> None:
        self._subscription = subscription
        self._handle = handle
        self._policy = policy or RetryPolicy()
        self._lines: dict[str, deque[_Waiting]] = {}
        self._covers = Covers()
        self._delivery_epoch = 0
        self._at_once = asyncio.Semaphore(self._policy.at_once_max)

    async def run(self) -> None:
        """Handles until it is cancelled.

        Raises:
            FencedError: Another process has taken over the subscription.
            StateSetError: The subscription has ended for good.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    arrivals = await self._subscription.take(events_max=_TAKEN_EVENTS_MAX)
                    for batch in arrivals.batches:
                        self._take_in(batch, tasks)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group

    def _take_in(self, batch: Batch, tasks: asyncio.TaskGroup) -> None:
        if batch.delivery_epoch != self._delivery_epoch:
            self._delivery_epoch = batch.delivery_epoch
            self._covers.clear()
            for overtaken in self._lines.values():
                overtaken.clear()  # all of it comes again on the new stream
        for event, attempt in zip(batch.events, batch.attempts or repeat(1), strict=False):
            if self._covers.hides(event, batch.arrival):
                continue
            line = self._lines.get(event.order_id)
            if line is None:
                line = self._lines[event.order_id] = deque()
                tasks.create_task(self._work_off(event.order_id, line), name=f"handle-{event.order_id}")
            line.append(_Waiting(event, attempt, batch.arrival))

    async def _work_off(self, order_id: str, line: deque[_Waiting]) -> None:
        try:
            while line:
                await self._finish(line.popleft(), line)
        finally:
            del self._lines[order_id]  # whatever ends this, the order's next event begins a line that is worked off

    async def _finish(self, waiting: _Waiting, line: deque[_Waiting]) -> None:
        event, attempt, _ = waiting
        epoch = self._delivery_epoch
        async with self._at_once:
            settled = await self._settled(event, attempt)
        if settled.outcome is not Outcome.DONE and epoch != self._delivery_epoch:
            return  # it comes again on the new stream: it is in the line by now
        result = await settle_until_answered(self._subscription, [settled], "the subscription")
        if settled.outcome is not Outcome.DONE and _HELD.intersection(result.items):
            self._leave_out(event, line, result.arrivals)
        elif AckStatus.UNKNOWN in result.items and epoch == self._delivery_epoch:
            line.clear()  # a new stream has answered: all of it comes again there, and in sequence

    def _leave_out(self, event: OrderEvent, line: deque[_Waiting], arrivals: int) -> None:
        """What was sent before the server knew of the event's outcome comes again behind it, or is parked with it."""
        self._covers.begin(event, arrivals)
        kept = [each for each in line if not self._covers.hides(each.event, each.arrival)]
        line.clear()
        line.extend(kept)

    async def _settled(self, event: OrderEvent, attempt: int) -> Settled:
        try:
            await self._handle(event)
        except (Exception, asyncio.CancelledError) as error:
            if _is_canceled():  # else the handler awaited something else that was
                raise asyncio.CancelledError from error
            if isinstance(error, PoisonError) or attempt >= self._policy.attempts_max:
                return parking(event, error)
            delay_seconds = self._policy.delay_seconds * 2 ** min(attempt - 1, 30)
            delay_seconds = min(delay_seconds, self._policy.delay_seconds_max)
            return Settled(event=event, outcome=Outcome.RETRY, delay_seconds=delay_seconds)
        return Settled(event=event, outcome=Outcome.DONE)


def _is_canceled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
