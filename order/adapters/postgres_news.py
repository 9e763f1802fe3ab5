"""News of commits between Order Services on one PostgreSQL, by its LISTEN and NOTIFY."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import URL
from sqlalchemy.engine import make_url

from infra.runtime.lifespan import background
from order.application.heads import Heads

_CHANNEL: Final = "stateset_order_heads"
_CONNECT_SECONDS: Final = 5.0
_TELL_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 1.0  # before a lost connection is made again; meanwhile the heads are looked at
_SESSION: Final = {
    "application_name": "stateset_order_news",
    "synchronous_commit": "off",  # news that a crash takes away are of no use after it
}


@asynccontextmanager
async def open_news(url: str, heads: Heads) -> AsyncIterator[None]:
    """Tells the other processes on the database where our commits leave the heads, and hears of theirs.

    Nothing depends on it but how soon: what is missed is found by the next look at the log. On a file, which serves one
    process, there is nobody to tell.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "postgresql":
        yield
        return
    news = _News(parsed, heads)
    async with background(news.run(), name="news"):
        yield


class _News:
    """One connection that listens and tells.

    Whoever comes says where it stands and asks the others to do the same. Until it has heard of another, a process
    takes itself for the only one and tells nothing more, which spares it a statement a commit.
    """

    def __init__(self, url: URL, heads: Heads) -> None:
        self._url = url
        self._heads = heads
        self._known = heads.position.next_seq  # to the others, as far as we can tell
        self._alone = True
        self._asked = False

    async def run(self) -> None:
        """Keeps at it, whatever becomes of the connection."""
        import asyncpg  # noqa: PLC0415 - what it loads, a process on a file starts without

        from infra.runtime.postgres.errors import LOST  # noqa: PLC0415 - as above
        from infra.runtime.postgres.session import connect_arguments  # noqa: PLC0415 - as above
        from infra.runtime.postgres.silence import end_without_a_word  # noqa: PLC0415 - as above

        arguments = {**connect_arguments(self._url), "timeout": _CONNECT_SECONDS, "server_settings": _SESSION}
        while True:
            try:
                connection = await asyncpg.connect(**arguments)
                end_without_a_word(connection)
                try:
                    await self._keep_telling(connection)
                finally:
                    connection.terminate()
            except (TimeoutError, *LOST):
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _keep_telling(self, connection: Any) -> None:  # noqa: ANN401 - asyncpg has no types
        with self._heads.watching() as moved:
            connection.add_termination_listener(lambda _connection: moved.set())
            await connection.add_listener(_CHANNEL, self._hear)
            await self._tell(connection, asks=True)
            while not connection.is_closed():
                await moved.wait()
                moved.clear()
                if self._asked or (not self._alone and self._heads.position.next_seq != self._known):
                    self._asked = False
                    await self._tell(connection, asks=False)

    async def _tell(self, connection: Any, *, asks: bool) -> None:  # noqa: ANN401 - as above
        self._known = self._heads.position.next_seq
        told = json.dumps([asks, self._known])
        await connection.execute("SELECT pg_notify($1, $2)", _CHANNEL, told, timeout=_TELL_SECONDS)

    def _hear(self, connection: Any, pid: int, _channel: str, payload: str) -> None:  # noqa: ANN401 - as above
        if pid == connection.get_server_pid():
            return
        asks, heard = json.loads(payload)
        self._alone = False
        self._asked |= asks
        # What another has said needs no telling.
        self._known = tuple(max(pair) for pair in zip(self._known, heard, strict=True))
        self._heads.advance(dict(enumerate(heard)))
