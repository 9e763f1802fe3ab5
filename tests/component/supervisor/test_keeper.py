import signal
import subprocess
import sys

import pytest


def kept(script: str) -> int:
    """How the keeper of the program ends."""
    command = [sys.executable, "-m", "infra.runtime.keeper", "--", sys.executable, "-c", script]
    return subprocess.run(command, timeout=60, check=False).returncode


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_keeper_is_killed_by_what_killed_its_program(number: signal.Signals) -> None:
    assert kept(f"import os; os.execvp('sh', ['sh', '-c', 'kill -{number:d} $$'])") == -number


def test_a_keeper_ends_with_the_exit_code_of_its_program() -> None:
    assert kept("raise SystemExit(3)") == 3
