"""Several processes of the Order Service behind one port, as the command line starts them."""

import os
import signal
from pathlib import Path

import pytest
from stateset.order.v1.log_service_pb2 import GetDigestRequest
from stateset_client import OrderClient

from consumers.cli.system import SERVICES
from tests.harness.e2e_command_line import Started, children_of, content, free_options, started, stateset
from tests.harness.orders import place_request
from tests.harness.postgres import fresh_database
from tests.harness.waiting import eventually

PLACED = 40


@pytest.mark.parametrize("command", ["up", "demo"])
async def test_several_order_services_on_a_file_are_refused_before_anything_is_made(
    command: str, tmp_path: Path
) -> None:
    outcome = await stateset(command, "--order-workers", "2", "--data-dir", str(tmp_path / "new"))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1
    assert "--order-workers 2 needs PostgreSQL" in outcome.err
    assert content(tmp_path) == {}


def order_processes(up: Started) -> list[int]:
    """The Order Services that run, the first one first."""
    commands = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in children_of(up.process.pid)}
    return [child for child, command in commands.items() if b"\0-m\0order\0" in command]


async def test_workers_share_the_port_and_one_that_is_killed_comes_back(postgres_server: str, tmp_path: Path) -> None:
    async with fresh_database(postgres_server) as url:
        arguments = ("up", "--data-dir", str(tmp_path), "--bus", "direct", "--database", url, "--order-workers", "2")
        async with started((*arguments, *free_options()), until="Everything is up") as up:
            addresses = [line.split()[2] for line in up.said if line.startswith("order") and "gRPC" in line]
            names = [line.split()[0] for line in up.said if line.startswith("order") and "gRPC" in line]
            assert names == ["order", "order-2"]
            [address] = set(addresses)
            assert len(children_of(up.process.pid)) == len(SERVICES) + 1
            first, second = order_processes(up)
            for victim in (first, second):
                os.kill(victim, signal.SIGKILL)
                async with OrderClient.connect(address) as client:
                    for number in range(PLACED):
                        request = place_request(1, order_id=f"o-{victim}-{number}")
                        await client.place_order(request, timeout_seconds=60)
                await eventually(lambda: len(order_processes(up)) == 2)
            async with OrderClient.connect(address) as client:
                told = await client.get_digest(GetDigestRequest(), timeout_seconds=60)
            assert told.digest.count == 2 * PLACED
    assert {each.name for each in (tmp_path / "logs").glob("order*")} == {"order.log", "order-2.log"}
