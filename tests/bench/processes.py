"""Servers under test: each in a process of its own, its CPU time read from the kernel."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.harness.ports import free_address

__all__ = ["BenchError", "Server", "cpu_seconds", "free_address", "run_server"]

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 20.0  # more than a server's own drain
_POLL_SECONDS: Final = 0.05
_LOG_BYTES_SHOWN: Final = 2000
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """The bench could not measure what it says; the message is one line that says why, or what the machine lacks."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs.

    Attributes:
        address: Where it serves gRPC, `host:port`.
        pid: Its process.
    """

    address: str
    pid: int

    def cpu_seconds(self) -> float:
        """See `cpu_seconds`."""
        return cpu_seconds(self.pid)


def cpu_seconds(pid: int) -> float:
    """CPU time of all the process's threads so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def unsent_bytes(address: str) -> int:
    """What waits in this machine's kernel to be read from the server at the address, all its connections together."""
    port = f":{int(address.rpartition(':')[2]):04X}"
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    return sum(int(fields[4].partition(":")[0], 16) for fields in lines if fields[1].endswith(port))


def machine_cpu_seconds() -> float:
    """CPU time that everything on this machine has taken so far."""
    user, nice, system, _, _, *others = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    return sum(map(int, (user, nice, system, *others))) / _TICKS_PER_SECOND


@contextmanager
def run_server(module: str, arguments: Sequence[str], log: Path) -> Iterator[Server]:
    """Runs `python -m module --grpc-address … arguments` while the context lasts; its output goes into `log`.

    Raises:
        BenchError: It does not listen in time; the end of its output is in the message.
    """
    address = free_address()
    command = [sys.executable, "-m", module, "--grpc-address", address, *arguments]
    if module == "sync" and "--http-address" not in arguments:
        command += ["--http-address", free_address()]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        _await_listening(process, module, address, log)
        yield Server(address, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_listening(process: subprocess.Popen[bytes], module: str, address: str, log: Path) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((host, int(port)), timeout=_POLL_SECONDS).close()
        except OSError:
            time.sleep(_POLL_SECONDS)
        else:
            return
    state = f"does not listen after {_START_SECONDS:.0f} s" if process.poll() is None else "has ended"
    said = log.read_bytes()[-_LOG_BYTES_SHOWN:].decode(errors="replace").strip()
    raise BenchError(f"{module} {state}; it said: {said or 'nothing'}")
