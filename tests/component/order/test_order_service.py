"""The Order Service over real gRPC, on a real SQLite file."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from stateset.common.v1 import money_pb2, personal_pb2
from stateset.order.v1 import (
    fulfillment_service_pb2,
    log_service_pb2,
    order_pb2,
    order_service_pb2,
)

from infra.kernel.shard import shard_of
from tests.harness.order_service import OrderService, first_events, order_service, refused
from tests.harness.orders import place_request


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[OrderService]:
    async with order_service(tmp_path) as running:
        yield running


def accept(order_id: str, request_id: str) -> order_service_pb2.AcceptOrderRequest:
    return order_service_pb2.AcceptOrderRequest(order_id=order_id, request_id=request_id)


async def test_an_order_lives_from_place_to_delivery(service: OrderService) -> None:
    await service.place(3, 2, order_id="o-1")
    await service.orders.AcceptOrder(accept("o-1", "accept-1"))
    fill = order_pb2.Fill(fill_id="f-1", lines=[order_pb2.FillLine(line_id=n, quantity=2) for n in ("1", "2")])
    await service.orders.RecordFill(
        order_service_pb2.RecordFillRequest(order_id="o-1", request_id="fill-0001", fill=fill)
    )
    cancel = order_service_pb2.CancelOrderRequest(order_id="o-1", request_id="cancel-1")
    assert (await service.orders.CancelOrder(cancel)).order.state == order_pb2.ORDER_STATE_PARTIALLY_CANCELED
    lines = [order_pb2.LineQuantity(line_id=n, quantity=2) for n in ("1", "2")]
    shipment = order_pb2.Shipment(shipment_id="s-1", lines=lines, carrier="DHL")
    await service.fulfillment.RecordShipment(
        fulfillment_service_pb2.RecordShipmentRequest(order_id="o-1", request_id="ship-0001", shipment=shipment)
    )
    delivery = order_pb2.Delivery(delivery_id="d-1", shipment_id="s-1", lines=lines)
    reply = await service.fulfillment.RecordDelivery(
        fulfillment_service_pb2.RecordDeliveryRequest(order_id="o-1", request_id="deliver-1", delivery=delivery)
    )
    assert reply.order.state == order_pb2.ORDER_STATE_DELIVERED
    assert reply.order.version == 6
    assert reply.order.filled_total.minor_units == 400
    assert [event.type for event in reply.events] == ["stateset.order.v1.OrderDelivered"]
    assert reply.order == (await service.orders.GetOrder(order_service_pb2.GetOrderRequest(order_id="o-1"))).order


async def test_every_violation_of_a_request_is_told_at_once(service: OrderService) -> None:
    negative = money_pb2.Price(nanos=-1)
    request = order_service_pb2.PlaceOrderRequest(
        request_id="short",
        customer_id="c\0",
        currency_code="XXX",
        lines=[
            order_service_pb2.NewOrderLine(line_id="1", product_id="", quantity=0),
            order_service_pb2.NewOrderLine(line_id="1", product_id="p", quantity=1, unit_price=negative),
        ],
    )
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await service.orders.PlaceOrder(request)
    told = refused(error.value)
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert set(told.fields) == {
        "request_id",
        "customer_id",
        "currency_code",
        "lines[0].product_id",
        "lines[0].quantity",
        "lines[0].unit_price.currency_code",
        "lines[1].line_id",
        "lines[1].unit_price.nanos",
        "lines[1].unit_price.currency_code",
    }


async def test_a_repeat_gets_the_first_bytes_and_says_so(service: OrderService) -> None:
    request = place_request(3, request_id="request-a")
    first = service.orders.PlaceOrder(request)
    again = service.orders.PlaceOrder(request)
    assert (await first).SerializeToString() == (await again).SerializeToString()
    replayed = [dict(await call.trailing_metadata()).get("replayed") for call in (first, again)]
    assert replayed == [None, "true"]


async def test_a_reused_request_id_names_the_fields_that_differ(service: OrderService) -> None:
    await service.orders.PlaceOrder(place_request(3, request_id="request-a"))
    changed = place_request(4, request_id="request-a")
    changed.customer_id = "c-2"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await service.orders.PlaceOrder(changed)
    told = refused(error.value)
    assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    assert told.fields == ["customer_id", "lines"]


async def test_an_illegal_command_says_what_would_be_legal(service: OrderService) -> None:
    await service.place(3, order_id="o-1")
    await service.orders.AcceptOrder(accept("o-1", "accept-1"))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await service.orders.AcceptOrder(accept("o-1", "accept-2"))
    told = refused(error.value)
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ORDER_STATE_CONFLICT")
    assert told.metadata["state"] == "ACCEPTED"
    assert told.metadata["allowed_actions"] == "AmendOrder,CancelOrder,RecordFill,HoldOrder,RecordPayment"


async def test_what_is_not_there_is_not_found(service: OrderService) -> None:
    for call in (
        service.orders.GetOrder(order_service_pb2.GetOrderRequest(order_id="o-\0")),
        service.orders.AcceptOrder(accept("o-1", "accept-1")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        assert refused(error.value).reason == "ORDER_NOT_FOUND"


async def test_personal_data_is_read_by_get_and_is_in_no_event_or_reply(service: OrderService) -> None:
    request = place_request(1, order_id="o-1")
    request.personal.CopyFrom(personal_pb2.PersonalData(email="ada@example.org", recipient_name="Ada"))
    reply = await service.orders.PlaceOrder(request)
    read = await service.orders.GetOrder(order_service_pb2.GetOrderRequest(order_id="o-1"))
    assert read.order.personal.email == "ada@example.org"
    stream = service.orders.StreamOrderEvents(order_service_pb2.StreamOrderEventsRequest())
    event = (await first_events(stream))[0]
    stream.cancel()
    assert event.order_placed.personal_paths == ["personal.recipient_name", "personal.email"]
    for encoded in (reply.SerializeToString(), event.SerializeToString()):
        assert b"ada@example.org" not in encoded


async def test_too_little_time_is_refused_before_any_write(service: OrderService) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await service.orders.PlaceOrder(place_request(1, order_id="o-1"), timeout=0.002)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await service.orders.GetOrder(order_service_pb2.GetOrderRequest(order_id="o-1"))
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async with order_service(tmp_path) as service:
        placed = await service.place(3, order_id="o-1")
        before = await service.log.GetDigest(log_service_pb2.GetDigestRequest())
    async with order_service(tmp_path) as service:
        assert await service.log.GetDigest(log_service_pb2.GetDigestRequest()) == before
        reply = await service.orders.AcceptOrder(accept("o-1", "accept-1"))
        shard = shard_of("o-1", 3)
        assert reply.position.next_seq[shard] == placed.position.next_seq[shard] + 1


async def test_a_log_keeps_its_number_of_shards(tmp_path: Path) -> None:
    async with order_service(tmp_path):
        pass
    with pytest.RaisesGroup(pytest.RaisesExc(Exception, match="the log has 3 shards, not 4")):
        async with order_service(tmp_path, shards=4):
            pass


async def test_without_a_bus_nothing_can_be_published_once_more(service: OrderService) -> None:
    whole = log_service_pb2.EventRange(shard=0, first_seq=1, last_seq=9)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await service.log.ReplayEvents(log_service_pb2.ReplayEventsRequest(replay_id="mend-it-all", range=whole))
    told = refused(error.value)
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_BUS")


async def test_a_replay_that_cannot_be_understood_says_all_that_is_wrong(service: OrderService) -> None:
    wrong = log_service_pb2.EventRange(shard=3, first_seq=9, last_seq=1)
    request = log_service_pb2.ReplayEventsRequest(order_ids=["o-1", "o-1"], range=wrong)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await service.log.ReplayEvents(request)
    assert refused(error.value).fields == ["replay_id", "order_ids", "range", "range.shard", "range"]


async def test_bytes_that_are_no_message_are_refused_like_any_other_mistake(service: OrderService) -> None:
    methods = "OrderService/GetOrder", "LogService/GetLogHead", "OrderService/StreamOrderEvents"
    opened: Any = grpc.aio.insecure_channel(service.address)
    async with opened as channel:
        calls = [channel.unary_unary(f"/stateset.order.v1.{name}")(b"\xff") for name in methods[:2]]
        calls.append(channel.unary_stream(f"/stateset.order.v1.{methods[2]}")(b"\xff").read())
        calls.append(channel.stream_unary("/stateset.order.v1.OrderService/IngestOrders")(iter([b"\xff"])))
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call
            told = refused(error.value)
            assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
