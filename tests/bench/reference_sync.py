"""The least that a gRPC server can do for a stream of events: it writes the same frame, again and again."""

import argparse
import asyncio
from typing import Any, Final

import grpc.aio

from infra.runtime.grpc.server import OPTIONS
from tests.bench.events import encoded_frame

FRAME_EVENTS: Final = 100


def _handlers(frame: bytes) -> grpc.GenericRpcHandler:
    async def stream(_request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        while True:
            await context.write(frame)

    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(stream)
    return grpc.method_handlers_generic_handler("stateset.sync.v1.SyncService", {"StreamEvents": handler})


async def _serve(address: str) -> None:
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((_handlers(encoded_frame(FRAME_EVENTS)),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--grpc-address", required=True)
    asyncio.run(_serve(parser.parse_args().grpc_address))
