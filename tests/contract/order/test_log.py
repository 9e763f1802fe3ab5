"""What every log promises, through the writer that uses it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from stateset.order.v1 import order_event_pb2, order_service_pb2

from infra.kernel.digest import Digest
from infra.kernel.filter import EVERYTHING
from infra.kernel.shard import shard_of
from infra.runtime.clock import ManualClock, SystemClock
from infra.runtime.sql import open_database
from order.adapters.sql_log import open_log
from order.adapters.wire import WireCodec
from order.adapters.wire_order import order_from_wire
from order.application.group import Reply
from order.application.heads import Heads, settled_us
from order.application.ports import Head, Log, LoggedEvent, Needs, View, Writes
from order.application.read_ports import Orders
from order.application.writer import Writer, WriterLimits
from order.domain.commands import AcceptOrder, CancelOrder, FillLine, RecordFill
from order.domain.errors import EtagMismatchError, RequestIdReusedError
from order.domain.lifecycle import record_content
from order.domain.policy import Acceptance, Policy
from order.domain.records import own_record
from order.main import MIGRATIONS
from tests.contract.order.conftest import SHARDS, writing
from tests.harness.order_commands import ERASE, deliver, hold, release, ship
from tests.harness.orders import place, submission

NAMES = ("ada", "bob")


async def all_events(log: Log, events_max: int = 100) -> list[LoggedEvent]:
    found: list[LoggedEvent] = []
    for shard, head in enumerate(await log.heads()):
        next_seq = 1
        while next_seq < head.next_seq:
            events = await log.read_events(shard, next_seq, events_max)
            assert events[0].seq == next_seq
            found += events
            next_seq = events[-1].seq + 1
    return found


def accept(order_id: str) -> AcceptOrder:
    return AcceptOrder(order_id=order_id)


async def test_seqs_are_dense_whatever_happens_at_once(log: Log, writer: Writer) -> None:
    ids = [f"o-{number}" for number in range(60)]
    await asyncio.gather(*(writer.submit(submission(place(1, order_id=each))) for each in ids))
    again = [writer.submit(submission(place(2, order_id=each))) for each in ids]  # refused: other content
    await asyncio.gather(*again, *(writer.submit(submission(accept(each))) for each in ids))
    events = await all_events(log)
    for shard in range(SHARDS):
        seqs = [event.seq for event in events if event.shard == shard]
        assert seqs == list(range(1, len(seqs) + 1))
    assert len(events) == 120
    assert all(event.shard == shard_of(event.order_id, SHARDS) for event in events)


async def test_what_is_not_there_yet_was_not_recorded_before_the_oldest_group_began(
    log: Log, database_url: str | None
) -> None:
    clock = SystemClock()
    claims: list[tuple[int, list[Head]]] = []
    async with another(log, database_url) as read, writing(log, clock) as writer, asyncio.TaskGroup() as tasks:
        orders = [tasks.create_task(writer.submit(submission(place(1, order_id=f"o-{each}")))) for each in range(300)]
        while not all(order.done() for order in orders):
            claims.append((await settled_us(read, clock), await read.heads()))
            await asyncio.sleep(0)
    for event in await all_events(log):
        for claimed_us, heads in claims:
            assert event.seq < heads[event.shard].next_seq or event.record_time_us >= claimed_us


@asynccontextmanager
async def another(log: Log, database_url: str | None) -> AsyncIterator[Log]:
    """The same log as another process sees it, where the database lets there be one."""
    if database_url is None or not database_url.startswith("postgresql"):
        yield log
        return
    async with open_database(database_url, service="order", migrations=MIGRATIONS) as database:
        yield await open_log(database, SHARDS)


async def test_an_orders_versions_follow_its_events(log: Log, orders: Orders, writer: Writer) -> None:
    await writer.submit(submission(place(3)))
    await writer.submit(submission(accept("o-1")))
    await writer.submit(submission(CancelOrder(order_id="o-1", lines=())))
    events = [order_event_pb2.OrderEvent.FromString(event.body) for event in await all_events(log)]
    assert [event.version for event in events] == [1, 2, 3]
    assert [event.WhichOneof("change") for event in events] == ["order_placed", "order_accepted", "order_canceled"]
    assert events[1].previous_state == events[0].state
    assert [event.order.version for event in events] == [1, 2, 3]
    assert order_from_wire((await orders.find_orders(["o-1"]))["o-1"].body).version == 3


async def test_a_repeat_gets_the_first_answer_byte_for_byte(log: Log, writer: Writer) -> None:
    first = await writer.submit(submission(place(3), request_id="request-a"))
    await writer.submit(submission(accept("o-1")))
    again = await writer.submit(submission(place(3), request_id="request-a"))
    assert again == Reply(first.body, replayed=True)
    assert len(await all_events(log)) == 2


async def test_the_same_request_twice_at_once_has_one_effect(log: Log, writer: Writer) -> None:
    replies = await asyncio.gather(*(writer.submit(submission(place(3), request_id="request-a")) for _ in range(5)))
    assert len({reply.body for reply in replies}) == 1
    assert [reply.replayed for reply in replies] == [False, True, True, True, True]
    assert len(await all_events(log)) == 1


async def test_the_same_request_twice_at_once_is_refused_once_whatever_comes_between(writer: Writer) -> None:
    early = submission(accept("o-1"), request_id="request-a")
    replies = await asyncio.gather(*map(writer.submit, (early, submission(place(3)), early)))
    assert [(reply.refused, reply.replayed) for reply in replies] == [(True, False), (False, False), (True, True)]
    assert replies[0].body == replies[2].body


async def test_a_request_id_with_other_content_is_refused_and_the_difference_named(writer: Writer) -> None:
    await writer.submit(submission(place(3), request_id="request-a"))
    with pytest.raises(RequestIdReusedError) as refused:
        await writer.submit(submission(place(4), request_id="request-a"))
    assert refused.value.differing_fields == ("reason",)
    with pytest.raises(RequestIdReusedError) as refused:
        await writer.submit(submission(accept("o-1"), request_id="request-a"))
    assert refused.value.differing_fields == ("method",)


async def test_a_deterministic_refusal_is_stored(writer: Writer) -> None:
    first = await writer.submit(submission(accept("o-1"), request_id="request-a"))
    await writer.submit(submission(place(3)))
    again = await writer.submit(submission(accept("o-1"), request_id="request-a"))
    assert (first.refused, first.replayed) == (True, False)
    assert again == Reply(first.body, refused=True, replayed=True)


async def test_an_etag_guards_a_command_and_its_refusal_is_not_stored(log: Log, writer: Writer) -> None:
    await writer.submit(submission(place(3)))
    with pytest.raises(EtagMismatchError):
        await writer.submit(submission(accept("o-1"), request_id="request-a", etag='"7"'))
    accepted = await writer.submit(submission(accept("o-1"), request_id="request-a", etag='"1"'))
    assert not accepted.refused
    assert len(await all_events(log)) == 2


async def test_an_order_id_counts_once_for_ever(log: Log, writer: Writer) -> None:
    await writer.submit(submission(place(3)))
    await writer.submit(submission(accept("o-1")))
    same = await writer.submit(submission(place(3)))
    other = await writer.submit(submission(place(4)))
    reply = order_service_pb2.PlaceOrderResponse.FromString(same.body)
    assert (reply.order.version, list(reply.events)) == (2, [])
    assert other.refused
    assert len(await all_events(log)) == 2


async def test_an_order_id_with_other_personal_data_is_refused_until_that_is_erased(log: Log, writer: Writer) -> None:
    ada, bob = ((place(3, personal_paths=("personal.email",), personal_hash=each), each.encode()) for each in NAMES)
    for (command, personal), refused in ((ada, False), (ada, False), (bob, True)):
        assert (await writer.submit(submission(command, personal=personal))).refused == refused
    await writer.submit(submission(accept("o-1")))
    assert await own_content(log) == record_content(ada[0])
    await writer.submit(submission(ERASE))
    assert await own_content(log) == record_content(place(3, personal_paths=("personal.email",)))
    for command, personal in (ada, bob):
        assert not (await writer.submit(submission(command, personal=personal))).refused
    assert (await writer.submit(submission(place(3)))).refused
    assert len(await all_events(log)) == 3


async def test_an_order_that_is_erased_as_soon_as_it_is_placed_keeps_nothing_to_guess_by(
    log: Log, writer: Writer
) -> None:
    placing = place(3, personal_paths=("personal.email",), personal_hash="ada")
    await asyncio.gather(*(writer.submit(submission(command)) for command in (placing, ERASE)))
    assert await own_content(log) == record_content(placing._replace(personal_hash=""))


async def own_content(log: Log) -> str:
    """What the record of order o-1 has."""
    seen: list[str] = []

    def decide(view: View) -> Writes:
        seen.append(view.records[own_record("o-1")].content)
        return Writes()

    await log.commit(Needs(requests=frozenset(), orders=frozenset({"o-1"}), records=frozenset()), decide)
    return seen[-1]


async def test_a_shipment_counts_once_and_a_delivery_needs_it(log: Log, writer: Writer) -> None:
    filled = RecordFill(order_id="o-1", record_id="f-1", lines=(FillLine(line_id="1", quantity=3, price=None),))
    for command in (place(3), accept("o-1"), filled, ship(2)):
        assert not (await writer.submit(submission(command))).refused
    assert not (await writer.submit(submission(ship(2)))).refused  # the same again: no event
    assert (await writer.submit(submission(ship(1)))).refused  # the same id, other content
    assert (await writer.submit(submission(deliver(1, shipment_id="s-2")))).refused
    assert not (await writer.submit(submission(deliver(1)))).refused
    assert len(await all_events(log)) == 5


async def test_a_hold_that_was_released_is_not_put_on_again(log: Log, writer: Writer) -> None:
    for command in (place(3), hold(), hold(), release(), release()):
        assert not (await writer.submit(submission(command))).refused
    again = submission(hold(), request_id="request-a")
    assert (await writer.submit(again)).refused
    assert (await writer.submit(again)).replayed
    assert not (await writer.submit(submission(hold("h-2")))).refused
    assert len(await all_events(log)) == 4


async def test_validate_only_answers_and_changes_nothing(log: Log, orders: Orders, writer: Writer) -> None:
    asked = await writer.submit(submission(place(3), request_id="request-a", validate_only=True))
    reply = order_service_pb2.PlaceOrderResponse.FromString(asked.body)
    assert (reply.order.version, len(reply.events)) == (1, 1)
    assert await all_events(log) == []
    assert await orders.find_orders(["o-1"]) == {}
    placed = await writer.submit(submission(place(3), request_id="request-a"))
    assert not placed.replayed


async def test_a_time_is_where_the_first_event_of_then_or_later_is(
    log: Log, writer: Writer, clock: ManualClock
) -> None:
    for number in range(20):
        await writer.submit(submission(place(number % 3 + 1, order_id=f"o-{number}")))
        clock.advance(1)
    events = await all_events(log)
    heads = [head.next_seq for head in await log.heads()]
    times = sorted({event.record_time_us for event in events})
    for time_us in (0, times[0], times[7], times[7] + 1, times[-1], times[-1] + 1):
        expected = [
            min(
                (event.seq for event in events if event.shard == shard and event.record_time_us >= time_us),
                default=head,
            )
            for shard, head in enumerate(heads)
        ]
        assert await log.seqs_at(time_us) == expected


async def test_record_times_never_go_back(log: Log, writer: Writer, clock: ManualClock) -> None:
    await writer.submit(submission(place(3)))
    clock.advance(-60)
    await writer.submit(submission(accept("o-1")))
    times = [event.record_time_us for event in await all_events(log)]
    assert times == sorted(times)


async def test_a_read_never_splits_a_group(log: Log, clock: ManualClock) -> None:
    heads, codec = Heads(log.log_epoch, [1] * SHARDS), WireCodec(log.log_epoch, SHARDS)
    accepting = Writer(log, codec, heads, clock, WriterLimits(), Policy(acceptance=Acceptance.AUTOMATIC))
    async with accepting.running():
        await asyncio.gather(*(accepting.submit(submission(place(1, order_id=f"o-{n}"))) for n in range(9)))
    for events_max in (1, 2, 3, 5):
        for shard, head in enumerate(await log.heads()):
            if head.next_seq > 1:
                events = await log.read_events(shard, 1, events_max)
                assert [event.group_index for event in events] == [0, 1] * (len(events) // 2)
                assert 2 <= len(events) <= max(2, events_max)


async def test_the_digest_is_that_of_ids_and_versions(log: Log, writer: Writer) -> None:
    await writer.submit(submission(place(3)))
    await writer.submit(submission(accept("o-1")))
    position, digest = await log.digest(EVERYTHING)
    expected = Digest()
    expected.add("o-1", 2)
    assert (digest.count, digest.hash) == (1, expected.hash)
    assert position.next_seq[shard_of("o-1", SHARDS)] == 3


async def test_floors_move_forward_only_and_only_for_the_newest_epoch(log: Log) -> None:
    first, floors = await log.open_subscription("sync")
    assert floors == {}
    assert await log.move_floors("sync", first, {0: 5, 1: 2})
    assert await log.move_floors("sync", first, {0: 3})
    second, floors = await log.open_subscription("sync")
    assert (second, floors) == (first + 1, {0: 5, 1: 2})
    assert not await log.move_floors("sync", first, {0: 9})
    assert (await log.open_subscription("sync"))[1] == {0: 5, 1: 2}
    assert (await log.open_subscription("other"))[1] == {}


async def test_a_failed_decision_leaves_nothing_behind(log: Log, writer: Writer) -> None:
    await writer.submit(submission(place(3)))

    def fail(_view: View) -> Writes:
        raise ValueError("cannot be decided")

    with pytest.raises(ValueError, match="cannot be decided"):
        await log.commit(Needs(requests=frozenset(), orders=frozenset({"o-1"}), records=frozenset()), fail)
    assert len(await all_events(log)) == 1
    assert not (await writer.submit(submission(accept("o-1")))).refused
