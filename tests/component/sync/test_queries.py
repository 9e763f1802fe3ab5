"""Reads of the read model over real gRPC."""

import grpc.aio
import pytest
from grpc import StatusCode
from stateset.order.v1 import order_pb2
from stateset.sync.v1 import sync_service_pb2 as sync

from infra.kernel.digest import Digest
from infra.kernel.position import Position
from tests.harness.sync_client import Client, open_server, refusal_of, start_at
from tests.harness.sync_log import LogMaker
from tests.harness.waiting import eventually


async def covered(client: Client, log: LogMaker) -> sync.GetDigestResponse:
    reply: sync.GetDigestResponse = await client.stub.GetDigest(
        sync.GetDigestRequest(min_position=start_at(log.position).position), timeout=20
    )
    return reply


async def test_an_order_is_read_as_its_last_event_left_it() -> None:
    log = LogMaker()
    log.group("o-1", size=3)
    async with open_server(log.source) as client:
        request = sync.GetOrderRequest(order_id="o-1", min_position=start_at(log.position).position)
        reply = await client.stub.GetOrder(request)
        assert (reply.order.order_id, reply.order.version, len(reply.order.lines)) == ("o-1", 3, 1)
        assert list(log.position.next_seq) == list(reply.freshness.position.next_seq)
        request.view = order_pb2.ORDER_VIEW_BASIC
        assert not (await client.stub.GetOrder(request)).order.lines


async def test_an_unknown_order_is_not_found() -> None:
    async with open_server(LogMaker().source) as client:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await client.stub.GetOrder(sync.GetOrderRequest(order_id="o-1"))
        assert refusal_of(raised.value) == (StatusCode.NOT_FOUND, "ORDER_NOT_FOUND", [])


async def test_pages_bring_every_matching_order_once() -> None:
    log = LogMaker()
    for number in range(25):
        log.group(f"o-{number:02}", customer_id=f"c-{number % 2}")
    async with open_server(log.source) as client:
        await covered(client, log)
        found: list[str] = []
        request = sync.ListOrdersRequest(page_size=4, filter="customer_id = c-1 AND state = FILLED")
        while True:
            reply = await client.stub.ListOrders(request)
            found += [order.order_id for order in reply.orders]
            assert not any(order.lines for order in reply.orders)
            if not reply.next_page_token:
                break
            request.page_token = reply.next_page_token
        assert [f"o-{number:02}" for number in range(1, 25, 2)] == found
        request.filter = "customer_id = c-0"
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await client.stub.ListOrders(request)
        assert refusal_of(raised.value) == (StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", ["page_token"])


async def test_the_digest_is_over_the_newest_versions() -> None:
    log = LogMaker()
    log.group("o-1", size=2)
    log.group("o-2")
    expected = Digest()
    expected.add("o-1", 2)
    expected.add("o-2", 1)
    async with open_server(log.source) as client:
        reply = await covered(client, log)
        assert (2, expected.hash) == (reply.digest.count, reply.digest.hash)


async def test_the_digest_of_a_filter_leaves_the_others_out() -> None:
    log = LogMaker()
    log.group("o-1", size=2, customer_id="c-1")
    log.group("o-2", customer_id="c-2")
    expected = Digest()
    expected.add("o-2", 1)
    async with open_server(log.source) as client:
        position = (await covered(client, log)).freshness.position
        reply = await client.stub.GetDigest(sync.GetDigestRequest(filter="customer_id = c-2"))
        assert (1, expected.hash) == (reply.digest.count, reply.digest.hash)
        assert position == reply.freshness.position


async def test_a_read_waits_for_its_position_and_fails_if_it_is_not_reached_in_time() -> None:
    log = LogMaker()
    async with open_server(log.source) as client:
        ahead = log.position.moved({0: 99})
        request = sync.GetOrderRequest(order_id="o-1", min_position=start_at(ahead).position)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await client.stub.GetOrder(request, timeout=3)
        assert refusal_of(raised.value) == (StatusCode.UNAVAILABLE, "POSITION_NOT_REACHED", [])


async def test_a_position_of_another_log_is_refused_at_once() -> None:
    async with open_server(LogMaker().source) as client:
        other = Position(log_epoch="another", next_seq=(1, 1, 1))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await client.stub.GetDigest(sync.GetDigestRequest(min_position=start_at(other).position))
        assert refusal_of(raised.value) == (StatusCode.FAILED_PRECONDITION, "LOG_EPOCH_CHANGED", [])


@pytest.mark.parametrize(
    ("method", "request_message", "fields"),
    [
        ("GetOrder", sync.GetOrderRequest(order_id="o\0"), ["order_id"]),
        ("GetOrder", sync.GetOrderRequest(), ["order_id"]),
        ("ListOrders", sync.ListOrdersRequest(filter='order_id = "\0"'), ["filter"]),
        ("ListOrders", sync.ListOrdersRequest(filter="state = EATEN"), ["filter"]),
        ("GetDigest", sync.GetDigestRequest(filter="color = red"), ["filter"]),
        ("ListOrders", sync.ListOrdersRequest(page_size=-1), ["page_size"]),
        ("ListOrders", sync.ListOrdersRequest(page_token="nonsense"), ["page_token"]),  # noqa: S106 - a page, not a password
    ],
)
async def test_a_malformed_read_is_refused(method: str, request_message: object, fields: list[str]) -> None:
    async with open_server(LogMaker().source) as client:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await getattr(client.stub, method)(request_message)
        assert (StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", fields) == refusal_of(raised.value)


async def test_answers_say_as_of_when_they_are_and_grow_stale_while_the_log_cannot_be_asked() -> None:
    log = LogMaker()
    log.group("o-1")
    async with open_server(log.source) as client:
        await covered(client, log)
        await eventually(lambda: log.source.confirmed == log.position)
        first = (await client.stub.GetOrder(sync.GetOrderRequest(order_id="o-1"))).freshness
        log.source.available = False
        second = (await client.stub.GetOrder(sync.GetOrderRequest(order_id="o-1"))).freshness
        assert first.as_of == second.as_of
        assert second.staleness.ToMicroseconds() > first.staleness.ToMicroseconds()
