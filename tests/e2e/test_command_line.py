import asyncio
import os
import signal
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.cli.system import SERVICES
from tests.harness.e2e_command_line import (
    Outcome,
    children_of,
    content,
    free_options,
    start,
    stateset,
    stateset_up,
)
from tests.harness.order_service import order_service
from tests.harness.ports import free_ports
from tests.harness.system_children import is_running
from tests.harness.waiting import eventually


def said_why(outcome: Outcome) -> str:
    """The one line of a command that cannot do as it was told."""
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1
    return outcome.err


async def test_ctrl_c_stops_everything_and_ends_with_0(tmp_path: Path) -> None:
    async with stateset_up(tmp_path) as running:
        process = running.process
        children = children_of(process.pid)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(120):
            out, err = await process.communicate()

    assert len(children) == len(SERVICES)
    assert (process.returncode, err.decode()) == (0, "")
    assert out.decode().endswith("Stopped.\n")
    assert not any(is_running(child) for child in children)


async def test_ctrl_c_stops_a_system_that_is_still_starting(tmp_path: Path) -> None:
    async with stateset_up(tmp_path, until="order is ready") as running:
        process = running.process
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(120):
            out, err = await process.communicate()

    assert (process.returncode, err.decode()) == (0, "")
    assert out.decode().endswith("Stopping.\nStopped.\n")


async def test_nothing_runs_on_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    async with stateset_up(tmp_path) as running:
        process = running.process
        children = children_of(process.pid)
        process.kill()
        await process.wait()

        await eventually(lambda: not any(is_running(child) for child in children), within_seconds=20)
    assert len(children) == len(SERVICES)


async def test_a_killed_service_is_back_before_long(tmp_path: Path) -> None:
    async with stateset_up(tmp_path) as running:
        process = running.process
        before = children_of(process.pid)
        for child in before:
            await asyncio.create_subprocess_exec("kill", "-9", str(child))

        await eventually(lambda: len(set(children_of(process.pid)) - set(before)) == len(SERVICES), within_seconds=20)


async def test_a_second_system_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    async with stateset_up(tmp_path, until="order is ready"):
        outcome = await stateset("up", "--data-dir", str(tmp_path), *free_options())
    assert f"another stateset already runs on {tmp_path}: stop that one" in said_why(outcome)


@pytest.mark.parametrize("option", ["--order-port", "--portfolio-admin-port"])
async def test_a_port_in_use_is_refused_before_anything_is_made(option: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        outcome = await stateset("up", "--data-dir", str(tmp_path / "new"), *free_options(), option, port)

    assert f"cannot listen on 127.0.0.1:{port}" in said_why(outcome)
    assert f"choose another with {option}" in outcome.err
    assert content(tmp_path) == {}


async def test_a_port_for_two_purposes_is_refused_by_the_names_of_both(tmp_path: Path) -> None:
    [port], options = map(str, free_ports(1)), ("up", "--data-dir", str(tmp_path / "new"), *free_options())
    outcome = await stateset(*options, "--sync-port", port, "--http-port", port)
    assert f"--sync-port and --http-port are both {port}: choose another" in said_why(outcome)
    assert content(tmp_path) == {}


@pytest.mark.parametrize("command", ["up", "demo"])
async def test_a_folder_of_logs_that_cannot_be_used_is_refused_before_anything_is_made(
    command: str, tmp_path: Path
) -> None:
    folder = tmp_path if command == "up" else tmp_path / "demo"
    folder.mkdir(exist_ok=True)
    (folder / "logs").touch()
    before = content(tmp_path)
    outcome = await stateset(command, "--bus", "direct", "--data-dir", str(tmp_path))
    assert f"cannot write to the folder {folder / 'logs'}: name another" in said_why(outcome)
    assert content(tmp_path) == before


@pytest.mark.parametrize("service", [service.name for service in SERVICES])
async def test_a_database_that_is_not_ours_is_refused_and_left_alone(service: str, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / f"{service}.db")
    connection.execute("CREATE TABLE holiday_photos (name TEXT)")
    connection.close()
    before = content(tmp_path)

    outcome = await stateset("up", "--data-dir", str(tmp_path), *free_options())

    assert f"{service}.db is not a database of the {service} service" in said_why(outcome)
    assert content(tmp_path) == before


async def test_a_log_that_another_database_would_leave_behind_is_told_before_anything_is_made(tmp_path: Path) -> None:
    async with order_service(tmp_path) as service:
        await service.place(1)
    before = content(tmp_path)["order.db"]
    options = ("--data-dir", str(tmp_path), "--bus", "direct", "--database", "embedded-postgres")
    outcome = await stateset("up", *options, *free_options())
    assert f"{tmp_path / 'order.db'} holds orders, and this would begin another log beside it" in said_why(outcome)
    after = content(tmp_path)
    assert (after["order.db"], "postgres" in after, "logs" in after) == (before, False, False)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("STATESET_SYNC_GRPC_ADRESS", "did you mean STATESET_SYNC_GRPC_ADDRESS?"),
        ("STATESET_ACCEPTANCE", "did you mean STATESET_ORDER_ACCEPTANCE?"),
    ],
)
async def test_an_unknown_setting_is_refused_before_anything_is_made(name: str, hint: str, tmp_path: Path) -> None:
    data_dir = tmp_path / "new"
    outcome = await stateset("up", "--data-dir", str(data_dir), *free_options(), environment={name: "1"})

    assert name in said_why(outcome)
    assert hint in outcome.err
    assert content(tmp_path) == {}


@pytest.mark.parametrize("command", ["up", "demo"])
async def test_kafka_that_cannot_be_had_is_refused_before_anything_is_made(command: str, tmp_path: Path) -> None:
    environment = {"STATESET_KAFKA_BOOTSTRAP_SERVERS": "", "JAVA_HOME": "/nowhere"}
    outcome = await stateset(command, "--bus", "kafka", "--data-dir", str(tmp_path / "new"), environment=environment)
    assert "--bus kafka: STATESET_KAFKA_BOOTSTRAP_SERVERS is not set, and JAVA_HOME is /nowhere" in said_why(outcome)
    assert content(tmp_path) == {}


async def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    outcome = await stateset("up", "--data-dri", str(tmp_path))
    assert "--data-dri" in said_why(outcome)


async def test_output_that_nobody_reads_ends_a_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert await ended_with("topics", "asyncapi", out=writer) == (128 + signal.SIGPIPE, "")


async def test_output_that_cannot_be_written_is_told_in_one_line() -> None:
    code, said = await ended_with("topics", "asyncapi", out=os.open("/dev/full", os.O_WRONLY))
    assert code == 1
    assert said == "stateset: cannot write to standard output (No space left on device): give it another place\n"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Children hear SIGINT, though tests that run in the background ignore it and would pass that on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("command", [("get", "o-1", "--address"), ("topics", "diff", "--bootstrap-servers")])
async def test_ctrl_c_ends_a_command_that_waits_for_an_answer(command: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        process = await start((*command, f"127.0.0.1:{silent.getsockname()[1]}"), {})
        async with asyncio.timeout(60):
            caller, _ = await asyncio.to_thread(silent.accept)
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
        caller.close()
    assert (process.returncode, out, err) == (128 + signal.SIGINT, b"", b"")


async def ended_with(*arguments: str, out: int) -> tuple[int | None, str]:
    """The exit code of a command, and what it complained of, when it writes there; closes that."""
    process = await start(arguments, {}, out=out)
    os.close(out)
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    return process.returncode, err.decode()
