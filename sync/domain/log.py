"""What the Sync Server knows of the log: its events, in batches, and where it stands."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

Attributes = Mapping[str, str | Collection[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """An order as an event left it: what the read model looks it up by, and the encoded whole."""

    order_id: str
    customer_id: str
    store_id: str
    currency_code: str
    state: str
    version: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a shard.

    Attributes:
        ends_group: It is the last event of its command: a reader may stop after it, not before.
        size: Bytes of the encoded event, as credit counts them.
        chunk: The event as it stands in a batch on the wire; the chunks of a batch only need to be joined.
        attributes: What filters see of it.
        order: The order after it.
    """

    seq: int
    log_epoch: str
    record_time_us: int
    ends_group: bool
    size: int
    chunk: bytes
    attributes: Attributes
    order: OrderRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Every event of a shard from `first_seq` to `last_seq`, whole groups only."""

    shard: int
    first_seq: int
    last_seq: int
    events: Sequence[Event]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHead:
    """Where the log stood at `read_time_us`; per shard the seq of its next event and of the first that is kept."""

    log_epoch: str
    next_seq: tuple[int, ...]
    earliest_seq: tuple[int, ...]
    read_time_us: int
