"""The same replay twice."""

from pathlib import Path

import pytest

from consumers.cli.demo.proof import Work, prove
from consumers.cli.preflight import prepare
from consumers.cli.system import open_system
from tests.harness.ports import free_system

pytestmark = pytest.mark.timeout(300)  # two starts of five services, and more on a crowded machine

ORDERS = 300


async def do_nothing(answered: int) -> None:
    """A replay that is left in peace."""


async def test_a_replay_of_the_replay_changes_nothing(tmp_path: Path) -> None:
    work = await Work.load(ORDERS)
    with prepare(tmp_path, free_system()) as plan:
        async with open_system(plan, print):
            first = await prove(work, plan, speed=None, after_command=do_nothing, tell=print)
        async with open_system(plan, print):
            second = await prove(work, plan, speed=None, after_command=do_nothing, tell=print)

    assert [check for check in first.checks if not check.ok] == []
    assert first.checks == second.checks
