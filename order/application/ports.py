"""What the application needs from the outside, and what it promises there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

from infra.kernel.digest import Digest
from infra.kernel.filter import Term
from infra.kernel.position import Position
from order.domain.changes import Change
from order.domain.commands import Command
from order.domain.errors import OrderError, StoreUnavailableError
from order.domain.order import Order
from order.domain.records import Record, RecordKey

RequestKey = tuple[str, str]
"""A principal and its request id."""


class Submission(NamedTuple):
    """One command as it came in, with all that its events will say about its origin.

    Attributes:
        method: Name of the RPC; part of what a repeat must say again.
        content: What a repeat must say again, encoded.
        etag: The command is refused unless the order has this one; empty for no guard.
        occur_time_us: Business time; None for the record time.
        personal: Encoded personal data to keep beside the order; empty for none.
        deadline: When the caller stops waiting, by the monotonic clock.
    """

    method: str
    command: Command
    principal: str
    request_id: str
    content: bytes
    deadline: float
    size_bytes: int = 0
    etag: str = ""
    validate_only: bool = False
    reason: str = ""
    occur_time_us: int | None = None
    correlation_id: str = ""
    causation_id: str = ""
    traceparent: str = ""
    personal: bytes = b""

    @property
    def key(self) -> RequestKey:
        """What its answer is kept under."""
        return self.principal, self.request_id


class Outcome(IntEnum):
    """What became of a command. The numbers are those of the database.

    BEGUN is for what takes many transactions: some of them may have been committed, and a repeat carries out the rest.
    """

    COMMITTED = 0
    REFUSED = 1
    NOT_EXECUTED = 2
    BEGUN = 3


class StoredReply(NamedTuple):
    """What a request id was answered with.

    Attributes:
        content: As in the submission; empty if it was not kept.
        reply: Encoded: the reply of a command that was committed, the refusal of one that was refused; else empty.
    """

    outcome: Outcome
    method: str = ""
    content: bytes = b""
    reply: bytes = b""


class Head(NamedTuple):
    """Where one shard stands: the seq of its next event, and the record time of its last (0 before the first)."""

    next_seq: int
    record_time_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a group of commands has to see before it is decided; with an order, its own record."""

    requests: frozenset[RequestKey]
    orders: frozenset[str]
    records: frozenset[RecordKey]


@dataclass(slots=True, kw_only=True)
class View:
    """What was there, read under the locks of the group's shards. The writer moves it on as it decides."""

    replies: dict[RequestKey, StoredReply]
    orders: dict[str, Order]
    records: dict[RecordKey, Record]
    heads: dict[int, Head]


class LoggedEvent(NamedTuple):
    """One row of the log."""

    shard: int
    seq: int
    group_index: int
    group_size: int
    record_time_us: int
    order_id: str
    body: bytes


