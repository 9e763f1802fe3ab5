"""A link between a client and a server that can be cut, or go dead without anybody being told."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_CHUNK_BYTES = 65_536


class Link:
    """Passes bytes on, both ways, over any number of connections."""

    def __init__(self, server_address: str) -> None:
        self.connections = 0
        self._server = server_address.rpartition(":")
        self._alive = asyncio.Event()
        self._alive.set()
        self._sessions: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Serves while the context lasts; yields the address."""

        async def accept(reader: StreamReader, writer: StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._sessions.add(task)
            self.connections += 1
            with suppress(OSError, asyncio.CancelledError):
                await self._pass_on(reader, writer, self._alive)
            writer.transport.abort()
            self._sessions.discard(task)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            await asyncio.gather(*self._end())

    def cut(self) -> None:
        """Ends the connections that are open; both ends are told at once."""
        self._end()

    def _end(self) -> list[asyncio.Task[None]]:
        sessions = list(self._sessions)
        for session in sessions:
            session.cancel()
        return sessions

    def go_dead(self) -> None:
        """From now on nothing passes on the connections that are open, and neither end is told; new ones are alive."""
        self._alive.clear()
        self._alive = asyncio.Event()
        self._alive.set()

    async def _pass_on(self, reader: StreamReader, writer: StreamWriter, alive: asyncio.Event) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(self._server[0], int(self._server[2]))
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_copy(reader, upstream_writer, alive), name="to-server")
                ways.create_task(_copy(upstream_reader, writer, alive), name="to-client")
        finally:
            upstream_writer.transport.abort()


async def _copy(reader: StreamReader, writer: StreamWriter, alive: asyncio.Event) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK_BYTES):
            await alive.wait()
            writer.write(chunk)
            await writer.drain()
    await alive.wait()
    writer.close()
