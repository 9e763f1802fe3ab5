"""A process whose port is taken says so before it makes a database."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain, product
from pathlib import Path

import pytest

from infra.runtime.addresses import held, refuse_taken
from infra.runtime.lifespan import EXIT_UNUSABLE, StartupError

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
