"""Streams of events: each is a session, the events that wake it, and the helpers that feed it.

A stream's frames are written by whoever iterates `Stream.frames`; its requests are read, and its catch-up is fetched,
by one task each, which touch nothing but the session and wake the writer.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sync.application.beats import Beats
from sync.application.catch_up import CatchUp
from sync.application.opening import Openings
from sync.application.proofs import Proofs
from sync.application.redelivery import Redeliveries
from sync.application.stream import Common, Stream
from sync.domain.errors import FencedError, TooManyStreamsError
from sync.domain.frames import ClientFrame, Open
from sync.domain.subscription import SubscriptionKey


@dataclass(frozen=True, slots=True)
class Helpers:
    """What brings a stream the events that the ring does not have, and proofs."""

    catch_up: CatchUp
    redeliveries: Redeliveries
    proofs: Proofs


class Streams:
    """Every open stream of this server."""

    def __init__(
        self,
        openings: Openings,
        helpers: Helpers,
        common: Common,
        *,
        tasks: asyncio.TaskGroup,
        streams_max: int,
    ) -> None:
        self._openings = openings
        self._helpers = helpers
        self._common = common
        self._tasks = tasks
        self._streams_max = streams_max
        self._beats = Beats()
        self._open: set[Stream] = set()
        self._opening = 0
        self._draining = False

    def wake(self) -> None:
        """Offers what is new in the ring to every stream; waits for none."""
        for stream in self._open:
            stream.offer()

    def all(self) -> Collection[Stream]:
        """The open streams."""
        return self._open

    def of(self, key: SubscriptionKey) -> list[Stream]:
        """The open streams of a subscription."""
        return [stream for stream in self._open if stream.key == key]

    def fence(self, key: SubscriptionKey) -> None:
        """Ends the open streams of a subscription: it has been moved, or is no more."""
        for stream in self.of(key):
            stream.fail(FencedError(key.name))

    def parking_changed(self, key: SubscriptionKey) -> None:
        """Tells the open streams of a subscription that somebody has replayed or discarded parked events."""
        for stream in self.of(key):
            stream.parking_changed.ring()

    async def drain_when(self, draining: asyncio.Event) -> None:
        """Ends every stream with GoAway once `draining` is set, and those that are opened after it."""
        await draining.wait()
        self._draining = True
        for stream in self._open:
            stream.drain()

    @asynccontextmanager
    async def open(
        self, asked: Open, principal: str, requests: AsyncIterator[ClientFrame] | None = None
    ) -> AsyncIterator[Stream]:
        """One stream, served while the context lasts: its `frames` are for the caller.

        Args:
            asked: What to read.
            principal: Whose durable subscriptions are meant.
            requests: What the caller goes on to say, if it can. Its end is no Close: the stream goes on.

        Raises:
            EpochNeverGivenError: The caller's checkpoint has an epoch that no server can have given.
            PositionError: The stream cannot start where it asks to.
            SubscriptionFilterChangedError: The subscription was made with another filter.
            TooManyStreamsError: The server is full.
        """
        if len(self._open) + self._opening >= self._streams_max:
            raise TooManyStreamsError(self._streams_max)
        key = SubscriptionKey(principal=principal, name=asked.subscription) if asked.subscription else None
        self._opening += 1
        try:
            terms = await self._openings.terms(asked, key)
        finally:
            self._opening -= 1
        stream = Stream(terms, key, self._common, self._beats)
        self._open.add(stream)
        helpers: list[asyncio.Task[None]] = []
        try:
            if key is not None and not await self._openings.holds(key, terms):
                stream.fail(FencedError(key.name))
            helpers += self._help(stream, requests)
            if self._draining:
                stream.drain()
            yield stream
        finally:
            self._open.discard(stream)
            stream.leave()
            for helper in helpers:
                helper.cancel()

    def _help(self, stream: Stream, requests: AsyncIterator[ClientFrame] | None) -> list[asyncio.Task[None]]:
        helpers = [self._start(stream, self._helpers.catch_up.serve(stream), "stream-catch-up")]
        if requests is not None:
            helpers.append(self._start(stream, stream.read_requests(requests), "stream-requests"))
        if stream.session.proving.promised:
            helpers.append(self._start(stream, self._helpers.proofs.serve(stream), "stream-proofs"))
        if stream.session.deliveries is not None:
            helpers.append(self._start(stream, self._helpers.redeliveries.serve(stream), "stream-redeliveries"))
        return helpers

    def _start(self, stream: Stream, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return self._tasks.create_task(_guarded(stream, work), name=name)


async def _guarded(stream: Stream, work: Coroutine[Any, Any, None]) -> None:
    """A helper's failure is its stream's, not the server's."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - raised again by the stream's writer
        stream.fail(error)
