"""A Kafka that asks for a password and encrypts: who has the file is let in, who has not is told why."""

import asyncio
import json
import time
from collections.abc import Iterator, MutableMapping
from contextlib import AsyncExitStack, aclosing, closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AclOperation
from structlog.testing import capture_logs

from infra.runtime.clock import SystemClock
from infra.runtime.grpc.channel import open_channel
from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.consumer import open_reader
from infra.runtime.kafka.errors import BrokerError
from infra.runtime.kafka.producer import TransactionalProducer
from order.adapters.kafka_publisher import KafkaBus
from order.application.relay import Relay
from sync.adapters.kafka_places import open_offsets
from sync.adapters.kafka_source import KafkaSource
from sync.adapters.order_source import OrderSource
from tests.harness.e2e_command_line import Outcome, stateset
from tests.harness.kafka_broker import Kafka, installed, serving
from tests.harness.kafka_log import TopicWriter
from tests.harness.kafka_secured import PASSWORD, SecuredBroker
from tests.harness.kafka_topics import allow, make_topic
from tests.harness.ports import free_ports
from tests.harness.relay_log import SHARDS, RelayedLog, relayed_log
from tests.harness.sync_log import LogMaker
from tests.harness.sync_order_server import FakeOrderService, serve_orders
from tests.harness.waiting import eventually

WRONG = "Authentication failed: Invalid username or password"
UNTRUSTED = "broker certificate could not be verified"
CHANGES = pytest.mark.parametrize(
    ("changes", "why"), [({"sasl_password": "wrong"}, WRONG), ({"ssl_ca_location": None}, UNTRUSTED)]
)
Changes = dict[str, str | None]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    folder = tmp_path_factory.mktemp("secured")
    port, controller_port, secured_port = free_ports(3)
    made = SecuredBroker(
        installation=installed(folder),
        folder=folder / "kafka",
        port=port,
        controller_port=controller_port,
        secured_port=secured_port,
    )
    made.make_certificate()
    with serving(made):
        yield made


def cluster(broker: SecuredBroker, folder: Path, **changes: str | None) -> Cluster:
    return Cluster.read(broker.secured_address, broker.client_config(folder / "kafka.properties", **changes))


def relay(log: RelayedLog, through: Cluster) -> Relay:
    bus = KafkaBus(through, topic_prefix=log.kafka.prefix, log_epoch=log.log.log_epoch, shards=SHARDS)
    return Relay(log.log, log.heads, log.lease(), bus, SystemClock())


async def topics(broker: SecuredBroker, config_file: str) -> Outcome:
    options = ("--bootstrap-servers", broker.secured_address, "--kafka-client-config", config_file)
    return await stateset("topics", "diff", *options)


async def test_the_whole_system_works_behind_a_password(broker: SecuredBroker, tmp_path: Path) -> None:
    environment = {
        "STATESET_KAFKA_BOOTSTRAP_SERVERS": broker.secured_address,
        "STATESET_KAFKA_CLIENT_CONFIG": broker.client_config(tmp_path / "kafka.properties"),
    }
    options = ("--orders", "5", "--data-dir", str(tmp_path / "data"))
    outcome = await stateset("demo", *options, environment=environment, seconds=200)
    assert outcome.code == 0, outcome.err
    assert json.loads((tmp_path / "data/demo-report.json").read_text())["bus"] == "kafka"
    assert PASSWORD not in outcome.out + outcome.err


