"""One pass over a history: what each client and reader knew at each moment, handed to the validators."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from tests.guarantees.history import (
    OK,
    READ_MODEL,
    UNKNOWN,
    Answered,
    Arrived,
    Committed,
    Drained,
    Ended,
    Healed,
    Invoked,
    Opened,
    Progressed,
    Record,
    Settled,
    Struck,
)
from tests.guarantees.stories import Anomaly, Command, Place, Read
from tests.guarantees.truth import Truth
from tests.guarantees.validators import (
    BATCHES,
    BOOKMARKS,
    COMMANDS,
    ENDS,
    LOGS,
    OPENINGS,
    READS,
)

_EACH_MAX: Final = 20  # of an anomaly: enough to understand it
_UNFORESEEN: Final = frozenset({"INTERNAL", "POSITION_EXPIRED", "POSITION_AHEAD", "LOG_EPOCH_CHANGED"})


@dataclass(slots=True)
class Verdict:
    """What a run has shown.

    Attributes:
        acknowledged: Commands that were answered with OK.
        reads: Reads that were answered.
        delivered: Events that came on streams.
        faults: How often something went wrong on purpose.
        outcomes: How calls ended, by outcome and reason.
        anomalies: Broken promises, of each the first few.
        counted: How many there were of each.
    """

    acknowledged: int = 0
    reads: int = 0
    delivered: int = 0
    faults: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    anomalies: list[Anomaly] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)

    def add(self, anomaly: Anomaly) -> None:
        """One more broken promise."""
        self.counted[anomaly.name] += 1
        if self.counted[anomaly.name] <= _EACH_MAX:
            self.anomalies.append(anomaly)


def judge(history: Iterable[Record], truth: Truth) -> Verdict:
    """Holds what happened against the truth. Its memory grows with the log, and with what is under way at once."""
    verdict = Verdict()
    model = _Model(truth, verdict)
    for record in history:
        for anomaly in model.take(record):
            verdict.add(anomaly)
    for anomaly in model.end():
        verdict.add(anomaly)
    return verdict


class _Model:
    """What has been seen so far."""

    def __init__(self, truth: Truth, verdict: Verdict) -> None:
        self._truth = truth
        self._verdict = verdict
        self._calls: dict[int, Invoked] = {}
        self._floors: dict[int, int] = {}  # by read under way
        self._commands: dict[str, Command] = {}
        self._answered: defaultdict[str, int] = defaultdict(int)  # by order, the highest version in an answer
        self._seen: defaultdict[str, int] = defaultdict(int)  # by order, the highest version seen by any way
        self._places: dict[str, Place] = {}
        self._readers: dict[int, str] = {}
        self._broken: Counter[str] = Counter()
        self._calm_since_ns = 0

    def take(self, record: Record) -> Iterator[Anomaly]:
        """One more record."""
        yield from _TAKEN[type(record)](self, record)

    def end(self) -> Iterator[Anomaly]:
        """After the last record."""
        for command in self._commands.values():
            yield from _checked(COMMANDS, command.first, command, self._truth)
        for name, check in LOGS.items():
            for facts in islice(check(self._truth), _EACH_MAX):
                yield Anomaly(name, facts)

    def _invoked(self, invoked: Invoked) -> Iterator[Anomaly]:
        self._calls[invoked.call] = invoked
        if not invoked.request_id:
            self._floors[invoked.call] = self._answered[invoked.order_id]
        elif invoked.request_id not in self._commands:
            order_id = invoked.order_id
            self._commands[invoked.request_id] = Command(
                first=invoked, floor=self._answered[order_id], seen=self._seen[order_id]
            )
        yield from ()

    def _answer(self, answered: Answered) -> Iterator[Anomaly]:
        invoked = self._calls.pop(answered.call)
        self._verdict.outcomes[f"{answered.outcome} {answered.reason}".strip()] += 1
        if answered.reason in _UNFORESEEN:
            yield Anomaly("unforeseen error", f"{invoked} {answered}")
        if invoked.request_id:
            self._attempted(self._commands[invoked.request_id], answered)
        else:
            floor = self._floors.pop(invoked.call)
            if answered.outcome != UNKNOWN:
                self._verdict.reads += 1
                read = Read(invoked=invoked, answered=answered, floor=floor)
                yield from _checked(READS, invoked, read, self._truth)
        if invoked.method != READ_MODEL:
            self._answered[invoked.order_id] = max(self._answered[invoked.order_id], answered.version)
        self._saw(invoked.order_id, answered.version)

    def _attempted(self, command: Command, answered: Answered) -> None:
        command.answers.append(answered)
        if answered.outcome == UNKNOWN and not command.doubt_ns and not command.known:
            command.doubt_ns = answered.at_ns
        elif answered.outcome != UNKNOWN:
            self._end_doubt(command, answered.at_ns)
            command.known = True
            command.doubt_ns = 0

    def _settled(self, settled: Settled) -> Iterator[Anomaly]:
        command = self._commands.pop(settled.request_id)
        command.known = settled.known
        self._end_doubt(command, settled.at_ns)
        self._verdict.acknowledged += any(answer.outcome == OK for answer in command.answers)
        yield from _checked(COMMANDS, command.first, command, self._truth)

    def _end_doubt(self, command: Command, at_ns: int) -> None:
        if command.doubt_ns and not self._broken:
            doubted_ns = at_ns - max(command.doubt_ns, self._calm_since_ns)
            command.doubted_ns = max(command.doubted_ns, doubted_ns)

    def _struck(self, struck: Struck) -> Iterator[Anomaly]:
        for command in self._commands.values():
            self._end_doubt(command, struck.at_ns)
        self._broken[struck.fault] += 1
        self._verdict.faults += 1
        yield from ()

    def _healed(self, healed: Healed) -> Iterator[Anomaly]:
        self._broken -= Counter([healed.fault])
        self._calm_since_ns = healed.at_ns
        yield from ()

    def _opened(self, opened: Opened) -> Iterator[Anomaly]:
        self._readers[opened.stream] = opened.reader
        place = self._places.get(opened.reader)
        if place is None:
            nothing = [1] * len(opened.start)
            place = self._places[opened.reader] = Place(opened=opened, next_seqs=nothing, floor=nothing)
        yield from _checked(OPENINGS, opened, place, opened, self._truth)
        place.opened, place.next_seqs = opened, list(opened.start)

    def _arrived(self, batch: Arrived) -> Iterator[Anomaly]:
        place = self._places[self._readers[batch.stream]]
        yield from _checked(BATCHES, place.opened.reader, place, batch, self._truth)
        place.next_seqs[batch.shard] = max(place.next_seqs[batch.shard], batch.last_seq + 1)
        self._verdict.delivered += len(batch.events)
        for _, version, order_id, *_ in batch.events:
            self._saw(order_id, version)

    def _progressed(self, progress: Progressed) -> Iterator[Anomaly]:
        place = self._places[self._readers[progress.stream]]
        yield from _checked(BOOKMARKS, place.opened.reader, place, progress, self._truth)
        place.next_seqs = list(map(max, place.next_seqs, progress.next_seqs))

    def _committed(self, committed: Committed) -> Iterator[Anomaly]:
        place = self._places[self._readers[committed.stream]]
        place.floor = list(map(max, place.floor, committed.floor))
        yield from ()

    def _ended(self, ended: Ended) -> Iterator[Anomaly]:
        if ended.reason in _UNFORESEEN:
            yield Anomaly("unforeseen error", f"{ended}")

    def _drained(self, _drained: Drained) -> Iterator[Anomaly]:
        for place in self._places.values():
            yield from _checked(ENDS, place.opened.reader, place, self._truth)

    def _saw(self, order_id: str, version: int) -> None:
        self._seen[order_id] = max(self._seen[order_id], version)


def _checked(checks: Mapping[str, Callable[..., str]], who: object, *story: object) -> Iterator[Anomaly]:
    for name, check in checks.items():
        if facts := check(*story):
            yield Anomaly(name, f"{facts}; {who}")


_TAKEN: Final[Mapping[type[Record], Callable[[_Model, Any], Iterator[Anomaly]]]] = {
    Invoked: _Model._invoked,  # noqa: SLF001 - the class's own table
    Answered: _Model._answer,  # noqa: SLF001 - as above
    Settled: _Model._settled,  # noqa: SLF001 - as above
    Opened: _Model._opened,  # noqa: SLF001 - as above
    Arrived: _Model._arrived,  # noqa: SLF001 - as above
    Progressed: _Model._progressed,  # noqa: SLF001 - as above
    Committed: _Model._committed,  # noqa: SLF001 - as above
    Ended: _Model._ended,  # noqa: SLF001 - as above
    Struck: _Model._struck,  # noqa: SLF001 - as above
    Healed: _Model._healed,  # noqa: SLF001 - as above
    Drained: _Model._drained,  # noqa: SLF001 - as above
}
