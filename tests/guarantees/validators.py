"""What may never be: each anomaly a small pure function that says what is wrong, or nothing.

**Why two comparisons prove linearizability (G5).** An order is one register whose values are its versions 1, 2, 3 …, in
the sequence in which the log has them; each version is made by exactly one command, and `version_fork` and
`aborted_read` show that whoever names a version means the log's. So all operations on one order have a rank: a command
the version that it made, a read the version that it showed, a read after the command of the same version. A
linearization must follow the rank, for a read shows the last version written before it; and any sequence that follows
the rank explains every answer. One exists that also follows real time unless some A ended before some B began although
A's rank is higher, since ranks and the interval order "ended before the other began" then have no cycle together: a
cycle would have a step against the rank, and a step against the rank is such a pair. There are two kinds of pairs:

- B is a read, and shows less than A wrote or showed before B began: `stale_read`;
- B is a command, and A showed or wrote B's version, or a later one, before B began: `future_read`.

Both need only the highest version that anybody had been answered with when B began. A command whose caller never heard
of it takes part if the log has its effect, as one that has not ended; a refusal that names the order's version is a
read. A command of several events makes them at one instant: nobody may see a version inside its group (`split_group`).
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Final

from tests.guarantees.history import FENCED, OK, READ_MODEL, REFUSED, Answered, Arrived, Opened, Progressed
from tests.guarantees.stories import Command, Place, Read
from tests.guarantees.truth import Row, Truth

DOUBT_SECONDS_MAX: Final = 30.0  # G4: how long a client may be kept in the dark once nothing is broken any more


def lost_write(command: Command, truth: Truth) -> str:
    """What was acknowledged is in the log (G1)."""
    effects = truth.effects.get(command.first.request_id, [])
    made = {effect.last_version for effect in effects}
    return next(
        (
            f"the reply says version {answer.version}, the log has {sorted(made) or 'nothing'}"
            for answer in command.answers
            if answer.outcome == OK and answer.events and answer.version not in made
        ),
        "",
    )


def effect_of_a_refusal(command: Command, truth: Truth) -> str:
    """What was refused changed nothing (G2, G3)."""
    outcomes = {answer.outcome for answer in command.answers}
    if REFUSED in outcomes and OK not in outcomes and command.first.request_id in truth.effects:
        return f"refused, and yet {truth.effects[command.first.request_id]}"
    return ""


def zombie_write(command: Command, truth: Truth) -> str:
    """What was said to be never carried out never was (G4)."""
    effects = truth.effects.get(command.first.request_id)
    fenced = any(answer.outcome == FENCED for answer in command.answers)
    return f"fenced, and yet {effects}" if fenced and effects else ""


def unknown_for_too_long(command: Command, _truth: Truth) -> str:
    """A client learns what became of its command, soon after nothing is broken any more (G4)."""
    if not command.known:
        return "never learned what became of it"
    seconds = command.doubted_ns / 1e9
    return f"in doubt for {seconds:.1f} s" if seconds > DOUBT_SECONDS_MAX else ""


def another_answer(command: Command, _truth: Truth) -> str:
    """A repeat gets the first answer (G3)."""
    replies = {answer.reply for answer in command.answers if answer.reply}
    return f"{len(replies)} different answers: {command.answers}" if len(replies) > 1 else ""


def lost_update(command: Command, truth: Truth) -> str:
    """A guarded command changed the version that its caller had read, or nothing."""
    guard = command.first.guard
    effects = truth.effects.get(command.first.request_id, []) if guard else []
    return next(
        (f"guarded by version {guard}: {effect}" for effect in effects if effect.first_version != guard + 1), ""
    )


def wrong_position(command: Command, truth: Truth) -> str:
    """A reply's position is right behind its events (G13)."""
    for answer in command.answers:
        for effect in truth.effects.get(command.first.request_id, []):
            if answer.outcome == OK and answer.events and answer.next_seqs[effect.shard] != effect.last_seq + 1:
                return f"the reply's position is {answer.next_seqs}: {effect}"
    return ""


def future_read(command: Command, truth: Truth) -> str:
    """Nobody saw a version before the command that made it was sent (G5)."""
    effects = truth.effects.get(command.first.request_id, [])
    early = [effect for effect in effects if effect.first_version <= command.seen]
    return f"version {command.seen} had been seen before it was sent: {early}" if early else ""


def forked_reply(command: Command, truth: Truth) -> str:
    """A version has one content, in replies as in the log (G5)."""
    return _forked(command.first.order_id, command.answers, truth)


def stale_decision(command: Command, _truth: Truth) -> str:
    """What changes nothing was decided on the newest version: a refusal that names one, a record that is known (G5)."""
    told = [answer.version for answer in command.answers if answer.version and not answer.events]
    return f"decided on version {min(told)}, after {command.floor}" if told and min(told) < command.floor else ""


