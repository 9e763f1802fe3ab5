"""Services with one planted bug each, for the checker to catch. The product knows nothing of them.

Each is a patch of one or two names of the running service, in place while the context lasts.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from typing import Any, Final
from unittest.mock import patch

from stateset.order.v1 import order_service_pb2
from stateset.order.v1.order_pb2 import Order

from infra.kernel.filter import EVERYTHING
from infra.kernel.position import AtLeast, Position
from infra.runtime.clock import Clock
from infra.runtime.grpc.wire import embedded, token_of
from order.adapters import frames, grpc_log, grpc_streams, sql_group
from order.adapters.sql_log import SqlLog
from order.adapters.sql_orders import SqlOrders
from order.adapters.wire import WireCodec
from order.application import feed, group, heads
from order.application.feed import Cursor, Feed, Opening, StartPoint
from order.application.heads import Heads
from order.application.ports import Head, Log, LoggedEvent, Needs, Outcome, Submission, View, Writes
from order.application.read_ports import StoredOrder
from order.application.writer import Writer
from order.domain.errors import StoreUnavailableError
from sync.adapters import wire_requests
from sync.application.freshness import Freshness
from sync.domain.session import Session
from sync.gateway import frames as texts

Mutant = Callable[[ExitStack], None]
_SELDOM: Final = 7  # every so many times it goes wrong
_LATE: Final = 75  # after so many times; what goes wrong stays so
_REPLY_ORDER: Final = order_service_pb2.PlaceOrderResponse.ORDER_FIELD_NUMBER


def reply_without_commit(stack: ExitStack) -> None:
    """Some groups are answered and never written."""
    write, wrong = sql_group.SqliteGroup.write, _now_and_then()

    def mutant(self: sql_group.SqliteGroup, connection: Any, writes: Writes) -> None:  # noqa: ANN401 - as the original
        if not next(wrong):
            write(self, connection, writes)

    _put(stack, sql_group.SqliteGroup, "write", mutant)


def no_memory_of_requests(stack: ExitStack) -> None:
    """A repeat is carried out again."""

    def forget(view: View) -> None:
        view.replies.clear()

    _with_view(stack, forget)
    _replies_replace(stack)


def fences_forgotten(stack: ExitStack) -> None:
    """A command that was fenced is carried out all the same."""

    def forget(view: View) -> None:
        for key in [key for key, stored in view.replies.items() if stored.outcome is Outcome.NOT_EXECUTED]:
            del view.replies[key]

    _with_view(stack, forget)
    _replies_replace(stack)


def no_memory_of_records(stack: ExitStack) -> None:
    """A fill counts again under another request id."""

    def forget(view: View) -> None:
        view.records.clear()

    _with_view(stack, forget)


def etags_ignored(stack: ExitStack) -> None:
    """A guarded command is carried out on a version that its caller has not seen."""
    submit = Writer.submit

    async def mutant(self: Writer, submission: Submission) -> Any:  # noqa: ANN401 - as the original
        return await submit(self, submission._replace(etag=""))

    _put(stack, Writer, "submit", mutant)


def a_seq_is_skipped(stack: ExitStack) -> None:
    """Now and then a number is left out."""
    uses = count(1)

    def mutant(*, next_seq: int, record_time_us: int) -> Head:
        return Head(next_seq=next_seq + (next(uses) % _LATE == 0), record_time_us=record_time_us)

    _put(stack, group, "Head", mutant)


def reads_from_a_cache(stack: ExitStack) -> None:
    """An authoritative read shows what was read a while ago."""
    find, cache, uses = SqlOrders.find_orders, dict[str, StoredOrder](), count()

    async def mutant(self: SqlOrders, order_ids: Any) -> dict[str, StoredOrder]:  # noqa: ANN401 - as the original
        if next(uses) % _SELDOM == 0:
            cache.clear()
        missing = [order_id for order_id in order_ids if order_id not in cache]
        cache.update(await find(self, missing))
        return {order_id: cache[order_id] for order_id in order_ids if order_id in cache}

    _put(stack, SqlOrders, "find_orders", mutant)


def reads_run_ahead(stack: ExitStack) -> None:
    """A read shows a version that nobody has made yet."""
    find = SqlOrders.find_orders

    async def mutant(self: SqlOrders, order_ids: Any) -> dict[str, StoredOrder]:  # noqa: ANN401 - as the original
        return {
            order_id: stored._replace(body=_with_version(stored.body, 1))
            for order_id, stored in (await find(self, order_ids)).items()
        }

    _put(stack, SqlOrders, "find_orders", mutant)


def replies_of_their_own(stack: ExitStack) -> None:
    """A reply shows an order that is not the log's."""
    encode, wrong = WireCodec.encode_reply, _now_and_then()

    def mutant(self: WireCodec, order_bytes: bytes, *rest: Any) -> bytes:  # noqa: ANN401 - as the original
        invented = Order(store_id="elsewhere").SerializeToString() if next(wrong) else b""
        return encode(self, order_bytes + invented, *rest)

    _put(stack, WireCodec, "encode_reply", mutant)


