"""A way to a server that can be cut off without anybody being told: both ends go on believing in the connection."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_CHUNK_BYTES = 65_536


class FrozenProxy:
    """Passes bytes on until it is frozen; then it keeps the connections and swallows what comes."""

    def __init__(self) -> None:
        self._frozen = False

    def freeze(self) -> None:
        """Nothing passes any more, either way."""
        self._frozen = True

    @asynccontextmanager
    async def listening(self, address: str) -> AsyncIterator[str]:
        """Serves in front of the address while the context lasts; yields its own."""
        host, _, port = address.rpartition(":")
        passing: set[asyncio.Task[None]] = set()

        async def accept(reader: StreamReader, writer: StreamWriter) -> None:
            upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
            for source, sink in ((reader, upstream_writer), (upstream_reader, writer)):
                passing.add(asyncio.create_task(self._pass_on(source, sink), name="frozen-proxy"))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in passing:
                task.cancel()
            await asyncio.gather(*passing, return_exceptions=True)

    async def _pass_on(self, source: StreamReader, sink: StreamWriter) -> None:
        try:
            with suppress(OSError):
                while chunk := await source.read(_CHUNK_BYTES):
                    if not self._frozen:
                        sink.write(chunk)
                        await sink.drain()
        finally:
            sink.transport.abort()
