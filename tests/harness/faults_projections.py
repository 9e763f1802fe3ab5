"""Everything that readers have made of the log is deleted, and has to be made anew from the log alone."""

import asyncio

import asyncpg

from tests.harness.faults import Fault
from tests.harness.faults_system import System

PROJECTIONS = ("sync", "risk", "portfolio", "analytics")
_SELDOM = 0.2


def projection_deleted(system: System, name: str) -> Fault:
    """The reader's database is deleted under it, and it is killed."""
    victim = system.victims[name]
    return Fault(
        name=f"the database of {name} is deleted",
        ready=victim.ready,
        strike=lambda: victim.kill_without(lambda: _delete(system, name)),
        share=_SELDOM,
    )


async def delete_projections(system: System) -> None:
    """All of them, one after the other; returns when their readers serve again."""
    for name in PROJECTIONS:
        fault = projection_deleted(system, name)
        await fault.strike()
        await fault.ready()


async def _delete(system: System, name: str) -> None:
    if system.plan.postgres is None:
        await asyncio.to_thread(_delete_files, system, name)
    else:
        await _drop_schema(system.postgres.url, f"stateset_{name}")


def _delete_files(system: System, name: str) -> None:
    for file in system.plan.data_dir.glob(f"{name}.db*"):
        file.unlink()


async def _drop_schema(url: str, schema: str) -> None:
    """Its sessions go first: what they hold would be waited for. Schema and application have one name."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", schema
        )
        await connection.execute(f"DROP SCHEMA {schema} CASCADE")
    finally:
        await connection.close()
