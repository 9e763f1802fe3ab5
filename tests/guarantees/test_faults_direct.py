"""Services killed under a live replay, with nothing but Python on the machine."""

import pytest

from tests.harness.faults import killed
from tests.harness.faults_projections import PROJECTIONS, projection_deleted
from tests.harness.faults_system import running_system, survive

pytestmark = pytest.mark.timeout(0)  # as many faults as asked for, each of whose waits has a bound


async def test_the_report_is_right_though_services_are_killed_and_projections_deleted() -> None:
    async with running_system(kafka=False, postgres=False) as system:
        deaths = [killed(victim) for victim in system.victims.values()]
        await survive(system, [*deaths, *(projection_deleted(system, name) for name in PROJECTIONS)])
