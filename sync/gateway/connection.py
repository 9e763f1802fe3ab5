"""A connection to which a stream is written, as fast as its reader takes it.

What many readers are sent is framed once and written to each connection as it is: on the way of a single answer, HTTP
and WebSocket would copy it for every reader, which costs as much as sending it.
"""

import asyncio
import math
from contextlib import suppress
from typing import Final, Protocol

from websockets.frames import Frame, Opcode

_IN_A_ROW_MAX: Final = 8  # frames that are made already: about as much work as making one
STALLED_SECONDS: Final = 60.0  # that a reader may take nothing before its connection is cut


class Connection(Protocol):
    """What a stream has to know of the connection under it."""

    def is_full(self) -> bool:
        """Whether as much waits to be written as may."""

    def untaken_bytes(self) -> int:
        """How much of what was written the reader's side has not taken yet."""

    async def drained(self) -> None:
        """Returns once it is full no longer, or lost."""

    def write(self, framed: bytes) -> None:
        """Sends one frame, as it goes onto the wire; drops it if there is nobody any more."""

    def abort(self) -> None:
        """Cuts it: what waits to be written is dropped."""


class Answered(Connection, Protocol):
    """A connection to which the body of an answer is written, in chunks."""

    def begin_stream(self, *, chunked: bool) -> None:
        """An answer begins that lasts until its reader has gone.

        Args:
            chunked: What is written stays in its chunks. HTTP/1.0 knows none: there, the body ends with the connection.
        """


def in_chunk(body: bytes) -> bytes:
    """Part of the body of an answer, framed."""
    return b"%x\r\n%b\r\n" % (len(body), body)


def out_of_chunk(framed: bytes) -> bytes:
    """What was framed."""
    return framed[framed.index(b"\r\n") + 2 : -2]


def in_message(text: bytes) -> bytes:
    """A message of a WebSocket, framed."""
    return Frame(Opcode.TEXT, text).serialize(mask=False)


class Turns:
    """When a stream may write to its connection, among the others that want to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._in_a_row = 0

    async def next(self, *, made: bool) -> None:
        """Waits until the next frame can be written at once, and others have had their turn.

        Args:
            made: The frame is there already, as somebody else has been sent it, and costs the others next to nothing.
                Some of these are one turn: so who is behind catches up with who is ahead, and from there on what is
                made for one of them is there for all.

        Raises:
            TimeoutError: The reader has taken nothing for too long: the connection is cut.
        """
        if self._connection.is_full():
            await self._drained()
        elif not made or self._in_a_row >= _IN_A_ROW_MAX:
            await asyncio.sleep(0)  # what is sent to who keeps up, or has gone, waits for nothing else
        else:
            self._in_a_row += 1
            return
        self._in_a_row = 0

    async def _drained(self) -> None:
        before = math.inf
        while (untaken_bytes := self._connection.untaken_bytes()) < before:
            before = untaken_bytes  # it may take some and still have to take much more until there is room
            with suppress(TimeoutError):
                async with asyncio.timeout(STALLED_SECONDS):
                    await self._connection.drained()
                return
        self._connection.abort()
        raise TimeoutError
