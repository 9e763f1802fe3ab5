"""`stateset topics` as an operator meets it, and the demo on a broker that others use."""

import json
from pathlib import Path

from confluent_kafka.admin import AdminClient

from infra.runtime.topics import EVENTS, STATE
from tests.harness.e2e_command_line import free_options, stateset
from tests.harness.kafka_broker import Kafka
from tests.harness.kafka_log import TopicWriter
from tests.harness.kafka_topics import add_partition, expire, set_config, set_retention, stray
from tests.harness.ports import free_ports
from tests.harness.sync_log import LogMaker


async def test_topics_are_compared_made_and_begun_anew_by_command(kafka: Kafka) -> None:
    options = ("--bootstrap-servers", kafka.servers, "--topic-prefix", kafka.prefix)
    name = EVENTS.name(kafka.prefix)
    missing = await stateset("topics", "diff", *options)
    assert (missing.code, missing.out.splitlines()[0]) == (1, f"{name}: missing")
    made = await stateset("topics", "apply", *options)
    assert (made.code, made.out.splitlines()[0]) == (0, f"{name}: made")
    assert (await stateset("topics", "diff", *options)).code == 0
    refused = await stateset("topics", "reset", *options)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert (await stateset("topics", "reset", "--yes", "--shards", "3", *options)).code == 0
    again = await stateset("topics", "reset", "--yes", *options)
    assert (again.code, "with 3 partitions each" in again.out) == (0, True)
    for action in ("apply", "diff"):
        assert (await stateset("topics", action, *options)).code == 0
    other = await stateset("topics", "apply", "--shards", "12", *options)
    assert (other.code, other.err.count("\n")) == (2, 1)
    assert f"topic {name} has 3 partitions, and the log 12 shards" in other.err


async def test_records_that_are_lost_for_good_are_told_beside_what_was_mended(kafka: Kafka) -> None:
    options = ("--bootstrap-servers", kafka.servers, "--topic-prefix", kafka.prefix)
    name = STATE.name(kafka.prefix)
    await stateset("topics", "reset", "--yes", "--shards", "3", *options)
    stray(kafka, name, 1)
    await set_config(kafka, name, "cleanup.policy", "delete")
    expire(kafka, name, 1, 1)
    told = await stateset("topics", "apply", *options)
    assert (told.code, told.out) == (2, f"{name}: cleanup.policy set to compact\n")
    assert f"{name}: records below offset 1 of partition 1 are deleted" in told.err


async def test_partitions_that_somebody_has_added_are_a_difference(kafka: Kafka) -> None:
    options = ("--bootstrap-servers", kafka.servers, "--topic-prefix", kafka.prefix)
    name = EVENTS.name(kafka.prefix)
    await stateset("topics", "reset", "--yes", "--shards", "3", *options)
    await add_partition(kafka, name)
    for shards in ((), ("--shards", "3")):
        told = await stateset("topics", "diff", *shards, *options)
        assert (told.code, told.out) == (1, f"{name}: partitions is 4, and should be 3\n")
    refused = await stateset("topics", "apply", *options)
    assert (refused.code, refused.err.count("\n"), "say with --shards" in refused.err) == (2, 1, True)


async def test_a_broker_that_is_away_stops_a_start_with_one_line(tmp_path: Path) -> None:
    [port] = free_ports(1)
    environment = {"STATESET_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}"}
    outcome = await stateset("demo", "--orders", "1", "--data-dir", str(tmp_path), environment=environment)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert f"no Kafka answers at 127.0.0.1:{port}" in outcome.err


async def test_a_start_on_topics_of_another_log_is_refused_and_leaves_them_as_they_are(
    kafka: Kafka, tmp_path: Path
) -> None:
    log = LogMaker()
    topics = TopicWriter(kafka, log)
    await topics.admin.apply()
    await set_retention(kafka, "-1")
    log.group()
    topics.keep_up()
    before = await topics.admin.diff()
    environment = {"STATESET_KAFKA_BOOTSTRAP_SERVERS": kafka.servers, "STATESET_ORDER_SHARDS": str(log.shards)}
    options = ("--data-dir", str(tmp_path), "--topic-prefix", kafka.prefix, *free_options())
    outcome = await stateset("up", *options, environment=environment)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert f"holds log {log.log_epoch}, this is log" in outcome.err
    assert f"{before[0]}; `stateset topics apply` sets it\n" in outcome.out
    assert before == await topics.admin.diff()


async def test_the_demo_on_a_broker_of_others_proves_itself_and_leaves_no_topic(kafka: Kafka, tmp_path: Path) -> None:
    environment = {"STATESET_KAFKA_BOOTSTRAP_SERVERS": kafka.servers}
    outcome = await stateset(
        "demo", "--orders", "20", "--data-dir", str(tmp_path), environment=environment, seconds=200
    )
    assert outcome.code == 0, outcome.err
    assert f"bus: Kafka at {kafka.servers}" in outcome.out
    assert json.loads((tmp_path / "demo-report.json").read_text())["bus"] == "kafka"
    left = AdminClient({"bootstrap.servers": kafka.servers}).list_topics(timeout=10).topics
    assert [name for name in left if name.startswith("demo-")] == []
