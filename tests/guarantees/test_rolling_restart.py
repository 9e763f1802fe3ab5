"""Two Order Services and the Sync Server are restarted one after the other, as a release is rolled out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

import pytest
from stateset_client import OrderClient

from infra.runtime.lifespan import background
from tests.guarantees.campaign import withstand
from tests.harness.faults_kinds import rolling_restart, two_relays
from tests.harness.faults_system import running_system
from tests.harness.orders import place_request

pytestmark = pytest.mark.timeout(0)  # as many restarts as asked for, each of whose waits has a bound

_CALLERS: Final = 8
_PAUSE_SECONDS: Final = 0.1  # without one, nobody else has his turn
_CALL_SECONDS: Final = 60.0  # what a crowded machine needs for a start, several times


@asynccontextmanager
async def placing(address: str) -> AsyncIterator[None]:
    """Orders are placed while the context lasts; the first one that fails ends it."""

    async def place(client: OrderClient, caller: int) -> None:
        for number in count(1):
            request = place_request(1, order_id=f"steady-{caller}-{number}")
            await client.place_order(request, timeout_seconds=_CALL_SECONDS)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def crowd(client: OrderClient) -> None:
        async with asyncio.TaskGroup() as callers:
            for caller in range(_CALLERS):
                callers.create_task(place(client, caller), name=f"place-{caller}")

    async with OrderClient.connect(address) as client, background(crowd(client), name="placing"):
        yield


async def test_a_rolling_restart_fails_no_command_and_loses_or_doubles_no_effect() -> None:
    async with running_system(kafka=False, postgres=True) as system, two_relays(system) as relays:
        restarts = rolling_restart([*relays.victims.values(), system.victims["sync"]])
        steady = placing(f"ipv4:{','.join(relays.grpc.values())}")
        await withstand(system, restarts, relays.grpc["order-2"], beside=steady)
