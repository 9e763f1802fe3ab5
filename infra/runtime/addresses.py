"""Addresses that a process is about to listen on."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from infra.runtime.lifespan import StartupError

_OTHERWISE: Final = "choose another host:port"


@contextmanager
def held(address: str, *, otherwise: str = _OTHERWISE) -> Iterator[int]:
    """Keeps a `host:port` from everybody else while the context lasts; port 0 is any that is free.

    Yields:
        The port.

    Raises:
        StartupError: It is not free, or is no address; `otherwise` says what to do about it.
    """
    with socket.socket() as probe:
        try:
            _bind(probe, address)
            probe.listen()  # what only is bound, another could bind as well
        except (OSError, ValueError, OverflowError) as error:
            raise _refusal(address, error, otherwise) from error
        yield probe.getsockname()[1]


def refuse_taken(*addresses: str) -> None:
    """Looks whether each `host:port` is free, before anything is made that would be left behind.

    Nobody can connect meanwhile: who waits for a port would take that for a service that is there.

    Raises:
        StartupError: One is not, or is no address, or two are the same.
    """
    for number, address in enumerate(addresses):
        try:
            with socket.socket() as probe:
                _bind(probe, address)
        except (OSError, ValueError, OverflowError) as error:
            raise _refusal(address, error, _OTHERWISE) from error
        if address in addresses[:number] and not address.endswith(":0"):
            raise StartupError(f"cannot listen on {address} for two purposes: choose another host:port for one")


def _bind(probe: socket.socket, address: str) -> None:
    host, _, port = address.rpartition(":")
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port at rest is free
    probe.bind((host, int(port)))


def _refusal(address: str, error: Exception, otherwise: str) -> StartupError:
    return StartupError(f"cannot listen on {address} ({error}): stop what uses it, or {otherwise}")
