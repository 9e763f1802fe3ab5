"""What gRPC has to say is heard in one turn of the loop."""

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVarTuple

import grpc.aio

from infra.runtime.loop import EventLoop

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

_Ts = TypeVarTuple("_Ts")
CALLS = 200


class Noting(EventLoop):
    """Notes who listens."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[object] = []

    def add_reader(self, fd: "FileDescriptorLike", callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        self.readers.append(callback)
        super().add_reader(fd, callback, *args)


def test_events_that_wait_are_heard_at_once() -> None:
    ours, theirs = socket.socketpair()
    heard: list[bytes] = []

    def _handle_events(_loop: object) -> None:
        heard.append(ours.recv(1))

    async def listen() -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, partial(_handle_events, loop))
        for number in range(1, 4):
            theirs.send(b"12345")
            while len(heard) < number:  # noqa: ASYNC110 - a turn of the loop, and nothing else, is what brings it
                await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        loop.remove_reader(ours)

    with ours, theirs, asyncio.Runner(loop_factory=EventLoop) as runner:
        ours.settimeout(0)
        runner.run(listen())
    assert heard == [b"5", b"5", b"5"]


def test_grpc_listens_as_expected_and_misses_nothing() -> None:
    async def echo(request: bytes, _context: object) -> bytes:
        return request

    async def call() -> list[bytes]:
        server = grpc.aio.server()
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(echo)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("x.Y", {"Echo": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with asyncio.timeout(20), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/x.Y/Echo")
            answers = await asyncio.gather(*(method(b"%d" % number) for number in range(CALLS)))
        await server.stop(None)
        return answers

    loop = Noting()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(call()) == [b"%d" % number for number in range(CALLS)]
    assert [reader.func.__name__ for reader in loop.readers if isinstance(reader, partial)] == ["_handle_events"]
