import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from infra.runtime.kafka.admin import TopicAdmin
from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.local.broker import HOST, Installation, LocalBroker
from infra.runtime.kafka.local.jars import fetch_jars
from infra.runtime.kafka.local.java import NoLocalKafkaError, find_maven
from infra.runtime.lifespan import EXIT_UNUSABLE
from infra.runtime.supervisor import supervise
from infra.runtime.topics import EVENTS
from tests.harness.kafka_broker import local_broker
from tests.harness.parts import missing
from tests.harness.ports import free_ports
from tests.harness.system_children import is_running
from tests.harness.waiting import eventually

# What `stateset up` does around the broker, in a process that can be killed.
_SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from infra.runtime.kafka.local.broker import Installation, LocalBroker
from infra.runtime.supervisor import supervise

async def main(java, jars, folder, port, controller_port):
    installation = Installation(java=Path(java), maven=None, jars=Path(jars))
    broker = LocalBroker(
        installation=installation, folder=Path(folder), port=int(port), controller_port=int(controller_port)
    )
    async with supervise([broker.program()], logs=Path(folder) / "logs", tell=lambda line: None) as children:
        print(children["kafka"].pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_killed_broker_is_started_again_with_every_record_it_took(tmp_path: Path) -> None:
    broker = here(tmp_path)
    async with supervise([broker.program()], logs=tmp_path / "logs", tell=lambda _: None) as children:
        kafka = children["kafka"]
        await TopicAdmin(Cluster(servers=broker.address), shards=1, prefix="").apply()
        write(broker.address, b"before")
        assert kafka.pid is not None
        os.kill(kafka.pid, signal.SIGKILL)
        await eventually(lambda: kafka.deaths == 1 and kafka.ready.is_set(), within_seconds=60)
        write(broker.address, b"after")
        assert read(broker.address, 2) == [b"before", b"after"]


@pytest.mark.parametrize("name", ["plain", "Köln, \\u0041 = 東京: 100 %41?#!"])
def test_a_broker_that_was_stopped_goes_on_where_it_was_on_another_port(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")  # where Java would know no letters but ASCII's
    folder = tmp_path / name
    folder.mkdir()
    with local_broker(folder) as broker:
        asyncio.run(TopicAdmin(Cluster(servers=broker.address), shards=1, prefix="").apply())
        write(broker.address, b"before")
    with local_broker(folder) as broker:
        write(broker.address, b"after")
        assert read(broker.address, 2) == [b"before", b"after"]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (folder / "kafka" / "records" / f"{EVENTS.base_name}-0").is_dir()


async def test_what_keeps_a_folder_from_being_formatted_is_told_in_kafkas_words(tmp_path: Path) -> None:
    broker = replace(here(tmp_path), controller_port=99_999)
    process = await asyncio.create_subprocess_exec(*broker.program().command, stdout=PIPE, stderr=PIPE)
    async with asyncio.timeout(60):
        _, said = await process.communicate()
    last_line = said.decode().splitlines()[-1]
    assert (process.returncode, "99999" in last_line) == (EXIT_UNUSABLE, True), last_line
    assert last_line.startswith(f"cannot make {broker.records} a folder of Kafka's: ")


async def test_a_broker_does_not_outlive_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    broker = here(tmp_path)
    arguments = (broker.installation.java, broker.installation.jars, tmp_path, broker.port, broker.controller_port)
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SUPERVISOR, *map(str, arguments), stdout=PIPE
    )
    try:
        assert supervisor.stdout is not None
        async with asyncio.timeout(60):
            jvm = int(await supervisor.stdout.readline())
    finally:
        supervisor.kill()
        await supervisor.wait()
    await eventually(lambda: not is_running(jvm), within_seconds=20)


async def test_two_that_fetch_the_jars_at_once_both_find_them_whole(tmp_path: Path) -> None:
    try:
        maven = find_maven(os.environ)
    except NoLocalKafkaError as error:
        missing("Maven", str(error))
    folder = tmp_path / "cache" / "kafka"
    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(asyncio.to_thread(fetch_jars, folder, maven, os.environ))
    assert [path.name for path in folder.parent.iterdir()] == ["kafka"]
    assert len(list(folder.glob("kafka*.jar"))) > 1


def here(folder: Path) -> LocalBroker:
    try:
        installation = Installation.find(folder, os.environ)
    except NoLocalKafkaError as error:
        missing("Kafka", str(error))
    installation.complete(os.environ)
    port, controller_port = free_ports(2)
    return LocalBroker(installation=installation, folder=folder / "kafka", port=port, controller_port=controller_port)


def test_a_broker_listens_on_this_machine_only(tmp_path: Path) -> None:
    installation = Installation(java=Path("java"), maven=None, jars=tmp_path)
    broker = LocalBroker(installation=installation, folder=tmp_path, port=1, controller_port=2)
    addresses = [
        part.rpartition("://")[2]
        for line in broker.configuration().splitlines()
        if "listeners=" in line
        for part in line.partition("=")[2].split(",")
    ]
    assert {address.partition(":")[0] for address in addresses} == {HOST}


def write(servers: str, value: bytes) -> None:
    """Returns once the broker has it."""
    taken: list[bool] = []
    producer = Producer({"bootstrap.servers": servers, "acks": "all"})
    producer.produce(EVENTS.base_name, value, partition=0, on_delivery=lambda error, _: taken.append(error is None))
    producer.flush(30)
    assert taken == [True]


def read(servers: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "test"})
    try:
        consumer.assign([TopicPartition(EVENTS.base_name, 0, 0)])
        return [message.value() for message in consumer.consume(count, 30)]
    finally:
        consumer.close()
