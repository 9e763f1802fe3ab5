"""IngestOrders over real gRPC, on a real file and a real PostgreSQL: many orders, each with its own answer."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from stateset.order.v1 import log_service_pb2, order_pb2, order_service_pb2

from infra.runtime.grpc.server import FRAME_BYTES_MAX
from order.adapters.grpc_ingest import STREAM_ORDERS_MAX
from tests.harness.order_service import OrderService, order_service, refused
from tests.harness.orders import place_request
from tests.harness.postgres import fresh_database
from tests.harness.waiting import eventually_async

Orders = Sequence[order_service_pb2.PlaceOrderRequest]


@pytest.fixture(params=["sqlite", "postgresql"])
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OrderService]:
    async with AsyncExitStack() as stack:
        settings = {}
        if request.param == "postgresql":
            server = request.getfixturevalue("postgres_server")
            settings["database"] = await stack.enter_async_context(fresh_database(server))
        yield await stack.enter_async_context(order_service(tmp_path, **settings))


@pytest.fixture
async def on_file(tmp_path: Path) -> AsyncIterator[OrderService]:
    async with order_service(tmp_path) as running:
        yield running


def orders(count: int) -> Orders:
    return [place_request(1, 2, 3, order_id=f"o-{n}", request_id=f"request-o-{n}") for n in range(count)]


def messages(*each: Orders) -> Iterable[order_service_pb2.IngestOrdersRequest]:
    return [order_service_pb2.IngestOrdersRequest(orders=some) for some in each]


async def ingest(service: OrderService, *each: Orders) -> order_service_pb2.IngestOrdersResponse:
    reply: order_service_pb2.IngestOrdersResponse = await service.orders.IngestOrders(messages(*each))
    return reply


def reason(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


def fields(status: status_pb2.Status) -> list[str]:
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    return [violation.field for violation in bad.field_violations]


async def digest(service: OrderService) -> Any:  # noqa: ANN401 - generated
    return await service.log.GetDigest(log_service_pb2.GetDigestRequest())


async def test_each_order_is_answered_in_its_place_and_can_be_read_at_the_position(service: OrderService) -> None:
    sent = orders(700)
    reply = await ingest(service, sent[:300], [], sent[300:])
    assert [each.request_id for each in reply.results] == [each.request_id for each in sent]
    assert {each.placed.SerializeToString() for each in reply.results} == {
        order_service_pb2.IngestedOrder(
            order_id=each.order_id, version=1, state=order_pb2.ORDER_STATE_PENDING
        ).SerializeToString()
        for each in sent
    }
    assert sum(reply.position.next_seq) == 700 + len(reply.position.next_seq)
    read = order_service_pb2.GetOrderRequest(order_id="o-699", min_position=reply.position)
    assert len((await service.orders.GetOrder(read)).order.lines) == 3


async def test_who_sends_everything_again_gets_the_same_answers_and_changes_nothing(service: OrderService) -> None:
    sent = orders(100)
    await ingest(service, sent[:60])
    before = await ingest(service, sent)
    assert [each.placed.replayed for each in before.results] == [True] * 60 + [False] * 40
    stands = await digest(service)
    again = await ingest(service, sent)
    assert all(each.placed.replayed for each in again.results)
    assert [(each.request_id, each.placed.order_id, each.placed.version) for each in again.results] == [
        (each.request_id, each.placed.order_id, each.placed.version) for each in before.results
    ]
    assert again.position == before.position
    assert await digest(service) == stands


async def test_what_is_wrong_with_one_order_is_told_in_full_and_spoils_no_other(service: OrderService) -> None:
    await ingest(service, orders(1))
    good, malformed, conflict = orders(3)[1], place_request(0), place_request(5, order_id="o-0")
    malformed.currency_code = "MOON"
    reused, nameless = orders(1)[0], place_request(1)
    reused.customer_id = "c-2"
    nameless.request_id = ""
    told = (await ingest(service, [malformed, conflict, good, reused, nameless])).results
    assert [each.WhichOneof("outcome") for each in told] == ["refusal", "refusal", "placed", "refusal", "refusal"]
    assert fields(told[0].refusal) == ["currency_code", "lines[0].quantity", "lines[0].unit_price.currency_code"]
    assert told[0].refusal.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert reason(told[1].refusal) == "ORDER_ID_CONFLICT"
    assert (reason(told[3].refusal), fields(told[3].refusal)) == ("REQUEST_ID_REUSED", ["customer_id"])
    assert fields(told[4].refusal) == ["request_id"]
    assert (await digest(service)).digest.count == 2


async def test_an_orders_request_id_is_the_same_as_for_place_order(on_file: OrderService) -> None:
    [order] = orders(1)
    await on_file.orders.PlaceOrder(order)
    told = await ingest(on_file, [order, order])
    assert [each.placed.replayed for each in told.results] == [True, True]


async def test_a_check_only_is_answered_as_if_and_moves_no_position(on_file: OrderService) -> None:
    [order] = orders(1)
    order.validate_only = True
    told = await ingest(on_file, [order])
    assert told.results[0].placed.order_id == "o-0"
    assert not told.HasField("position")
    assert (await digest(on_file)).digest.count == 0


async def test_more_orders_than_a_stream_may_have_are_refused_by_their_number(on_file: OrderService) -> None:
    sent = orders(STREAM_ORDERS_MAX + 1)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await ingest(on_file, sent[:500], sent[500:])
    told = refused(error.value)
    assert (told.code, told.reason, told.fields) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", ["orders"])
    assert str(STREAM_ORDERS_MAX) in str(error.value.details())
    assert len((await ingest(on_file, sent[:500], sent[500:-1])).results) == STREAM_ORDERS_MAX


async def test_the_longest_answers_fit_into_one_reply_and_all_say_why(on_file: OrderService) -> None:
    long = "\U0001f4e6" * 64
    bad = order_service_pb2.PlaceOrderRequest(request_id=long, currency_code=long, customer_id=long + long)
    told = await ingest(on_file, *[[bad] * 200] * (STREAM_ORDERS_MAX // 200))
    assert {reason(each.refusal) for each in told.results} == {"INVALID_REQUEST"}
    assert len(told.results[0].refusal.details) > len(told.results[-1].refusal.details)
    assert {each.request_id for each in told.results} == {long}
    assert told.ByteSize() < FRAME_BYTES_MAX
    placed = [place_request(1, order_id=f"{long[:60]}{n:04}", request_id=f"{long[:60]}{n:04}") for n in range(1000)]
    told = await ingest(on_file, *[placed[n : n + 200] for n in range(0, 1000, 200)])
    assert {each.WhichOneof("outcome") for each in told.results} == {"placed"}
    assert told.ByteSize() < FRAME_BYTES_MAX


async def test_a_stream_that_is_cut_off_leaves_whole_orders_and_is_completed_by_sending_it_again(
    service: OrderService,
) -> None:
    sent = orders(400)
    call = service.orders.IngestOrders()
    await call.write(order_service_pb2.IngestOrdersRequest(orders=sent[:250]))

    async def some_are_placed() -> bool:
        return bool((await digest(service)).digest.count)

    await eventually_async(some_are_placed)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    told = await ingest(service, sent)
    assert {each.WhichOneof("outcome") for each in told.results} == {"placed"}
    heads = await service.log.GetLogHead(log_service_pb2.GetLogHeadRequest())
    assert sum(each.next_seq - 1 for each in heads.shards) == (await digest(service)).digest.count == 400
