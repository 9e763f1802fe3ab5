"""Tells a session that has fallen silent from one that takes its time, and leaves it."""

import asyncio
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_SILENT_SECONDS: Final = 10  # of a server's kernel, which answers whatever the server itself is busy with
# Of the server: no statement may take half of that. A COMMIT that waits longer for a standby is as good as lost.
_ANSWER_SECONDS: Final = 10.0
_LAST_RECEIVED: Final = slice(52, 56)  # in Linux's tcp_info: tcpi_last_data_recv, in milliseconds


def end_without_a_word(driver: Any) -> None:  # noqa: ANN401 - asyncpg has no types
    """Has the system end a connection to a machine that is gone without a word: else it waits a quarter of an hour."""
    connection = _connection(driver)
    if connection.family == socket.AF_UNIX or not hasattr(socket, "TCP_USER_TIMEOUT"):  # the second is Linux
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENT_SECONDS // 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _SILENT_SECONDS // 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_SECONDS * 1_000)


@contextmanager
def left_when_silent(driver: Any, tell: Callable[[], None]) -> Iterator[None]:  # noqa: ANN401 - as above
    """Ends the session, after `tell`, if nothing comes from the server for too long while the body waits for it.

    The system sees to machines that are gone; what lies between may answer for them, and pass nothing on. The driver's
    own limits would not do: it asks the server to cancel, and a COMMIT that waits for a standby is then done without.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    waiting: asyncio.TimerHandle

    def look() -> None:
        nonlocal waiting
        left = _ANSWER_SECONDS - min(_silent_seconds(driver), loop.time() - began)
        if left > 0:
            waiting = loop.call_later(left, look)
            return
        tell()
        driver.terminate()

    waiting = loop.call_later(_ANSWER_SECONDS, look)
    try:
        yield
    finally:
        waiting.cancel()


def _silent_seconds(driver: Any) -> float:  # noqa: ANN401 - as above
    """Since anything came, as the system knows it; 0 where it does not, as on a socket in the file system."""
    connection = _connection(driver)
    if connection.family == socket.AF_UNIX or not sys.platform.startswith("linux"):
        return 0.0
    told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_RECEIVED.stop)
    return int.from_bytes(told[_LAST_RECEIVED], sys.byteorder) / 1_000


def _connection(driver: Any) -> Any:  # noqa: ANN401 - as above
    return driver._transport.get_extra_info("socket")  # noqa: SLF001 - the driver shows it by no other way
