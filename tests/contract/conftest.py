"""What a store's contract suite runs on: memory, an SQLite file, and a PostgreSQL database, each nobody's before."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.postgres import fresh_database


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> str:
    """The kind, or the URL of a PostgreSQL server."""
    kind: str = request.param
    return str(request.getfixturevalue("postgres_server")) if kind == "postgresql" else kind


@pytest.fixture
async def database_url(store: str, tmp_path: Path) -> AsyncIterator[str | None]:
    """URL of a database of the test's own; none for the in-memory twin."""
    if store == "memory":
        yield None
    elif store == "sqlite":
        yield f"sqlite:///{tmp_path}/test.db"
    else:
        async with fresh_database(store) as url:
            yield url
