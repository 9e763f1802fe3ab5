"""The Sync Server, its broker and the links to its subscribers fail under live, acknowledged streams."""

import pytest

from tests.guarantees.campaign import withstand
from tests.harness.faults import killed
from tests.harness.faults_kinds import frozen, link_faults
from tests.harness.faults_system import running_system
from tests.harness.tcp_link import Link

pytestmark = pytest.mark.timeout(0)  # as many faults as asked for, each of whose waits has a bound


async def test_no_promise_is_broken_on_streams_whatever_becomes_of_their_server_its_broker_and_their_links() -> None:
    async with running_system(kafka=True, postgres=False) as system:
        link = Link(system.plan.grpc["sync"])
        async with link.listening() as address:
            deaths = [killed(system.victims[name]) for name in ("sync", "kafka")]
            pauses = [frozen(system, name) for name in ("sync", "kafka")]
            await withstand(system, [*deaths, *pauses, *link_faults(link)], sync=address)
