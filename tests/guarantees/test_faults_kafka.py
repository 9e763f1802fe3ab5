"""Kafka fails under a live replay."""

import pytest

from tests.harness.faults import killed
from tests.harness.faults_kinds import frozen, stranger, topics_deleted
from tests.harness.faults_system import running_system, survive

pytestmark = pytest.mark.timeout(0)  # as many faults as asked for, each of whose waits has a bound


async def test_the_report_is_right_whatever_becomes_of_kafka() -> None:
    async with running_system(kafka=True, postgres=False) as system:
        kafka = killed(system.victims["kafka"])
        await survive(system, [kafka, frozen(system, "kafka"), topics_deleted(system), stranger(system)])