def stale_read(read: Read, _truth: Truth) -> str:
    """An authoritative read shows what had been answered before it began, or more (G5)."""
    if read.invoked.method == READ_MODEL or read.answered.version >= read.floor:
        return ""
    return f"shows version {read.answered.version}, after {read.floor} was known"


def unread_write(read: Read, truth: Truth) -> str:
    """A read with a position includes it (G13)."""
    if not read.invoked.min_seqs:
        return ""
    due = truth.version_at(read.invoked.order_id, read.invoked.min_seqs)
    return f"shows version {read.answered.version}; its position holds {due}" if read.answered.version < due else ""


def aborted_read(read: Read, truth: Truth) -> str:
    """What is read was committed (G2)."""
    version = read.answered.version
    gone = version and truth.version(read.invoked.order_id, version) is None
    return f"shows version {version}, which the log does not have" if gone else ""


def read_within_a_group(read: Read, truth: Truth) -> str:
    """A read never splits a group (G2)."""
    row = truth.version(read.invoked.order_id, read.answered.version)
    return f"shows {row}" if row and row.group_index + 1 < row.group_size else ""


def version_fork(read: Read, truth: Truth) -> str:
    """A version has one content, wherever it is read (G5)."""
    return _forked(read.invoked.order_id, [read.answered], truth)


def resume_skip(place: Place, opened: Opened, _truth: Truth) -> str:
    """A stream never starts behind what its reader is due (G10)."""
    due = place.next_seqs if opened.durable else opened.asked
    skipped = any(start > seq for start, seq in zip(opened.start, due, strict=False))
    return f"starts at {opened.start}, due is {due}" if skipped else ""


def resume_rewind(place: Place, opened: Opened, _truth: Truth) -> str:
    """A stream never starts before where its reader asked, nor before a durable floor (G10, G12)."""
    due = place.floor if opened.durable else opened.asked
    rewound = any(start < seq for start, seq in zip(opened.start, due, strict=False))
    return f"starts at {opened.start}, due is {due}" if rewound else ""


def gap(place: Place, batch: Arrived, truth: Truth) -> str:
    """A batch begins where the last one ended, and leaves nothing out that matches (G7)."""
    due = place.next_seqs[batch.shard]
    if batch.first_seq > due:
        return f"shard {batch.shard} goes on at {batch.first_seq}, due is {due}"
    came = {event[0] for event in batch.events}
    left_out = [row.seq for row in _matching(place, truth, batch.shard, due, batch.last_seq) if row.seq not in came]
    return f"shard {batch.shard} leaves out {left_out[:3]}" if left_out else ""


def repeated(place: Place, batch: Arrived, _truth: Truth) -> str:
    """No event comes twice on a stream (G8)."""
    due = place.next_seqs[batch.shard]
    return f"shard {batch.shard} repeats {batch.first_seq}, due is {due}" if batch.first_seq < due else ""


def not_in_sequence(_place: Place, batch: Arrived, _truth: Truth) -> str:
    """Events come by seq, within the range of their batch (G6)."""
    seqs = [batch.first_seq - 1, *(event[0] for event in batch.events), batch.last_seq + 1]
    return "" if all(before < after for before, after in pairwise(seqs)) else f"shard {batch.shard}: {seqs}"


def never_committed(_place: Place, batch: Arrived, truth: Truth) -> str:
    """What is streamed was committed, and looks as it was committed (G2)."""
    for seq, version, order_id, event_id, content, *_ in batch.events:
        row = truth.row(batch.shard, seq)
        came = (version, order_id, event_id, content)
        if row is None or came != (row.version, row.order_id, row.event_id, row.content):
            return f"shard {batch.shard} seq {seq}: {event_id} came, the log has {row and row.event_id}"
    return ""


def split_group(_place: Place, batch: Arrived, _truth: Truth) -> str:
    """A command's events come together (G2)."""
    whole = not batch.events or (batch.events[0][-2] == 0 and batch.events[-1][-2] + 1 == batch.events[-1][-1])
    return "" if whole else f"shard {batch.shard}: {batch.first_seq} to {batch.last_seq} cuts a group"


def filter_leak(place: Place, batch: Arrived, truth: Truth) -> str:
    """A filtered stream carries what matches, and nothing else (G22)."""
    wanted = place.opened.customer_id
    if not wanted:
        return ""
    rows = [truth.row(batch.shard, event[0]) for event in batch.events]
    leaked = [row.order_id for row in rows if row and row.customer_id != wanted]
    return f"orders of others than {wanted}: {leaked[:3]}" if leaked else ""


def broken_bookmark(place: Place, progress: Progressed, truth: Truth) -> str:
    """Below a progress everything that matches was sent (G11)."""
    for shard, at in enumerate(progress.next_seqs):
        due = place.next_seqs[shard]
        if unsent := [row.seq for row in _matching(place, truth, shard, due, at - 1)]:
            return f"shard {shard} is said to be at {at}; {unsent[:3]} were not sent"
    return ""


