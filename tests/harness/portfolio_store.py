"""A portfolio database in a test's own folder."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import Connection
from stateset_client import CheckpointStore, Projection, StreamLimits

from consumers.portfolio.main import PORTFOLIO, apply
from consumers.portfolio.model import Entry, Holding, HoldingKey
from consumers.portfolio.store import PortfolioSession, PortfolioStore, read_entries
from consumers.sums import digest
from infra.kernel.digest import Digest
from infra.runtime.database import Database
from infra.runtime.sql import open_database


@asynccontextmanager
async def open_portfolio(folder: Path, name: str = "portfolio.db") -> AsyncIterator[Database]:
    async with open_database(
        f"sqlite:///{folder / name}", service="portfolio", migrations=PORTFOLIO.migrations
    ) as database:
        yield database


def projection_of(
    address: str,
    database: Database,
    store: CheckpointStore[PortfolioSession] | None = None,
    *,
    events_max: int = 5_000,
) -> Projection[PortfolioSession]:
    """A projection into the database, with at most so many events in one transaction."""
    return Projection(
        address,
        "portfolio",
        store=store or PortfolioStore(database),
        apply=apply,
        events_max=events_max,
        limits=StreamLimits(batch_events_max=min(500, events_max)),
    )


async def content(database: Database) -> dict[object, object]:
    def read(connection: Connection) -> list[Entry]:
        return list(read_entries(connection))

    return dict(await database.read(read))


async def holding(database: Database, customer_id: str, product_id: str) -> Holding | None:
    found = (await content(database)).get(HoldingKey(customer_id, product_id, "USD"))
    assert found is None or isinstance(found, Holding)
    return found


async def digest_of(database: Database) -> Digest:
    return await database.read(lambda connection: digest(read_entries(connection)))
