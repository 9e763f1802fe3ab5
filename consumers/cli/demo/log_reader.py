"""Reads events from the first to the head, and notices whatever is missing or comes twice."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, Protocol

from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_frame_pb2 import ServerFrame

from consumers.cli.demo.failure import DemoError
from infra.kernel.digest import Digest

_READ_SECONDS: Final = 30.0
_READ_EVENTS_PER_SECOND: Final = 1000  # a tenth of what a stream does
_FAULTS_SAID: Final = 3  # enough to begin looking


class Reply(Protocol):
    """A message of either service's stream."""

    @property
    def frame(self) -> ServerFrame:
        """Its frame."""


@dataclass(slots=True)
class Faults:
    """What was not as it should have been: how often, and the first few times in words."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def compare(self, what: str, due: object, got: object) -> None:
        """Notes it if they differ."""
        if got != due:
            self.count += 1
            if len(self.first) < _FAULTS_SAID:
                self.first.append(f"{what} {got} came where {due} was due")


@dataclass(slots=True)
class Reading:
    """What a stream, or a topic, has delivered.

    Attributes:
        heads: By shard, the seq that the log's next event will have: where the reading is complete.
        next_seq: By shard, the seq that is due.
        versions: By order, its last version.
        events: Events delivered.
        faults: What was missing or came twice.
        digest: Over the shard, seq, id and whole content of every event.
    """

    heads: Sequence[int]
    next_seq: list[int] = field(init=False)
    versions: dict[str, int] = field(default_factory=dict)
    events: int = 0
    faults: Faults = field(default_factory=Faults)
    digest: Digest = field(default_factory=Digest)

    def __post_init__(self) -> None:
        self.next_seq = [1] * len(self.heads)

    @property
    def is_complete(self) -> bool:
        """Whether everything below the heads has been delivered."""
        return all(self.has_all_of(shard) for shard in range(len(self.heads)))

    def has_all_of(self, shard: int) -> bool:
        """Whether everything below the shard's head has been delivered."""
        return self.next_seq[shard] >= self.heads[shard]

    def take(self, event: OrderEvent) -> None:
        """Compares one more event with what is due."""
        self.events += 1
        self.faults.compare(f"shard {event.shard}: seq", self.next_seq[event.shard], event.seq)
        self.faults.compare(f"{event.order_id}: version", self.versions.get(event.order_id, 0) + 1, event.version)
        self.next_seq[event.shard] = max(self.next_seq[event.shard], event.seq + 1)
        self.versions[event.order_id] = event.version
        content = blake2b(event.SerializeToString(deterministic=True), digest_size=16).hexdigest()
        self.digest.add(event.shard, event.seq, event.metadata.event_id, content)


async def read_log(replies: AsyncIterator[Reply], heads: Sequence[int]) -> Reading:
    """Reads until everything below the heads is there.

    Raises:
        DemoError: The stream ended before that, or took too long.
    """
    reading = Reading(heads)
    try:
        async with asyncio.timeout(_READ_SECONDS + sum(heads) / _READ_EVENTS_PER_SECOND):
            async for reply in replies:
                for batch in reply.frame.events.batches:
                    for event in batch.events:
                        reading.take(event)
                if reading.is_complete:
                    return reading
    except TimeoutError:
        raise DemoError(f"a stream came no further than {reading.next_seq}, the log is at {list(heads)}") from None
    raise DemoError(f"a stream ended at {reading.next_seq}, the log is at {list(heads)}")
