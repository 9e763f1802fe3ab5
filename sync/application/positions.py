"""One place in the log, in every form that a reader can start from."""

from dataclasses import dataclass
from typing import Final

from infra.kernel.position import Position, PositionMalformedError, check_log, check_start
from sync.application.offset_ports import NoBusError, Offsets
from sync.application.ports import EventSource
from sync.domain.frames import StartTime
from sync.domain.log import LogHead
from sync.domain.offsets import TopicOffsets

_CLOCKS_US: Final = 10_000_000  # clocks of several Order Services differ, and one may be set back


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in the log.

    Attributes:
        time_us: A stream that starts at this time leaves nothing out that comes behind the position.
        offsets: Where the same is on the bus; none where there is no bus.
    """

    position: Position
    time_us: int
    offsets: TopicOffsets | None


class Positions:
    """Resolves places, each time by the log and the bus as they are at this moment."""

    def __init__(self, source: EventSource, offsets: Offsets | None) -> None:
        self._source = source
        self._offsets = offsets

    async def resolve(self, at: Position | StartTime | TopicOffsets) -> Place:
        """The place in its other forms.

        Raises:
            PositionError: The log has no such place, or no longer.
            OffsetExpiredError, OffsetAheadError: The bus has not.
            NoBusError: They are offsets, and there is no bus.
            SourceUnavailableError: The log cannot be asked.
            BusUnavailableError, BusBusyError, BusRefusedError: The bus cannot.
        """
        asked = await self._source.head()
        position = await self._position(at, asked)
        # Read again: what a time or an offset led to may have been recorded since.
        head = asked if isinstance(at, Position) else await self._source.head()
        self._check(position, head)
        return Place(
            position=position,
            time_us=await self._time_us(position, head),
            offsets=None if self._offsets is None else await self._offsets.find(position, head),
        )

    async def _position(self, at: Position | StartTime | TopicOffsets, head: LogHead) -> Position:
        match at:
            case Position():
                return at
            case StartTime(time_us):
                return await self._source.position_at(time_us)
            case TopicOffsets() if self._offsets is not None:
                return await self._offsets.position(at, head)
        raise NoBusError

    def _check(self, position: Position, head: LogHead) -> None:
        check_log(position, head.log_epoch, len(head.next_seq))
        if not any(position.next_seq):
            raise PositionMalformedError("the position says nothing about any shard")
        check_start(position, head.earliest_seq, head.next_seq, _spoken_of(position))

    async def _time_us(self, position: Position, head: LogHead) -> int:
        """When the first event behind the position was recorded, or can still come to be."""
        spoken = _spoken_of(position)
        behind = [shard for shard in spoken if position.next_seq[shard] < head.next_seq[shard]]
        times = list((await self._source.record_times(position, behind)).values()) if behind else []
        if len(behind) < len(spoken):
            times.append(max(0, head.read_time_us - _CLOCKS_US))
        return min(times)


def _spoken_of(position: Position) -> list[int]:
    return [shard for shard, seq in enumerate(position.next_seq) if seq]
