"""What the Sync Server needs to know of the bus beyond the events that it brings."""

from typing import Protocol

from infra.kernel.position import Position
from sync.domain.log import LogHead
from sync.domain.offsets import TopicOffsets


class BusUnavailableError(Exception):
    """The bus cannot be asked now; asking again later may help."""


class BusBusyError(Exception):
    """As many ask the bus as may."""

    def __init__(self, waiting_max: int) -> None:
        super().__init__(f"{waiting_max} callers already wait for the bus")


class BusRefusedError(Exception):
    """The bus has no topic that could be this log's; asking again does not help."""


class NoBusError(Exception):
    """There is no bus to ask."""

    def __init__(self) -> None:
        super().__init__("this server does not read Kafka, so offsets mean nothing to it: start it with --bus kafka")


class Offsets(Protocol):
    """The topic of events as its consumers see it: committed records, at offsets that only the broker knows.

    Any number may ask; how many look at once is bounded, and so is the time of each. Every call raises
    `LogEpochChangedError` when the topic holds another log, `BusRefusedError` when it cannot be this log's,
    `BusUnavailableError` when the broker does not answer, and `BusBusyError` when too many ask.
    """

    async def find(self, position: Position, head: LogHead) -> TopicOffsets:
        """Where to read what comes behind the position, which is one of this log's.

        The offset is that of the very record of the seq; behind the last record where the topic does not have so much
        yet. A seq that the topic has no longer is never answered with a later one: its partition has expired.
        """

    async def position(self, offsets: TopicOffsets, head: LogHead) -> Position:
        """What a consumer that reads on at the offsets has passed. The offsets may lie anywhere between records.

        Raises:
            PositionMalformedError: They are of another topic, or of another number of partitions.
            OffsetExpiredError: Retention has passed one of them, or left nothing to tell a seq by.
            OffsetAheadError: One is beyond the end.
        """