def positions_fall_short(stack: ExitStack) -> None:
    """A reply's position does not cover its own events."""
    encode = WireCodec.encode_reply

    def mutant(self: WireCodec, order_bytes: bytes, order_id: str, caused: Any, next_seq: int) -> bytes:  # noqa: ANN401 - as the original
        return encode(self, order_bytes, order_id, caused, next_seq - 1)

    _put(stack, WireCodec, "encode_reply", mutant)


def repeats_are_answered_anew(stack: ExitStack) -> None:
    """A repeat gets an answer, but not the first one."""
    replay = group._replay  # noqa: SLF001 - the mutant is a part of the service

    def mutant(*given: Any) -> Any:  # noqa: ANN401 - as the original
        answer = replay(*given)
        if isinstance(answer, group.Reply) and not answer.refused:
            return answer._replace(body=answer.body + embedded(_REPLY_ORDER, Order(store_id="x").SerializeToString()))
        return answer

    _put(stack, group, "_replay", mutant)


def the_tail_runs_ahead(stack: ExitStack) -> None:
    """Streams are given events whose transaction is rolled back."""
    commit, wrong, live = SqlLog.commit, _now_and_then(), list[Heads]()
    begin = Heads.__init__

    def noted(self: Heads, *rest: Any) -> None:  # noqa: ANN401 - as the original
        begin(self, *rest)
        live.append(self)

    async def mutant(self: SqlLog, needs: Needs, decide: Callable[[View], Writes]) -> None:
        if not next(wrong):
            return await commit(self, needs, decide)

        def peek(view: View) -> Writes:
            events = decide(view).events
            self._tail.append(events)
            live[-1].advance({event.shard: event.seq + 1 for event in events})
            raise StoreUnavailableError("rolled back")

        return await commit(self, needs, peek)

    _put(stack, Heads, "__init__", noted)
    _put(stack, SqlLog, "commit", mutant)


def groups_are_cut(stack: ExitStack) -> None:
    """A stream sends a command's first event by itself."""

    def mutant(events: list[LoggedEvent], *_limits: Any) -> list[LoggedEvent]:  # noqa: ANN401 - as the original
        return events[:1]

    _put(stack, feed, "_within", mutant)


def batches_are_sent_twice(stack: ExitStack) -> None:
    """A stream does not move on with what it has sent, now and then."""
    read, wrong = Cursor.read, _now_and_then()

    async def mutant(self: Cursor, *limits: Any) -> list[list[LoggedEvent]]:  # noqa: ANN401 - as the original
        before = self.position
        runs = await read(self, *limits)
        if next(wrong):
            self.position = before
        return runs

    _put(stack, Cursor, "read", mutant)


def streams_resume_too_late(stack: ExitStack) -> None:
    """A stream starts one event behind the position that was asked for."""
    _with_opening(stack, 1)


def streams_resume_too_early(stack: ExitStack) -> None:
    """A stream starts one event before the position that was asked for."""
    _with_opening(stack, -1)


def progress_runs_ahead(stack: ExitStack) -> None:
    """A stream claims to have sent what it has not."""

    def mutant(self: Any) -> bytes:  # noqa: ANN401 - the stream, which has no public name
        position: Position = self._cursor.position
        return frames.progress_frame(position._replace(next_seq=tuple(seq + 1 for seq in position.next_seq)), None)

    _put(stack, grpc_streams._Stream, "_progress", mutant)  # noqa: SLF001 - as above


def as_of_runs_ahead(stack: ExitStack) -> None:
    """The log is said to be whole up to a time that is still to come."""
    settled = heads.settled_us

    async def mutant(log: Log, clock: Clock) -> int:
        return await settled(log, clock) + 1_000_000

    for owner in (heads, grpc_log):
        _put(stack, owner, "settled_us", mutant)


