"""What reads of orders need from outside."""

from collections.abc import Collection
from typing import NamedTuple, Protocol

from infra.kernel.filter import Term
from order.application.ports import LoggedEvent
from order.domain.records import History, RecordKey


class StoredOrder(NamedTuple):
    """One order as it was last committed: its encoded message, and its encoded personal data (empty for none)."""

    order_id: str
    place_time_us: int
    body: bytes
    personal: bytes


OrderKey = tuple[int, str]
"""Place time and order id: the place of an order in a list."""


class Orders(Protocol):
    """The orders as they stand, and how they came there.

    Any number of readers. Whatever was committed before a call is in its answer, which is one snapshot. Every call
    raises `DatabaseUnavailableError` when the database cannot be used now.
    """

    async def find_orders(self, order_ids: Collection[str]) -> dict[str, StoredOrder]:
        """By id, those of the orders that there are."""

    async def list_orders(self, term: Term, after: OrderKey | None, orders_max: int) -> list[StoredOrder]:
        """Orders that match, newest first by place time, then by id backwards, from right behind `after`."""

    async def list_order_events(self, order_id: str, after_seq: int, events_max: int) -> list[LoggedEvent]:
        """The order's events that are kept, from right behind `after_seq`, oldest first."""


class Records(Protocol):
    """What an order's records stand for, under the promises of `Orders`."""

    async def read_record(self, key: RecordKey) -> History | None:
        """What the record stands for; None if there is none, or nothing beside its id."""

    async def list_records(self, order_id: str, kind: str, after: str, records_max: int) -> list[History]:
        """The order's records of a kind that `read_record` would find, with ids above `after`, in their order."""
