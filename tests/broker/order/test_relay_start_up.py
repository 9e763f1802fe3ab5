"""The two servers as processes, with a bus that is not theirs, not there, or not named."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.kafka_broker import Kafka
from tests.harness.order_service import order_service
from tests.harness.ports import free_address, free_ports
from tests.harness.relay_log import SHARDS, relayed_log


def start(module: str, *arguments: str) -> tuple[int, str]:
    addresses = ("--grpc-address", free_address(), "--admin-address", free_address())
    done = subprocess.run(
        [sys.executable, "-m", module, *addresses, *arguments],
        env={name: value for name, value in os.environ.items() if not name.startswith("STATESET_")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, "\n".join(line for line in done.stderr.splitlines() if not line.startswith("{"))


async def test_topics_of_another_log_are_one_line_and_exit_code_2(kafka: Kafka, tmp_path: Path) -> None:
    async with relayed_log(kafka, tmp_path) as log:
        await log.place(5)
        async with log.relay().running():
            await log.until_published()
        arguments = ("--kafka-bootstrap-servers", kafka.servers, "--topic-prefix", kafka.prefix)
        database = ("--database", f"sqlite:///{tmp_path}/another.db", "--shards", str(SHARDS))
        code, said = await asyncio.to_thread(start, "order", *arguments, *database)
        assert code == 2
        [line] = said.splitlines()
        assert "stateset topics reset" in line
        assert "topic_prefix" in line
        assert await log.expected() == log.published(committed=False)


async def test_commands_go_on_without_a_broker(tmp_path: Path) -> None:
    [port] = free_ports(1)
    async with order_service(tmp_path, kafka_bootstrap_servers=f"127.0.0.1:{port}") as service:
        assert (await service.place(1)).order.version == 1


@pytest.mark.parametrize(("module", "options"), [("order", ()), ("sync", ("--bus", "kafka"))])
def test_a_file_of_access_that_is_not_there_is_one_line(tmp_path: Path, module: str, options: tuple[str, ...]) -> None:
    kafka = ("--kafka-bootstrap-servers", "127.0.0.1:1", "--kafka-client-config", f"{tmp_path}/none")
    code, said = start(module, *options, *kafka, "--database", f"sqlite:///{tmp_path}/{module}.db")
    assert code == 2
    assert said.startswith(f"cannot read the Kafka client configuration {tmp_path}/none (")


def test_a_kafka_bus_that_nobody_named_is_one_line(tmp_path: Path) -> None:
    code, said = start("sync", "--bus", "kafka", "--database", f"sqlite:///{tmp_path}/sync.db")
    assert (code, said) == (2, "--bus kafka needs --kafka-bootstrap-servers host:port")
