"""One open stream: its session, what wakes its writer, and what its helpers wait for."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import Final

from infra.kernel.position import check_log
from sync.application.acks import Acks
from sync.application.freshness import Freshness
from sync.application.metrics import BEHIND, DELIVERED, STREAMS
from sync.domain.delivery import Redelivery
from sync.domain.errors import AckRefusedError
from sync.domain.fanout import Fanout, Frame
from sync.domain.frames import (
    AckItems,
    AckThrough,
    Alive,
    ClientFrame,
    Close,
    ControlFrame,
    Grant,
    Phase,
    PhaseChange,
)
from sync.domain.log import Batch
from sync.domain.session import Session, Terms
from sync.domain.settlement import Changes, Settlement
from sync.domain.subscription import Ack, AckOutcome, AckStatus, SubscriptionKey

_UNREAD_SECONDS: Final = 1.0  # a catch-up reader whose batch stays unread that long serves somebody else

ServerFrame = ControlFrame | Frame | Redelivery


class Stream:
    """A session with what wakes it.

    Attributes:
        key: The durable subscription that it is of, if any.
        parking_changed: Is set when somebody has replayed or discarded parked events of the subscription.
    """

    def __init__(
        self,
        terms: Terms,
        key: SubscriptionKey | None,
        fanout: Fanout,
        acks: Acks,
        freshness: Freshness,
    ) -> None:
        self.session = Session(terms, fanout, now=_now())
        self._delivery_epoch = terms.delivery_epoch
        self.key = key
        self.parking_changed = asyncio.Event()
        self._acks = acks
        self._freshness = freshness
        self._news = asyncio.Event()
        self._hunger = asyncio.Event()
        self._eaten = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._error: Exception | None = None
        self._counted = Phase.CATCHING_UP
        STREAMS.labels(self._counted).inc()

    def offer(self) -> None:
        """There is something new in the ring."""
        self.session.offer()
        self._news.set()

    def drain(self) -> None:
        """The server is about to leave."""
        self.session.drain()
        self._news.set()

    def fail(self, error: Exception) -> None:
        """Ends the stream with an error; the first one counts."""
        self._error = self._error or error
        self._news.set()

    def leave(self) -> None:
        """The stream has ended."""
        if self._alarm is not None:
            self._alarm.cancel()
        STREAMS.labels(self._counted).dec()

    async def frames(self) -> AsyncGenerator[ServerFrame, None]:
        """Frame after frame, from Opened until the session has ended.

        Raises:
            AckRefusedError: An ack says more than was sent.
            PositionError: An ack names another log, or the log cannot be read on from here.
        """
        session = self.session
        while True:
            if self._error is not None:
                raise self._error
            frame = session.next_frame(_now(), self._freshness.as_of_us)
            self._signal()
            await self._divert()
            if frame is None:
                if session.ended:
                    return
                await self._wait()
            elif isinstance(frame, Redelivery):
                DELIVERED.inc(len(frame.deliveries))
                yield frame
            elif isinstance(frame, Frame):
                if frame.message:
                    DELIVERED.inc(frame.events)
                    yield frame
                else:
                    await asyncio.sleep(0)
            else:
                self._count(frame)
                yield frame

    async def read_requests(self, requests: AsyncIterator[ClientFrame]) -> None:
        """Hands what the caller says to the session."""
        async for request in requests:
            match request:
                case Grant():
                    self.session.grant(request)
                case AckThrough():
                    await self._ack(request)
                case AckItems():
                    await self._settle(request)
                case Close():
                    self.session.close()
                case Alive():
                    pass
            self._news.set()

    async def hungry(self) -> tuple[int, ...]:
        """Waits until the stream can take something that the ring no longer holds; says of which shards."""
        while True:
            shards = self.session.needs()
            if shards:
                return shards
            self._hunger.clear()
            await self._hunger.wait()

    def news(self) -> None:
        """The session has something to say."""
        self._news.set()

    async def eat(self, batch: Batch) -> bool:
        """Gives the stream a batch and waits until it is sent; False if that takes too long: it is taken back."""
        if batch.last_seq < self.session.position.next_seq[batch.shard]:
            return False  # the stream has skipped what is done, and wants something else
        self.session.feed(batch)
        self._eaten.clear()
        self._news.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_UNREAD_SECONDS):
                await self._eaten.wait()
        self.session.starve()
        return self._eaten.is_set()

    async def _ack(self, request: AckThrough) -> None:
        key = self._durable()
        position = self.session.position
        check_log(request.through, position.log_epoch, len(position.next_seq))
        through = self.session.check_ack(request)
        told = partial(self.session.acked, request.ack_id)
        if not self.session.finish_through(through):
            told(AckOutcome(status=AckStatus.OUT_OF_ORDER, floors={}))
            return
        ack = Ack(key=key, ack_id=request.ack_id, delivery_epoch=self._delivery_epoch, through=through)
        await self._acks.submit(ack, self._answer(told))

    async def _settle(self, request: AckItems) -> None:
        key = self._durable()
        verdict = self.session.judge(request, _now(), self._acks.clock.now_us())
        told = partial(self.session.settled, request.ack_id, verdict)
        await self._submit(key, verdict.changes, lambda outcome: told(outcome, _now()))

    async def _divert(self) -> None:
        changes = self.session.diversion(_now(), self._acks.clock.now_us())
        if changes is not None and self.key is not None:
            await self._submit(self.key, changes, lambda outcome: self.session.diverted(outcome, _now()))

    async def _submit(self, key: SubscriptionKey, changes: Changes, told: Callable[[AckOutcome], None]) -> None:
        settlement = Settlement(key=key, delivery_epoch=self._delivery_epoch, changes=changes)
        await self._acks.submit(settlement, self._answer(told))

    def _answer(self, told: Callable[[AckOutcome], None]) -> Callable[[AckOutcome | Exception], None]:
        def answer(outcome: AckOutcome | Exception) -> None:
            if isinstance(outcome, Exception):
                self.fail(outcome)
            else:
                told(outcome)
                self._news.set()

        return answer

    def _durable(self) -> SubscriptionKey:
        if self.key is None:
            raise AckRefusedError("frame.ack", "the stream has no subscription to keep a floor for")
        return self.key

    def _signal(self) -> None:
        if not self.session.fed:
            self._eaten.set()
            if self.session.needs():
                self._hunger.set()

    def _count(self, frame: ControlFrame) -> None:
        if not isinstance(frame, PhaseChange):
            return
        STREAMS.labels(self._counted).dec()
        STREAMS.labels(frame.phase).inc()
        self._counted = frame.phase
        if frame.phase is Phase.BEHIND:
            BEHIND.inc()

    async def _wait(self) -> None:
        """Until there is news, at most until the session is due.

        The alarm stays set from one wait to the next: a stream waits for each commit, and is due every few seconds.
        """
        if self._alarm is None or self._alarm.when() != self.session.due:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = asyncio.get_running_loop().call_at(self.session.due, self._ring)
        await self._news.wait()
        self._news.clear()

    def _ring(self) -> None:
        self._alarm = None
        self._news.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
