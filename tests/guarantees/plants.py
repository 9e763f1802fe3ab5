"""Bugs for tests to catch: each promise that no history shows has a test that fails once a bug is planted.

A pytest plugin, for runs of nothing else: with `-p tests.guarantees.plants` each test of the table runs once per bug
that it has to catch, which is in place from before the test's fixtures until after them. The bugs of `mutants.py` are
judged by a history, these by the tests that `docs/guarantees.md` names.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from typing import Any, Final
from unittest.mock import patch

import pytest
import sqlalchemy as sa
import stateset_client.feed
from sqlalchemy import Connection
from stateset.order.v1 import order_event_pb2, order_pb2, order_service_pb2
from stateset_client import Move

import consumers.store
from consumers import checkpoints
from consumers.portfolio import store as portfolio
from consumers.portfolio.model import NOTHING
from infra.runtime.grpc.door import Door
from infra.runtime.grpc.wire import embedded
from infra.runtime.kafka.cluster import Cluster
from infra.runtime.sqlite import SqliteDatabase
from order.adapters import kafka_publisher, sql_group
from order.adapters.kafka_publisher import KafkaBus
from order.adapters.sql_log import SqlLog
from order.adapters.sql_tables import LOG_SUBSCRIPTIONS
from order.adapters.wire import WireCodec
from order.application.ports import Submission, Writes
from order.application.relay_ports import Cursor
from order.application.writer import Writer
from sync.adapters import memory
from sync.adapters.memory_parking import MemoryParking
from sync.application.acks import Acks, Answer
from sync.domain import stall
from sync.domain.credit import Credit
from sync.domain.done_set import Floor
from sync.domain.parking import Marks
from sync.domain.pulse import Pulse
from sync.domain.session import Session
from sync.domain.settlement import Settlement
from sync.domain.subscription import Ack, AckOutcome, AckStatus, Subscription, acked
from sync.gateway import server

Plant = Callable[[ExitStack], None]
CAUGHT: Final = "caught"  # the property of a report that names the bug which its test has caught
_PATIENCE_SECONDS: Final = 10.0  # what a bug has stopped is not waited for as long as what is merely slow
_EVENT_ORDER: Final = order_event_pb2.OrderEvent.ORDER_FIELD_NUMBER
_ORDER_PERSONAL: Final = order_pb2.Order.PERSONAL_FIELD_NUMBER
_REPLY_ORDER: Final = order_service_pb2.PlaceOrderResponse.ORDER_FIELD_NUMBER


def checkpoints_run_ahead(stack: ExitStack) -> None:
    """A checkpoint is durable before the effect of what it passes."""
    move = checkpoints.move_checkpoint

    def mutant(connection: Connection, step: Move) -> bool:
        moved = move(connection, step)
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        return moved

    _put(stack, consumers.store, "move_checkpoint", mutant)


def acks_of_the_superseded_count(stack: ExitStack) -> None:
    """Whoever acks is taken for the newest stream."""

    def mutant(stored: Subscription | None, ack: Ack) -> tuple[Subscription | None, AckOutcome]:
        newest = 0 if stored is None else stored.delivery_epoch
        return acked(stored, replace(ack, delivery_epoch=newest))

    _put(stack, memory, "acked", mutant)


def committed_is_said_too_soon(stack: ExitStack) -> None:
    """An ack is answered when it has come."""
    submit = Acks.submit

    async def mutant(self: Acks, ack: Ack | Settlement, answer: Answer) -> None:
        await submit(self, ack, lambda _outcome: None)
        answer(AckOutcome(status=AckStatus.COMMITTED, floors={}))

    _put(stack, Acks, "submit", mutant)


def what_is_done_above_the_floor_is_forgotten(stack: ExitStack) -> None:
    """Of single events only those count below which nothing is left."""
    finished = Floor.finished
    _put(stack, Floor, "finished", lambda self, stretches: replace(finished(self, stretches), done=()))


def credit_is_ignored(stack: ExitStack) -> None:
    """What was sent takes none of the credit."""
    _put(stack, Credit, "spend", lambda _self, _events, _size: None)


def nobody_is_cut_off(stack: ExitStack) -> None:
    """A reader that takes nothing counts as one that takes little."""
    less = count(0, -1)
    _put(stack, server, "_untaken_bytes", lambda _transport: next(less))


def floors_without_epochs(stack: ExitStack) -> None:
    """Whoever moves the log's floors is taken for the newest."""
    move = SqlLog.move_floors
    newest = sa.select(LOG_SUBSCRIPTIONS.c.delivery_epoch)

    async def mutant(self: SqlLog, name: str, _epoch: int, floors: Mapping[int, int]) -> bool:
        found = newest.where(LOG_SUBSCRIPTIONS.c.name == name)
        epoch = await self._read(lambda connection: connection.execute(found).scalar_one())
        return await move(self, name, epoch, floors)

    _put(stack, SqlLog, "move_floors", mutant)


