"""Ports for processes that a test starts, and that nobody else takes before they listen."""

import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle, islice

from consumers.cli.preflight import Ports
from consumers.cli.system import SERVICES

HOST = "127.0.0.1"
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
# Below those that Linux gives to whoever asks for any port, and no other worker's: while a process starts, or starts
# again after it was killed, nobody listens on its port, and it must find it free all the same.
_OURS = range(12_000, 32_000)[_WORKER::_WORKERS]


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port at rest is free
        probe.bind((HOST, port))
        return True
    return False


def _in_turn() -> Iterator[int]:
    start = random.SystemRandom().randrange(len(_OURS))  # another run on this machine begins elsewhere
    for port in cycle([*_OURS[start:], *_OURS[:start]]):
        if _is_free(port):
            yield port


_free = _in_turn()


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on, all different."""
    return list(islice(_free, count))


def free_address() -> str:
    """An address of this machine that nobody listens on."""
    [port] = free_ports(1)
    return f"{HOST}:{port}"


def free_system() -> Ports:
    """Where a whole system can listen."""
    names = [service.name for service in SERVICES]
    *each, http, kafka, postgres = free_ports(2 * len(names) + 3)
    return Ports(
        grpc=dict(zip(names, each[::2], strict=True)),
        admin=dict(zip(names, each[1::2], strict=True)),
        http=http,
        kafka=kafka,
        postgres=postgres,
    )
