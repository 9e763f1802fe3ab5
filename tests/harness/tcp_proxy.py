"""A proxy in front of PostgreSQL that understands just enough to lose a connection in the middle of a COMMIT."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from tests.harness.waiting import eventually

Moment = Literal["before", "after"]

_STARTUP = 196_608  # protocol 3.0; other codes ask for encryption or to cancel
_COMMIT_SECONDS = 240.0  # who is to be cut has nothing to commit while those it reads from are killed, time and again
_CHUNK_BYTES = 65_536


class CommitCutter:
    """Passes sessions on to a server, until it is told to cut one in its COMMIT.

    Only transactions that may write count: reads are committed, too, and nothing hangs on those.
    """

    def __init__(self) -> None:
        self.cuts: Counter[tuple[str, Moment]] = Counter()
        self._armed: dict[str, Moment] = {}

    @asynccontextmanager
    async def listening(self, server_port: int) -> AsyncIterator[int]:
        """Serves while the context lasts; yields the port."""
        sessions: set[asyncio.Task[None]] = set()

        async def accept(reader: StreamReader, writer: StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            sessions.add(task)
            try:
                await self._pass_on(server_port, reader, writer)
            finally:
                sessions.discard(task)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for session in sessions:
                session.cancel()

    def arm(self, application: str, moment: Moment) -> None:
        """The application's next COMMIT is cut: before the server hears of it, or after it has done it."""
        self._armed[application] = moment

    async def cut(self, application: str, moment: Moment) -> None:
        """As `arm`; returns when it has happened."""
        self.arm(application, moment)
        await self.idle(application)

    async def idle(self, application: str) -> None:
        """Returns when none of the application's is to be cut."""
        await eventually(lambda: application not in self._armed, within_seconds=_COMMIT_SECONDS)

    async def _pass_on(self, server_port: int, reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                upstream = await asyncio.open_connection("127.0.0.1", server_port)
            except OSError:
                writer.transport.abort()
                return
            session = _Session(reader, writer, *upstream)
            try:
                await self._converse(session)
            finally:
                session.cut()

    async def _converse(self, session: "_Session") -> None:
        answers = asyncio.create_task(session.pass_answers(), name="answers")
        try:
            async for message in session.requests():
                if message.is_commit and (moment := self._armed.pop(session.application, None)):
                    if moment == "after":
                        await session.send_and_keep_the_answer(message)
                    self.cuts[session.application, moment] += 1
                    return
                await session.send(message)
        finally:
            answers.cancel()


@dataclass(frozen=True, slots=True)
class _Message:
    """What a client says. The first ones have no kind."""

    kind: bytes
    length: bytes
    body: bytes
    is_commit: bool = False

    @property
    def encoded(self) -> bytes:
        return self.kind + self.length + self.body


@dataclass(slots=True)
class _Session:
    """A client and its connection to the server."""

    client_reader: StreamReader
    client_writer: StreamWriter
    server_reader: StreamReader
    server_writer: StreamWriter
    application: str = ""
    _writes: bool = False
    _keeps: bool = False
    _kept: asyncio.Event = field(default_factory=asyncio.Event)

    async def requests(self) -> AsyncIterator[_Message]:
        """Every message of the client."""
        while not self.application:
            message = await self._read(b"")
            if int.from_bytes(message.body[:4]) == _STARTUP:
                words = message.body[4:].split(b"\0")
                parameters = dict(zip(words[::2], words[1::2], strict=False))
                self.application = parameters.get(b"application_name", b"?").decode()
            yield message
        while True:
            yield await self._read(await self.client_reader.readexactly(1))

    async def send(self, message: _Message) -> None:
        """To the server."""
        self.server_writer.write(message.encoded)
        await self.server_writer.drain()

    async def send_and_keep_the_answer(self, message: _Message) -> None:
        """Returns when the server has answered; the client never hears of it."""
        self._keeps = True
        await self.send(message)
        async with asyncio.timeout(_COMMIT_SECONDS):
            await self._kept.wait()

    async def pass_answers(self) -> None:
        """Every byte of the server, as it comes."""
        with suppress(OSError):
            while chunk := await self.server_reader.read(_CHUNK_BYTES):
                if self._keeps:
                    self._kept.set()
                    return
                self.client_writer.write(chunk)
                await self.client_writer.drain()
        self.cut()

    def cut(self) -> None:
        """As a cable that is pulled."""
        self.client_writer.transport.abort()
        self.server_writer.transport.abort()

    async def _read(self, kind: bytes) -> _Message:
        length = await self.client_reader.readexactly(4)
        body = await self.client_reader.readexactly(int.from_bytes(length) - 4)
        return _Message(kind, length, body, is_commit=kind == b"Q" and self._commits(body))

    def _commits(self, query: bytes) -> bool:
        """Whether the query ends a transaction that may have written."""
        words = query.rstrip(b"\0").strip(b"; \n").upper()
        if words.startswith(b"BEGIN"):
            self._writes = b"READ ONLY" not in words
        return words == b"COMMIT" and self._writes
