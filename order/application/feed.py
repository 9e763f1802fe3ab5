"""The log as streams: a reader is a cursor, and whoever is at the head waits for the next commit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby

from infra.kernel.position import Position, check_filter, check_log, check_start
from infra.runtime.clock import Clock
from order.application.heads import Heads
from order.application.ports import Log, LoggedEvent
from order.domain.errors import LogHoleError

FRAME_BYTES_MAX = 524_288  # half of what a message may have: one group may come on top


class StartPoint(StrEnum):
    """A place to start without knowing a position."""

    EARLIEST = "EARLIEST"
    LATEST = "LATEST"
    STORED = "STORED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a stream was granted.

    Attributes:
        start: Where it begins.
        earliest: The first events that are kept.
        shards: The shards that it reads.
        delivery_epoch: Number of this opening of its subscription; 0 without one.
        floors: By shard, the subscription's durable floor where it has confirmed something.
    """

    start: Position
    earliest: Position
    shards: tuple[int, ...]
    delivery_epoch: int = 0
    floors: Mapping[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Credit:
    """How much a stream may still be sent; a group may overdraw it once."""

    events: int
    bytes: int

    @property
    def left(self) -> bool:
        """Whether another group may be sent."""
        return self.events > 0 and self.bytes > 0


class Feed:
    """Opens cursors on the log."""

    def __init__(self, log: Log, heads: Heads, clock: Clock) -> None:
        self._log = log
        self._heads = heads
        self._clock = clock

    @property
    def shards(self) -> int:
        """Number of shards of the log."""
        return self._log.shards

    async def open(self, start: Position | StartPoint, shards: Sequence[int], subscription: str) -> Opening:
        """Where a stream of these shards starts. A subscription gets a new delivery epoch, once the start is good.

        Raises:
            PositionError: It cannot start there.
        """
        earliest = await self._earliest()
        if isinstance(start, Position):
            check_log(start, self._log.log_epoch, self._log.shards)
            check_filter(start, b"")  # nothing is filtered here
        await self._heads.look(self._log, self._clock)  # the position may come from a commit of another process
        position = {StartPoint.LATEST: self._heads.position}.get(start, earliest) if isinstance(start, str) else start
        check_start(position, earliest.next_seq, self._heads.position.next_seq, shards)
        delivery_epoch, floors = 0, dict[int, int]()
        if subscription:
            delivery_epoch, floors = await self._log.open_subscription(subscription)
            if start is StartPoint.STORED:  # what is kept from here on, is kept for this subscription, too
                position = (await self._earliest()).merged(earliest.moved(floors))
        return Opening(
            start=position, earliest=earliest, shards=tuple(shards), delivery_epoch=delivery_epoch, floors=floors
        )

    async def _earliest(self) -> Position:
        return Position(log_epoch=self._log.log_epoch, next_seq=tuple(await self._log.earliest()))

    async def move_floors(self, name: str, opening: Opening, through: Position) -> bool:
        """Makes an ack durable; False if a newer stream has taken over the subscription."""
        floors = {shard: through.next_seq[shard] for shard in opening.shards if through.next_seq[shard] > 0}
        return await self._log.move_floors(name, opening.delivery_epoch, floors)


class Cursor:
    """One stream's place in the log; it moves with what it reads."""

    def __init__(self, log: Log, heads: Heads, opening: Opening) -> None:
        self._log = log
        self._heads = heads
        self._shards = opening.shards
        self.position = opening.start

    @property
    def at_head(self) -> bool:
        """Whether everything that is committed has been read."""
        return not self._behind()

    async def read(self, events_max: int, credit: Credit) -> list[list[LoggedEvent]]:
        """The next events by shard, whole groups within the limits, or a single group that goes beyond them.

        Raises:
            PositionExpiredError: They are no longer kept.
            LogHoleError: The database has lost one.
        """
        behind = self._behind()
        runs: list[list[LoggedEvent]] = []
        bytes_left = FRAME_BYTES_MAX
        for waiting, shard in zip(range(len(behind), 0, -1), behind, strict=True):
            if not credit.left or bytes_left <= 0 or events_max <= 0:
                break
            share = max(1, min(events_max, credit.events) // waiting)
            try:
                events = await self._read(shard, share)
            except Exception:
                if runs:  # they are sent first: what goes wrong here goes wrong again at the next read
                    break
                raise
            run = _within(events, credit, bytes_left)
            size = sum(len(event.body) for event in run)
            bytes_left -= size
            events_max -= len(run)
            credit.bytes -= size
            credit.events -= len(run)
            self.position = self.position.moved({shard: run[-1].seq + 1})
            runs.append(run)
        return runs

    async def _read(self, shard: int, events_max: int) -> list[LoggedEvent]:
        seq = self.position.next_seq[shard]
        events = await self._log.read_events(shard, seq, events_max)
        if not events:
            raise LogHoleError(shard, seq)
        return events

    def _behind(self) -> list[int]:
        heads = self._heads.position.next_seq
        lags = {shard: heads[shard] - self.position.next_seq[shard] for shard in self._shards}
        return sorted((shard for shard, lag in lags.items() if lag > 0), key=lags.__getitem__)


def _within(events: list[LoggedEvent], credit: Credit, bytes_max: int) -> list[LoggedEvent]:
    """The leading groups that fit, at least one."""
    run: list[LoggedEvent] = []
    bytes_left = min(bytes_max, credit.bytes)
    for _, group in groupby(events, key=lambda event: event.seq - event.group_index):
        if bytes_left <= 0:
            break
        run += group
        bytes_left = min(bytes_max, credit.bytes) - sum(len(event.body) for event in run)
    return run