@dataclass(slots=True, kw_only=True)
class Writes:
    """What one group changes, all of it or nothing.

    Attributes:
        personal: By order, its personal data from now on, encoded; empty for none, and what it had is erased.
    """

    replies: dict[RequestKey, StoredReply] = field(default_factory=dict)
    orders: dict[str, tuple[Order, bytes]] = field(default_factory=dict)
    records: dict[RecordKey, Record] = field(default_factory=dict)
    personal: dict[str, bytes] = field(default_factory=dict)
    events: list[LoggedEvent] = field(default_factory=list)
    heads: dict[int, Head] = field(default_factory=dict)
    time_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A durable subscription to the log, and by shard its floor where it has confirmed something."""

    name: str
    delivery_epoch: int
    floors: Mapping[int, int]


class ShardLockedError(Exception):
    """Somebody else has held the head of a shard for too long. Nothing was written."""


class RowLockedError(StoreUnavailableError):
    """Somebody else has held a row that one of the commands needs, and no head. Nothing was written."""


class Log(Protocol):
    """The orders, their events, and who asked for them: one log of N shards, numbered without a hole.

    Any number of readers beside one `commit` at a time. What `commit` returned from survives the loss of the process.
    Every call raises `StoreUnavailableError` when the database cannot be used now.
    """

    log_epoch: str
    shards: int

    async def commit(self, needs: Needs, decide: Callable[[View], Writes]) -> None:
        """Runs `decide` on what is there and writes what it returns, in one transaction under the shards' locks.

        `decide` is quick, may run on another thread, and may run again if the transaction has to be tried again; what
        it returned last is what was written. Cancelling the caller does not stop the transaction.

        Raises:
            ShardLockedError: One of the shards cannot be had now; the others may.
            RowLockedError: One of the commands cannot be carried out now; the others may.
            StoreUnavailableError: The database cannot be used, or whether the commit happened is not known.
        """

    async def heads(self) -> list[Head]:
        """Where every shard stands, by shard."""

    async def open_seconds(self) -> float:
        """For how long the oldest group has been open that may still be committed, by any process; 0 if there is none.

        What is not below `heads`, read after this, will not have been recorded so long before this was called.
        """

    async def earliest(self) -> list[int]:
        """By shard, the seq of the first event that is kept."""

    async def seqs_at(self, time_us: int) -> list[int]:
        """By shard, the seq of the first event that is kept and was recorded then or later; the head if none was."""

    async def read_events(self, shard: int, from_seq: int, events_max: int) -> list[LoggedEvent]:
        """Committed events of one shard from `from_seq` on, without a hole: whole groups, at least one if there is.

        Raises:
            PositionExpiredError: The event is no longer kept.
            LogHoleError: The database has lost that event, or one of its group.
        """

    async def trim(self, shard: int, before_us: int, events_max: int) -> int:
        """Forgets the shard's oldest events that were recorded before that time and are below every floor.

        Floors are those of all subscriptions, and of the topics that the log is published to. Whole groups, at most so
        many events; returns how many. What is kept begins behind them from the same moment on.
        """

    async def lowest_floors(self) -> list[int | None]:
        """By shard, the lowest floor of any reader; None where nobody reads."""

    async def read_reply(self, key: RequestKey) -> StoredReply | None:
        """What the request id was answered with, as last committed."""

    async def fence(self, key: RequestKey, time_us: int) -> StoredReply:
        """What the request id was answered with; if with nothing yet, NOT_EXECUTED from now on, durably.

        Waits for transactions under way: a command is either seen here or will see this. What is BEGUN stays so.
        """

    async def begin(self, key: RequestKey, method: str, content: bytes, time_us: int) -> StoredReply:
        """What is stored under the request id; if nothing yet, BEGUN from now on, durably, with method and content."""

    async def finish(self, key: RequestKey, reply: bytes) -> bytes:
        """Turns BEGUN into COMMITTED with the reply, durably; returns the reply that is kept: the first that came."""

    async def forget_replies(self, before_us: int, replies_max: int) -> int:
        """Forgets replies stored before that time, at most so many; returns how many those were."""

    async def due_orders(self, time_us: int, orders_max: int, skip: int = 0) -> list[str]:
        """Ids of orders with open units whose `expire_time_us` is not after the time, the longest overdue first.

        The first `skip` of them are left out.
        """

    async def digest(self, term: Term) -> tuple[Position, Digest]:
        """The digest over (order id, version) of every matching order, and its position: one snapshot.

        The filter may speak of what that of `Orders.list_orders` may. Memory does not grow with the number of orders.
        """

    async def open_subscription(self, name: str) -> tuple[int, dict[int, int]]:
        """Starts a delivery epoch of the subscription, made if need be; the epoch, and the durable floors by shard.

        No name has an epoch twice, not even if it was forgotten in between.

        Raises:
            TooManySubscriptionsError: It is new, and there is no room for it.
        """

    async def readers(self, after: str, readers_max: int) -> list[Reader]:
        """Durable subscriptions by name, from right behind `after`, at most so many."""

    async def forget_reader(self, name: str) -> bool:
        """Deletes a subscription and its floors; its open stream's acks are fenced. False if there is none."""

    async def scrub(self) -> None:
        """Makes what was erased before the call unreadable in every file that is the log's own.

        A database server keeps old versions of rows by its own rules: there, this does nothing.
        """

    async def move_floors(self, name: str, delivery_epoch: int, floors: Mapping[int, int]) -> bool:
        """Moves floors forward, never back, durably; False, and none moved, if the delivery epoch is not the newest."""


class CausedEvent(NamedTuple):
    """One event that a command caused."""

    event_id: str
    change: Change
    version: int
    seq: int
    group_index: int
    group_size: int


class Codec(Protocol):
    """How values look on the wire and in the database. Pure; any thread may call."""

    def encode_order(self, order: Order) -> bytes:
        """The order, without personal data."""

    def encode_event(
        self, submission: Submission, caused: CausedEvent, before: Order | None, after: Order, order_bytes: bytes
    ) -> bytes:
        """The event of one change, with the order after it. `submission` says where it came from."""

    def encode_reply(self, order_bytes: bytes, order_id: str, caused: Sequence[CausedEvent], next_seq: int) -> bytes:
        """The reply to a command: the order, the events and the position after them."""

    def differing_fields(self, method: str, first: bytes, again: bytes) -> list[str]:
        """Names of the fields in which a repeat's content differs from the first one's; none if they say the same."""

    def encode_refusal(self, error: OrderError) -> bytes | None:
        """The refusal, if the same command would always meet it again; else None."""
