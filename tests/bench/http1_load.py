"""HTTP/1.1 requests in a closed loop: so many callers, a connection each, who ask again once they are answered."""

import selectors
import socket
import time
from contextlib import ExitStack
from typing import Final, Self

from tests.bench.processes import BenchError

_SELECT_SECONDS: Final = 0.1
_READ_BYTES: Final = 65_536
_OK: Final = b"HTTP/1.1 200 "
_LENGTH: Final = b"content-length: "


class Http1Load:
    """The callers; a context, whose end closes their connections."""

    def __init__(self, address: str, request: bytes, *, callers: int) -> None:
        host, _, port = address.rpartition(":")
        self._request = request
        with ExitStack() as stack:
            self._selector = stack.enter_context(selectors.DefaultSelector())
            for _ in range(callers):
                connection = stack.enter_context(socket.create_connection((host, int(port))))
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._selector.register(connection, selectors.EVENT_READ, bytearray())
                connection.sendall(request)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, seconds: float) -> int:
        """Answers within the next `seconds`.

        Raises:
            BenchError: One of them is not 200.
        """
        answers = 0
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            for key, _ in self._selector.select(_SELECT_SECONDS):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                key.data.extend(connection.recv(_READ_BYTES))
                if _is_whole(key.data):
                    key.data.clear()
                    answers += 1
                    connection.sendall(self._request)
        return answers


def _is_whole(answer: bytearray) -> bool:
    if not answer.startswith(_OK[: len(answer)]):
        raise BenchError(f"not answered with 200: {bytes(answer[:200])!r}")
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    at = answer.index(_LENGTH) + len(_LENGTH)
    return len(answer) == end + 4 + int(answer[at : answer.index(b"\r", at)])
