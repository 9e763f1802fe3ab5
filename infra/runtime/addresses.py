"""Addresses that a process is about to listen on."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from infra.runtime.lifespan import StartupError


@contextmanager
def held(address: str, *, otherwise: str = "choose another host:port") -> Iterator[int]:
    """Keeps a `host:port` from everybody else while the context lasts; port 0 is any that is free.

    Yields:
        The port.

    Raises:
        StartupError: It is not free, or is no address; `otherwise` says what to do about it.
    """
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port at rest is free
        try:
            probe.bind((host, int(port)))
            probe.listen()  # what only is bound, another could bind as well
        except (OSError, ValueError, OverflowError) as error:
            raise StartupError(f"cannot listen on {address} ({error}): stop what uses it, or {otherwise}") from error
        yield probe.getsockname()[1]


def refuse_taken(*addresses: str) -> None:
    """Looks whether each `host:port` is free, before anything is made that would be left behind.

    Raises:
        StartupError: One is not, or is no address, or two are the same.
    """
    with ExitStack() as stack:
        for address in addresses:
            stack.enter_context(held(address))
