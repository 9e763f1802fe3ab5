"""The event loop of our processes."""

import asyncio
import socket
from collections.abc import Callable
from fcntl import ioctl
from functools import partial
from termios import FIONREAD
from typing import TYPE_CHECKING, Final, TypeVarTuple

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

_Ts = TypeVarTuple("_Ts")
_GRPC: Final = "_handle_events"
_NO_BYTES: Final = bytes(4)


class EventLoop(asyncio.SelectorEventLoop):
    """asyncio's, with a turn of its own for all that gRPC has to say, and not for each word of it.

    gRPC's thread queues what has happened and writes a byte for each; its reader takes one byte and the whole queue. So
    after a turn that met ten events come nine that meet none, each with a look for what is readable and a read. A
    process has one such loop: two could take each other's bytes.
    """

    def add_reader(self, fd: "FileDescriptorLike", callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """See asyncio."""
        is_grpc = isinstance(callback, partial) and getattr(callback.func, "__name__", "") == _GRPC
        if is_grpc and isinstance(fd, socket.socket):
            super().add_reader(fd, _heard_once, fd, callback)
        else:
            super().add_reader(fd, callback, *args)


def _heard_once(news: socket.socket, hear: Callable[[], object]) -> None:
    """Leaves one byte for the reader. Those taken here are of events that are queued already: none is overheard."""
    waiting = int.from_bytes(ioctl(news, FIONREAD, _NO_BYTES), "little")
    if waiting > 1:
        news.recv(waiting - 1)
    hear()
