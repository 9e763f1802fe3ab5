"""`stateset up` with a Kafka of its own, all of it killed at once."""

import os
import signal
from asyncio import timeout
from pathlib import Path

import pytest

from consumers.cli.arguments import SHARDS
from infra.runtime.kafka.admin import TopicAdmin
from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.local.broker import Installation
from infra.runtime.kafka.local.java import NoLocalKafkaError
from infra.runtime.topics import EVENTS
from tests.harness.e2e_command_line import Started, children_of, free_options, started, stateset, stateset_up
from tests.harness.kafka_broker import local_broker
from tests.harness.kafka_records import read_topic
from tests.harness.parts import missing
from tests.harness.waiting import eventually

pytestmark = pytest.mark.timeout(240)  # two starts of seven processes, on a crowded machine


async def test_a_system_on_its_own_kafka_that_is_killed_as_a_whole_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATESET_KAFKA_BOOTSTRAP_SERVERS", raising=False)
    try:
        Installation.find(tmp_path, os.environ)
    except NoLocalKafkaError as error:
        missing("Kafka", str(error))
    async with stateset_up(tmp_path, bus="kafka") as up:
        await place(up, "before")
        for child in children_of(up.process.pid):
            os.kill(child, signal.SIGKILL)
        await up_again(up)
        await place(up, "after")
        watch = ("watch", "--from-start", "--address", up.address("sync"))
        for order_id in ("before", "after"):
            async with started(watch, until=f" {order_id} ") as seen:
                assert seen.said[-1].split()[4:] == ["v1", "PENDING"]


async def test_topics_of_its_own_kafka_that_are_refused_come_with_what_to_remove(tmp_path: Path) -> None:
    with local_broker(tmp_path) as broker:
        await TopicAdmin(Cluster(servers=broker.address), shards=3, prefix="").apply()
    options = ("--bus", "kafka", "--data-dir", str(tmp_path), *free_options())
    outcome = await stateset("up", *options, environment={"STATESET_KAFKA_BOOTSTRAP_SERVERS": ""}, seconds=200)
    refusal, advice = outcome.err.splitlines()
    assert (outcome.code, "has 3 partitions, and the log 12 shards" in refusal) == (2, True)
    assert f"remove {tmp_path / 'kafka'} and start again" in advice


async def test_a_system_whose_broker_is_away_takes_commands_and_publishes_them_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_broker(tmp_path) as broker:
        monkeypatch.setenv("STATESET_KAFKA_BOOTSTRAP_SERVERS", broker.address)
        broker.stop()
        async with stateset_up(tmp_path / "data", bus="kafka") as up:
            assert [line for line in up.said if "its topics may be missing" in line]
            await place(up, "before")
            broker.start()
            applied = await stateset("topics", "apply")
            assert applied.code == 0, applied.err
            await eventually(lambda: any(read_topic(broker.address, EVENTS.base_name, SHARDS).values()))
            await place(up, "after")
            watch = ("watch", "--from-start", "--address", up.address("sync"))
            for order_id in ("before", "after"):
                async with started(watch, until=f" {order_id} "):
                    pass


async def place(up: Started, order_id: str) -> None:
    options = ("--address", up.address("order"), "--customer", "ann", "--line", "tea:1:1.99", "--order-id", order_id)
    outcome = await stateset("place", *options)
    assert outcome.code == 0, outcome.err


async def up_again(up: Started) -> None:
    """Reads what the supervisor says until each of its children has become ready once more."""
    assert up.process.stdout is not None
    waiting = {"kafka", "order", "sync", "risk", "portfolio", "analytics"}
    async with timeout(90):
        while waiting:
            line = (await up.process.stdout.readline()).decode()
            assert line, f"it ended; not back: {waiting}"
            if "is ready after" in line:
                waiting.discard(line.split()[0])
