"""The least that a gRPC server can do for streams that are idle: every few seconds each is written one small frame."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any, Final

import grpc.aio

from infra.runtime.grpc.server import OPTIONS

_FRAME: Final = bytes(64)  # as large as a Progress
_OPENING_FRAMES: Final = 4
_STEPS: Final = 40
_TOGETHER: Final = 250  # streams that opened one after the other are due together


async def _serve(address: str, heartbeat_seconds: float) -> None:
    due = [asyncio.Condition() for _ in range(_STEPS)]
    numbers = count()

    async def stream(_: AsyncIterator[bytes], __: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[bytes]:
        mine = due[next(numbers) // _TOGETHER % _STEPS]
        for _frame in range(_OPENING_FRAMES):
            yield _FRAME
        while True:
            async with mine:
                await mine.wait()
            yield _FRAME

    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(stream)
    methods = {"Subscribe": handler}
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("stateset.sync.v1.SyncService", methods),))
    server.add_insecure_port(address)
    await server.start()
    while True:
        for step in due:
            await asyncio.sleep(heartbeat_seconds / _STEPS)
            async with step:
                step.notify_all()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--grpc-address", required=True)
    parser.add_argument("--heartbeat-seconds", type=float, required=True)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.grpc_address, arguments.heartbeat_seconds))
