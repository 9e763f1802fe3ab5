"""The topics that the order log is published to: one table for provisioning, start-up checks and documents."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CONTENT_TYPE: Final = "application/protobuf"
_DAY_MS: Final = 86_400_000
# What a broker's own defaults must not decide: a record that it refuses holds up the whole log, and one that it drops
# early is missed. An order has 256 KiB at most, a batch of the relay's 1 MB.
_ANY_TIME: Final = str(2**63 - 1)
_TAKES_EVERY_RECORD: Final[Mapping[str, str]] = {
    "max.message.bytes": "1048588",
    "message.timestamp.before.max.ms": _ANY_TIME,
    "message.timestamp.after.max.ms": _ANY_TIME,
}
_DROPS_BY_AGE_ALONE: Final[Mapping[str, str]] = {"cleanup.policy": "delete", "retention.bytes": "-1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A record header; its value is UTF-8 text."""

    name: str
    meaning: str
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """What one topic is to other teams.

    Attributes:
        base_name: Its name, but for the prefix of an installation.
        value_type: The Protobuf message of its values.
        key: What the record key holds, as UTF-8.
        meaning: What a record says.
        headers: What travels beside the value.
        config: What the broker is told about it. It has as many partitions as the log has shards.
    """

    base_name: str
    value_type: str
    key: str
    meaning: str
    headers: tuple[Header, ...]
    config: Mapping[str, str]

    @property
    def is_compacted(self) -> bool:
        """Whether the last record of each key is kept for ever."""
        return self.config["cleanup.policy"] == "compact"

    def name(self, prefix: str) -> str:
        """Its name in the installation with this prefix."""
        return f"{prefix}{self.base_name}"


_CONTENT: Final = Header(name="content-type", meaning="The value is the plain message.", example=CONTENT_TYPE)
_SEQUENCE: Final = Header(
    name="ce_sequence", meaning="The event's seq in its shard, in 20 digits.", example="00000000000000000042"
)
_LOG_EPOCH: Final = Header(
    name="ce_logepoch",
    meaning="Which log the seq belongs to: another log counts anew.",
    example="0b8f3c52-6f0e-4b57-9a55-5f2d1c9e8a11",
)
# CloudEvents 1.0 in binary mode, with its extensions for partitioning, sequence and tracing.
_CLOUD_EVENT: Final = (
    Header(name="ce_specversion", meaning="Version of CloudEvents.", example="1.0"),
    Header(
        name="ce_id",
        meaning="The event's id, the same whenever it is published again.",
        example="019ab1de-8a4c-7c3e-9a51-0d6b2f1e7a90",
    ),
    Header(name="ce_source", meaning="The service that recorded it.", example="//order.stateset.dev"),
    Header(name="ce_type", meaning="Full name of the change's message.", example="stateset.order.v1.OrderPlaced"),
    Header(name="ce_time", meaning="Occur time, in RFC 3339 and UTC.", example="2026-11-23T09:30:00.123456Z"),
    Header(name="ce_subject", meaning="What it is about.", example="orders/o-1"),
    Header(
        name="ce_dataschema", meaning="The message that the value is.", example="proto:stateset.order.v1.OrderEvent"
    ),
    Header(name="ce_partitionkey", meaning="The record's key: the order's id.", example="o-1"),
    _SEQUENCE,
    _LOG_EPOCH,
    Header(name="ce_groupindex", meaning="Place of the event among those of its command, from 0.", example="0"),
    Header(name="ce_groupsize", meaning="How many events its command had; they are adjacent.", example="1"),
    Header(
        name="ce_traceparent",
        meaning="W3C trace context, if the command came with one.",
        example="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ),
)

EVENTS: Final = Topic(
    base_name="stateset.order.v1.events",
    value_type="stateset.order.v1.OrderEvent",
    key="order_id",
    meaning="One change of one order, with the order after it; a partition has them in sequence, without a gap.",
    headers=(_CONTENT, *_CLOUD_EVENT),
    config={
        **_DROPS_BY_AGE_ALONE,
        "retention.ms": str(7 * _DAY_MS),
        "message.timestamp.type": "CreateTime",  # the relay sets the record time of the log
        **_TAKES_EVERY_RECORD,
    },
)
STATE: Final = Topic(
    base_name="stateset.order.v1.state",
    value_type="stateset.order.v1.Order",
    key="order_id",
    meaning="The order as it is now. Compacted: the last record of a key is the one that counts.",
    headers=(_CONTENT, _SEQUENCE, _LOG_EPOCH),
    config={"cleanup.policy": "compact", "message.timestamp.type": "CreateTime", **_TAKES_EVERY_RECORD},
)
REPLAY: Final = Topic(
    base_name="stateset.order.v1.replay",
    value_type=EVENTS.value_type,
    key="order_id",
    meaning="Events that somebody has asked for again: as on the events topic, in no sequence beyond one replay's.",
    headers=(
        *EVENTS.headers,
        Header(
            name="ce_replayid",
            meaning="Which replay the record belongs to: its caller's name for it.",
            example="mend-7",
        ),
    ),
    config={
        **_DROPS_BY_AGE_ALONE,
        "retention.ms": str(_DAY_MS),
        # By their record time old events, for which a replay is asked, would be dropped as soon as they are there.
        "message.timestamp.type": "LogAppendTime",
        **_TAKES_EVERY_RECORD,
    },
)
LOG_TOPICS: Final = (EVENTS, STATE)
"""Those that hold the whole log."""

TOPICS: Final = (*LOG_TOPICS, REPLAY)

PREFIX_CHARACTERS_MAX: Final = 249 - max(len(topic.base_name) for topic in TOPICS)  # of a whole name, says Kafka
PREFIX_PATTERN: Final = rf"^[a-zA-Z0-9._-]{{0,{PREFIX_CHARACTERS_MAX}}}$"
"""What the names may begin with in an installation."""
