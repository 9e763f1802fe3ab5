"""What was written under an older revision is served by this one."""

import shutil
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import text

from infra.runtime.sql import open_database
from sync.adapters.sql_subscriptions import SqlSubscriptions
from sync.domain.subscription import Opening, SubscriptionKey

MIGRATIONS: Final = Path("sync/migrations")

pytestmark = pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)


@pytest.mark.parametrize(("epoch", "is_first"), [(0, True), (1, False), (7, False)])
async def test_of_a_subscription_of_before_first_openings_were_kept_only_one_without_an_epoch_has_its_first_to_come(
    database_url: str, tmp_path: Path, epoch: int, *, is_first: bool
) -> None:
    older = tmp_path / "migrations"
    older.mkdir()
    for revision in MIGRATIONS.glob("000[123]_*.py"):
        shutil.copy(revision, older)
    insert = text("INSERT INTO subscriptions VALUES ('local', 's-1', 'log-1', '', :hash, :epoch, 0)")
    async with open_database(database_url, service="sync", migrations=older) as database:
        await database.write(lambda connection: connection.execute(insert, {"hash": b"", "epoch": epoch}))
    key = SubscriptionKey(principal="local", name="s-1")
    opening = Opening(key=key, log_epoch="log-1", filter="", filter_hash=b"", start={0: 1})
    async with open_database(database_url, service="sync", migrations=MIGRATIONS) as database:
        taken = await SqlSubscriptions(database).open(opening)
    assert (taken.first_epoch == taken.delivery_epoch) is is_first
