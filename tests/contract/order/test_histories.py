"""Random lives of orders on every log: what it says to each command is what the log in memory says."""

import asyncio
import random

import pytest
from stateset.order.v1 import order_event_pb2

from infra.kernel.filter import EVERYTHING
from infra.runtime.clock import ManualClock
from order.adapters.memory import MemoryLog
from order.adapters.wire_order import order_from_wire
from order.application.ports import Log
from order.application.read_ports import Orders, Records
from order.application.writer import Writer
from order.domain.commands import AmendOrder, Command, EraseOrderPersonalData
from order.domain.records import Fill, Record, Return, Shipment
from tests.contract.order.conftest import SHARDS, writing
from tests.harness.order_commands import (
    ACCEPT,
    CANCEL,
    approve_return,
    bust,
    deliver,
    fill,
    receive_return,
    request_return,
    ship,
)
from tests.harness.order_histories import Wanderer
from tests.harness.orders import place, submission

ORDERS = 6
STEPS = 25


async def carry_out(writer: Writer, *commands: Command) -> None:
    for command in commands:
        assert not (await writer.submit(submission(command))).refused, command


@pytest.mark.parametrize("seed", range(2))
async def test_a_log_says_what_the_log_in_memory_says(log: Log, orders: Orders, records: Records, seed: int) -> None:
    chance, twin = random.Random(seed), MemoryLog(SHARDS)  # noqa: S311 - a test's dice
    async with writing(twin, ManualClock()) as expected_of, writing(log, ManualClock()) as found_of:
        writers = [expected_of, found_of]
        for number in range(ORDERS):
            wanderer = Wanderer(f"o-{number}", chance)
            command: Command = wanderer.place()
            for _ in range(STEPS):
                replies = [await writer.submit(submission(command)) for writer in writers]
                assert replies[0].refused == replies[1].refused
                await follow(wanderer, twin, command)
                command = wanderer.step()
            assert await orders.find_orders([f"o-{number}"]) == await twin.find_orders([f"o-{number}"])
            for kind in (Fill.kind, Shipment.kind, Return.kind):
                expected = await twin.list_records(f"o-{number}", kind, "", 100)
                assert await records.list_records(f"o-{number}", kind, "", 100) == expected
    assert await log.due_orders(1, 100) == await twin.due_orders(1, 100)
    assert (await log.digest(EVERYTHING))[1].hash == (await twin.digest(EVERYTHING))[1].hash
    assert await changes(log) == await changes(twin)


async def follow(wanderer: Wanderer, log: MemoryLog, command: Command) -> None:
    """Shows the order and its records to whoever makes up the next command."""
    found = await log.find_orders([command.order_id])
    wanderer.order = order_from_wire(found[command.order_id].body)
    kinds = (Fill.kind, Shipment.kind, Return.kind)
    histories = [each for kind in kinds for each in await log.list_records(command.order_id, kind, "", 100)]
    wanderer.records = {(command.order_id, each.kind, each.record_id): Record("", each) for each in histories}


async def changes(log: Log) -> list[tuple[int, str, str | None, int]]:
    found: list[tuple[int, str, str | None, int]] = []
    for shard, head in enumerate(await log.heads()):
        if head.next_seq > 1:
            for event in await log.read_events(shard, 1, head.next_seq):
                message = order_event_pb2.OrderEvent.FromString(event.body)
                found.append((event.seq, event.order_id, message.WhichOneof("change"), message.version))
    return found


async def test_records_stand_for_what_became_of_them(records: Records, writer: Writer) -> None:
    await carry_out(writer, place(3), ACCEPT, fill(3), ship(1), ship(2, record_id="s-2"), deliver(2, shipment_id="s-2"))
    second = await records.read_record(("o-1", Shipment.kind, "s-2"))
    assert isinstance(second, Shipment)
    assert second.delivered == second.lines
    await carry_out(writer, request_return(2), approve_return(), receive_return(1))
    returned = await records.read_record(("o-1", Return.kind, "r-1"))
    assert isinstance(returned, Return)
    assert (returned.state, returned.received[0].quantity) == ("APPROVED", 1)
    assert [each.record_id for each in await records.list_records("o-1", Shipment.kind, "", 9)] == ["s-1", "s-2"]
    assert [each.record_id for each in await records.list_records("o-1", Shipment.kind, "s-1", 9)] == ["s-2"]
    assert [each.record_id for each in await records.list_records("o-1", Shipment.kind, "", 1)] == ["s-1"]
    assert await records.read_record(("o-1", "order", "o-1")) is None
    assert await records.read_record(("o-1", Return.kind, "r-9")) is None


async def test_a_busted_fill_gives_its_own_amount_back(orders: Orders, writer: Writer) -> None:
    await carry_out(writer, place(3), ACCEPT, fill(1, nanos=7_770_000_000), fill(2, record_id="f-2"), bust())
    found = await orders.find_orders(["o-1"])
    line = order_from_wire(found["o-1"].body).lines[0]
    assert (line.filled, line.filled_amount, line.filled_at_price_amount) == (2, 200, 200)


async def test_an_order_is_due_while_something_of_it_is_open(log: Log, writer: Writer) -> None:
    await carry_out(
        writer, place(3, expire_time_us=5), place(1, order_id="o-2", expire_time_us=4), place(1, order_id="o-3")
    )
    assert await log.due_orders(3, 9) == []
    assert await log.due_orders(5, 9) == ["o-2", "o-1"]
    assert await log.due_orders(5, 1) == ["o-2"]
    assert await log.due_orders(5, 9, 1) == ["o-1"]
    await carry_out(writer, CANCEL)
    assert await log.due_orders(5, 9) == ["o-2"]


async def test_personal_data_is_replaced_as_a_whole(orders: Orders, writer: Writer) -> None:
    await writer.submit(submission(place(1), personal=b"who"))
    await writer.submit(submission(ACCEPT, personal=b"whoever"))
    assert (await orders.find_orders(["o-1"]))["o-1"].personal == b"whoever"


async def test_personal_data_is_gone_after_its_erasure_whatever_else_the_group_does(
    orders: Orders, writer: Writer
) -> None:
    erase, amend = EraseOrderPersonalData(order_id="o-1"), AmendOrder(order_id="o-1", paths=("personal.email",))
    told: list[tuple[bytes, bool]] = []
    for commands in (
        [submission(place(1), personal=b"who"), submission(erase)],
        [submission(amend, personal=b"whoever")],
        [submission(erase), submission(amend, personal=b"who else"), submission(ACCEPT)],
        [submission(erase), submission(erase)],
    ):
        await asyncio.gather(*map(writer.submit, commands))
        stored = (await orders.find_orders(["o-1"]))["o-1"]
        told.append((stored.personal, order_from_wire(stored.body).personal_erase_time_us is not None))
    assert told == [(b"", True), (b"whoever", False), (b"who else", False), (b"", True)]
    assert order_from_wire((await orders.find_orders(["o-1"]))["o-1"].body).version == 7
