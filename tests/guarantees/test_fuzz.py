"""Random and mutated requests for every unary method: each is answered or refused for a reason, and nothing is left."""

import asyncio
import sys
from pathlib import Path
from typing import Final

import grpc
import pytest
from stateset.order.v1 import (
    fulfillment_service_pb2,
    log_service_pb2,
    log_service_pb2_grpc,
    order_service_pb2,
    return_service_pb2,
)
from stateset.order.v1.log_service_pb2 import GetLogHeadRequest
from stateset.sync.v1 import sync_service_pb2
from stateset_client import OrderClient

from tests.harness.faults import seed
from tests.harness.fuzz_calls import Told, fuzz, unary_methods
from tests.harness.fuzz_messages import Known
from tests.harness.memory import resident_bytes
from tests.harness.orders import place_request
from tests.harness.ports import free_address
from tests.harness.sync_process import connected, running

pytestmark = pytest.mark.timeout(0)  # as many requests as asked for, each of whose waits has a bound

GROWTH_MAX: Final = 1.1
ORDERS: Final = 30
_ORDER_IDS: Final = 40  # so that PlaceOrder meets some that are free
_SERVICES: Final = (
    order_service_pb2.DESCRIPTOR.services_by_name["OrderService"],
    fulfillment_service_pb2.DESCRIPTOR.services_by_name["FulfillmentService"],
    return_service_pb2.DESCRIPTOR.services_by_name["ReturnService"],
    log_service_pb2.DESCRIPTOR.services_by_name["LogService"],
)
_RECORDS: Final = ("fill_id", "hold_id", "shipment_id", "delivery_id", "return_id", "payment_id", "refund_id")
KNOWN: Final[Known] = {
    **{name: lambda chance: f"r-{chance.randrange(4)}" for name in _RECORDS},
    "request_id": lambda chance: f"request-{chance.getrandbits(20)}",
    "replay_id": lambda chance: f"replay-{chance.getrandbits(20)}",
    "order_id": lambda chance: f"o-{chance.randrange(_ORDER_IDS)}",
    "order_ids": lambda chance: f"o-{chance.randrange(ORDERS)}",
    "customer_id": lambda chance: f"c-{chance.randrange(3)}",
    "line_id": lambda chance: str(chance.randint(1, 3)),
    "product_id": lambda chance: f"p-{chance.randint(1, 3)}",
    "market_id": lambda chance: chance.choice(["", "", "m-1"]),
    "currency_code": lambda _chance: "USD",
    "reason_code": lambda _chance: "OUT_OF_STOCK",
    "quantity": lambda chance: chance.randint(1, 5),
    "nanos": lambda chance: chance.choice([0, 1_000_000, 999_999_999]),
    "seconds": lambda chance: chance.choice([0, 1_700_000_000, 4_000_000_000]),
    "minor_units": lambda chance: chance.randint(1, 500),
    "email": lambda _chance: "ada@example.org",
    "shard": lambda chance: chance.randrange(3),
    "first_seq": lambda _chance: 1,
    "last_seq": lambda _chance: 9,
    "filter": lambda chance: chance.choice(["", "state = PENDING", 'customer_id = "c-1" AND NOT store_id:*']),
    "page_size": lambda chance: chance.choice([0, 1, 500]),
    "paths": lambda chance: chance.choice(["lines", "expire_time", "personal"]),
    "name": lambda chance: f"s-{chance.randrange(3)}",
    **{name: lambda _chance: None for name in ("min_position", "update_mask", "expected_total")},
}

_REACHED: Final = {"PlaceOrder", "RecordPayment", "GetOrder", "ListOrders", "ListOrderEvents", "GetCommandResult"}


async def place_some(client: OrderClient) -> None:
    """Orders for the requests to meet; every other one is accepted."""
    ids = [f"o-{number}" for number in range(ORDERS)]
    await asyncio.gather(*(client.place_order(place_request(90, 90, 90, order_id=each)) for each in ids))
    accepted = [order_service_pb2.AcceptOrderRequest(order_id=each) for each in ids[::2]]
    await asyncio.gather(*map(client.accept_order, accepted))


async def test_no_request_is_answered_by_an_unforeseen_error_and_none_leaves_anything_in_memory(
    tmp_path: Path,
) -> None:
    drawn = seed()
    sys.stdout.write(f"SEED={drawn}\n")
    address = free_address()
    methods = unary_methods(_SERVICES)
    async with running("order", tmp_path, address, "--shards", "3") as process, connected(address) as channel:
        await place_some(OrderClient(channel))
        told = await fuzz(channel, methods, seed=drawn, known=KNOWN, resident=lambda: resident_bytes(process.pid))
        assert told.unforeseen == []
        await log_service_pb2_grpc.LogServiceStub(channel).GetDigest(log_service_pb2.GetDigestRequest())
        assert process.returncode is None
    assert reached_by(told) >= _REACHED  # the requests are not all nonsense


async def test_the_sync_server_answers_every_request_for_a_reason_and_keeps_nothing(tmp_path: Path) -> None:
    drawn = seed()
    sys.stdout.write(f"SEED={drawn}\n")
    order, sync = free_address(), free_address()
    methods = unary_methods((sync_service_pb2.DESCRIPTOR.services_by_name["SyncService"],))
    async with (
        running("order", tmp_path, order, "--shards", "3"),
        connected(order) as orders,
        running("sync", tmp_path, sync, "--order-address", order) as process,
        connected(sync) as channel,
    ):
        await place_some(OrderClient(orders))
        log_epoch = (await log_service_pb2_grpc.LogServiceStub(orders).GetLogHead(GetLogHeadRequest())).log_epoch
        known = {**KNOWN, "log_epoch": lambda _: log_epoch, "next_seq": lambda chance: chance.randrange(9)}
        told = await fuzz(channel, methods, seed=drawn, known=known, resident=lambda: resident_bytes(process.pid))
        assert told.unforeseen == []
        assert process.returncode is None
    assert reached_by(told) >= {"GetOrder", "ListOrders", "GetDigest", "CreateSubscription", "ResolvePosition"}


def reached_by(told: Told) -> set[str]:
    """The methods that were answered; memory does not grow from the first third on."""
    sys.stdout.write(f"{told.answers()}\nresident bytes after each third: {told.resident_bytes}\n")
    first, _, last = told.resident_bytes
    assert last <= GROWTH_MAX * first
    return {name for name, code in told.codes if code is grpc.StatusCode.OK}
