"""The Sync Server's stores: the in-memory twins and what they stand in for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.runtime.sql import open_database
from sync.adapters.memory import MemoryReadModel
from sync.adapters.sql_read_model import SqlReadModel
from sync.application.ports import ReadModel


@pytest.fixture
async def read_model(database_url: str | None) -> AsyncIterator[ReadModel]:
    """An empty read model."""
    if database_url is None:
        yield MemoryReadModel()
        return
    async with open_database(database_url, service="sync", migrations=Path("sync/migrations")) as database:
        yield SqlReadModel(database)
