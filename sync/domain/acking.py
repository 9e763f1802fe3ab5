"""A stream's acks: which are refused, what they change, and what is told once that is durable. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from infra.kernel.position import Position
from sync.domain.delivery import Deliveries
from sync.domain.errors import AckRefusedError
from sync.domain.frames import AckItems, AckResult, AckThrough
from sync.domain.outcome import Verdict
from sync.domain.settlement import Changes
from sync.domain.subscription import AckOutcome, AckStatus
from sync.domain.terms import Terms

_ACKS_MAX: Final = 1_000
_ITEMS_MAX: Final = 10_000


class Acking:
    """The acks of one stream.

    Attributes:
        floors: By shard, below which everything is done; none where nothing is acknowledged.
        pending: How many acks, and sweeps, are on their way to the database.
        sweep_due: Whether what was passed over is to be done now.
    """

    def __init__(self, terms: Terms, deliveries: Deliveries | None, tell: Callable[[AckResult], None]) -> None:
        self.floors = terms.floors
        self.pending = 0
        self.sweep_due = False
        self._terms = terms
        self._deliveries = deliveries
        self._tell = tell
        self._acks = self._items = 0  # whose results have not been handed out

    @property
    def full(self) -> bool:
        """Whether so many results are still to be handed out that no more acks are to be taken.

        It is the caller who has to read them, and who would fill the memory by not doing so.
        """
        return self._acks >= _ACKS_MAX or self._items >= _ITEMS_MAX

    def handed_out(self, result: AckResult) -> None:
        """The caller is being sent a result."""
        self._acks -= 1
        self._items -= len(result.items)

    def check(self, ack: AckThrough, sent: tuple[int, ...]) -> Mapping[int, int]:
        """Counts an ack as pending and says which shards it moves to where.

        Args:
            ack: What is done.
            sent: By shard, below which the stream has been sent.

        Raises:
            AckRefusedError: It says more than that.
        """
        through = {shard: seq for shard, seq in enumerate(ack.through.next_seq) if seq}
        for shard, seq in through.items():
            if seq > sent[shard]:
                below = f"shard {shard} has been sent below {sent[shard]} on this stream, not below {seq}"
                raise AckRefusedError("frame.ack.through.next_seq", below)
        self._count(0)
        return through

    def finish_through(self, through: Mapping[int, int], now: float) -> bool:
        """Whether everything below can be done now; where account is kept of single events, it is done with this."""
        return self._deliveries is None or self._deliveries.finish_through(through, now)

    def acked(self, ack_id: str, outcome: AckOutcome) -> None:
        """Tells what became of an ack, once it is durable."""
        self.pending -= 1
        self._tell(AckResult(ack_id=ack_id, status=outcome.status, floor=self._floor(outcome)))

    def judge(self, ack: AckItems, now: float, now_us: int) -> Verdict:
        """Counts an ack of single events as pending and says what it changes.

        Raises:
            AckRefusedError: No account is kept of single events.
        """
        if self._deliveries is None or not self._deliveries.remembers:
            raise AckRefusedError("frame.ack.items", "the stream was opened without unacked_events_max")
        self._count(len(ack.items))
        return self._deliveries.judge(ack.items, now, now_us)

    def settled(self, ack_id: str, verdict: Verdict, outcome: AckOutcome, now: float) -> None:
        """Tells what became of an ack of single events, once it is durable."""
        self.pending -= 1
        if self._deliveries is not None:
            self._deliveries.settled(verdict, now, parking_full=outcome.parking_full)
        statuses = verdict.results(outcome.status, parking_full=outcome.parking_full)
        items = tuple(zip(verdict.items, statuses, strict=True))
        self._tell(AckResult(ack_id=ack_id, status=outcome.status, floor=self._floor(outcome), items=items))

    def diversion(self, now: float, now_us: int) -> Changes | None:
        """What has come of parked orders and is to be parked as well, before the stream goes on."""
        return None if self._deliveries is None else self._deliveries.diversion(now, now_us)

    def is_swept(self, sent: Sequence[int]) -> bool:
        """Whether all that was passed over is done."""
        return self._deliveries is None or not self._deliveries.has_passed_over(sent)

    def sweep(self, sent: Sequence[int]) -> Changes | None:
        """What was passed over without a matching event, to be done without an ack: who acks events cannot name it.

        Without it the floor of a filtered subscription would stay below what others do, until that expires.
        """
        self.sweep_due = False
        changes = None if self._deliveries is None else self._deliveries.pass_over(sent)
        if changes is not None:
            self.pending += 1
        return changes

    def swept(self, outcome: AckOutcome) -> None:
        """What became of a sweep."""
        self.pending -= 1
        self._floor(outcome)

    def diverted(self, outcome: AckOutcome, now: float) -> None:
        """What became of a diversion. A stream that was superseded does not go on behind it."""
        if self._deliveries is not None and outcome.status is not AckStatus.FENCED:
            self._deliveries.diversion_settled(now, parking_full=outcome.parking_full)

    def _count(self, items: int) -> None:
        self.pending += 1
        self._acks += 1
        self._items += items

    def _floor(self, outcome: AckOutcome) -> Position:
        floors = tuple(outcome.floors.get(shard, 0) for shard in range(len(self._terms.next_seqs)))
        self.floors = floors if outcome.floors else self.floors
        return self._terms.position(floors)
