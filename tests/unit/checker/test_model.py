"""What the checker makes of small histories: the anomalies that no short run shows, and what is none."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.guarantees.history import (
    FENCED,
    OK,
    REFUSED,
    UNKNOWN,
    Answered,
    Arrived,
    Committed,
    Drained,
    Healed,
    History,
    Invoked,
    Opened,
    Progressed,
    Record,
    SeenEvent,
    Settled,
    Struck,
    read_history,
)
from tests.guarantees.model import judge
from tests.guarantees.truth import Row, Truth
from tests.guarantees.validators import DOUBT_SECONDS_MAX

SECOND = 1_000_000_000
RECORDED_US = 1_700_000_000_000_000
LATE = int((DOUBT_SECONDS_MAX + 1) * SECOND)


def row(seq: int, *, request: str = "", index: int = 0, size: int = 1, customer: str = "c-1", record: str = "") -> Row:
    """The event that made version `seq` of the only order."""
    request_id = request or f"r-{seq}"
    content = f"event {seq}", f"order {seq}"
    return Row(0, seq, index, size, "o-1", seq, f"e-{seq}", request_id, customer, record, *content, RECORDED_US)


def truth(*rows: Row) -> Truth:
    return Truth(1, rows or (row(1), row(2)))


def sent(call: int, request: str, *, at_ns: int = 0, guard: int = 0) -> Invoked:
    return Invoked(at_ns, call, "CancelOrder", "o-1", request, guard, [])


def read(call: int, *, min_seqs: Iterable[int] = ()) -> Invoked:
    return Invoked(0, call, "GetOrder", "o-1", "", 0, list(min_seqs))


def shown(call: int, version: int, content: str = "") -> Answered:
    return Answered(0, call, OK, "", version, content or f"order {version}", "", 0, [])


def done(call: int, version: int, *, reply: str = "") -> Answered:
    return Answered(0, call, OK, "", version, f"order {version}", reply or f"reply {version}", 1, [version + 1])


def ended(call: int, outcome: str, *, at_ns: int = 0, version: int = 0) -> Answered:
    return Answered(at_ns, call, outcome, "", version, "", "", 0, [])


def settled(request: str, *, at_ns: int = 0, known: bool = True) -> Settled:
    return Settled(at_ns, request, known)


def opened(stream: int = 1, start: int = 1, *, durable: bool = False, customer: str = "") -> Opened:
    return Opened(0, stream, "reader", [] if durable else [start], [start], customer, durable)


def seen(seq: int, *, index: int = 0, size: int = 1) -> SeenEvent:
    return seq, seq, "o-1", f"e-{seq}", f"event {seq}", index, size


def came(first: int, last: int, *events: SeenEvent, stream: int = 1) -> Arrived:
    return Arrived(0, stream, 0, first, last, list(events))


def found(*history: Record, log: Truth | None = None) -> set[str]:
    return set(judge(history, log or truth()).counted)


def test_commands_and_reads_that_overlap_may_be_seen_in_any_order() -> None:
    history: list[Record] = [
        sent(1, "r-1"),
        read(2),
        sent(3, "r-2"),
        shown(2, 2),
        done(3, 2),
        done(1, 1),
        settled("r-1"),
    ]
    assert found(*history, settled("r-2"), read(4), shown(4, 2)) == set()


def test_a_read_that_began_after_an_answer_shows_it() -> None:
    assert found(sent(1, "r-1"), done(1, 1), settled("r-1"), read(2), ended(2, REFUSED)) == {"stale read"}


def test_a_read_that_began_after_another_shows_no_less() -> None:
    assert found(read(1), shown(1, 2), read(2), shown(2, 1)) == {"stale read"}


def test_a_read_that_began_before_an_answer_need_not_show_it() -> None:
    assert found(read(2), sent(1, "r-1"), done(1, 1), settled("r-1"), ended(2, REFUSED)) == set()


def test_nobody_sees_a_version_before_its_command_is_sent() -> None:
    assert found(read(1), shown(1, 1), sent(2, "r-1"), done(2, 1), settled("r-1")) == {"future read"}


def test_a_command_that_nobody_heard_of_counts_if_the_log_has_it() -> None:
    history: list[Record] = [read(1), shown(1, 1), sent(2, "r-1"), ended(2, UNKNOWN), settled("r-1")]
    assert found(*history) == {"future read"}


def test_a_refusal_that_names_a_version_is_a_read() -> None:
    history: list[Record] = [read(1), shown(1, 2), sent(2, "r-3"), ended(2, REFUSED, version=1), settled("r-3")]
    assert found(*history) == {"stale read"}


@pytest.mark.parametrize(
    ("history", "anomaly"),
    [
        ([sent(1, "r-9"), done(1, 3), settled("r-9")], "lost write"),
        ([sent(1, "r-1"), ended(1, REFUSED), settled("r-1")], "aborted read"),
        ([sent(1, "r-1"), ended(1, FENCED), settled("r-1")], "zombie write"),
        ([sent(1, "r-2", guard=9), done(1, 2), settled("r-2")], "lost update"),
        ([sent(1, "r-1"), done(1, 1), sent(2, "r-1"), done(2, 1, reply="x"), settled("r-1")], "another answer"),
        ([read(1), shown(1, 3)], "aborted read"),
        ([read(1), shown(1, 2, "another")], "version fork"),
        ([read(1, min_seqs=[3]), shown(1, 1)], "unread write"),
        ([opened(start=2)._replace(asked=[1])], "resume skip"),
        ([opened(start=2, durable=True)], "resume skip"),
        ([opened(start=1)._replace(asked=[2])], "resume rewind"),
        ([opened(), came(2, 2, seen(2))], "gap"),
        ([opened(), came(1, 2, seen(2))], "gap"),
        ([opened(), came(1, 1, seen(1)), came(1, 1, seen(1))], "duplicate on a stream"),
        ([opened(), came(1, 2, seen(2), seen(1))], "non-monotonic"),
        ([opened(), came(1, 1, (1, 1, "o-1", "e-9", "event 1", 0, 1))], "aborted read"),
        ([opened(), came(1, 1, seen(1, size=2))], "split group"),
        ([opened(customer="c-2"), came(1, 1, seen(1))], "filter leak"),
        ([opened(), Progressed(0, 1, [2], 0)], "broken bookmark"),
        ([opened(), came(1, 1, seen(1)), Progressed(0, 1, [2], RECORDED_US + 1)], "untrue as of"),
        ([opened(), came(1, 1, seen(1)), Drained(0)], "unseen"),
    ],
)
def test_each_anomaly_has_its_name(history: list[Record], anomaly: str) -> None:
    assert anomaly in found(*history)


def test_a_floor_that_is_durable_is_never_gone_back_behind() -> None:
    first: list[Record] = [opened(durable=True), came(1, 2, seen(1), seen(2))]
    assert found(*first, opened(2, 1, durable=True)) == set()
    assert found(*first, Committed(0, 1, [3]), opened(2, 2, durable=True)) == {"resume rewind"}


def test_a_filtered_stream_covers_what_it_leaves_out() -> None:
    log = truth(row(1, customer="c-2"), row(2), row(3, customer="c-2"))
    passed: list[Record] = [
        opened(customer="c-1"),
        Progressed(0, 1, [2], 0),
        came(2, 2, seen(2)),
        Progressed(0, 1, [4], 0),
        Drained(0),
    ]
    assert found(*passed, log=log) == set()
    assert found(opened(customer="c-1"), Progressed(0, 1, [4], 0), log=log) == {"broken bookmark"}
    assert found(opened(customer="c-1"), came(1, 3), log=log) == {"gap"}


def test_a_group_is_read_as_a_whole() -> None:
    log = truth(row(1, request="r-1", size=2), row(2, request="r-1", index=1, size=2))
    assert found(read(1), shown(1, 2), log=log) == set()
    assert found(read(1), shown(1, 1), log=log) == {"split group"}


def test_a_log_has_no_hole_cuts_no_group_and_counts_everything_once() -> None:
    assert found(log=truth(row(1), row(3))) == {"gap"}
    assert found(log=truth(row(1, size=2), row(2))) == {"gap"}
    assert found(log=truth(row(1, request="r-1"), row(2, request="r-1"))) == {"duplicate effect"}
    assert found(log=truth(row(1, record="fill f-1"), row(2, record="fill f-1"))) == {"duplicate effect"}


def test_doubt_counts_only_while_nothing_is_broken() -> None:
    doubtful: list[Record] = [sent(1, "r-1"), ended(1, UNKNOWN, at_ns=1), sent(2, "r-1")]
    answered: list[Record] = [done(2, 1)._replace(at_ns=LATE), settled("r-1", at_ns=LATE)]
    assert found(*doubtful, *answered) == {"unknown for too long"}
    assert found(*doubtful, Struck(2, "a fault"), Healed(LATE - SECOND, "a fault"), *answered) == set()
    assert found(*doubtful, Struck(2, "a fault"), *answered) == set()
    assert found(*doubtful, Struck(LATE - SECOND, "a fault"), *answered) == set()
    late_fault = Struck(LATE, "a fault")
    assert found(*doubtful, late_fault, *answered) == {"unknown for too long"}


def test_a_client_that_never_learns_is_told_of() -> None:
    assert found(sent(1, "r-1"), ended(1, UNKNOWN), settled("r-1", known=False)) == {"unknown for too long"}
    assert found(sent(1, "r-1")) == {"unknown for too long"}


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    records: list[Record] = [sent(1, "r-1"), done(1, 1), settled("r-1"), opened(), came(1, 1, seen(1)), Drained(5)]
    with History.written_to(tmp_path / "history.jsonl") as history:
        for record in records:
            history.note(record)
    back = list(read_history(tmp_path / "history.jsonl"))
    assert [type(record) for record in back] == [type(record) for record in records]
    assert judge(back, truth()) == judge(records, truth())
