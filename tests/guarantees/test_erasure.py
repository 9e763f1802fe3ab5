"""G23: of personal data that was erased nothing is left, though the service dies again and again meanwhile."""

import asyncio
import random
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from google.protobuf.message import Message
from stateset.common.v1.options_pb2 import personal_data
from stateset.common.v1.personal_pb2 import PersonalData
from stateset.order.v1 import order_pb2
from stateset.order.v1 import order_service_pb2 as orders
from stateset_client import OrderClient, StateSetError

from tests.harness.faults import seed, times
from tests.harness.orders import place_request
from tests.harness.ports import free_address
from tests.harness.sync_process import connected, running

pytestmark = pytest.mark.timeout(0)  # as many faults as asked for, each of whose waits has a bound

STEPS = 40
CUSTOMERS = 5
Command = orders.PlaceOrderRequest | orders.AmendOrderRequest | orders.EraseOrderPersonalDataRequest


@dataclass(slots=True)
class People:
    """Who was told to the service, and who must be forgotten.

    Attributes:
        current: By order, the marker in its personal data.
        replaced: By order, the markers of before; they go when the order's data is erased.
        gone: Markers that were erased.
        commands: Everything that was sent, to be repeated.
    """

    chance: random.Random
    customers: dict[str, str] = field(default_factory=dict)
    current: dict[str, str] = field(default_factory=dict)
    replaced: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    gone: set[str] = field(default_factory=set)
    commands: list[Command] = field(default_factory=list)

    def personal(self, order_id: str) -> PersonalData:
        """Data that nobody else has, in every field that the contract calls personal."""
        if order_id in self.current:
            self.replaced[order_id].add(self.current[order_id])
        marker = self.current[order_id] = f"{self.chance.getrandbits(96):024x}"
        data = PersonalData()
        fill(data, f"{marker}{'.' * self.chance.choice([0, 7, 90, 700])}")
        return data

    def forget(self, order_id: str) -> None:
        if order_id in self.current:
            self.gone |= {self.current.pop(order_id), *self.replaced.pop(order_id, ())}

    def step(self) -> Command | orders.EraseCustomerPersonalDataRequest:
        """Something to ask."""
        drawn = self.chance.random()
        if drawn < 0.5 or not self.customers:
            return self._place()
        order_id = self.chance.choice(list(self.customers))
        request_id = f"step-{self.chance.getrandbits(64):x}"
        if drawn < 0.7:
            return self._sent(
                orders.AmendOrderRequest(request_id=request_id, order_id=order_id, personal=self.personal(order_id))
            )
        if drawn < 0.95:
            self.forget(order_id)
            return self._sent(orders.EraseOrderPersonalDataRequest(request_id=request_id, order_id=order_id))
        customer = self.customers[order_id]
        for each in [each for each, of in self.customers.items() if of == customer]:
            self.forget(each)
        return orders.EraseCustomerPersonalDataRequest(request_id=request_id, customer_id=customer)

    def _place(self) -> Command:
        request = place_request(1, order_id=f"o-{len(self.customers)}")
        request.customer_id = self.customers[request.order_id] = f"c-{self.chance.randrange(CUSTOMERS)}"
        request.personal.CopyFrom(self.personal(request.order_id))
        return self._sent(request)

    def _sent(self, command: Command) -> Command:
        self.commands.append(command)
        return command


def fill(message: Message, text: str) -> None:
    for described in message.DESCRIPTOR.fields:
        if described.message_type is not None:
            fill(getattr(message, described.name), text)
        elif described.GetOptions().Extensions[personal_data]:
            value = getattr(message, described.name)
            if described.is_repeated:
                value.append(text)
            else:
                setattr(message, described.name, text)


async def send(client: OrderClient, request: Command | orders.EraseCustomerPersonalDataRequest) -> Message:
    match request:
        case orders.PlaceOrderRequest():
            return await client.place_order(request)
        case orders.AmendOrderRequest():
            return await client.amend_order(request)
        case orders.EraseOrderPersonalDataRequest():
            return await client.erase_order_personal_data(request)
        case _:
            return await client.erase_customer_personal_data(request)


async def told(client: OrderClient, people: People) -> AsyncIterator[bytes]:
    """Everything that the service can be made to say: replies again, stored outcomes, orders and their events."""
    asked = [orders.GetCommandResultRequest(request_id=command.request_id) for command in people.commands]
    for replies in (
        await asyncio.gather(*(send(client, command) for command in people.commands)),
        await asyncio.gather(*(client.get_command_result(each) for each in asked)),
    ):
        for reply in replies:
            yield reply.SerializeToString()
    async for order in client.list_all_orders(orders.ListOrdersRequest(view=order_pb2.ORDER_VIEW_FULL)):
        yield order.SerializeToString()
    for order_id in people.customers:
        async for event in client.list_all_order_events(orders.ListOrderEventsRequest(order_id=order_id)):
            yield event.SerializeToString()


def contents(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.iterdir()]


async def test_nothing_can_produce_what_was_erased(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = seed()
    sys.stdout.write(f"SEED={drawn}\n")
    people = People(random.Random(drawn))  # noqa: S311 - the seed is the point
    address = free_address()
    unanswered: Command | orders.EraseCustomerPersonalDataRequest | None = None
    for _ in range(times()):
        async with running("order", tmp_path, address) as process, connected(address) as channel:
            client = OrderClient(channel)
            if unanswered is not None:
                await send(client, unanswered)
            for _ in range(people.chance.randrange(STEPS)):
                await send(client, people.step())
            last = unanswered = people.step()
            call = asyncio.create_task(send(client, last))
            await asyncio.sleep(people.chance.choice([0, 0.001, 0.003, 0.01]))  # an instant, not a wait
            process.send_signal(signal.SIGKILL)
            await process.wait()
            call.cancel()
            with suppress(StateSetError, asyncio.CancelledError):
                await call
    async with running("order", tmp_path, address), connected(address) as channel:
        client = OrderClient(channel)
        assert unanswered is not None
        await send(client, unanswered)
        kept = contents(tmp_path)
        said = [content async for content in told(client, people)]
    log = capsys.readouterr().err.encode()
    gone = [marker for marker in people.gone if any(marker.encode() in each for each in (*kept, *said, log))]
    assert gone == []
    assert people.gone
    assert all(any(marker.encode() in each for each in said) for marker in people.current.values())
    assert not any(marker.encode() in log for marker in people.current.values())
