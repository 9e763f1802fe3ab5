import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from confluent_kafka.admin import AdminClient

from tests.harness.e2e_beneath import data_dir, need_postgres, own_kafka
from tests.harness.e2e_command_line import Outcome, children_of, started, stateset
from tests.harness.system_children import is_running

__all__ = ["data_dir"]

pytestmark = pytest.mark.timeout(300)

SECONDS = 200  # a JVM and five services start, one after the other


async def demo(
    data_dir: Path, orders: int, *, bus: str = "direct", database: str = "sqlite", servers: str = ""
) -> Outcome:
    arguments = ("--bus", bus, "--database", database, "--orders", str(orders), "--data-dir", str(data_dir))
    environment = {"STATESET_KAFKA_BOOTSTRAP_SERVERS": servers}
    return await stateset("demo", *arguments, environment=environment, seconds=SECONDS)


def report_of(outcome: Outcome, data_dir: Path) -> dict[str, Any]:
    assert outcome.code == 0, outcome.out + outcome.err
    report: dict[str, Any] = json.loads((data_dir / "demo-report.json").read_text())
    return report


async def test_the_demo_proves_itself_and_writes_its_report(data_dir: Path) -> None:
    report = report_of(await demo(data_dir, 60), data_dir)

    assert (report["ok"], report["bus"], report["database"], report["orders"]) == (True, "direct", "sqlite", 60)
    assert report["events"] == 59 * 5 + 3
    assert report["seconds"] > 0
    assert all(check.keys() == {"name", "expected", "actual", "ok"} and check["ok"] for check in report["checks"])


async def test_a_second_demo_in_the_same_folder_starts_from_nothing(data_dir: Path) -> None:
    for orders in (20, 10):
        report = report_of(await demo(data_dir, orders), data_dir)
        assert report["events"] == 5 * orders


async def test_the_demo_proves_itself_on_a_kafka_and_a_postgresql_of_its_own(data_dir: Path) -> None:
    own_kafka(data_dir)
    need_postgres()

    report = report_of(await demo(data_dir, 60, bus="kafka", database="embedded-postgres"), data_dir)

    assert (report["bus"], report["database"], report["restarts"]) == ("kafka", "postgresql", 0)
    names = [check["name"] for check in report["checks"]]
    assert {"topic of events: records", "orders rebuilt from the topic of state alone"} <= set(names)


async def test_where_others_have_theirs_the_demo_keeps_to_itself(
    data_dir: Path, kafka_servers: str, postgres_server: str
) -> None:
    before = topics(kafka_servers), await schemas(postgres_server)

    outcome = await demo(data_dir, 10, bus="kafka", database=postgres_server, servers=kafka_servers)

    report = report_of(outcome, data_dir)
    assert (report["bus"], report["database"]) == ("kafka", "postgresql")
    assert (topics(kafka_servers), await schemas(postgres_server)) == before


async def test_ctrl_c_ends_the_demo_with_a_line_and_nothing_left(data_dir: Path) -> None:
    arguments = ("demo", "--bus", "direct", "--data-dir", str(data_dir), "--speed", "1")
    async with started(arguments, until="Replaying") as running:
        process = running.process
        children = children_of(process.pid)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(120):
            _, err = await process.communicate()

    assert process.returncode == 1
    assert err.decode().startswith("demo: stopped before the end")
    assert not any(is_running(child) for child in children)


def topics(servers: str) -> set[str]:
    """Those that are not the broker's own."""
    found = AdminClient({"bootstrap.servers": servers}).list_topics(timeout=10).topics
    return {topic for topic in found if not topic.startswith("__")}


async def schemas(url: str) -> list[str]:
    """Those of the database that the URL names."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT schema_name FROM information_schema.schemata ORDER BY 1")
    finally:
        await connection.close()
    return [row["schema_name"] for row in rows]