def checkpoints_without_compare(stack: ExitStack) -> None:
    """A projection moves its checkpoint wherever somebody else has put it."""
    table = checkpoints.CHECKPOINTS
    move = sa.update(table).where(table.c.shard == sa.bindparam("at_shard"))
    move = move.values(next_seq=sa.bindparam("to_seq"), delivery_epoch=sa.bindparam("mine"))
    _put(stack, checkpoints, "_MOVE", move)


def relays_without_fencing(stack: ExitStack) -> None:
    """Each relay has an id of its own at the broker, which so refuses none of them."""
    begin, numbers = KafkaBus.__init__, count(1)

    def mutant(self: KafkaBus, cluster: Cluster, **options: Any) -> None:  # noqa: ANN401 - as the original
        begin(self, cluster, **options)
        self._transactional_id += f".{next(numbers)}"

    _put(stack, KafkaBus, "__init__", mutant)


def silence_means_nothing(stack: ExitStack) -> None:
    """A reader waits for a server that says nothing any more."""
    _put(stack, stateset_client.feed, "SILENCES_MAX", 1_000_000)


def callers_may_be_silent(stack: ExitStack) -> None:
    """A server keeps the stream of a caller that says nothing any more."""

    def mutant(self: Pulse, _now: float) -> None:
        self.due = min(self.beat_at, self.leave_at)

    _put(stack, Pulse, "hear", mutant)


def stalls_go_unnoticed(stack: ExitStack) -> None:
    """Nobody compares where a shard stands with where the log does."""
    _put(stack, stall, "stalled", lambda _before, _now, _seen: {})


def an_order_is_parked_by_halves(stack: ExitStack) -> None:
    """What comes later of an order that is parked as a whole is sent."""
    _put(stack, Marks, "span", lambda _self, _order_id: None)


def what_is_parked_is_dropped(stack: ExitStack) -> None:
    """The parking place takes in nothing."""

    def mutant(self: MemoryParking, settlement: Settlement, *, parked: bool) -> None:
        move(self, settlement, parked=False)

    move = MemoryParking.move
    _put(stack, MemoryParking, "move", mutant)


def drains_say_nothing(stack: ExitStack) -> None:
    """A stream of a server that leaves ends as if its reader had wanted that."""
    _put(stack, Session, "drain", Session.close)


def doors_stay_open(stack: ExitStack) -> None:
    """A server that is asked to stop takes calls until gRPC drops them."""

    async def mutant(_door: Door) -> None:
        """Shuts nothing."""

    _put(stack, Door, "shut", mutant)


def earlier_transactions_are_forgotten(stack: ExitStack) -> None:
    """What an order has contributed in an earlier transaction is not replaced."""
    _put(stack, portfolio, "_decoded", lambda _text: NOTHING)


def topics_go_on_where_they_were(stack: ExitStack) -> None:
    """A topic that was made anew is filled from where the old one ended."""
    goes_on_at = kafka_publisher.goes_on_at

    def mutant(last: Any, kept: Cursor | None, topic_id: str, earliest: int) -> int:  # noqa: ANN401 - as the original
        return goes_on_at(last, kept, topic_id if kept is None else kept.topic_id, earliest)

    _put(stack, kafka_publisher, "goes_on_at", mutant)


