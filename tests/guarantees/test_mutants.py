"""The checker catches a service that breaks a promise, and finds nothing wrong with one that does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sync.main import serve
from sync.settings import SyncSettings
from tests.guarantees.mutants import MUTANTS, planted
from tests.guarantees.run import CAUGHT_UP_SECONDS, Services, traffic
from tests.harness.order_service import order_service
from tests.harness.ports import free_address

OPERATIONS = 250
SEEDS = (7, 8, 9)  # how calls meet is chance: what one short run may miss, another finds
SHORT_SECONDS = 2.0  # a reader that a bug has stopped is not waited for as long as promised


@asynccontextmanager
async def services(folder: Path) -> AsyncIterator[Services]:
    """An Order Service and a Sync Server on files in the folder, in the test's own process."""
    (address, http, admin), stop = (free_address() for _ in range(3)), asyncio.Event()
    async with order_service(folder, acceptance="automatic") as order, asyncio.TaskGroup() as tasks:
        settings = SyncSettings(
            database=f"sqlite:///{folder}/sync.db",
            grpc_address=address,
            http_address=http,
            admin_address=admin,
            order_address=order.address,
        )
        tasks.create_task(serve(settings, stop), name="sync")
        try:
            database = f"sqlite:///{folder}/order.db"
            yield Services(order=(order.address,), sync=address, http=http, database=database)
        finally:
            stop.set()


async def anomalies(folder: Path, seed: int, caught_up_seconds: float) -> set[str]:
    """What a short run finds."""
    async with (
        services(folder) as running,
        traffic(running, folder / "history.jsonl", seed=seed, caught_up_seconds=caught_up_seconds) as run,
    ):
        await run.perform(OPERATIONS)
    return set(run.judged.counted)


async def test_nothing_is_wrong_with_the_services_as_they_are(tmp_path: Path) -> None:
    assert await anomalies(tmp_path, SEEDS[0], CAUGHT_UP_SECONDS) == set()


@pytest.mark.parametrize("name", MUTANTS)
async def test_a_planted_bug_is_caught(name: str, tmp_path: Path) -> None:
    _, anomaly = MUTANTS[name]
    found: set[str] = set()
    with planted(name):
        for seed in SEEDS:
            folder = tmp_path / str(seed)
            folder.mkdir()
            found |= await anomalies(folder, seed, SHORT_SECONDS)
            if anomaly in found:
                break
    assert anomaly in found
