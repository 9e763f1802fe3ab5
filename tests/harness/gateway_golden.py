"""A request for every RPC that HTTP reaches, in a sequence that makes sense, and what its answer shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx
from google.protobuf.descriptor import MethodDescriptor

from sync.gateway.main import FILES
from sync.gateway.rules import rules_of

ORDER = "stateset.order.v1.OrderService"
FULFILLMENT = "stateset.order.v1.FulfillmentService"
RETURN = "stateset.order.v1.ReturnService"
LOG = "stateset.order.v1.LogService"
SYNC = "stateset.sync.v1.SyncService"
RISK = "stateset.risk.v1.RiskService"
PORTFOLIO = "stateset.portfolio.v1.PortfolioService"
ANALYTICS = "stateset.analytics.v1.AnalyticsService"


@dataclass(frozen=True, slots=True)
class Golden:
    """One request.

    Attributes:
        rpc: What it calls.
        line: HTTP method and path; `POSITION`, in it and in the body, stands for the position of the last command.
        shows: What the answer holds at least.
        body: Its body, if it has one; a command's request id is added.
        status: Of the answer: not every RPC can do its work on a system without a bus, or in its midst.
    """

    rpc: str
    line: str
    shows: Any
    body: dict[str, Any] | None = None
    status: HTTPStatus = HTTPStatus.OK


def _usd(minor_units: int) -> dict[str, str]:
    return {"currencyCode": "USD", "minorUnits": str(minor_units)}


def _place(order_id: str, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of any type
    price = {"currencyCode": "USD", "nanos": "1500000000"}
    lines = [
        {"lineId": "1", "productId": "tea", "quantity": "4", "unitPrice": price},
        {"lineId": "2", "productId": "cup", "quantity": 2, "unitPrice": price},
    ]
    return {"orderId": order_id, "customerId": "ann", "currencyCode": "USD", "lines": lines, **fields}


def _command(action: str, rpc: str, body: dict[str, Any], state: str, order_id: str = "g-1") -> Golden:
    shown = {"order": {"orderId": order_id, "state": f"ORDER_STATE_{state}"}}
    return Golden(rpc, f"POST /v1/orders/{order_id}:{action}", shown, body)


def _lines(*quantities: int) -> list[dict[str, str]]:
    return [{"lineId": str(number), "quantity": str(quantity)} for number, quantity in enumerate(quantities, 1)]


GOLDEN = [
    Golden(f"{ORDER}.PlaceOrder", "POST /v1/orders", {"order": {"version": "1", "total": _usd(900)}}, _place("g-1")),
    _command("accept", f"{ORDER}.AcceptOrder", {}, "ACCEPTED"),
    _command("hold", f"{ORDER}.HoldOrder", {"hold": {"holdId": "h-1", "reasonCode": "CHECK"}}, "ACCEPTED"),
    _command("releaseHold", f"{ORDER}.ReleaseOrderHold", {"hold_id": "h-1"}, "ACCEPTED"),
    _command("amend", f"{ORDER}.AmendOrder", {"lines": [{"lineId": "2", "quantity": "3"}]}, "ACCEPTED"),
    _command(
        "recordPayment",
        f"{ORDER}.RecordPayment",
        {"payment": {"paymentId": "p-1", "kind": "PAYMENT_KIND_SALE", "amount": _usd(600)}},
        "ACCEPTED",
    ),
    _command("recordRefund", f"{ORDER}.RecordRefund", {"refund": {"refundId": "x-1", "amount": _usd(100)}}, "ACCEPTED"),
    _command("recordFill", f"{ORDER}.RecordFill", {"fill": {"fillId": "f-1", "lines": _lines(4)}}, "PARTIALLY_FILLED"),
    _command("bustFill", f"{ORDER}.BustFill", {"fillId": "f-1"}, "ACCEPTED"),
    _command("recordFill", f"{ORDER}.RecordFill", {"fill": {"fillId": "f-2", "lines": _lines(3)}}, "PARTIALLY_FILLED"),
    _command("cancel", f"{ORDER}.CancelOrder", {}, "PARTIALLY_CANCELED"),
    _command(
        "recordShipment",
        f"{FULFILLMENT}.RecordShipment",
        {"shipment": {"shipmentId": "s-1", "lines": _lines(3), "carrier": "DHL"}},
        "SHIPPED",
    ),
    Golden(f"{FULFILLMENT}.GetShipment", "GET /v1/orders/g-1/shipments/s-1", {"shipment": {"carrier": "DHL"}}),
    Golden(f"{FULFILLMENT}.ListShipments", "GET /v1/orders/g-1/shipments", {"shipments": [{"shipmentId": "s-1"}]}),
    _command(
        "recordDelivery",
        f"{FULFILLMENT}.RecordDelivery",
        {"delivery": {"deliveryId": "d-1", "shipmentId": "s-1", "lines": _lines(3)}},
        "DELIVERED",
    ),
    _command(
        "requestReturn",
        f"{RETURN}.RequestReturn",
        {"orderReturn": {"returnId": "r-1", "lines": _lines(1), "reasonCode": "BROKEN"}},
        "DELIVERED",
    ),
    _command("approveReturn", f"{RETURN}.ApproveReturn", {"returnId": "r-1"}, "DELIVERED"),
    _command(
        "receiveReturn",
        f"{RETURN}.ReceiveReturn",
        {"returnId": "r-1", "lines": _lines(1), "disposition": "RETURN_DISPOSITION_RESTOCK"},
        "PARTIALLY_RETURNED",
    ),
    _command(
        "requestReturn",
        f"{RETURN}.RequestReturn",
        {"orderReturn": {"returnId": "r-2", "lines": _lines(1), "reasonCode": "BROKEN"}},
        "PARTIALLY_RETURNED",
    ),
    _command("rejectReturn", f"{RETURN}.RejectReturn", {"returnId": "r-2", "reasonCode": "LATE"}, "PARTIALLY_RETURNED"),
    Golden(
        f"{RETURN}.GetReturn",
        "GET /v1/orders/g-1/returns/r-2",
        {"orderReturn": {"state": "RETURN_STATE_REJECTED"}},
    ),
    Golden(
        f"{RETURN}.ListReturns",
        "GET /v1/orders/g-1/returns?pageSize=1",
        {"returns": [{"returnId": "r-1", "received": _lines(1)}]},
    ),
    Golden(f"{ORDER}.PlaceOrder", "POST /v1/orders", {"order": {"orderId": "g-2"}}, _place("g-2")),
    _command("reject", f"{ORDER}.RejectOrder", {"reasonCode": "NO_STOCK"}, "REJECTED", "g-2"),
    Golden(f"{ORDER}.PlaceOrder", "POST /v1/orders", {"order": {"marketId": "m-1"}}, _place("g 3/ü", marketId="m-1")),
    *(
        Golden(golden.rpc, golden.line.replace("g-1", "g%203%2F%C3%BC"), golden.shows, golden.body)
        for golden in (
            Golden(f"{ORDER}.AcceptOrder", "POST /v1/orders/g-1:accept", {"order": {"accepted": True}}, {}),
            Golden(f"{ORDER}.CancelOrder", "POST /v1/orders/g-1:cancel", {"order": {"cancelRequested": True}}, {}),
            Golden(
                f"{ORDER}.RejectOrderCancel",
                "POST /v1/orders/g-1:rejectCancel",
                {"order": {"state": "ORDER_STATE_ACCEPTED"}},
                {"marketId": "m-1", "reasonCode": "TOO_LATE"},
            ),
            Golden(f"{ORDER}.CancelOrder", "POST /v1/orders/g-1:cancel", {"order": {"cancelRequested": True}}, {}),
            Golden(
                f"{ORDER}.ConfirmOrderCancel",
                "POST /v1/orders/g-1:confirmCancel",
                {"order": {"state": "ORDER_STATE_CANCELED", "orderId": "g 3/ü"}},
                {"marketId": "m-1"},
            ),
            Golden(f"{ORDER}.GetOrder", "GET /v1/orders/g-1", {"order": {"orderId": "g 3/ü"}}),
        )
    ),
    Golden(
        f"{ORDER}.GetOrder",
        "GET /v1/orders/g-1?view=ORDER_VIEW_FULL&POSITION",
        {"order": {"lines": [{"lineId": "1", "returned": "1"}, {"lineId": "2"}]}},
    ),
    Golden(
        f"{ORDER}.BatchGetOrders",
        "GET /v1/orders:batchGet?order_ids=g-2&order_ids=g-1",
        {"orders": [{"orderId": "g-2"}, {"orderId": "g-1"}]},
    ),
    Golden(
        f"{ORDER}.ListOrders",
        "GET /v1/orders?pageSize=2&filter=customer_id%20%3D%20ann%20AND%20state%20%3D%20REJECTED",
        {"orders": [{"orderId": "g-2"}]},
    ),
    Golden(
        f"{ORDER}.ListOrderEvents",
        "GET /v1/orders/g-2/events?page_size=1",
        {"events": [{"orderId": "g-2", "metadata": {"type": "stateset.order.v1.OrderPlaced"}}]},
    ),
    Golden(
        f"{ORDER}.GetCommandResult",
        "POST /v1/commands/golden-none:getResult",
        {},
        {"fence": True},
    ),
    Golden(
        f"{ORDER}.EraseCustomerPersonalData",
        "POST /v1/customers/nobody:erasePersonalData",
        {"position": {}},
        {"validateOnly": True},
    ),
    Golden(
        f"{ORDER}.EraseOrderPersonalData",
        "POST /v1/orders/g-1:erasePersonalData",
        {"events": [{"type": "stateset.order.v1.OrderPersonalDataErased"}]},
        {"reason": "asked for"},
    ),
    Golden(
        f"{LOG}.ReplayEvents",
        "POST /v1/log:replay",
        {},
        {"replayId": "golden-replay", "orderIds": ["g-1"]},
        status=HTTPStatus.BAD_REQUEST,
    ),
    Golden(
        f"{LOG}.ListLogSubscriptions", "GET /v1/log/subscriptions", {"subscriptions": [{"name": "sync-read-model"}]}
    ),
    Golden(f"{LOG}.DeleteLogSubscription", "DELETE /v1/log/subscriptions/nobody", {}, status=HTTPStatus.NOT_FOUND),
    Golden(f"{LOG}.GetLogHead", "GET /v1/log/head", {"shards": [{"earliestSeq": "1"}, {"shard": 1}, {"shard": 2}]}),
    Golden(f"{LOG}.GetDigest", "GET /v1/log/digest?POSITION&filter=state%3DREJECTED", {"digest": {"count": "1"}}),
    Golden(f"{LOG}.GetBacklog", "GET /v1/log/backlog", {}),
    Golden(f"{SYNC}.GetOrder", "GET /v1/read-model/orders/g-2?POSITION&view=1", {"order": {"orderId": "g-2"}}),
    Golden(
        f"{SYNC}.ListOrders",
        "GET /v1/read-model/orders?POSITION&filter=state%3DREJECTED",
        {"orders": [{"orderId": "g-2"}]},
    ),
    Golden(
        f"{SYNC}.CreateSubscription",
        "POST /v1/subscriptions",
        {"subscription": {"name": "golden-2"}},
        {"name": "golden-2", "start": {"point": "START_POINT_LATEST"}},
    ),
    Golden(f"{SYNC}.GetSubscription", "GET /v1/subscriptions/golden-2", {"subscription": {"name": "golden-2"}}),
    Golden(f"{SYNC}.ListSubscriptions", "GET /v1/subscriptions", {}),
    Golden(
        f"{SYNC}.SeekSubscription",
        "POST /v1/subscriptions/golden-2:seek",
        {"subscription": {"name": "golden-2", "deliveryEpoch": "1"}},
        {"to": {"point": "START_POINT_EARLIEST"}},
    ),
    Golden(f"{SYNC}.GetLag", "GET /v1/subscriptions/golden-2/lag", {"lag": {"boundBy": "LAG_BOUND_ABSENT"}}),
    Golden(f"{SYNC}.DeleteSubscription", "DELETE /v1/subscriptions/golden-2", {}),
    Golden(
        f"{SYNC}.AckSubscription",
        "POST /v1/subscriptions/golden:ack",
        {"status": "ACK_STATUS_FENCED"},
        {"deliveryEpoch": "1", "through": "POSITION"},
    ),
    Golden(
        f"{SYNC}.GetDigest", "GET /v1/read-model/digest?POSITION&filter=state%3DREJECTED", {"digest": {"count": "1"}}
    ),
    Golden(f"{SYNC}.ListParked", "GET /v1/subscriptions/risk/parked", {}),
    Golden(f"{SYNC}.ReplayParked", "POST /v1/subscriptions/risk/parked:replay", {}, {"all": True}),
    Golden(f"{SYNC}.DiscardParked", "POST /v1/subscriptions/risk/parked:discard", {}, {"orderId": "g-1"}),
    Golden(f"{RISK}.GetExposure", "GET /v1/customers/ann/exposure/USD?POSITION", {"exposure": {"customerId": "ann"}}),
    Golden(f"{RISK}.ListExposures", "GET /v1/exposures?POSITION", {"exposures": [{"customerId": "ann"}]}),
    Golden(f"{RISK}.GetDigest", "GET /v1/risk/digest?POSITION", {"digest": {}}),
    Golden(
        f"{PORTFOLIO}.GetHolding",
        "GET /v1/customers/ann/holdings/tea/USD?POSITION",
        {"holding": {"productId": "tea"}},
    ),
    Golden(f"{PORTFOLIO}.ListHoldings", "GET /v1/holdings?POSITION&filter=product_id%3Dtea", {"holdings": [{}]}),
    Golden(f"{PORTFOLIO}.GetCashBalance", "GET /v1/customers/ann/cash/USD?POSITION", {"cashBalance": {}}),
    Golden(f"{PORTFOLIO}.ListCashBalances", "GET /v1/cash?POSITION", {"cashBalances": [{"customerId": "ann"}]}),
    Golden(f"{PORTFOLIO}.GetDigest", "GET /v1/portfolio/digest?POSITION", {"digest": {}}),
    Golden(
        f"{ANALYTICS}.QueryMetrics",
        "GET /v1/metrics?POSITION&group_by=METRIC_GROUP_CURRENCY&first_day=2020-01-01&last_day=2100-01-01",
        {"metrics": [{"currencyCode": "USD", "ordersPlaced": "3"}]},
    ),
    Golden(
        f"{ANALYTICS}.GetFunnel",
        "GET /v1/funnel?POSITION&firstDay=2020-01-01&lastDay=2100-01-01",
        {"funnel": {"placed": "3"}},
    ),
    Golden(f"{ANALYTICS}.GetDigest", "GET /v1/analytics/digest?POSITION", {"digest": {}}),
    # Last, as what follows would be read at its position.
    Golden(
        f"{LOG}.ResolveTime",
        "POST /v1/log:resolveTime",
        {"position": {"nextSeq": ["1", "1", "1"]}},
        {"time": "2000-01-01T00:00:00Z"},
    ),
    Golden(
        f"{SYNC}.ResolvePosition",
        "POST /v1/positions:resolve",
        {"position": {"nextSeq": ["1", "1", "1"]}},
        {"time": "2000-01-01T00:00:00Z"},
    ),
]


def served_rpcs() -> dict[str, MethodDescriptor]:
    """Every RPC that has a path, by name."""
    return {
        rule.rpc.full_name: rule.rpc
        for files in FILES.values()
        for file in files
        for service in file.services_by_name.values()
        for rule in rules_of(service)
    }


async def wrong_answers(http: httpx.AsyncClient, goldens: Sequence[Golden]) -> list[tuple[str, str, int, str]]:
    """Sends every request in its turn; those whose answers do not show what they should."""
    wrong = []
    position: dict[str, Any] = {}
    for number, golden in enumerate(goldens):
        method, path, body = request_of(golden, number, position)
        answer = await http.request(method, path, json=body)
        shown: Any = answer.json() if answer.headers.get("content-type") == "application/json" else None
        if answer.status_code != golden.status or not shows(shown, golden.shows):
            wrong.append((golden.rpc, golden.line, answer.status_code, answer.text))
        else:
            position = shown.get("position", position) if body else position
    return wrong


def shows(found: Any, expected: Any) -> bool:  # noqa: ANN401 - any JSON
    """Whether the JSON holds what is expected of it: objects may hold more, lists must be as long."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(
            name in found and shows(found[name], value) for name, value in expected.items()
        )
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(shows, found, expected))
    return bool(found == expected)


def request_of(golden: Golden, number: int, position: dict[str, Any]) -> tuple[str, str, dict[str, Any] | None]:
    """Method, path and body of the request that has this number in the sequence."""
    method, _, path = golden.line.partition(" ")
    body = golden.body
    if body is not None:
        body = {name: position if value == "POSITION" else value for name, value in body.items()}
        if "requestId" in served_rpcs()[golden.rpc].input_type.fields_by_camelcase_name and "/commands/" not in path:
            body["requestId"] = f"golden-{number:04}"
    return method, path.replace("POSITION", _position_query(position) if position else ""), body


def _position_query(position: dict[str, Any]) -> str:
    """A command's position, as the parameters of a read."""
    seqs = "".join(f"&min_position.next_seq={seq}" for seq in position["nextSeq"])
    return f"minPosition.logEpoch={position['logEpoch']}{seqs}"