async def test_the_log_is_published_and_read_behind_a_password(broker: SecuredBroker, tmp_path: Path) -> None:
    through = cluster(broker, tmp_path)
    async with relayed_log(Kafka(servers=broker.address, prefix="published."), tmp_path) as log:
        async with relay(log, through).running():
            await log.place(20)
            await log.until_published()
        assert await log.expected() == log.published() == log.published(log.state)
    made = LogMaker()
    made.groups(20)
    kafka = Kafka(servers=broker.address, prefix="read.")
    topic = TopicWriter(kafka, made)
    await topic.admin.apply()
    topic.keep_up()
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serve_orders(FakeOrderService(made)))
        orders = OrderSource(await stack.enter_async_context(open_channel(address)), name="read")
        source = KafkaSource(orders, through, topic_prefix=kafka.prefix)
        position = made.earliest
        async with asyncio.timeout(20), aclosing(source.follow(position)) as arrivals:
            while position != made.position:
                for batch in await anext(arrivals):
                    position = position.moved({batch.shard: batch.last_seq + 1})
        offsets = await stack.enter_async_context(open_offsets(through, topic_prefix=kafka.prefix))
        found = await offsets.find(made.earliest, await source.head())
        assert (found.next_offset, found.expired) == ((0,) * made.shards, ())


@CHANGES
async def test_a_command_that_is_not_let_in_says_so_at_once(
    broker: SecuredBroker, tmp_path: Path, changes: Changes, why: str
) -> None:
    began = time.monotonic()
    refused = await topics(broker, broker.client_config(tmp_path / "kafka.properties", **changes))
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert why in refused.err
    assert refused.err.endswith(f"mend {tmp_path}/kafka.properties\n")
    assert time.monotonic() - began < 8  # before the request itself would be given up


def is_of_relay(line: MutableMapping[str, Any]) -> bool:
    return bool(line["event"] == "publishing ended and is tried again")


@CHANGES
async def test_a_relay_that_is_not_let_in_says_why_and_commands_go_on(
    broker: SecuredBroker, tmp_path: Path, changes: Changes, why: str
) -> None:
    async with relayed_log(Kafka(servers=broker.address, prefix="refused."), tmp_path) as log:
        refused = relay(log, cluster(broker, tmp_path, **changes))
        with capture_logs() as told:
            await refused.check()
            async with refused.running():
                await log.place(1)
                await eventually(lambda: [line for line in told if is_of_relay(line) and why in line["error"]] != [])
        assert log.published() == {shard: [] for shard in range(SHARDS)}


@CHANGES
async def test_a_source_that_is_not_let_in_says_why(
    broker: SecuredBroker, tmp_path: Path, changes: Changes, why: str
) -> None:
    log = LogMaker()
    log.group()
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serve_orders(FakeOrderService(log)))
        orders = OrderSource(await stack.enter_async_context(open_channel(address)), name="read")
        source = KafkaSource(orders, cluster(broker, tmp_path, **changes))
        told = stack.enter_context(capture_logs())
        arrivals = await stack.enter_async_context(aclosing(source.follow(log.earliest)))
        reading = asyncio.create_task(anext(arrivals), name="reading")
        await eventually(lambda: bool(told))
        reading.cancel()
        await asyncio.wait({reading})
    assert told[0]["event"] == "the topic cannot be read and is opened again"
    assert why in told[0]["error"]


def send(producer: TransactionalProducer) -> None:
    producer.send("others", 0, key=b"", value=b"", timestamp_ms=1, headers=[])


def keep_sending(producer: TransactionalProducer) -> None:
    while True:
        send(producer)


async def test_a_topic_that_may_not_be_written_to_is_told_by_its_reason(broker: SecuredBroker, tmp_path: Path) -> None:
    topic = "others"
    await make_topic(Kafka(servers=broker.address, prefix=""), topic, partitions=1)
    await allow(broker.address, topic, AclOperation.DESCRIBE)
    for until in (TransactionalProducer.commit, keep_sending):
        with closing(TransactionalProducer(cluster(broker, tmp_path), topic)) as producer:
            producer.take_over()
            producer.begin()
            send(producer)
            with pytest.raises(BrokerError, match="TOPIC_AUTHORIZATION_FAILED"):
                until(producer)


@CHANGES
async def test_a_reader_that_is_let_in_no_more_says_why(
    broker: SecuredBroker, tmp_path: Path, changes: Changes, why: str
) -> None:
    async with open_reader(cluster(broker, tmp_path, **changes), "any", {0: 0}) as reader, asyncio.timeout(20):
        with pytest.raises(BrokerError, match=why):
            await reader.next()
