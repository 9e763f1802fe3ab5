"""The headers of a record as they are written and read: those of the table in `topics`, in its sequence.

Source: CloudEvents Kafka Protocol Binding 1.0.2 §3.2; its extensions for partitioning, sequence and tracing.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from confluent_kafka import Message
from stateset.common.v1.event_metadata_pb2 import EventMetadata

from infra.runtime.kafka.errors import ForeignRecordError
from infra.runtime.topics import EVENTS

Headers = list[tuple[str, str | bytes | None]]

_CONTENT_TYPE: Final = ("content-type", b"application/protobuf")
_SPEC_VERSION: Final = ("ce_specversion", b"1.0")
_DATA_SCHEMA: Final = ("ce_dataschema", f"proto:{EVENTS.value_type}".encode())


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands: its event's seq, in the shard that is its partition, of the log."""

    seq: int
    log_epoch: str


def event_headers(metadata: EventMetadata, *, key: str, seq: int) -> Headers:
    """The headers of one event. The relay's hot path: what repeats is made once."""
    headers: Headers = [
        _CONTENT_TYPE,
        _SPEC_VERSION,
        ("ce_id", metadata.event_id.encode()),
        _repeated("ce_source", metadata.source),
        _repeated("ce_type", metadata.type),
        ("ce_time", _rfc3339(metadata.occur_time.seconds, metadata.occur_time.nanos)),
        ("ce_subject", metadata.subject.encode()),
        _DATA_SCHEMA,
        ("ce_partitionkey", key.encode()),
        ("ce_sequence", b"%020d" % seq),
        _repeated("ce_logepoch", metadata.log_epoch),
        _repeated("ce_groupindex", metadata.group_index),
        _repeated("ce_groupsize", metadata.group_size),
    ]
    if metadata.traceparent:
        headers.append(("ce_traceparent", metadata.traceparent.encode()))
    return headers


def state_headers(log_epoch: str, *, seq: int) -> Headers:
    """Those of an order as the event of that seq left it: a state is no event, so it is no CloudEvent either."""
    return [_CONTENT_TYPE, ("ce_sequence", b"%020d" % seq), _repeated("ce_logepoch", log_epoch)]


def replay_header(replay_id: str) -> tuple[str, bytes]:
    """What an event's record on the replay topic has beside those."""
    return "ce_replayid", replay_id.encode()


def place_of(message: Message) -> Place:
    """The record's place.

    Raises:
        ForeignRecordError: Its headers do not say it.
    """
    found = dict(message.headers() or ())
    try:
        return Place(seq=int(found["ce_sequence"] or b""), log_epoch=_text(found["ce_logepoch"]))
    except (KeyError, ValueError) as error:
        raise ForeignRecordError("the record has no ce_sequence and ce_logepoch: it is not one of ours") from error


def is_ours(message: Message) -> bool:
    """Whether the record's headers say its place, as those of every record of ours do."""
    try:
        place_of(message)
    except ForeignRecordError:
        return False
    return True


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


@lru_cache(maxsize=1_024)
def _repeated(name: str, value: str | int) -> tuple[str, bytes]:
    return name, str(value).encode()


def _rfc3339(seconds: int, nanos: int) -> bytes:
    return b"%b.%06dZ" % (_to_the_second(seconds), nanos // 1000)


@lru_cache(maxsize=1_024)
def _to_the_second(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat().encode()
