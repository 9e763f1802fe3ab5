"""The whole order model over real gRPC, through the SDK, on a real SQLite file."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from stateset.common.v1.money_pb2 import Money, Price
from stateset.common.v1.personal_pb2 import PersonalData, PostalAddress
from stateset.order.v1 import fulfillment_service_pb2 as fulfillment
from stateset.order.v1 import order_pb2 as order
from stateset.order.v1 import order_service_pb2 as orders
from stateset.order.v1 import return_service_pb2 as returns
from stateset_client import (
    InvalidRequestError,
    OrderClient,
    OrderClosedError,
    OrderHeldError,
    OrderNotFoundError,
    PreTradeCheckError,
    RecordNotFoundError,
    ReturnStateConflictError,
    StateConflictError,
)

from infra.runtime.grpc.reads import page_token
from tests.harness.order_service import OrderService, order_service
from tests.harness.orders import place_request


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[OrderService]:
    async with order_service(tmp_path, acceptance="automatic") as running:
        yield running


@pytest.fixture
async def client(service: OrderService) -> AsyncIterator[OrderClient]:
    async with OrderClient.connect(service.address) as connected:
        yield connected


def units(quantity: int) -> list[order.LineQuantity]:
    return [order.LineQuantity(line_id="1", quantity=quantity)]


def fill(quantity: int, fill_id: str = "f-1") -> orders.RecordFillRequest:
    lines = [order.FillLine(line_id="1", quantity=quantity)]
    return orders.RecordFillRequest(order_id="o-1", fill=order.Fill(fill_id=fill_id, lines=lines))


def dollars(cents: int) -> Money:
    return Money(currency_code="USD", minor_units=cents)


async def test_an_order_lives_from_the_market_to_the_refund(client: OrderClient) -> None:
    request = place_request(10, order_id="o-1")
    request.market_id = "m-1"
    await client.place_order(request)
    await client.record_fill(fill(4))
    asked = await client.cancel_order(orders.CancelOrderRequest(order_id="o-1"))
    assert asked.order.cancel_requested
    assert order.ORDER_ACTION_CONFIRM_CANCEL in asked.order.allowed_actions
    await client.record_fill(fill(1, "f-2"))
    confirm = orders.ConfirmOrderCancelRequest(order_id="o-1", market_id="m-1", lines=units(5))
    confirmed = await client.confirm_order_cancel(confirm)
    assert confirmed.order.state == order.ORDER_STATE_PARTIALLY_CANCELED
    busted = await client.bust_fill(orders.BustFillRequest(order_id="o-1", fill_id="f-2"))
    assert (busted.order.lines[0].filled, busted.order.lines[0].canceled) == (4, 6)
    for shipment_id in ("s-1", "s-2"):
        shipment = order.Shipment(shipment_id=shipment_id, lines=units(2))
        await client.record_shipment(fulfillment.RecordShipmentRequest(order_id="o-1", shipment=shipment))
        delivery = order.Delivery(delivery_id=f"d-{shipment_id}", shipment_id=shipment_id, lines=units(2))
        await client.record_delivery(fulfillment.RecordDeliveryRequest(order_id="o-1", delivery=delivery))
    wanted = order.Return(return_id="r-1", lines=units(2), reason_code="DAMAGED")
    await client.request_return(returns.RequestReturnRequest(order_id="o-1", order_return=wanted))
    await client.approve_return(returns.ApproveReturnRequest(order_id="o-1", return_id="r-1"))
    received = await client.receive_return(
        returns.ReceiveReturnRequest(order_id="o-1", return_id="r-1", disposition=order.RETURN_DISPOSITION_RESTOCK)
    )
    assert received.order.state == order.ORDER_STATE_PARTIALLY_RETURNED
    payment = order.Payment(payment_id="p-1", kind=order.PAYMENT_KIND_SALE, amount=dollars(400))
    await client.record_payment(orders.RecordPaymentRequest(order_id="o-1", payment=payment))
    refund = order.Refund(refund_id="x-1", amount=dollars(200))
    refunded = await client.record_refund(orders.RecordRefundRequest(order_id="o-1", refund=refund))
    assert (refunded.order.captured, refunded.order.refunded) == (dollars(400), dollars(200))
    assert refunded.order == (await client.get_order(orders.GetOrderRequest(order_id="o-1"))).order


async def test_shipments_are_read_one_by_one_and_page_by_page(client: OrderClient) -> None:
    await client.place_order(place_request(3, order_id="o-1"))
    await client.record_fill(fill(3))
    for number in range(3):
        shipment = order.Shipment(shipment_id=f"s-{number}", lines=units(1), carrier="DHL")
        shipped = await client.record_shipment(fulfillment.RecordShipmentRequest(order_id="o-1", shipment=shipment))
    delivery = order.Delivery(delivery_id="d-1", shipment_id="s-1", lines=units(1))
    await client.record_delivery(fulfillment.RecordDeliveryRequest(order_id="o-1", delivery=delivery))
    read = fulfillment.GetShipmentRequest(order_id="o-1", shipment_id="s-1", min_position=shipped.position)
    found = (await client.get_shipment(read)).shipment
    assert (found.carrier, list(found.lines), list(found.delivered)) == ("DHL", units(1), units(1))
    request = fulfillment.ListShipmentsRequest(order_id="o-1", page_size=2)
    first = await client.list_shipments(request)
    request.page_token = first.next_page_token
    second = await client.list_shipments(request)
    assert [[each.shipment_id for each in page.shipments] for page in (first, second)] == [["s-0", "s-1"], ["s-2"]]
    assert second.next_page_token == ""
    with pytest.raises(InvalidRequestError):
        await client.list_shipments(fulfillment.ListShipmentsRequest(order_id="o-2", page_token=first.next_page_token))
    forged = page_token(["s\0"], b"stateset.order.v1.ListShipmentsRequest shipment:o-1")
    with pytest.raises(InvalidRequestError):
        await client.list_shipments(fulfillment.ListShipmentsRequest(order_id="o-1", page_token=forged))
    with pytest.raises(RecordNotFoundError):
        await client.get_shipment(fulfillment.GetShipmentRequest(order_id="o-1", shipment_id="s-9"))
    with pytest.raises(OrderNotFoundError):
        await client.list_shipments(fulfillment.ListShipmentsRequest(order_id="o-9"))


async def test_a_return_that_is_refused_may_be_asked_for_again(client: OrderClient) -> None:
    await client.place_order(place_request(1, order_id="o-1"))
    await client.record_fill(fill(1))
    shipment = order.Shipment(shipment_id="s-1", lines=units(1))
    await client.record_shipment(fulfillment.RecordShipmentRequest(order_id="o-1", shipment=shipment))
    delivery = order.Delivery(delivery_id="d-1", shipment_id="s-1", lines=units(1))
    await client.record_delivery(fulfillment.RecordDeliveryRequest(order_id="o-1", delivery=delivery))
    for return_id in ("r-1", "r-2"):
        wanted = order.Return(return_id=return_id, lines=units(1), reason_code="DAMAGED")
        await client.request_return(returns.RequestReturnRequest(order_id="o-1", order_return=wanted))
        reject = returns.RejectReturnRequest(order_id="o-1", return_id=return_id, reason_code="TOO_LATE")
        await client.reject_return(reject)
    listed = (await client.list_returns(returns.ListReturnsRequest(order_id="o-1"))).returns
    assert [(each.return_id, each.state) for each in listed] == [
        ("r-1", order.RETURN_STATE_REJECTED),
        ("r-2", order.RETURN_STATE_REJECTED),
    ]
    found = await client.get_return(returns.GetReturnRequest(order_id="o-1", return_id="r-1"))
    assert found.order_return == listed[0]
    again = await client.request_return(
        returns.RequestReturnRequest(
            order_id="o-1", order_return=order.Return(return_id="r-3", lines=units(1), reason_code="DAMAGED")
        )
    )
    assert again.order.lines[0].return_open == 1
    with pytest.raises(ReturnStateConflictError):
        await client.reject_return(returns.RejectReturnRequest(order_id="o-1", return_id="r-1", reason_code="TOO_LATE"))


async def test_an_amendment_changes_lines_expiry_and_personal_data(client: OrderClient) -> None:
    placed = place_request(3, order_id="o-1")
    placed.personal.email = "ada@example.org"
    placed.expire_time.FromSeconds(4_000_000_000)
    await client.place_order(placed)
    request = orders.AmendOrderRequest(
        order_id="o-1",
        lines=[orders.LineAmendment(line_id="1", quantity=5, unit_price=Price(currency_code="USD", nanos=2 * 10**9))],
        personal=PersonalData(email="grace@example.org"),
        update_mask=FieldMask(paths=["lines", "expire_time", "personal"]),
    )
    amended = await client.amend_order(request)
    assert (amended.order.total.minor_units, amended.order.HasField("expire_time")) == (1000, False)
    read = (await client.get_order(orders.GetOrderRequest(order_id="o-1"))).order
    assert read.personal == PersonalData(email="grace@example.org")
    assert b"grace" not in amended.SerializeToString()


@pytest.mark.parametrize(
    ("amendment", "field"),
    [
        (orders.AmendOrderRequest(), "update_mask"),
        (orders.AmendOrderRequest(update_mask=FieldMask(paths=["state"])), "update_mask"),
        (orders.AmendOrderRequest(update_mask=FieldMask(paths=["lines"])), "lines"),
        (
            orders.AmendOrderRequest(
                expire_time=Timestamp(seconds=1),
                update_mask=FieldMask(paths=["lines"]),
                lines=[orders.LineAmendment(line_id="1", quantity=1)],
            ),
            "expire_time",
        ),
        (orders.AmendOrderRequest(lines=[orders.LineAmendment(line_id="1")]), "lines[0]"),
        (orders.AmendOrderRequest(lines=[orders.LineAmendment(line_id="1", quantity=0)]), "lines[0].quantity"),
        (orders.AmendOrderRequest(personal=PersonalData()), "personal"),
        (orders.AmendOrderRequest(personal=PersonalData(ship_to=PostalAddress())), "personal"),
        (orders.AmendOrderRequest(personal=PersonalData(), update_mask=FieldMask(paths=["personal"])), "personal"),
    ],
)
async def test_an_amendment_that_cannot_be_understood_is_refused(
    client: OrderClient, amendment: orders.AmendOrderRequest, field: str
) -> None:
    placed = await client.place_order(place_request(3, order_id="o-1"))
    amendment.order_id = "o-1"
    with pytest.raises(InvalidRequestError) as refused:
        await client.amend_order(amendment)
    assert field in [violation.field for violation in refused.value.violations]
    assert (await client.get_order(orders.GetOrderRequest(order_id="o-1"))).order == placed.order


async def test_a_held_order_says_so_until_it_is_released(client: OrderClient) -> None:
    await client.place_order(place_request(3, order_id="o-1"))
    hold = order.Hold(hold_id="h-1", reason_code="FRAUD_REVIEW", blocks_fills=True)
    held = await client.hold_order(orders.HoldOrderRequest(order_id="o-1", hold=hold))
    assert list(held.order.holds) == [hold]
    with pytest.raises(OrderHeldError) as refused:
        await client.record_fill(fill(1))
    assert "ReleaseOrderHold" in refused.value.metadata["allowed_actions"]
    for _ in range(2):
        released = await client.release_order_hold(orders.ReleaseOrderHoldRequest(order_id="o-1", hold_id="h-1"))
        assert list(released.order.holds) == []
    with pytest.raises(StateConflictError, match="an id of its own") as again:
        await client.hold_order(orders.HoldOrderRequest(order_id="o-1", hold=hold))
    assert again.value.metadata["hold_id"] == "h-1"
    await client.record_fill(fill(1))


async def test_an_order_expires_by_itself(client: OrderClient) -> None:
    request = place_request(3, order_id="o-1")
    request.expire_time.GetCurrentTime()
    await client.place_order(request)
    async with asyncio.timeout(20):
        while True:
            found = (await client.get_order(orders.GetOrderRequest(order_id="o-1"))).order
            if found.state == order.ORDER_STATE_EXPIRED:
                break
            await asyncio.sleep(0.01)
    assert found.close_reason == order.CLOSE_REASON_EXPIRED
    with pytest.raises(OrderClosedError):
        await client.record_fill(fill(1))


async def test_limits_refuse_what_is_too_large_and_late_fills_are_taken(tmp_path: Path) -> None:
    settings = {
        "acceptance": "risk",
        "order_total_max": {"USD": 300},
        "restricted_products": ["p-2"],
        "late_fills": "accept-from-canceled",
    }
    async with order_service(tmp_path, **settings) as service, OrderClient.connect(service.address) as client:
        refused = await client.place_order(place_request(3, 1, order_id="o-2"))
        assert refused.order.state == order.ORDER_STATE_REJECTED
        accepted = await client.place_order(place_request(3, order_id="o-1"))
        assert accepted.order.state == order.ORDER_STATE_ACCEPTED
        with pytest.raises(PreTradeCheckError):
            await client.amend_order(
                orders.AmendOrderRequest(order_id="o-1", lines=[orders.LineAmendment(line_id="1", quantity=4)])
            )
        await client.cancel_order(orders.CancelOrderRequest(order_id="o-1"))
        filled = await client.record_fill(fill(3))
        assert filled.order.state == order.ORDER_STATE_FILLED