def events_carry_personal_data(stack: ExitStack) -> None:
    """An event has the personal data of its order."""
    encode = WireCodec.encode_event

    def mutant(self: WireCodec, submission: Submission, *rest: Any) -> bytes:  # noqa: ANN401 - as the original
        return encode(self, submission, *rest) + embedded(_EVENT_ORDER, embedded(_ORDER_PERSONAL, submission.personal))

    _put(stack, WireCodec, "encode_event", mutant)


def replies_keep_personal_data(stack: ExitStack) -> None:
    """The stored reply of a command has what it was given."""
    encode_event, encode_reply, last = WireCodec.encode_event, WireCodec.encode_reply, [b""]

    def noting(self: WireCodec, submission: Submission, *rest: Any) -> bytes:  # noqa: ANN401 - as the original
        last[0] = submission.personal
        return encode_event(self, submission, *rest)

    def mutant(self: WireCodec, *given: Any) -> bytes:  # noqa: ANN401 - as the original
        return encode_reply(self, *given) + embedded(_REPLY_ORDER, embedded(_ORDER_PERSONAL, last[0]))

    _put(stack, WireCodec, "encode_event", noting)
    _put(stack, WireCodec, "encode_reply", mutant)


def free_pages_keep_personal_data(stack: ExitStack) -> None:
    """What is erased is deleted, and its bytes stay where they were."""
    overwrite = "UPDATE order_personal SET body = zeroblob(length(body)) WHERE order_id = ?"
    delete = "DELETE FROM order_personal WHERE order_id = ?"
    assert overwrite in sql_group._SQLITE_WRITES  # noqa: SLF001 - as above
    writes = tuple(delete if each == overwrite else each for each in sql_group._SQLITE_WRITES)  # noqa: SLF001 - as above
    write = sql_group.SqliteGroup.write

    def mutant(self: sql_group.SqliteGroup, connection: Connection, rows: Writes) -> None:
        connection.exec_driver_sql("PRAGMA secure_delete = OFF")
        write(self, connection, rows)

    _put(stack, sql_group, "_SQLITE_WRITES", writes)
    _put(stack, sql_group.SqliteGroup, "write", mutant)


def the_write_ahead_log_keeps_personal_data(stack: ExitStack) -> None:
    """An erasure is answered before the pages of before it are gone."""

    async def mutant(_self: SqliteDatabase) -> None:
        """Empties nothing."""

    _put(stack, SqliteDatabase, "scrub", mutant)


def queues_without_bound(stack: ExitStack) -> None:
    """Any number of commands may wait, for any time."""
    _put(stack, Writer, "_is_full", lambda _self: False)


def who_gave_up_is_served(stack: ExitStack) -> None:
    """A command is carried out although its caller has gone."""

    async def mutant(self: Writer, submission: Submission) -> Any:  # noqa: ANN401 - as the original
        self.admit()
        return await asyncio.shield(self.enqueue(submission))

    _put(stack, Writer, "submit", mutant)


