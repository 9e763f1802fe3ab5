"""Services, and the database under them, fail under mixed traffic."""

import pytest

from tests.guarantees.campaign import withstand
from tests.harness.faults import killed
from tests.harness.faults_kinds import commit_cut, postgres_killed, two_relays
from tests.harness.faults_system import running_system

pytestmark = pytest.mark.timeout(0)  # as many faults as asked for, each of whose waits has a bound

READERS = ("sync", "risk", "portfolio", "analytics")


async def test_no_promise_is_broken_whatever_becomes_of_postgresql_and_of_those_who_use_it() -> None:
    async with running_system(kafka=True, postgres=True) as system:
        cuts = [commit_cut(system, name, "after") for name in READERS]
        deaths = [killed(system.victims[name]) for name in ("order", *READERS)]
        await withstand(system, [postgres_killed(system), *deaths, *cuts])


async def test_no_promise_is_broken_by_two_order_services_one_of_which_is_frozen_past_its_lease() -> None:
    async with running_system(kafka=True, postgres=True) as system, two_relays(system) as relays:
        cuts = [commit_cut(system, "order", "before"), commit_cut(system, "order", "after")]
        await withstand(system, [relays.fault, *cuts], relays.grpc["order-2"])
