"""Where the log stands, for those who wait for more of it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress

from infra.kernel.position import Position
from infra.runtime.clock import Clock
from infra.runtime.lifespan import background
from order.application.ports import Log
from order.domain.errors import StoreUnavailableError


class Heads:
    """The next seq of every shard, as the last commit left them. Moves forward only; lives on one event loop.

    Our own commits move it at once, those of other processes as news of them come, or by a look at the log itself.

    Attributes:
        as_of_us: Whatever was recorded by then, by anybody, is below the heads.
    """

    def __init__(self, log_epoch: str, next_seq: list[int]) -> None:
        self.as_of_us = 0
        self._log_epoch = log_epoch
        self._next_seq = next_seq
        self._watchers: set[asyncio.Event] = set()

    @property
    def position(self) -> Position:
        """Behind the last event of every shard."""
        return Position(log_epoch=self._log_epoch, next_seq=tuple(self._next_seq))

    def advance(self, moves: Mapping[int, int]) -> None:
        """Takes in where a commit has left its shards, and wakes everybody who watches."""
        for shard, next_seq in moves.items():
            self._next_seq[shard] = max(self._next_seq[shard], next_seq)
        self.wake()

    def wake(self) -> None:
        """Wakes everybody who watches, to look again at whatever they wait for."""
        for watcher in self._watchers:
            watcher.set()

    @contextmanager
    def watching(self) -> Iterator[asyncio.Event]:
        """An event that is set by every `advance`; clear it before looking at the heads."""
        event = asyncio.Event()
        self._watchers.add(event)
        try:
            yield event
        finally:
            self._watchers.discard(event)

    async def look(self, log: Log, clock: Clock) -> None:
        """Takes in where the log's own heads are.

        Another process may write to the log, and a commit of ours may have happened though its answer was lost.
        """
        as_of_us = await settled_us(log, clock)
        heads = await log.heads()
        if any(head.next_seq > mine for head, mine in zip(heads, self._next_seq, strict=True)):
            self.advance({shard: head.next_seq for shard, head in enumerate(heads)})
        self.as_of_us = max(self.as_of_us, as_of_us)

    @asynccontextmanager
    async def following(self, log: Log, clock: Clock, every_seconds: float) -> AsyncIterator[None]:
        """Looks at the log now and then, while the context lasts: so late is whoever has missed the news."""

        async def follow() -> None:
            while True:
                await asyncio.sleep(every_seconds)
                with suppress(StoreUnavailableError):
                    await self.look(log, clock)

        async with background(follow(), name="follow-heads"):
            yield

    async def reached(self, position: Position, seconds: float) -> bool:
        """Whether the log covers the position, once it does or so many seconds have gone."""
        with self.watching() as moved:
            try:
                async with asyncio.timeout(seconds):
                    while not self.position.covers(position):
                        await moved.wait()
                        moved.clear()
            except TimeoutError:
                return False
        return True


async def settled_us(log: Log, clock: Clock) -> int:
    """A time: whatever is recorded by then, or ever will have been, is below the heads that are read after this.

    A group has its record time before it is committed. So it is now, or before the oldest group that is open began.
    """
    now_us = clock.now_us()
    return now_us - round(1e6 * await log.open_seconds())