PLANTS: Final[Mapping[str, tuple[Plant, str, str]]] = {
    plant.__name__: (plant, promise, test)
    for promise, plant, test in (
        ("G9", checkpoints_run_ahead, "test_each_event_counts_once_though_the_process_dies_before_every_commit"),
        ("G12", acks_of_the_superseded_count, "test_the_ack_of_a_superseded_stream_is_fenced_and_changes_nothing"),
        ("G12", committed_is_said_too_soon, "test_committed_is_said_only_once_it_is_durable"),
        ("G12", what_is_done_above_the_floor_is_forgotten, "test_what_was_committed_is_never_delivered_again"),
        (
            "G15",
            credit_is_ignored,
            "test_a_reader_without_credit_gets_no_more_than_its_credit_and_goes_live_again_once_it_grants",
        ),
        ("G15", nobody_is_cut_off, "test_a_reader_that_stops_reading_holds_up_nobody_and_is_cut_off"),
        ("G16", floors_without_epochs, "test_floors_move_forward_only_and_only_for_the_newest_epoch"),
        (
            "G16",
            checkpoints_without_compare,
            "test_a_checkpoint_that_somebody_else_moved_ends_the_projection_and_changes_nothing",
        ),
        ("G16", relays_without_fencing, "test_a_predecessor_that_revives_with_records_to_send_is_told_that_it_is_late"),
        ("G17", silence_means_nothing, "test_a_link_that_goes_dead_is_noticed_and_left_within_three_heartbeats"),
        ("G17", callers_may_be_silent, "test_a_connection_that_is_frozen_half_open_is_noticed_by_the_callers_silence"),
        ("G17", stalls_go_unnoticed, "test_lag_without_progress_is_noticed_within_ten_seconds"),
        ("G18", an_order_is_parked_by_halves, "test_park_key_sets_the_later_events_of_the_order_aside_as_well"),
        ("G18", what_is_parked_is_dropped, "test_a_replayed_order_goes_on_at_the_next_version"),
        ("G19", doors_stay_open, "test_whoever_comes_while_the_server_stops_is_told_to_try_again"),
        ("G19", drains_say_nothing, "test_a_drain_ends_every_stream_with_go_away_at_its_position_and_an_ok"),
        (
            "G20",
            earlier_transactions_are_forgotten,
            "test_live_and_rebuilt_agree_whatever_the_breaks_and_the_size_of_transactions",
        ),
        ("G20", topics_go_on_where_they_were, "test_topics_that_were_wiped_are_filled_again"),
        ("G23", events_carry_personal_data, "test_personal_data_is_read_by_get_and_is_in_no_event_or_reply"),
        ("G23", replies_keep_personal_data, "test_no_file_has_what_was_erased_or_replaced_once_that_is_answered"),
        ("G23", free_pages_keep_personal_data, "test_no_file_has_what_was_erased_or_replaced_once_that_is_answered"),
        (
            "G23",
            the_write_ahead_log_keeps_personal_data,
            "test_no_file_has_what_was_erased_or_replaced_once_that_is_answered",
        ),
        ("G24", queues_without_bound, "test_excess_is_refused_at_once_and_what_was_accepted_is_answered"),
        ("G24", who_gave_up_is_served, "test_who_gives_up_while_waiting_changes_nothing"),
    )
}
"""By name, the bug, the promise that it breaks, and the test that must fail."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs the test once for each bug that it has to catch."""
    names = [name for name, (_, _, test) in PLANTS.items() if test == metafunc.function.__name__]
    metafunc.fixturenames.append(planted_bug.__name__)
    metafunc.parametrize(planted_bug.__name__, names, indirect=True)


@pytest.fixture(autouse=True)
def planted_bug(request: pytest.FixtureRequest) -> Iterator[str]:
    """The bug is there while the test lasts, and whoever waits for what it has stopped loses patience soon."""
    timeout = asyncio.timeout
    with ExitStack() as stack:
        _put(stack, asyncio, "timeout", lambda seconds: timeout(seconds and min(seconds, _PATIENCE_SECONDS)))
        PLANTS[request.param][0](stack)
        yield request.param


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Function, call: pytest.CallInfo[None]) -> None:
    """Notes that the test has caught its bug: by what it asserts or waits for, and not by whatever breaks beside it."""
    if call.when == "call" and call.excinfo is not None and all(map(_tells, _leaves(call.excinfo.value))):
        item.user_properties.append((CAUGHT, item.funcargs[planted_bug.__name__]))


def _tells(error: BaseException) -> bool:
    return isinstance(error, (AssertionError, TimeoutError, pytest.fail.Exception))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _put(stack: ExitStack, owner: object, name: str, planted: object) -> None:
    stack.enter_context(patch.object(owner, name, planted))
