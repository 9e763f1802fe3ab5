"""Every command of README.md is run, in its sequence, against a system that `make up` would start.

That system listens on ports of this test's own: the usual ones may be somebody's, and lie among those that Linux gives
away for outgoing connections. The commands are told its ports in place of the usual ones, and nothing else.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.cli.arguments import ORDER_ADDRESS, parser
from tests.harness.e2e_command_line import options_of
from tests.harness.parts import missing
from tests.harness.ports import free_system

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
WALKS = [(kind, block) for kind, block in BLOCKS if kind in ("sh", "python") and not block.startswith("make ")]
PORTS = free_system()
USUAL = vars(parser().parse_args(["up"]))
OURS = {
    f"127.0.0.1:{USUAL[f'{name}_port']}": f"127.0.0.1:{port}"
    for name, port in (*PORTS.grpc.items(), ("kafka", PORTS.kafka), ("http", PORTS.http))
}
SHOWN = [
    ("confluent_kafka", "stateset.order.v1.OrderPlaced coffee-1"),
    ("PlaceOrder", '"state": "ORDER_STATE_PENDING"'),
    ("GetOrder", '"orderId": "tea-1"'),
    ("accept_order", "2 ['stateset.order.v1.OrderAccepted']"),
    ("stateset place", "coffee-1"),
    ("Subscription", "stateset.order.v1.OrderPlaced coffee-1 1"),
    ("/v1/orders/milk-1", '"orderId":"milk-1"'),
    ("/v1/orders/milk-1", "HTTP/1.1 200 OK"),
    ("/v1/events?filter", "event: events"),
    ("ListHoldings", '"openQuantity": "2"'),
]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Runs it; what it has said so far."""
    folder = tmp_path_factory.mktemp("readme")
    with subprocess.Popen(
        ["make", "--no-print-directory", "up", f"ARGS=--data-dir {folder / 'data'} {' '.join(options_of(PORTS))}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as up:
        assert up.stdout is not None
        said = []
        for line in up.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                break
        assert "Ctrl-C" in said[-1], "".join(said)
        yield "".join(said)
        os.killpg(up.pid, signal.SIGINT)  # what Ctrl-C does: its own session, so nobody else hears it
        assert up.stdout.read() is not None
        up.wait(timeout=60)


@pytest.mark.parametrize(("kind", "block"), WALKS, ids=[block.split("\n")[0][:60] for _, block in WALKS])
def test_a_walk_of_the_readme_does_what_it_shows(system: str, kind: str, block: str) -> None:
    if "confluent_kafka" in block and "bus: Kafka" not in system:
        missing("Kafka", "stateset up found none to run")
    block = _with_our_ports(block)
    command = [sys.executable, "-c", block] if kind == "python" else ["sh", "-ec", block]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for part, shown in SHOWN:
        if part in block:
            assert shown in done.stdout


def _with_our_ports(block: str) -> str:
    for usual, ours in OURS.items():
        block = block.replace(usual, ours)
    return re.sub(
        r"^(\S+/stateset (?:place|get|list) .*)$", rf"\1 --address {OURS[ORDER_ADDRESS]}", block, flags=re.MULTILINE
    )


def test_every_shown_part_is_in_the_readme() -> None:
    assert [part for part, _ in SHOWN if not any(part in block for _, block in WALKS)] == []


def test_the_demo_of_the_readme_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "demo", f"ARGS=--orders 20 --data-dir {tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checks hold" in done.stdout


def test_every_make_target_of_the_readme_is_there() -> None:
    # `make test` is what runs this; the others are run above.
    for target in re.findall(r"^make (\S+)", "".join(block for _, block in BLOCKS), re.MULTILINE):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=True)
