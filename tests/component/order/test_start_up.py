"""What the process does when it cannot start as it was told: one line, exit code 2, nothing changed."""

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.harness.order_service import order_service
from tests.harness.ports import free_address


def start(*arguments: str, **environment: str) -> tuple[int, str]:
    return _start(arguments, environment)


def start_with_little_room(*arguments: str) -> tuple[int, str]:
    """No file that it writes may have more bytes."""
    return _start(arguments, {}, partial(resource.setrlimit, resource.RLIMIT_FSIZE, (2_048, 2_048)))


def _start(
    arguments: Sequence[str], environment: Mapping[str, str], before: Callable[[], None] | None = None
) -> tuple[int, str]:
    addresses = ("--grpc-address", free_address(), "--admin-address", free_address())
    done = subprocess.run(
        [sys.executable, "-m", "order", *addresses, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        preexec_fn=before,
    )
    return done.returncode, done.stderr


def one_line(said: str) -> str:
    lines = [line for line in said.splitlines() if not line.startswith("{")]
    assert len(lines) == 1, said
    return lines[0]


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to look at " * 10)
    before = path.read_bytes()
    code, said = start("--database", f"sqlite:///{path}")
    assert code == 2
    assert "is not a database of the order service" in one_line(said)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["notes.txt"]


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE orders (id INTEGER)")
    other.close()
    before = path.read_bytes()
    code, said = start("--database", f"sqlite:///{path}")
    assert code == 2
    assert "name another file with --database" in one_line(said)
    assert path.read_bytes() == before


async def test_a_file_whose_maker_was_killed_at_once_is_still_ours(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "order.db") as begun:
        begun.execute("PRAGMA journal_mode=WAL")
    begun.close()
    async with order_service(tmp_path) as service:
        assert (await service.place(1)).order.version == 1


def test_a_disk_without_room_is_one_line_and_worth_another_start(tmp_path: Path) -> None:
    code, said = start_with_little_room("--database", f"sqlite:///{tmp_path}/order.db")
    assert code == 1
    assert "order.db cannot be used now" in one_line(said)
    assert "make room on its disk" in one_line(said)


async def test_a_database_of_a_newer_version_asks_for_an_upgrade(tmp_path: Path) -> None:
    async with order_service(tmp_path):
        pass
    path = tmp_path / "order.db"
    with sqlite3.connect(path) as tomorrow:
        tomorrow.execute("UPDATE alembic_version SET version_num = 'order_9999'")
    tomorrow.close()
    code, said = await asyncio.to_thread(start, "--database", f"sqlite:///{path}")
    assert code == 2
    assert "newer version" in one_line(said)


async def test_a_database_serves_one_process_at_a_time(tmp_path: Path) -> None:
    async with order_service(tmp_path):
        code, said = await asyncio.to_thread(start, "--database", f"sqlite:///{tmp_path}/order.db")
    assert code == 2
    assert "is open in another process" in one_line(said)


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (["--colour", "red"], {}, "--colour"),
        (["--shards", "many"], {}, "shards"),
        (["--database", "mysql://x"], {}, "sqlite:///path/to/file.db"),
        (["--grpc-shared-address", "127.0.0.1:1"], {}, "a SQLite file serves one process"),
        ([], {"STATESET_ORDER_LOG_LEVEL": "loud"}, "log_level: Input should be 'DEBUG', 'INFO'"),
        ([], {"STATESET_ORDER_SHARD": "3"}, "did you mean STATESET_ORDER_SHARDS?"),
        ([], {"STATESET_COLOUR": "red"}, "unknown setting STATESET_COLOUR"),
    ],
)
def test_a_setting_that_cannot_be_is_named(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], says: str
) -> None:
    code, said = start("--database", f"sqlite:///{tmp_path}/order.db", *arguments, **environment)
    assert code == 2
    assert says in one_line(said)
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_up_to_date_is_opened_without_what_is_slow_to_load(tmp_path: Path) -> None:
    program = f"""
import asyncio, sys
from infra.runtime.sql import open_database
from order.main import MIGRATIONS

async def open_it():
    async with open_database("sqlite:///{tmp_path}/order.db", service="order", migrations=MIGRATIONS):
        print(sys.modules.keys() & {{"alembic", "asyncpg", "sqlalchemy.orm"}})

asyncio.run(open_it())
"""
    said = [subprocess.check_output([sys.executable, "-c", program], text=True, timeout=60) for _ in range(2)]
    assert said == ["{'alembic'}\n", "set()\n"]
