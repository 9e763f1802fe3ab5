import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from stateset.common.v1.event_metadata_pb2 import EventMetadata
from stateset.order.v1 import order_event_pb2, order_pb2

from consumers.cli import topics
from consumers.cli.arguments import SHARDS, parser
from consumers.cli.asyncapi import document
from infra.runtime.kafka.admin import Found, differences
from infra.runtime.kafka.headers import event_headers, replay_header, state_headers
from infra.runtime.topics import EVENTS, REPLAY, STATE, TOPICS, Topic
from order.settings import OrderSettings
from tests.harness.parts import missing, not_run

ROOT = Path(__file__).parents[3]


def test_the_asyncapi_document_is_that_of_the_table() -> None:
    assert (ROOT / "docs" / "asyncapi.yaml").read_text() == document(), "run `stateset topics asyncapi`"


def test_the_asyncapi_document_of_an_installation_has_its_names_and_partitions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["topics", "asyncapi", "--topic-prefix", "hot.", "--shards", "7"]
    assert topics.main(parser().parse_args(arguments)) == 0
    told = capsys.readouterr().out
    for topic in TOPICS:
        assert f'address: "hot.{topic.base_name}"\n' in told
        assert f'topic: "hot.{topic.base_name}"\n' in told
    assert told.count("partitions: 7\n") == len(TOPICS)


def test_the_asyncapi_document_refers_to_nothing_outside_itself_and_holds_the_contracts_as_text() -> None:
    told = document()
    assert [each for each in re.findall(r'"\$ref": "(.*)"', told) if not each.startswith("#/components/")] == [
        f"#/channels/{channel}" for channel in ("orderEvents", "orderState", "replayedOrderEvents")
    ]
    for file in ("order_event.proto", "order.proto"):
        lines = (ROOT / "proto" / "stateset" / "order" / "v1" / file).read_text().splitlines()
        assert "".join(f"        {line}".rstrip() + "\n" for line in lines) in told


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.base_name)
def test_the_document_for_teams_names_every_topic_and_every_header(topic: Topic) -> None:
    told = (ROOT / "docs" / "kafka.md").read_text()
    assert f"`{topic.base_name}`" in told
    assert [header.name for header in topic.headers if f"`{header.name}`" not in told] == []


def test_records_carry_the_headers_of_the_table_in_its_sequence() -> None:
    metadata = EventMetadata(traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    written = event_headers(metadata, key="o-1", seq=1)
    assert [name for name, _ in written] == [header.name for header in EVENTS.headers]
    assert [name for name, _ in (*written, replay_header("mend-7"))] == [header.name for header in REPLAY.headers]
    assert [name for name, _ in state_headers("epoch", seq=1)] == [header.name for header in STATE.headers]


@pytest.mark.parametrize(
    ("occurred", "expected"),
    [
        (datetime(1, 1, 2, tzinfo=UTC), "0001-01-02T00:00:00.000000Z"),
        (datetime(999, 12, 31, 23, 59, 59, 1, tzinfo=UTC), "0999-12-31T23:59:59.000001Z"),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "1969-12-31T23:59:59.999999Z"),
        (datetime(9999, 12, 31, tzinfo=UTC), "9999-12-31T00:00:00.000000Z"),
    ],
)
def test_times_have_four_digits_for_the_year(occurred: datetime, expected: str) -> None:
    metadata = EventMetadata()
    metadata.occur_time.FromDatetime(occurred)
    assert dict(event_headers(metadata, key="o-1", seq=1))["ce_time"] == expected.encode()


def test_values_are_messages_of_the_contract() -> None:
    assert EVENTS.value_type == order_event_pb2.OrderEvent.DESCRIPTOR.full_name
    assert STATE.value_type == order_pb2.Order.DESCRIPTOR.full_name


def test_the_command_line_supposes_the_shards_of_a_new_log() -> None:
    assert OrderSettings.model_fields["shards"].default == SHARDS


def test_a_topic_differs_by_being_away_by_its_partitions_or_by_its_configuration() -> None:
    as_told = Found(partitions=3, config={**STATE.config, "segment.bytes": "1"})
    assert differences(STATE, as_told, shards=3, prefix="p.") == []
    assert [str(each) for each in differences(STATE, None, shards=3, prefix="p.")] == [
        "p.stateset.order.v1.state: missing"
    ]
    other = Found(partitions=2, config={**STATE.config, "cleanup.policy": "delete"})
    assert [str(each) for each in differences(STATE, other, shards=3, prefix="")] == [
        "stateset.order.v1.state: partitions is 2, and should be 3",
        "stateset.order.v1.state: cleanup.policy is delete, and should be compact",
    ]


def test_a_part_that_is_missing_skips_the_test_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception) as skipped:
        missing("Kafka", "no Java")
    reasons = [f"Skipped: {skipped.value}"] * 2 + ["Skipped: for a reason of its own"]
    assert not_run(reasons) == ["not run (2 tests): without Kafka: no Java"]


def test_a_part_that_is_missing_fails_the_test_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="without Kafka: no Java"):
        missing("Kafka", "no Java")
