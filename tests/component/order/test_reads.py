"""Reads of the Order Service over real gRPC, on a real SQLite file."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from stateset.common.v1 import personal_pb2, position_pb2
from stateset.order.v1 import log_service_pb2, order_pb2
from stateset.order.v1 import order_service_pb2 as wire

from infra.runtime.grpc.reads import Key, page_token
from tests.harness.order_service import OrderService, Refused, order_service, refused
from tests.harness.orders import place_request

ORDERS_LIST = b"stateset.order.v1.ListOrdersRequest basic"
MALFORMED_KEYS: list[Key] = [("1", "o-1"), (10**30, "o-1"), (True, "o-1"), (1, "\0"), (1, "\ud800"), (1,), ()]
FULL, BASIC = order_pb2.ORDER_VIEW_FULL, order_pb2.ORDER_VIEW_BASIC


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[OrderService]:
    async with order_service(tmp_path) as running:
        yield running


async def place(service: OrderService, count: int, *quantities: int) -> wire.PlaceOrderResponse:
    """Orders o-0, o-1, …, one placed each second, the second one with personal data; the reply to the last."""
    for number in range(count):
        request = place_request(*quantities, order_id=f"o-{number}")
        request.occur_time.CopyFrom(Timestamp(seconds=number))
        if number == 1:
            request.personal.CopyFrom(personal_pb2.PersonalData(email="ada@example.org"))
        reply: wire.PlaceOrderResponse = await service.orders.PlaceOrder(request)
    return reply


async def accept(service: OrderService, order_id: str) -> wire.AcceptOrderResponse:
    request = wire.AcceptOrderRequest(order_id=order_id, request_id=f"accept-{order_id}")
    reply: wire.AcceptOrderResponse = await service.orders.AcceptOrder(request)
    return reply


async def pages(method: Any, request: Any) -> list[Any]:  # noqa: ANN401 - any list
    found = [await method(request)]
    while found[-1].next_page_token:
        request.page_token = found[-1].next_page_token
        found.append(await method(request))
    return found


async def refusal(call: Any) -> Refused:  # noqa: ANN401 - any unary call
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return refused(error.value)


async def test_a_batch_is_answered_in_the_sequence_of_its_ids(service: OrderService) -> None:
    await place(service, 3)
    request = wire.BatchGetOrdersRequest(order_ids=["o-2", "o-0", "o-1"], view=FULL)
    orders = (await service.orders.BatchGetOrders(request)).orders
    assert [order.order_id for order in orders] == ["o-2", "o-0", "o-1"]
    assert [order.personal.email for order in orders] == ["", "", "ada@example.org"]
    for order in orders:
        assert order == (await service.orders.GetOrder(wire.GetOrderRequest(order_id=order.order_id))).order


async def test_a_batch_with_one_order_that_is_not_there_is_refused_and_names_it(service: OrderService) -> None:
    await place(service, 1)
    told = await refusal(service.orders.BatchGetOrders(wire.BatchGetOrdersRequest(order_ids=["o-0", "o-9"])))
    assert (told.code, told.reason) == (StatusCode.NOT_FOUND, "ORDER_NOT_FOUND")
    assert told.metadata == {"order_id": "o-9"}


async def test_views_show_as_much_as_they_say(service: OrderService) -> None:
    await place(service, 2)
    get = wire.GetOrderRequest(order_id="o-1")
    batch = wire.BatchGetOrdersRequest(order_ids=["o-1"])
    listing = wire.ListOrdersRequest(page_size=1)
    for view, default_of_get in ((order_pb2.ORDER_VIEW_UNSPECIFIED, True), (BASIC, False), (FULL, True)):
        get.view = batch.view = listing.view = view
        one = (await service.orders.GetOrder(get)).order
        many = [
            *(await service.orders.BatchGetOrders(batch)).orders,
            *(await service.orders.ListOrders(listing)).orders,
        ]
        for order, full in [(one, default_of_get), *((each, view == FULL) for each in many)]:
            assert order.order_id == "o-1"
            assert (bool(order.lines), order.HasField("personal")) == (full, full)
            assert (order.version, order.total.minor_units) == (1, 300)


async def test_a_list_is_read_newest_first_page_by_page(service: OrderService) -> None:
    await place(service, 5)
    request = wire.ListOrdersRequest(page_size=2, filter="customer_id = c-1")
    found = await pages(service.orders.ListOrders, request)
    assert [[order.order_id for order in page.orders] for page in found] == [["o-4", "o-3"], ["o-2", "o-1"], ["o-0"]]


async def test_a_list_shows_what_its_filter_says(service: OrderService) -> None:
    await place(service, 4)
    await accept(service, "o-2")
    for text, expected in {
        "state = ACCEPTED": ["o-2"],
        'NOT state = ACCEPTED AND place_time >= "1970-01-01T00:00:01Z"': ["o-3", "o-1"],
        "(order_id = o-0 OR order_id = o-2) customer_id:*": ["o-2", "o-0"],
        "store_id:*": [],
    }.items():
        reply = await service.orders.ListOrders(wire.ListOrdersRequest(filter=text))
        assert [order.order_id for order in reply.orders] == expected


async def test_a_token_belongs_to_its_filter_and_view(service: OrderService) -> None:
    await place(service, 3)
    first = await service.orders.ListOrders(wire.ListOrdersRequest(page_size=1))
    for changed in (
        wire.ListOrdersRequest(page_token=first.next_page_token, filter="customer_id = c-1"),
        wire.ListOrdersRequest(page_token=first.next_page_token, view=FULL),
    ):
        told = await refusal(service.orders.ListOrders(changed))
        assert (told.code, told.fields) == (StatusCode.INVALID_ARGUMENT, ["page_token"])
    wider = wire.ListOrdersRequest(page_token=first.next_page_token, page_size=9, view=BASIC)
    assert [order.order_id for order in (await service.orders.ListOrders(wider)).orders] == ["o-1", "o-0"]


async def test_a_history_is_read_oldest_first_page_by_page(service: OrderService) -> None:
    await place(service, 2)
    await accept(service, "o-1")
    cancel = wire.CancelOrderRequest(order_id="o-1", request_id="cancel-1")
    await service.orders.CancelOrder(cancel)
    found = await pages(service.orders.ListOrderEvents, wire.ListOrderEventsRequest(order_id="o-1", page_size=2))
    events = [event for page in found for event in page.events]
    assert [len(page.events) for page in found] == [2, 1]
    assert [event.WhichOneof("change") for event in events] == ["order_placed", "order_accepted", "order_canceled"]
    assert [event.version for event in events] == [1, 2, 3]
    other = wire.ListOrderEventsRequest(order_id="o-0", page_token=found[0].next_page_token)
    assert (await refusal(service.orders.ListOrderEvents(other))).fields == ["page_token"]
    nobody = wire.ListOrderEventsRequest(order_id="nobody")
    assert (await refusal(service.orders.ListOrderEvents(nobody))).reason == "ORDER_NOT_FOUND"


async def test_orders_that_fill_a_reply_make_its_page_shorter(service: OrderService) -> None:
    await place(service, 40, *range(1, 501))
    whole = (await service.orders.GetOrder(wire.GetOrderRequest(order_id="o-0"))).ByteSize()
    found = await pages(service.orders.ListOrders, wire.ListOrdersRequest(view=FULL))
    assert [order.order_id for page in found for order in page.orders] == [f"o-{n}" for n in reversed(range(40))]
    assert len(found) > 1
    assert all(whole < page.ByteSize() < 1_048_576 for page in found)
    batch = wire.BatchGetOrdersRequest(order_ids=[f"o-{n}" for n in range(40)])
    assert len((await service.orders.BatchGetOrders(batch)).orders) == 40
    batch.view = FULL
    assert (await refusal(service.orders.BatchGetOrders(batch))).fields == ["order_ids"]


@pytest.mark.parametrize(
    ("method", "request_", "fields"),
    [
        ("BatchGetOrders", wire.BatchGetOrdersRequest(), ["order_ids"]),
        ("BatchGetOrders", wire.BatchGetOrdersRequest(order_ids=["o-1", "o-1"]), ["order_ids"]),
        ("BatchGetOrders", wire.BatchGetOrdersRequest(order_ids=map(str, range(101))), ["order_ids"]),
        ("ListOrders", wire.ListOrdersRequest(filter="color = red", page_size=-1), ["filter", "page_size"]),
        ("ListOrders", wire.ListOrdersRequest(filter="state = EATEN"), ["filter"]),
        ("ListOrders", wire.ListOrdersRequest(filter='place_time > "soon"'), ["filter"]),
        ("ListOrders", wire.ListOrdersRequest(filter='order_id = "\0"'), ["filter"]),
        ("ListOrders", wire.ListOrdersRequest(page_token="%%"), ["page_token"]),  # noqa: S106 - not a password
        *(
            ("ListOrders", wire.ListOrdersRequest(page_token=page_token(key, ORDERS_LIST)), ["page_token"])
            for key in MALFORMED_KEYS
        ),
        ("ListOrderEvents", wire.ListOrderEventsRequest(page_size=-1), ["page_size"]),
        ("ListOrderEvents", wire.ListOrderEventsRequest(page_token="x"), ["page_token"]),  # noqa: S106
    ],
)
async def test_a_malformed_read_is_refused(
    service: OrderService, method: str, request_: object, fields: list[str]
) -> None:
    told = await refusal(getattr(service.orders, method)(request_))
    assert (told.code, told.reason, told.fields) == (StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", fields)


async def test_an_unknown_field_is_told_which_fields_there_are(service: OrderService) -> None:
    known = "currency_code, customer_id, order_id, place_time, state, store_id"
    for call in (
        service.orders.ListOrders(wire.ListOrdersRequest(filter="color = red")),
        service.log.GetDigest(log_service_pb2.GetDigestRequest(filter="color = red")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        assert error.value.details() == f"filter: unknown field 'color'; known: {known}"


READS = {
    "GetOrder": wire.GetOrderRequest(order_id="o-0"),
    "BatchGetOrders": wire.BatchGetOrdersRequest(order_ids=["o-0"]),
    "ListOrders": wire.ListOrdersRequest(filter="state = ACCEPTED"),
    "ListOrderEvents": wire.ListOrderEventsRequest(order_id="o-0"),
    "GetDigest": log_service_pb2.GetDigestRequest(),
}


@pytest.fixture(params=READS)
def read(service: OrderService, request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """One read after the other: its method and a request."""
    stub = service.log if request.param == "GetDigest" else service.orders
    message = type(READS[request.param])()
    message.CopyFrom(READS[request.param])
    return getattr(stub, request.param), message


async def test_a_read_waits_for_its_position(service: OrderService, read: tuple[Any, Any]) -> None:
    method, request = read
    placed = await place(service, 1)
    before = await method(request)
    request.min_position.CopyFrom(following(placed.position))
    waiting = asyncio.ensure_future(method(request, timeout=10))
    await accept(service, "o-0")
    assert await waiting != before


async def test_a_read_whose_position_is_not_reached_fails_and_says_so(
    service: OrderService, read: tuple[Any, Any]
) -> None:
    method, request = read
    placed = await place(service, 1)
    request.min_position.CopyFrom(following(placed.position))
    told = await refusal(method(request, timeout=0.5))
    assert (told.code, told.reason) == (StatusCode.UNAVAILABLE, "POSITION_NOT_REACHED")


async def test_a_read_refuses_a_position_that_is_not_of_its_log(service: OrderService, read: tuple[Any, Any]) -> None:
    method, request = read
    placed = await place(service, 1)
    request.min_position.CopyFrom(placed.position)
    request.min_position.log_epoch = "another"
    told = await refusal(method(request))
    assert (told.code, told.reason) == (StatusCode.FAILED_PRECONDITION, "LOG_EPOCH_CHANGED")
    request.min_position.log_epoch = placed.position.log_epoch
    request.min_position.next_seq.append(1)
    told = await refusal(method(request))
    assert (told.code, told.reason) == (StatusCode.INVALID_ARGUMENT, "POSITION_MALFORMED")


def following(position: position_pb2.Position) -> position_pb2.Position:
    """One event further, in the one shard that a reply speaks of."""
    return position_pb2.Position(log_epoch=position.log_epoch, next_seq=[seq and seq + 1 for seq in position.next_seq])


async def test_where_nothing_was_ever_published_nothing_is_behind(service: OrderService) -> None:
    await place(service, 1)
    assert not (await service.log.GetBacklog(log_service_pb2.GetBacklogRequest())).topics
