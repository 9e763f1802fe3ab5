"""What becomes of a log that is restored from a backup and given a new epoch."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, text
from stateset.common.v1 import position_pb2
from stateset.order.v1 import order_event_pb2, order_service_pb2

from infra.kernel.position import LogEpochChangedError
from infra.runtime.clock import ManualClock, SystemClock
from infra.runtime.database import Database
from infra.runtime.lifespan import StartupError
from infra.runtime.sql import open_database
from order.adapters.requests import ERASE_CUSTOMER
from order.adapters.sql_epoch import NewEpoch
from order.adapters.sql_lease import SqlLease
from order.adapters.sql_log import open_log
from order.application.feed import Feed
from order.application.heads import Heads
from order.application.ports import Log, Outcome
from order.application.relay_ports import Cursor
from order.application.writer import Writer
from order.main import MIGRATIONS
from order.new_epoch import renew
from tests.contract.order.conftest import SHARDS, writing
from tests.harness.order_commands import ACCEPT
from tests.harness.orders import place, submission

ORDERS = 650  # more than are changed at a time, in each shard
BODY = 6  # the column of an event
OUTCOME, REPLY = 3, 4  # those of a stored answer
ERASED = ("local", "request-erased")
TABLES = ("log", "shard_heads", "orders", "order_events", "order_records", "order_personal", "idempotency")

pytestmark = pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)
Rows = dict[str, list[tuple[Any, ...]]]


class Opened(NamedTuple):
    """The database in the hands of a service."""

    database: Database
    log: Log
    writer: Writer


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Opened]:
    async with open_database(url, service="order", migrations=MIGRATIONS) as database:
        log = await open_log(database, SHARDS)
        async with writing(log, ManualClock()) as writer:
            yield Opened(database, log, writer)


async def new_epoch(url: str) -> NewEpoch:
    return await renew(url, asyncio.Event())


async def rows(url: str) -> Rows:
    def read(connection: Connection) -> Rows:
        # The first two columns are a key in every table.
        query = "SELECT * FROM {} ORDER BY 1, 2"
        return {table: [tuple(row) for row in connection.execute(text(query.format(table)))] for table in TABLES}

    async with open_database(url, service="order", migrations=MIGRATIONS) as database:
        return await database.read(read)


@pytest.fixture
async def used(database_url: str) -> str:
    """URL of a database with orders, and with answers of every kind."""
    async with opened(database_url) as (_, log, writer):
        await writer.submit(submission(place(3)))
        await writer.submit(submission(ACCEPT, request_id="request-a"))
        await writer.submit(submission(place(4), request_id="request-refused"))
        await log.fence(("local", "request-fenced"), 1)
        await log.begin(("local", "request-begun"), ERASE_CUSTOMER, b"begun", 1)
        await log.begin(ERASED, ERASE_CUSTOMER, b"", 1)
        position = position_pb2.Position(log_epoch=log.log_epoch, next_seq=[0] * SHARDS)
        erased = order_service_pb2.EraseCustomerPersonalDataResponse(
            order_ids=[f"\n${log.log_epoch}"],
            position=position,
            next_page_token="next",  # noqa: S106 - of a page
        )
        await log.finish(ERASED, erased.SerializeToString())
        # An order's id and a reason may say what they like, the epoch and what stands around it among that.
        strange = submission(
            place(1, order_id=f"*${log.log_epoch}"), reason=f"\n${log.log_epoch}", request_id="strange"
        )
        await writer.submit(strange)
        many = (place(1, order_id=f"many-{number}") for number in range(ORDERS))
        await asyncio.gather(*(writer.submit(submission(each)) for each in many))
    return database_url


def without(row: tuple[Any, ...], column: int) -> tuple[Any, ...]:
    return (*row[:column], *row[column + 1 :])


def event_epoch(body: bytes) -> str:
    return order_event_pb2.OrderEvent.FromString(body).metadata.log_epoch


def reply_epoch(body: bytes) -> str:
    return order_service_pb2.PlaceOrderResponse.FromString(body).position.log_epoch


def reply_to_erasure(body: bytes) -> order_service_pb2.EraseCustomerPersonalDataResponse:
    return order_service_pb2.EraseCustomerPersonalDataResponse.FromString(body)


def without_event_epoch(body: bytes) -> order_event_pb2.OrderEvent:
    event = order_event_pb2.OrderEvent.FromString(body)
    event.metadata.ClearField("log_epoch")
    return event


def without_reply_epoch(body: bytes) -> order_service_pb2.PlaceOrderResponse:
    reply = order_service_pb2.PlaceOrderResponse.FromString(body)
    reply.position.ClearField("log_epoch")
    return reply


async def test_everything_stays_as_it_was_but_for_the_epoch(used: str) -> None:
    before = await rows(used)
    done = await new_epoch(used)
    after = await rows(used)

    assert done.before != done.after
    assert (before["log"], after["log"]) == ([(done.before, SHARDS, 0)], [(done.after, SHARDS, 0)])
    for table in ("shard_heads", "orders", "order_records", "order_personal"):
        assert before[table] == after[table]
    assert done.events == len(after["order_events"]) == ORDERS + 3
    assert done.replies == len(after["idempotency"]) - 3  # without the refusal, the fence and what has only begun
    for row, changed in zip(before["order_events"], after["order_events"], strict=True):
        assert event_epoch(changed[BODY]) == done.after
        assert without(row, BODY) == without(changed, BODY)
        assert without_event_epoch(row[BODY]) == without_event_epoch(changed[BODY])
    for row, changed in zip(before["idempotency"], after["idempotency"], strict=True):
        assert without(row, REPLY) == without(changed, REPLY)
        if row[:2] == ERASED:
            reply, of_before = reply_to_erasure(changed[REPLY]), reply_to_erasure(row[REPLY])
            assert reply.position.log_epoch == done.after
            reply.position.log_epoch = done.before
            assert reply == of_before
        elif row[OUTCOME] == Outcome.COMMITTED:
            assert reply_epoch(changed[REPLY]) == done.after
            assert without_reply_epoch(row[REPLY]) == without_reply_epoch(changed[REPLY])
        else:
            assert row == changed


async def test_a_position_of_before_is_refused(used: str) -> None:
    async with opened(used) as (_, log, _):
        held = (await Feed(log, await heads_of(log), ManualClock()).open(await position(log), range(SHARDS), "")).start
    await new_epoch(used)
    async with opened(used) as (_, log, _):
        feed = Feed(log, await heads_of(log), ManualClock())
        with pytest.raises(LogEpochChangedError) as refused:
            await feed.open(held, range(SHARDS), "")
        assert refused.value.ours == log.log_epoch != held.log_epoch
        again = await feed.open(await position(log), range(SHARDS), "")
    assert again.start.next_seq == held.next_seq


async def heads_of(log: Log) -> Heads:
    return Heads(log.log_epoch, [head.next_seq for head in await log.heads()])


async def position(log: Log) -> Any:  # noqa: ANN401 - a position
    return (await heads_of(log)).position


async def test_a_repeat_gets_its_first_answer_with_the_new_epoch_in_its_position(used: str) -> None:
    async with opened(used) as (_, _, writer):
        first = await writer.submit(submission(ACCEPT, request_id="request-a"))
        refused = await writer.submit(submission(place(4), request_id="request-refused"))
    done = await new_epoch(used)
    async with opened(used) as (_, log, writer):
        again = await writer.submit(submission(ACCEPT, request_id="request-a"))
        assert again.replayed
        assert again.body == first.body.replace(done.before.encode(), log.log_epoch.encode())
        assert reply_epoch(again.body) == log.log_epoch
        assert await writer.submit(submission(place(4), request_id="request-refused")) == refused
        assert not (await writer.submit(submission(place(1, order_id="o-new")))).refused


async def test_readers_and_the_places_on_the_topics_are_forgotten(used: str) -> None:
    cursors = {("events", 0): Cursor(topic_id="t", next_seq=3)}
    async with opened(used) as (database, log, _):
        for _ in range(2):
            delivery_epoch, _ = await log.open_subscription("sync")
        assert await log.move_floors("sync", delivery_epoch, {0: 2})
        lease = SqlLease(database, ManualClock(), holder="test")
        lease_epoch = await lease.acquire()
        assert lease_epoch is not None
        assert await lease.keep(lease_epoch, cursors)
        assert (await log.lowest_floors())[0] == 2
    assert (await new_epoch(used)).readers == 1
    async with opened(used) as (database, log, _):
        assert await log.readers("", 9) == []
        assert await log.lowest_floors() == [None] * SHARDS
        assert await SqlLease(database, ManualClock(), holder="test").cursors() == {}
        assert await log.open_subscription("sync") == (1, {})


async def test_no_relay_is_given_an_epoch_that_was_given_after_the_backup(used: str) -> None:
    clock = SystemClock()
    lost = 5  # takeovers since the backup, of which the database knows nothing
    async with opened(used) as (database, _, _):
        kept = await SqlLease(database, clock, holder="before").acquire()
        assert kept is not None
    for _ in range(2):
        await new_epoch(used)
        async with opened(used) as (database, _, _):
            lease = SqlLease(database, clock, holder="after")
            given = await lease.acquire()  # at once, though the one of before had not ended
            assert given is not None
            assert given > kept + lost
            assert not any([await lease.keep(epoch, {}) for epoch in range(kept, kept + lost)])
            kept = given


async def test_a_database_in_use_is_refused(used: str) -> None:
    before = await rows(used)
    async with opened(used):
        with pytest.raises(StartupError, match=r"open in another process|the order service runs on this database"):
            await new_epoch(used)
    assert await rows(used) == before


async def test_a_database_that_was_never_used_is_refused_and_stays_so(database_url: str) -> None:
    for _ in range(2):
        with pytest.raises(StartupError, match=r"there is no (database|schema)"):
            await new_epoch(database_url)
    async with open_database(database_url, service="order", migrations=MIGRATIONS):
        pass
    with pytest.raises(StartupError, match="the database holds no log"):
        await new_epoch(database_url)


async def test_nothing_is_changed_if_it_is_stopped_or_an_event_is_of_yet_another_log(used: str) -> None:
    before = await rows(used)
    stop = asyncio.Event()
    stop.set()
    with pytest.raises(StartupError, match="nothing was changed"):
        await renew(used, stop)
    assert await rows(used) == before

    foreign = text("UPDATE order_events SET body = :body WHERE shard = 2 AND seq = 2")
    event = without_event_epoch(before["order_events"][-1][-1])
    event.metadata.log_epoch = "of-another-log"
    body = event.SerializeToString()
    async with open_database(used, service="order", migrations=MIGRATIONS) as database:
        await database.write(lambda connection: connection.execute(foreign, {"body": body}))
    before = await rows(used)
    with pytest.raises(StartupError, match=r"order_events \(2, 2\) is of another log"):
        await new_epoch(used)
    assert await rows(used) == before
