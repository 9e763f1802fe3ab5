"""The counting subscribers against a real gRPC server: they count what was sent, byte for byte."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

import grpc.aio
import pytest

from infra.runtime.grpc.server import OPTIONS
from tests.bench.grpc_call import PREFIX_BYTES, CallTemplate
from tests.bench.http2 import BrokenError
from tests.bench.http2_readers import Readers

METHOD = "/bench.Feed/Stream"

Context = grpc.aio.ServicerContext[bytes, bytes]
Handler = Callable[[bytes, Context], AsyncIterator[bytes]]


@asynccontextmanager
async def streaming(handler: Handler) -> AsyncIterator[str]:
    server = grpc.aio.server(options=OPTIONS)
    stream: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(handler)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Feed", {"Stream": stream}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def readers_of(address: str, readers: int) -> Readers:
    return Readers(CallTemplate(address, METHOD, b"open", deadline_seconds=None), address, readers=readers)


async def test_every_message_and_every_byte_is_counted() -> None:
    sizes = [0, 1, 4, 5, 6, 16_379, 16_384, 40_000, 500_000]

    async def send_and_stay(_request: bytes, _: Context) -> AsyncIterator[bytes]:
        for size in sizes:
            yield b"x" * size
        await asyncio.Event().wait()

    async with streaming(send_and_stay) as address:
        with readers_of(address, 3) as readers:
            await asyncio.to_thread(readers.run, 0.5)
            messages, payload_bytes = readers.messages, readers.payload_bytes

    assert messages == [len(sizes)] * 3
    assert payload_bytes == [sum(sizes) + PREFIX_BYTES * len(sizes)] * 3


async def test_a_sample_holds_whole_messages_in_their_order() -> None:
    async def send_numbers(_request: bytes, _: Context) -> AsyncIterator[bytes]:
        for number in count():
            yield b"%d " % number * (number % 5_000)

    async with streaming(send_numbers) as address:
        with readers_of(address, 2) as readers:
            await asyncio.to_thread(readers.run, 0.1)
            samples = await asyncio.to_thread(readers.sample, 0.2)

    for sample in samples:
        kept = [message for message in sample if message]
        first = int(kept[0].split()[0])
        assert first > 1, "the sample was to be taken on the way"
        numbers = (number for number in range(first, first + len(sample)) if number % 5_000)
        assert kept == [b"%d " % number * (number % 5_000) for number, _ in zip(numbers, kept, strict=False)]


async def test_the_end_of_a_stream_is_an_error() -> None:
    async def send_one(_request: bytes, _: Context) -> AsyncIterator[bytes]:
        yield b"only"

    async with streaming(send_one) as address:
        with readers_of(address, 1) as readers, pytest.raises(BrokenError, match="grpc-status"):
            await asyncio.to_thread(readers.run, 5)
