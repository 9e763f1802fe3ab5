"""What the relay needs from outside: the right to publish, and a bus to publish on."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from order.application.ports import LoggedEvent


class BusUnavailableError(Exception):
    """The bus did not do what it was asked to; starting over later may help."""


class BusRefusedError(Exception):
    """What is on the bus is not this log's, or more than it: nothing may be written there. The message says why."""


class LeaseLostError(Exception):
    """Somebody else publishes by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far one partition of one topic is filled.

    Attributes:
        topic_id: Which topic of that name it was; one that was deleted and made again is another.
        next_seq: Everything below is on the bus, for good.
    """

    topic_id: str
    next_seq: int


Cursors = Mapping[tuple[str, int], Cursor]
"""By topic and shard."""


class Lease(Protocol):
    """The right to publish, held by one relay at a time, and the cursors that the holder keeps with it.

    What is kept is a hint, for it may lag behind the bus: the bus itself fences the former holder. Every call is one
    transaction, and writes only under the epoch that it compares. All raise DatabaseUnavailableError.
    """

    async def acquire(self) -> int | None:
        """The epoch of a new holding; none while another one lasts."""

    async def keep(self, epoch: int, cursors: Cursors) -> bool:
        """Prolongs the holding and stores the cursors; False, and nothing is stored, if the epoch is not the newest."""

    async def release(self, epoch: int) -> None:
        """Ends the holding, so that the next one need not wait."""

    async def cursors(self) -> Cursors:
        """As they were last kept."""


class Publication(Protocol):
    """The one place where events are published at a time. One call at a time; each takes a few seconds at most.

    Every call raises BusUnavailableError; then, nothing more can be done with the publication.
    """

    @property
    def cursors(self) -> Cursors:
        """What is on the bus for good."""

    @property
    def next_seqs(self) -> list[int]:
        """By shard, the first event that the bus lacks when the publication begins."""

    async def publish(self, runs: Sequence[Sequence[LoggedEvent]]) -> None:
        """Sends a run of events each of some shards, the next ones in their sequence; readers may see them at once.

        They stay for good only after `commit`. What is on the bus already is not sent again.
        """

    async def commit(self) -> None:
        """Makes everything that was published stay, or none of it; none if a topic is not the one it was."""

    async def is_intact(self) -> bool:
        """Whether the topics are still those that the publication began with, in as many partitions."""


class ReplayBus(Protocol):
    """A topic beside those that hold the log, where any event may come at any time, and more than once."""

    async def publish(self, replay_id: str, events: Sequence[LoggedEvent]) -> str:
        """Publishes the events in their sequence, all of them or none; returns the topic's name.

        Raises:
            BusUnavailableError: It cannot be asked, or whether they were published is not known.
            BusRefusedError: There is no such topic, or one of another shape.
        """


class Bus(Protocol):
    """Topics that hold one log."""

    async def next_seqs(self) -> list[int]:
        """By shard, the seq behind the last event there; 1 where there is none. Changes nothing.

        Raises:
            BusUnavailableError: It cannot be asked.
            BusRefusedError: It holds something else.
        """

    def take_over(self, kept: Cursors, earliest: Sequence[int]) -> AbstractAsyncContextManager[Publication]:
        """Silences every earlier publication, for good, and goes on where the last of them ended.

        What that one had not committed is as if it had never been published. On leaving, what was published is
        committed if the bus still works.

        Args:
            kept: The cursors as they were last kept.
            earliest: By shard, the first event that the log keeps: a new topic is filled from there.

        Raises:
            BusUnavailableError: It cannot be asked.
            BusRefusedError: It holds something else. Nothing was written.
        """
