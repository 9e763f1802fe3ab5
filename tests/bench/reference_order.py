"""The least that a generated servicer can do for PlaceOrder and GetOrder: every call gets the same reply."""

import argparse
import asyncio
from pathlib import Path
from typing import Any

import grpc.aio
from stateset.order.v1 import order_service_pb2, order_service_pb2_grpc

from infra.runtime.grpc.server import OPTIONS


class ConstantOrderService(order_service_pb2_grpc.OrderServiceServicer):
    """Serves PlaceOrder and GetOrder alone, each with one reply."""

    def __init__(self, reply: bytes) -> None:
        """The encoded reply of the method that is going to be called."""
        self._placed = order_service_pb2.PlaceOrderResponse.FromString(reply)
        self._got = order_service_pb2.GetOrderResponse.FromString(reply)

    async def PlaceOrder(  # noqa: N802 - as in the contract
        self,
        request: order_service_pb2.PlaceOrderRequest,  # noqa: ARG002 - the answer is always the same
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002 - as above
    ) -> order_service_pb2.PlaceOrderResponse:
        """See the contract."""
        return self._placed

    async def GetOrder(  # noqa: N802 - as in the contract
        self,
        request: order_service_pb2.GetOrderRequest,  # noqa: ARG002 - as above
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002 - as above
    ) -> order_service_pb2.GetOrderResponse:
        """See the contract."""
        return self._got


async def _serve(address: str, reply: bytes) -> None:
    server = grpc.aio.server(options=OPTIONS)
    servicer = ConstantOrderService(reply)  # type: ignore[abstract] # the rest is not called
    order_service_pb2_grpc.add_OrderServiceServicer_to_server(servicer, server)
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--grpc-address", required=True)
    parser.add_argument("--reply", type=Path, required=True, help="file that holds the encoded reply")
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.grpc_address, arguments.reply.read_bytes()))
