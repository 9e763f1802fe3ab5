import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import make_url

from infra.runtime.lifespan import StartupError
from infra.runtime.sqlite import open_sqlite, refuse_foreign, url_of
from tests.harness.unprivileged import unprivileged

MIGRATIONS = Path("order") / "migrations"


def test_a_file_that_cannot_be_written_is_not_taken_for_another_services() -> None:
    with unprivileged() as folder:
        file = folder / "order.db"
        sqlite3.connect(file).close()
        file.chmod(0o444)
        with pytest.raises(StartupError, match=f"^{file} cannot be written: .*--database$"):
            refuse_foreign(file, "order", MIGRATIONS)


def test_a_file_in_a_folder_that_cannot_be_written_is_not_taken_for_another_services() -> None:
    with unprivileged() as folder:
        file = folder / "order.db"
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE orders (order_id TEXT)")
        connection.close()
        folder.chmod(0o555)
        with pytest.raises(StartupError, match=f"^{file} cannot be used \\(.*\\): .*--database"):
            refuse_foreign(file, "order", MIGRATIONS)


@pytest.mark.parametrize("name", ["q?mode=ro", "p%41", "h#s", "100%", "Köln, \\x", "/a b"])
async def test_a_file_lies_in_its_folder_whatever_that_is_called(name: str, tmp_path: Path) -> None:
    file = Path(f"{tmp_path}/{name}") / "order.db"
    async with open_sqlite(make_url(url_of(file)), service="order", migrations=MIGRATIONS):
        assert file.exists()
    refuse_foreign(file, "order", MIGRATIONS)
    sqlite3.connect(file).execute("PRAGMA application_id = 1").connection.close()
    with pytest.raises(StartupError, match="is not a database of the order service"):
        refuse_foreign(file, "order", MIGRATIONS)
    assert folders_of_databases(tmp_path) == {file.parent}


def folders_of_databases(folder: Path) -> set[Path]:
    return {path.parent for path in folder.rglob("*.db*")}


async def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    file = tmp_path / "taken" / "order.db"
    with pytest.raises(StartupError, match=f"^nothing can be written beside {file} .*--database$"):
        async with open_sqlite(make_url(f"sqlite:///{file}"), service="order", migrations=MIGRATIONS):
            pytest.fail("it was opened")
