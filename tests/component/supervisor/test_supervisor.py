import asyncio
import os
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from infra.runtime import supervisor
from infra.runtime.lifespan import StartupError
from infra.runtime.supervisor import Child, supervise
from tests.harness.system_children import chatty, deaf, failing, is_running, journal, once_usable, server, variables_of
from tests.harness.waiting import eventually


def ignore(line: str) -> None:
    """What the supervisor says matters to some tests only."""


def pid_of(child: Child) -> int:
    assert child.pid is not None
    return child.pid


async def test_children_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    programs = [server(tmp_path, name) for name in ("a", "b", "c")]

    async with supervise(programs, logs=tmp_path / "logs", tell=ignore) as children:
        pids = [pid_of(child) for child in children.values()]

    assert journal(tmp_path) == ["a started", "b started", "c started", "c told", "b told", "a told"]
    assert not any(is_running(pid) for pid in pids)


async def test_a_child_has_the_variables_of_its_program_beside_ours(tmp_path: Path) -> None:
    program = replace(server(tmp_path, "a"), environment={"TOLD": "in secret"})
    async with supervise([program], logs=tmp_path / "logs", tell=ignore) as children:
        variables = variables_of(pid_of(children["a"]))

    assert {"TOLD=in secret", f"PATH={os.environ['PATH']}"} <= variables


async def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    said: list[str] = []
    async with supervise([server(tmp_path, "a")], logs=tmp_path / "logs", tell=said.append) as children:
        child = children["a"]
        first = pid_of(child)
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: child.deaths == 1 and child.ready.is_set())

        assert pid_of(child) != first

    assert "a was killed by signal 9, starts again in 0.1 s" in said


async def test_a_killed_child_has_no_last_word(tmp_path: Path) -> None:
    said: list[str] = []
    async with supervise([chatty(tmp_path, "a")], logs=tmp_path / "logs", tell=said.append) as children:
        os.kill(pid_of(children["a"]), signal.SIGKILL)
        await eventually(lambda: children["a"].deaths == 1)

    assert "a was killed by signal 9, starts again in 0.1 s" in said


async def test_of_errors_in_a_group_the_last_one_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    group = ExceptionGroup("two", [ValueError("one"), OSError("the disk is full")])
    drawn = "".join(traceback.format_exception(group)).rstrip()
    async with supervise([once_usable(tmp_path, "a", drawn)], logs=tmp_path / "logs", tell=said.append) as children:
        os.kill(pid_of(children["a"]), signal.SIGKILL)
        await eventually(lambda: children["a"].deaths == 2)

    assert said[-1].endswith(": OSError: the disk is full")


async def test_a_child_is_restarted_while_another_is_down(tmp_path: Path) -> None:
    programs = [server(tmp_path, "a"), server(tmp_path, "b")]
    async with supervise(programs, logs=tmp_path / "logs", tell=ignore) as children:
        for child in children.values():
            os.kill(pid_of(child), signal.SIGKILL)

        await eventually(lambda: all(child.deaths == 1 and child.ready.is_set() for child in children.values()))


async def test_a_child_that_cannot_start_ends_everything_with_its_own_line(tmp_path: Path) -> None:
    programs = [server(tmp_path, "a"), failing("b", "the port is taken: choose another", 2)]

    with pytest.raises(ExceptionGroup) as caught:
        async with supervise(programs, logs=tmp_path / "logs", tell=ignore):
            pytest.fail("b never became ready")

    startup = caught.value.subgroup(StartupError)
    assert startup is not None
    assert str(startup.exceptions[0]) == "b: the port is taken: choose another"
    assert journal(tmp_path) == ["a started", "a told"]


async def test_a_child_that_has_served_and_cannot_start_again_leaves_the_others_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "UNUSABLE_DELAY_SECONDS", 0.3)
    programs = [server(tmp_path, "a"), once_usable(tmp_path, "b", "the checkpoint is expired: remove b.db")]
    said: list[str] = []
    async with supervise(programs, logs=tmp_path / "logs", tell=said.append) as children:
        os.kill(pid_of(children["b"]), signal.SIGKILL)
        await eventually(lambda: children["b"].deaths == 3)

        assert children["a"].ready.is_set()
    told = "b ended with exit code 2, starts again in 0.3 s: the checkpoint is expired: remove b.db"
    assert said[-2:] == [told, told]


async def test_a_log_that_cannot_be_written_ends_everything_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    with pytest.raises(ExceptionGroup) as caught:
        async with supervise([server(tmp_path, "a")], logs=tmp_path / "logs", tell=ignore):
            pytest.fail("a has no log")

    assert caught.group_contains(StartupError, match=f"^cannot write the log {tmp_path}/logs/a.log ")


async def test_a_crashing_child_is_reported_with_its_last_line_and_given_up_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "READY_SECONDS", 1.0)
    said: list[str] = []

    with pytest.raises(ExceptionGroup) as caught:
        async with supervise([failing("a", "ValueError: no", 1)], logs=tmp_path / "logs", tell=said.append):
            pytest.fail("a never became ready")

    assert caught.group_contains(StartupError, match="a did not become ready within 1 s")
    assert "a ended with exit code 1, starts again in 0.1 s: ValueError: no" in said


async def test_a_child_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.2)
    async with supervise([deaf(tmp_path, "a")], logs=tmp_path / "logs", tell=ignore) as children:
        pid = pid_of(children["a"])

    assert not is_running(pid)


async def test_children_stop_by_themselves_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio, pathlib, sys\n"
        "from infra.runtime.supervisor import supervise\n"
        "from tests.harness.system_children import server\n"
        "async def main(folder):\n"
        "    programs = [server(folder, 'a'), server(folder, 'b')]\n"
        "    async with supervise(programs, logs=folder / 'logs', tell=print):\n"
        "        (folder / 'up').touch()\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main(pathlib.Path(sys.argv[1])))\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(tmp_path))
    await eventually((tmp_path / "up").exists)
    pids = [int((tmp_path / f"{name}.pid").read_text()) for name in ("a", "b")]

    process.kill()
    await process.wait()

    await eventually(lambda: not any(is_running(pid) for pid in pids))
    assert {"a life line", "b life line"} == set(journal(tmp_path)[2:])


async def test_a_long_log_is_put_aside_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_BYTES_MAX", 10)
    log = tmp_path / "logs" / "a.log"
    log.parent.mkdir()
    log.write_text("a long story")

    async with supervise([server(tmp_path, "a")], logs=log.parent, tell=ignore):
        assert (log.with_name("a.log.1").read_text(), log.read_text()) == ("a long story", "")
