"""A process whose port is taken says so before it makes a database."""

import errno
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, product
from pathlib import Path

import pytest

from infra.runtime.addresses import held, refuse_taken
from infra.runtime.lifespan import EXIT_UNUSABLE, StartupError
from tests.harness.ports import free_ports

SERVICES = ("order", "sync", "consumers.risk", "consumers.portfolio", "consumers.analytics")


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("service", "option"),
    [*product(SERVICES, ["--grpc-address", "--admin-address"]), ("sync", "--http-address")],
)
def test_a_port_in_use_is_named_before_anything_is_made(service: str, option: str, taken: str, tmp_path: Path) -> None:
    addresses = {"--grpc-address": "127.0.0.1:0", "--admin-address": "127.0.0.1:0"}
    addresses |= ({"--http-address": "127.0.0.1:0"} if service == "sync" else {}) | {option: taken}
    done = subprocess.run(
        [sys.executable, "-m", service, "--database", f"sqlite:///{tmp_path}/new.db", *chain(*addresses.items())],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == EXIT_UNUSABLE
    assert f"cannot listen on {taken}" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:http", "127.0.0.1:99999", "nowhere.invalid:1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(StartupError, match=f"cannot listen on {address}"):
        refuse_taken(address)


def test_one_address_for_two_purposes_is_refused() -> None:
    with held("127.0.0.1:0") as port:
        address = f"127.0.0.1:{port}"
    refuse_taken(address)
    with pytest.raises(StartupError, match=f"cannot listen on {address}"):
        refuse_taken(address, address)


@pytest.mark.parametrize("hosts", [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"), ("localhost", "127.0.0.1")])  # noqa: S104 - nobody listens
def test_one_port_under_two_names_of_a_host_is_refused(hosts: tuple[str, str]) -> None:
    [port] = free_ports(1)
    with pytest.raises(StartupError, match=f"cannot listen on {hosts[1]}:{port}"):
        refuse_taken(*(f"{host}:{port}" for host in hosts))


def test_one_port_of_two_hosts_and_any_port_twice_are_not() -> None:
    [port] = free_ports(1)
    refuse_taken(f"127.0.0.1:{port}", f"127.0.0.2:{port}", "127.0.0.1:0", "127.0.0.1:0")


def test_nobody_can_connect_before_there_is_a_service() -> None:
    [port] = free_ports(1)
    address = f"127.0.0.1:{port}"

    def look() -> None:
        for _ in range(2_000):
            refuse_taken(address)

    with ThreadPoolExecutor(1) as threads:
        looking = threads.submit(look)
        while not looking.done():
            with socket.socket() as caller:
                caller.bind(("127.0.0.2", 0))  # from the address itself, the kernel could connect it with itself
                assert caller.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
        looking.result()
