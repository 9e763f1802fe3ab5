"""Addresses that a process is about to listen on."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from infra.runtime.lifespan import StartupError

_OTHERWISE: Final = "choose another host:port"
_EVERY_HOST: Final = "0.0.0.0"  # noqa: S104 - only compared with


@contextmanager
def held(address: str, *, otherwise: str = _OTHERWISE) -> Iterator[int]:
    """Keeps a `host:port` from everybody else while the context lasts; port 0 is any that is free.

    Yields:
        The port.

    Raises:
        StartupError: It is not free, or is no address; `otherwise` says what to do about it.
    """
    with socket.socket() as probe:
        _bind(probe, address, otherwise, listen=True)  # what only is bound, another could bind as well
        yield probe.getsockname()[1]


def refuse_taken(*addresses: str) -> None:
    """Looks whether each `host:port` is free, before anything is made that would be left behind.

    Nobody can connect meanwhile: who waits for a port would take that for a service that is there.

    Raises:
        StartupError: One is not, or is no address, or two are of one port of one host.
    """
    hosts_by_port: dict[int, set[str]] = {}
    for address in addresses:
        with socket.socket() as probe:
            _bind(probe, address, _OTHERWISE, listen=False)
            host, port = probe.getsockname()
        if not address.endswith(":0"):  # which is another one each time
            hosts = hosts_by_port.setdefault(port, set())
            if host in hosts or (hosts and _EVERY_HOST in {host, *hosts}):
                raise StartupError(f"cannot listen on {address} for two purposes: {_OTHERWISE} for one")
            hosts.add(host)


def _bind(probe: socket.socket, address: str, otherwise: str, *, listen: bool) -> None:
    host, _, port = address.rpartition(":")
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port at rest is free
    try:
        probe.bind((host, int(port)))
        if listen:
            probe.listen()
    except (OSError, ValueError, OverflowError) as error:
        raise StartupError(f"cannot listen on {address} ({error}): stop what uses it, or {otherwise}") from error
