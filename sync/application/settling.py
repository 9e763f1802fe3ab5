"""Carries to the database what the caller of a stream has done, and what became of that back to its session."""

import asyncio
from collections.abc import Callable
from functools import partial

from infra.kernel.position import check_filter, check_log
from sync.application.acks import Acks, Answer
from sync.domain.errors import AckRefusedError
from sync.domain.frames import AckItems, AckThrough
from sync.domain.session import Session
from sync.domain.settlement import Changes, Settlement
from sync.domain.subscription import Ack, AckOutcome, AckStatus, SubscriptionKey


class Settling:
    """The acks of one stream."""

    def __init__(
        self, session: Session, key: SubscriptionKey | None, delivery_epoch: int, acks: Acks, answered: Answer
    ) -> None:
        """Makes them.

        Args:
            session: The stream's.
            key: Its subscription, if it has one.
            delivery_epoch: Its opening's.
            acks: Makes them durable.
            answered: Is called with each outcome once the session knows it, or with what went wrong.
        """
        self._now = asyncio.get_running_loop().time
        self._session = session
        self._key = key
        self._delivery_epoch = delivery_epoch
        self._acks = acks
        self._answered = answered

    async def ack(self, request: AckThrough) -> None:
        """Everything below a position is done.

        Raises:
            AckRefusedError: It cannot be.
            PositionError: The position is of another log, or was reached under another filter.
        """
        key, session = self._durable(), self._session
        position = session.position
        check_log(request.through, position.log_epoch, len(position.next_seq))
        check_filter(request.through, position.filter_hash)
        through = session.check_ack(request)
        told = partial(session.acking.acked, request.ack_id)
        if not session.acking.finish_through(through, self._now()):
            told(AckOutcome(status=AckStatus.OUT_OF_ORDER, floors=dict(enumerate(session.acking.floors or ()))))
            return
        ack = Ack(key=key, ack_id=request.ack_id, delivery_epoch=self._delivery_epoch, through=through)
        await self._acks.submit(ack, self._answer(told))

    async def settle(self, request: AckItems) -> None:
        """What became of single events.

        Raises:
            AckRefusedError: It cannot be told.
        """
        key, session = self._durable(), self._session
        verdict = session.judge(request, self._now(), self._acks.clock.now_us())
        told = partial(session.acking.settled, request.ack_id, verdict)
        await self._submit(key, verdict.changes, lambda outcome: told(outcome, self._now()))

    async def divert(self) -> None:
        """Parks what has come of parked orders: the stream does not go on before."""
        acking = self._session.acking
        changes = acking.diversion(self._now(), self._acks.clock.now_us())
        if changes is not None:
            await self._submit(self._durable(), changes, lambda outcome: acking.diverted(outcome, self._now()))

    async def sweep(self) -> None:
        """Makes durable that what was passed over is done, when that is due."""
        session = self._session
        if session.acking.sweep_due:
            changes = session.acking.sweep(session.position.next_seq)
            if changes is not None:
                await self._submit(self._durable(), changes, session.acking.swept)

    async def _submit(self, key: SubscriptionKey, changes: Changes, told: Callable[[AckOutcome], None]) -> None:
        settlement = Settlement(key=key, delivery_epoch=self._delivery_epoch, changes=changes)
        await self._acks.submit(settlement, self._answer(told))

    def _answer(self, told: Callable[[AckOutcome], None]) -> Answer:
        def answer(outcome: AckOutcome | Exception) -> None:
            if not isinstance(outcome, Exception):
                told(outcome)
            self._answered(outcome)

        return answer

    def _durable(self) -> SubscriptionKey:
        if self._key is None:
            raise AckRefusedError("frame.ack", "the stream has no subscription to keep a floor for")
        return self._key
