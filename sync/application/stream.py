"""One open stream: its session, what wakes its writer, and what its helpers wait for."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from infra.kernel.digest import Digest
from infra.kernel.position import Position
from sync.application.acks import Acks
from sync.application.beats import Beats
from sync.application.bell import Bell
from sync.application.freshness import Freshness
from sync.application.lag import LagMeter
from sync.application.metrics import BEHIND, DELIVERED, STREAMS
from sync.application.settling import Settling
from sync.domain.errors import CallerSilentError, FencedError
from sync.domain.fanout import Fanout, Frame
from sync.domain.frames import AckItems, AckThrough, Alive, ClientFrame, Close, Closed, Grant, Phase, PhaseChange
from sync.domain.lines import Redelivery
from sync.domain.log import Batch
from sync.domain.session import ServerFrame, Session
from sync.domain.snapshot import Chunk, Wanted
from sync.domain.subscription import AckOutcome, AckStatus, SubscriptionKey
from sync.domain.terms import Terms

_UNREAD_SECONDS: Final = 1.0  # a catch-up reader whose batch stays unread that long serves somebody else


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What all streams of a server share."""

    fanout: Fanout
    acks: Acks
    freshness: Freshness
    meter: LagMeter


class Stream:
    """A session with what wakes it.

    Attributes:
        key: The durable subscription that it is of, if any.
        parking_changed: Rings when somebody has replayed or discarded parked events of the subscription.
    """

    def __init__(self, terms: Terms, key: SubscriptionKey | None, common: Common, beats: Beats) -> None:
        self._now = asyncio.get_running_loop().time
        self.session = Session(terms, common.fanout, now=self._now(), meter=common.meter)
        self.key = key
        self.parking_changed = Bell()
        self._settling = Settling(self.session, key, terms.delivery_epoch, common.acks, self._answered)
        self._freshness = common.freshness
        self._news = Bell()
        self._hunger = Bell()
        self._eaten = Bell()
        self._doubt = Bell()
        self._told = Bell()
        self._feeding = False
        self._beats = beats
        self._alarm = 0.0  # when it rings next; 0 if it does not
        self._error: Exception | None = None
        self._fenced: FencedError | None = None
        self._counted = self.session.phase
        STREAMS.labels(self._counted).inc()

    def offer(self) -> None:
        """There is something new in the ring."""
        self.session.offer()
        self._news.ring()

    def drain(self) -> None:
        """The server is about to leave."""
        self.session.drain()
        self._news.ring()

    def fail(self, error: Exception) -> None:
        """Ends the stream with an error; the first one counts."""
        self._error = self._error or error
        self._news.ring()

    def leave(self) -> None:
        """The stream has ended."""
        self._beats.forget(self._alarm, self._ring)
        STREAMS.labels(self._counted).dec()

    async def frames(self) -> AsyncGenerator[ServerFrame, None]:
        """Frame after frame, from Opened to Closed.

        Raises:
            AckRefusedError: An ack says more than was sent.
            CallerSilentError: The caller has said nothing for too long.
            FencedError: Another stream has taken over, or the subscription was moved or deleted.
            PositionError: An ack names another log, or the log cannot be read on from here.
        """
        session = self.session
        keeps_account = session.deliveries is not None
        while True:
            try:
                frame = session.next_frame(self._now(), self._freshness.as_of_us)
            except CallerSilentError as error:
                frame = None
                self.fail(error)
            if self._feeding or session.in_snapshot or (frame is None and not session.rests):
                self._signal()
            if self._error is not None or (frame is None and session.ended):
                error_of_end = self._error or self._fenced
                yield Closed(error=error_of_end, position=session.reached)
                if error_of_end is not None:
                    raise error_of_end
                return
            if keeps_account:
                await self._settling.divert()
                await self._settling.sweep()
            if frame is None:
                await self._wait()
            elif not isinstance(frame, Frame):
                self._told.ring()
                self._count(frame)
                yield frame
            elif frame.message:
                DELIVERED.total += frame.events
                yield frame
            else:
                await asyncio.sleep(0)

    async def read_requests(self, requests: AsyncIterator[ClientFrame]) -> None:
        """Hands what the caller says to the session; reads on only as the caller reads the results of its acks."""
        session = self.session
        async for request in requests:
            session.hear(self._now())
            match request:
                case Grant():
                    session.grant(request)
                case AckThrough():
                    await self._settling.ack(request)
                case AckItems():
                    await self._settling.settle(request)
                case Close():
                    session.close()
                case Alive():
                    pass
            self._news.ring()
            while session.acking.full:
                await self._told.heard()

    async def wants_orders(self) -> Wanted | None:
        """Waits until the stream can take orders of its snapshot, and says which; none when that is over."""
        while self.session.in_snapshot:
            wanted = self.session.wants_orders()
            if wanted is not None:
                return wanted
            await self._hunger.heard()
        return None

    def take_orders(self, chunk: Chunk) -> None:
        """Gives the stream the orders that it wanted."""
        self.session.take_orders(chunk)
        self._news.ring()

    async def wants_proof(self) -> None:
        """Waits until the stream wants to be proved."""
        while not self.session.proving.wanted:
            await self._doubt.heard()

    def prove(self, taken: tuple[Position, Digest] | None) -> None:
        """Gives the stream the proof that it wanted; none if it could not be taken."""
        if taken is None:
            self.session.proving.take(None, self._now())
        else:
            self.session.prove(*taken, self._now())
        self._news.ring()

    async def hungry(self) -> tuple[int, ...]:
        """Waits until the stream can take something that the ring no longer holds; says of which shards."""
        while True:
            shards = self.session.needs()
            if shards:
                return shards
            await self._hunger.heard()

    def news(self) -> None:
        """The session has something to say."""
        self._news.ring()

    async def eat(self, batch: Batch) -> bool:
        """Gives the stream a batch and waits until it is sent; False if that takes too long: it is taken back."""
        if batch.last_seq < self.session.position.next_seq[batch.shard]:
            return False  # the stream has skipped what is done, and wants something else
        self.session.feed(batch)
        self._eaten.silence()
        self._feeding = True
        self._news.ring()
        with suppress(TimeoutError):
            async with asyncio.timeout(_UNREAD_SECONDS):
                await self._eaten.heard()
        self._feeding = False
        was_eaten = not self.session.fed
        self.session.starve()
        return was_eaten

    def _answered(self, outcome: AckOutcome | Exception) -> None:
        if isinstance(outcome, Exception):
            self.fail(outcome)
            return
        if outcome.status is AckStatus.FENCED and self.key is not None:
            self._fenced = FencedError(self.key.name)
            self.session.close()
        self._news.ring()

    def _signal(self) -> None:
        if self._feeding and not self.session.fed:
            self._eaten.ring()
        if self.session.proving.wanted:
            self._doubt.ring()
        if self.session.needs() or self.session.wants_orders():
            self._hunger.ring()

    def _count(self, frame: ServerFrame) -> None:
        if isinstance(frame, Redelivery):
            DELIVERED.total += len(frame.deliveries)
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
        due = self.session.due
        if due != self._alarm:
            if self._alarm:
                self._beats.forget(self._alarm, self._ring)
            self._alarm = due
            self._beats.at(due, self._ring)
        await self._news.heard()

    def _ring(self) -> None:
        self._alarm = 0.0
        self._news.ring()