def untrue_as_of(_place: Place, progress: Progressed, truth: Truth) -> str:
    """What a progress does not cover was recorded after the time that it names (G14)."""
    for shard, at in enumerate(progress.next_seqs):
        row = truth.row(shard, at)
        if row and row.record_time_us < progress.as_of_us:
            early = progress.as_of_us - row.record_time_us
            return f"shard {shard} is said to be whole below {at}, which was recorded {early} µs before that time"
    return ""


def unseen(place: Place, truth: Truth) -> str:
    """Once all is over, every reader has seen everything (G17)."""
    behind = any(seq < head for seq, head in zip(place.next_seqs, truth.heads, strict=True))
    return f"{place.opened.reader} stands at {place.next_seqs}, the log ends at {truth.heads}" if behind else ""


def hole_in_the_log(truth: Truth) -> Iterator[str]:
    """Seqs and versions are dense, and a group lies together (G6)."""
    for shard, rows in enumerate(truth.log):
        if [row.seq for row in rows] != list(range(1, len(rows) + 1)):
            yield f"shard {shard} does not have every seq once"
        for before, after in pairwise([None, *rows, None]):
            if not _follows(before, after):
                yield f"shard {shard} cuts a group between {before} and {after}"
    for order_id, rows in truth.orders.items():
        if [row.version for row in rows] != list(range(1, len(rows) + 1)):
            yield f"{order_id} has the versions {[row.version for row in rows]}"


def duplicate_effect(truth: Truth) -> Iterator[str]:
    """A request, and whatever has an id of its own, counts once (G3)."""
    for request_id, effects in truth.effects.items():
        if request_id and len(effects) > 1:
            yield f"{request_id}: {effects}"
    recorded: set[str] = set()
    for row in (row for shard in truth.log for row in shard if row.record_id):
        if row.record_id in recorded:
            yield f"{row.record_id} is recorded again by {row}"
        recorded.add(row.record_id)


def _forked(order_id: str, answers: list[Answered], truth: Truth) -> str:
    for answer in answers:
        row = truth.version(order_id, answer.version)
        if row and answer.content and answer.content != row.order_content:
            return f"version {answer.version} is {answer.content} here and {row.order_content} in the log"
    return ""


def _matching(place: Place, truth: Truth, shard: int, first_seq: int, last_seq: int) -> list[Row]:
    wanted = place.opened.customer_id
    rows = truth.log[shard][max(0, first_seq - 1) : max(0, last_seq)]
    return [row for row in rows if not wanted or row.customer_id == wanted]


def _follows(before: Row | None, after: Row | None) -> bool:
    """Whether a row of the log may stand between these two, or at either end of the log."""
    if before is None or before.group_index + 1 == before.group_size:
        return after is None or after.group_index == 0
    return after is not None and (after.group_index, after.group_size, after.request_id, after.order_id) == (
        *(before.group_index + 1, before.group_size),
        *(before.request_id, before.order_id),
    )


COMMANDS: Final[Mapping[str, Callable[[Command, Truth], str]]] = {
    "lost write": lost_write,
    "aborted read": effect_of_a_refusal,
    "zombie write": zombie_write,
    "unknown for too long": unknown_for_too_long,
    "another answer": another_answer,
    "lost update": lost_update,
    "wrong position": wrong_position,
    "future read": future_read,
    "version fork": forked_reply,
    "stale read": stale_decision,
}
READS: Final[Mapping[str, Callable[[Read, Truth], str]]] = {
    "stale read": stale_read,
    "unread write": unread_write,
    "aborted read": aborted_read,
    "split group": read_within_a_group,
    "version fork": version_fork,
}
OPENINGS: Final[Mapping[str, Callable[[Place, Opened, Truth], str]]] = {
    "resume skip": resume_skip,
    "resume rewind": resume_rewind,
}
BATCHES: Final[Mapping[str, Callable[[Place, Arrived, Truth], str]]] = {
    "gap": gap,
    "duplicate on a stream": repeated,
    "non-monotonic": not_in_sequence,
    "aborted read": never_committed,
    "split group": split_group,
    "filter leak": filter_leak,
}
BOOKMARKS: Final[Mapping[str, Callable[[Place, Progressed, Truth], str]]] = {
    "broken bookmark": broken_bookmark,
    "untrue as of": untrue_as_of,
}
ENDS: Final[Mapping[str, Callable[[Place, Truth], str]]] = {"unseen": unseen}
LOGS: Final[Mapping[str, Callable[[Truth], Iterator[str]]]] = {
    "gap": hole_in_the_log,
    "duplicate effect": duplicate_effect,
}
