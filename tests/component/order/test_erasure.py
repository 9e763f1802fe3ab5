"""Personal data that is erased: nobody is given it again, no file has it, and the order says that it was."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import pytest
from stateset.common.v1 import personal_pb2
from stateset.order.v1 import order_event_pb2, order_pb2, order_service_pb2
from stateset_client import IdConflictError, OrderClient, OrderNotFoundError

from order.adapters.sql_log import SqlLog
from tests.harness.order_service import OrderService, order_service, refused
from tests.harness.orders import place_request

EMAIL = "ada@example.org"
STREET = "Quellengasse 17"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[OrderService]:
    async with order_service(tmp_path) as running:
        yield running


@pytest.fixture
async def client(service: OrderService) -> AsyncIterator[OrderClient]:
    async with OrderClient.connect(service.address) as connected:
        yield connected


def placing(order_id: str, email: str = EMAIL) -> order_service_pb2.PlaceOrderRequest:
    request = place_request(1, order_id=order_id)
    request.personal.CopyFrom(
        personal_pb2.PersonalData(email=email, ship_to=personal_pb2.PostalAddress(address_lines=[STREET]))
    )
    return request


def erasing(order_id: str, *, validate_only: bool = False) -> order_service_pb2.EraseOrderPersonalDataRequest:
    return order_service_pb2.EraseOrderPersonalDataRequest(order_id=order_id, validate_only=validate_only)


def erasing_customer(
    request_id: str, customer_id: str = "c-1", **fields: str | bool
) -> order_service_pb2.EraseCustomerPersonalDataRequest:
    return order_service_pb2.EraseCustomerPersonalDataRequest(
        request_id=request_id,
        customer_id=customer_id,
        **fields,  # type: ignore[arg-type]
    )


async def result(service: OrderService, *, fence: bool) -> order_service_pb2.GetCommandResultResponse:
    request = order_service_pb2.GetCommandResultRequest(request_id="erase-c-1", fence=fence)
    told: order_service_pb2.GetCommandResultResponse = await service.orders.GetCommandResult(request)
    return told


async def read(client: OrderClient, order_id: str) -> order_pb2.Order:
    return (await client.get_order(order_service_pb2.GetOrderRequest(order_id=order_id))).order


async def history(client: OrderClient, order_id: str) -> list[order_event_pb2.OrderEvent]:
    request = order_service_pb2.ListOrderEventsRequest(order_id=order_id)
    return [event async for event in client.list_all_order_events(request)]


def bytes_of(folder: Path) -> Iterator[bytes]:
    return (file.read_bytes() for file in folder.iterdir())


async def test_an_erased_order_shows_when_it_was_and_an_event_tells_those_who_have_copied(client: OrderClient) -> None:
    placed = placing("o-1")
    await client.place_order(placed)
    assert (await read(client, "o-1")).personal.email == EMAIL
    erased = await client.erase_order_personal_data(erasing("o-1"))
    order = await read(client, "o-1")
    assert not order.HasField("personal")
    assert order.HasField("personal_erase_time")
    listed = await client.list_orders(order_service_pb2.ListOrdersRequest(view=order_pb2.ORDER_VIEW_FULL))
    assert list(listed.orders) == [order]
    events = await history(client, "o-1")
    assert [event.WhichOneof("change") for event in events] == ["order_placed", "order_personal_data_erased"]
    assert [event.version for event in erased.events] == [2]
    assert order.personal_erase_time == events[1].metadata.record_time == events[1].order.personal_erase_time
    again = await client.place_order(placed)
    assert (again.order.version, again.order.HasField("personal")) == (1, False)
    assert not (await read(client, "o-1")).HasField("personal")


async def test_what_is_erased_already_is_not_erased_again_until_there_is_something_new(client: OrderClient) -> None:
    await client.place_order(placing("o-1"))
    await client.erase_order_personal_data(erasing("o-1"))
    assert not (await client.erase_order_personal_data(erasing("o-1"))).events
    anew = personal_pb2.PersonalData(email="countess@example.org")
    await client.amend_order(order_service_pb2.AmendOrderRequest(order_id="o-1", personal=anew))
    order = await read(client, "o-1")
    assert (order.personal, order.HasField("personal_erase_time")) == (anew, False)
    assert len((await client.erase_order_personal_data(erasing("o-1"))).events) == 1
    assert not (await read(client, "o-1")).HasField("personal")


async def test_an_order_id_with_other_personal_data_is_refused_until_an_erasure(client: OrderClient) -> None:
    nobody = place_request(1, order_id="o-3")
    nobody.personal.SetInParent()
    for request in (placing("o-1"), placing("o-1"), placing("o-2"), nobody, place_request(1, order_id="o-3")):
        assert (await client.place_order(request)).order.version == 1
    for order_id in ("o-1", "o-2"):
        with pytest.raises(IdConflictError):
            await client.place_order(placing(order_id, email="bob@example.org"))
    await client.erase_order_personal_data(erasing("o-1"))
    await client.erase_customer_personal_data(erasing_customer("erase-c-1"))
    for order_id in ("o-1", "o-2"):
        assert not (await client.place_order(placing(order_id, email="bob@example.org"))).events
        assert not (await read(client, order_id)).HasField("personal")


async def test_an_erasure_that_is_only_validated_changes_nothing(client: OrderClient) -> None:
    await client.place_order(placing("o-1"))
    asked = await client.erase_order_personal_data(erasing("o-1", validate_only=True))
    assert len(asked.events) == 1
    assert (await read(client, "o-1")).personal.email == EMAIL
    with pytest.raises(OrderNotFoundError):
        await client.erase_order_personal_data(erasing("o-2"))


async def test_a_customers_orders_are_erased_page_by_page_and_nobody_elses(client: OrderClient) -> None:
    ids = [f"o-{number:03}" for number in range(120)]
    other = placing("o-other")
    other.customer_id = "c-2"
    await asyncio.gather(*(client.place_order(placing(each)) for each in ids), client.place_order(other))
    asked = erasing_customer("erase-c-1")
    told: list[str] = []
    while True:
        page = await client.erase_customer_personal_data(asked)
        assert await client.erase_customer_personal_data(asked) == page  # the same page again
        told += page.order_ids
        if not page.next_page_token:
            break
        asked.page_token = page.next_page_token
        asked.request_id += "-next"
    assert sorted(told) == ids
    listing = order_service_pb2.ListOrdersRequest(view=order_pb2.ORDER_VIEW_FULL, page_size=500)
    listing.min_position.CopyFrom(page.position)
    orders = {order.order_id: order async for order in client.list_all_orders(listing)}
    assert [each for each, order in orders.items() if order.HasField("personal")] == ["o-other"]
    assert {order.version for order in orders.values() if order.order_id != "o-other"} == {2}


async def test_a_customers_erasure_is_answered_once_and_told_to_who_asks(
    service: OrderService, client: OrderClient
) -> None:
    await client.place_order(placing("o-1"))
    asked = await client.erase_customer_personal_data(erasing_customer("erase-c-1", validate_only=True))
    assert (await result(service, fence=False)).state == order_service_pb2.COMMAND_STATE_UNKNOWN
    call = service.orders.EraseCustomerPersonalData(erasing_customer("erase-c-1"))
    erased = await call
    assert "replayed" not in await call.trailing_metadata()
    assert erased.order_ids == asked.order_ids == ["o-1"]
    await client.place_order(placing("o-2"))
    for validate_only in (False, True):
        call = service.orders.EraseCustomerPersonalData(erasing_customer("erase-c-1", validate_only=validate_only))
        assert await call == erased
        assert (await call.trailing_metadata())["replayed"] == "true"
    assert (await read(client, "o-2")).HasField("personal")
    for fence in (False, True):
        told = await result(service, fence=fence)
        assert (told.state, told.method) == (order_service_pb2.COMMAND_STATE_COMMITTED, "EraseCustomerPersonalData")
        assert told.reply == order_service_pb2.CommandReply(position=erased.position)


async def test_a_customers_erasure_that_was_fenced_erases_nothing(service: OrderService, client: OrderClient) -> None:
    await client.place_order(placing("o-1"))
    assert (await result(service, fence=True)).state == order_service_pb2.COMMAND_STATE_NOT_EXECUTED
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await service.orders.EraseCustomerPersonalData(erasing_customer("erase-c-1"))
    assert refused(error.value).reason == "REQUEST_FENCED"
    assert (await read(client, "o-1")).HasField("personal")


async def test_a_customers_erasure_and_other_requests_do_not_share_an_id(
    service: OrderService, client: OrderClient
) -> None:
    placed = placing("o-1")
    await client.place_order(placed)
    await client.erase_customer_personal_data(erasing_customer("erase-c-1", customer_id="c-2"))
    accept = order_service_pb2.AcceptOrderRequest(request_id="erase-c-1", order_id="o-1")
    for call, differing in (
        (service.orders.EraseCustomerPersonalData(erasing_customer(placed.request_id)), "method"),
        (service.orders.EraseCustomerPersonalData(erasing_customer("erase-c-1")), "customer_id"),
        (service.orders.EraseCustomerPersonalData(erasing_customer("erase-c-1", "c-2", reason="anew")), "reason"),
        (service.orders.AcceptOrder(accept), "method"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        told = refused(error.value)
        assert (told.reason, told.fields) == ("REQUEST_ID_REUSED", [differing])
    assert (await read(client, "o-1")).HasField("personal")


async def test_a_customers_erasure_that_was_cut_off_is_unknown_until_it_is_sent_again(
    service: OrderService, client: OrderClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cut_off(_log: SqlLog) -> None:
        raise TimeoutError

    await client.place_order(placing("o-1"))
    with monkeypatch.context() as patch:
        patch.setattr(SqlLog, "scrub", cut_off)
        with pytest.raises(grpc.aio.AioRpcError):
            await service.orders.EraseCustomerPersonalData(erasing_customer("erase-c-1"))
    for fence in (False, True):
        told = await result(service, fence=fence)
        assert (told.state, told.method) == (order_service_pb2.COMMAND_STATE_UNKNOWN, "EraseCustomerPersonalData")
    call = service.orders.EraseCustomerPersonalData(erasing_customer("erase-c-1"))
    assert (await call).order_ids == ["o-1"]
    assert "replayed" not in await call.trailing_metadata()
    assert (await result(service, fence=True)).state == order_service_pb2.COMMAND_STATE_COMMITTED


async def test_a_customers_erasure_that_cannot_be_understood_says_all_that_is_wrong(service: OrderService) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await service.orders.EraseCustomerPersonalData(order_service_pb2.EraseCustomerPersonalDataRequest())
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_no_file_has_what_was_erased_or_replaced_once_that_is_answered(
    client: OrderClient, tmp_path: Path
) -> None:
    for number in range(30):
        await client.place_order(placing(f"o-{number}", email=f"{'x' * number * 30}first-{number}@example.org"))
    longer = personal_pb2.PersonalData(email="y" * 900 + "second-7@example.org")
    await client.amend_order(order_service_pb2.AmendOrderRequest(order_id="o-7", personal=longer))
    for marker in (b"first-7@", b"second-7@", b"first-8@"):
        assert any(marker in content for content in bytes_of(tmp_path))
    await client.erase_order_personal_data(erasing("o-7"))
    for marker in (b"first-7@", b"second-7@"):
        assert not any(marker in content for content in bytes_of(tmp_path))
    assert any(b"first-8@" in content for content in bytes_of(tmp_path))
