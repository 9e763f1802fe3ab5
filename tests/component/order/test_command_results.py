"""GetCommandResult over real gRPC: what a caller learns that lost its answer."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
from google.rpc import error_details_pb2
from stateset.order.v1 import order_service_pb2

from tests.harness.order_service import OrderService, order_service, refused
from tests.harness.orders import place_request


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[OrderService]:
    async with order_service(tmp_path) as running:
        yield running


async def ask(
    service: OrderService, request_id: str, *, fence: bool = False
) -> order_service_pb2.GetCommandResultResponse:
    request = order_service_pb2.GetCommandResultRequest(request_id=request_id, fence=fence)
    told: order_service_pb2.GetCommandResultResponse = await service.orders.GetCommandResult(request)
    return told


async def test_a_committed_command_is_told_with_its_first_reply(service: OrderService) -> None:
    placed = await service.orders.PlaceOrder(place_request(3, request_id="request-a"))
    for fence in (False, True):
        told = await ask(service, "request-a", fence=fence)
        assert (told.state, told.method) == (order_service_pb2.COMMAND_STATE_COMMITTED, "PlaceOrder")
        assert told.reply.SerializeToString() == placed.SerializeToString()


async def test_a_refused_command_is_told_with_its_refusal(service: OrderService) -> None:
    accept = order_service_pb2.AcceptOrderRequest(order_id="o-1", request_id="request-a")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await service.orders.AcceptOrder(accept)
    told = await ask(service, "request-a", fence=True)
    assert (told.state, told.method) == (order_service_pb2.COMMAND_STATE_REFUSED, "AcceptOrder")
    info = error_details_pb2.ErrorInfo()
    assert told.refusal.details[0].Unpack(info)
    assert (told.refusal.code, info.reason) == (error.value.code().value[0], "ORDER_NOT_FOUND")


async def test_unknown_means_not_yet_until_a_fence_makes_it_never(service: OrderService) -> None:
    assert (await ask(service, "request-a")).state == order_service_pb2.COMMAND_STATE_UNKNOWN
    assert (await ask(service, "request-a", fence=True)).state == order_service_pb2.COMMAND_STATE_NOT_EXECUTED
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await service.orders.PlaceOrder(place_request(3, request_id="request-a"))
    told = refused(error.value)
    assert (told.code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REQUEST_FENCED")
    assert (await ask(service, "request-a")).state == order_service_pb2.COMMAND_STATE_NOT_EXECUTED


async def test_a_request_id_that_no_command_can_have_is_refused(service: OrderService) -> None:
    for request_id in ("short", "request-\0"):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await ask(service, request_id, fence=True)
        assert refused(error.value).fields == ["request_id"]
