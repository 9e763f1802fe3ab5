"""What has arrived and was not taken yet."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, takewhile

from stateset.stream.v1.stream_pb2 import Digest

from stateset_client.batch import Batch, Progress, joined
from stateset_client.errors import StateSetError
from stateset_client.snapshot import SnapshotPart


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What was taken at once. `progress` and `digest` speak of what was taken up to and with these batches."""

    batches: Sequence[Batch]
    progress: Progress | None
    events: int
    size_bytes: int
    digest: Digest | None = None


class Inbox:
    """A queue from one reader to one subscriber. It is bounded by whoever fills it: by credit, or by waiting."""

    def __init__(self) -> None:
        self._batches: deque[tuple[Batch, int]] = deque()
        self._parts: deque[tuple[SnapshotPart, int]] = deque()
        self._progress: Progress | None = None
        self._digest: Digest | None = None
        self._before_digest = 0  # batches that are still to be taken before it
        self._error: StateSetError | None = None
        self._changed = asyncio.Event()

    def put(self, batch: Batch, size_bytes: int) -> None:
        """Appends a batch."""
        self._batches.append((batch, size_bytes))
        self._changed.set()

    def put_covered(self, batch: Batch) -> None:
        """Appends a batch without events. Of those that wait behind one another, unread, there is one a shard."""
        self.put(batch, 0)
        behind_digest = islice(reversed(self._batches), len(self._batches) - max(0, self._before_digest))
        run = [each for each, _ in takewhile(lambda each: _is_covered(*each, like=batch), behind_digest)]
        if any(each.shard == batch.shard for each in run[1:]):
            for _ in run:
                self._batches.pop()
            self._batches.extend((each, 0) for each in joined(run[::-1]))

    def clear(self) -> None:
        """What has come is not handed out any more."""
        self._batches.clear()
        self._parts.clear()
        self._progress = self._digest = None

    def put_part(self, part: SnapshotPart, size_bytes: int) -> None:
        """Appends orders of a snapshot, which come before all batches."""
        self._parts.append((part, size_bytes))
        self._changed.set()

    def note(self, progress: Progress) -> None:
        """Keeps the latest progress; it is handed out when every batch before it has been taken."""
        self._progress = progress
        self._changed.set()

    def note_digest(self, digest: Digest) -> None:
        """Keeps the latest digest; it is handed out when every batch before it has been taken."""
        self._digest, self._before_digest = digest, len(self._batches)
        self._changed.set()

    def fail(self, error: StateSetError) -> None:
        """Nothing more will come. What has come can still be taken, then the error is raised: the first one."""
        self._error = self._error or error
        self._changed.set()

    async def take_part(self) -> tuple[SnapshotPart, int]:
        """The next orders of the snapshot, as soon as they are there, and how many bytes they came in.

        Raises:
            StateSetError: Nothing is left, and nothing more will come.
        """
        while not self._parts:
            await self._change()
        return self._parts.popleft()

    async def take(self, events_max: int, batches_max: int) -> Arrivals:
        """What is there, as soon as there is something: whole batches of at most `events_max` events, one at least.

        A batch may have no events, and is one of at most `batches_max` all the same.

        Raises:
            StateSetError: Nothing is left, and nothing more will come.
        """
        while not self._batches and self._progress is None and self._digest is None:
            await self._change()
        return self._taken(events_max, batches_max)

    async def _change(self) -> None:
        if self._error is not None:
            raise self._error
        self._changed.clear()
        await self._changed.wait()

    def _taken(self, events_max: int, batches_max: int) -> Arrivals:
        batches: list[Batch] = []
        events = size_bytes = 0
        while len(batches) < batches_max and self._batches:
            if batches and events + len(self._batches[0][0].events) > events_max:
                break
            batch, size = self._batches.popleft()
            batches.append(batch)
            events += len(batch.events)
            size_bytes += size
        progress = None
        if not self._batches:
            progress, self._progress = self._progress, None
        return Arrivals(
            batches=batches, progress=progress, events=events, size_bytes=size_bytes, digest=self._reached(len(batches))
        )

    def _reached(self, taken: int) -> Digest | None:
        self._before_digest -= taken
        if self._digest is None or self._before_digest > 0:
            return None
        digest, self._digest = self._digest, None
        return digest


def _is_covered(batch: Batch, size_bytes: int, *, like: Batch) -> bool:
    """Whether the batch says of a range that nothing in it matched, and no more, on the same opening as another one."""
    return not (batch.events or size_bytes or batch.arrival) and batch.delivery_epoch == like.delivery_epoch