def streams_fall_silent(stack: ExitStack) -> None:
    """A stream carries a few frames of events, and then nothing but heartbeats."""
    frame, sent = Session._next_events, Counter[Session]()  # noqa: SLF001 - the mutant is a part of the service

    def mutant(self: Session) -> Any:  # noqa: ANN401 - as the original
        sent[self] += 1
        return frame(self) if sent[self] <= _SELDOM else None

    _put(stack, Session, "_next_events", mutant)


def filters_are_ignored(stack: ExitStack) -> None:
    """A filtered stream carries everything."""
    _put(stack, wire_requests, "parse", lambda _text, _fields: EVERYTHING)


def the_read_model_does_not_wait(stack: ExitStack) -> None:
    """A read of the read model does not look at its position."""

    async def mutant(_self: Freshness, _at_least: AtLeast) -> None:
        """Waits for nothing."""

    _put(stack, Freshness, "reach", mutant)


def tokens_fall_short(stack: ExitStack) -> None:
    """What readers over HTTP go on by names a place before the one that they have come to."""

    def mutant(position: Position) -> str:
        return token_of(position._replace(next_seq=tuple(max(1, seq - 1) for seq in position.next_seq)))

    _put(stack, texts, "token_of", mutant)


MUTANTS: Final[dict[str, tuple[Mutant, str]]] = {
    mutant.__name__: (mutant, anomaly)
    for mutant, anomaly in (
        (reply_without_commit, "lost write"),
        (no_memory_of_requests, "duplicate effect"),
        (no_memory_of_records, "duplicate effect"),
        (fences_forgotten, "zombie write"),
        (etags_ignored, "lost update"),
        (a_seq_is_skipped, "gap"),
        (reads_from_a_cache, "stale read"),
        (reads_run_ahead, "future read"),
        (replies_of_their_own, "version fork"),
        (positions_fall_short, "wrong position"),
        (repeats_are_answered_anew, "another answer"),
        (the_tail_runs_ahead, "aborted read"),
        (groups_are_cut, "split group"),
        (batches_are_sent_twice, "duplicate on a stream"),
        (streams_resume_too_late, "resume skip"),
        (streams_resume_too_early, "resume rewind"),
        (progress_runs_ahead, "broken bookmark"),
        (as_of_runs_ahead, "untrue as of"),
        (streams_fall_silent, "unseen"),
        (filters_are_ignored, "filter leak"),
        (the_read_model_does_not_wait, "unread write"),
        (tokens_fall_short, "resume rewind"),
    )
}
"""By name, the mutant and the anomaly that gives it away."""


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The bug of this name is in every service that starts while the context lasts."""
    with ExitStack() as stack:
        MUTANTS[name][0](stack)
        yield


def _put(stack: ExitStack, owner: object, name: str, mutant: object) -> None:
    stack.enter_context(patch.object(owner, name, mutant))


def _now_and_then() -> Iterator[bool]:
    return (number % _SELDOM == 0 for number in count(1))


def _with_view(stack: ExitStack, change: Callable[[View], None]) -> None:
    read = sql_group.SqliteGroup.read

    def mutant(*arguments: Any) -> View:  # noqa: ANN401 - as the original
        view = read(*arguments)
        change(view)
        return view

    _put(stack, sql_group.SqliteGroup, "read", mutant)


def _replies_replace(stack: ExitStack) -> None:
    first, *others = sql_group._SQLITE_WRITES  # noqa: SLF001 - as above
    _put(stack, sql_group, "_SQLITE_WRITES", (first.replace("INSERT", "INSERT OR REPLACE", 1), *others))


def _with_opening(stack: ExitStack, events: int) -> None:
    opened = Feed.open

    async def mutant(self: Feed, start: Position | StartPoint, *rest: Any) -> Opening:  # noqa: ANN401 - as the original
        opening = await opened(self, start, *rest)
        moved = tuple(max(1, seq + events) if seq > 1 else seq for seq in opening.start.next_seq)
        return replace(opening, start=opening.start._replace(next_seq=moved))

    _put(stack, Feed, "open", mutant)


def _with_version(body: bytes, more: int) -> bytes:
    order = Order.FromString(body)
    order.version += more
    return order.SerializeToString()
