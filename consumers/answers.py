"""What every query RPC of a consumer does: read one snapshot, say how old it is, give lists page by page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Row
from stateset.common.v1.money_pb2 import Money
from stateset.common.v1.position_pb2 import Freshness
from stateset.common.v1.position_pb2 import Position as PositionMessage

from consumers.checkpoints import load_checkpoint
from consumers.runner import Frontier
from consumers.tables import read_page
from infra.kernel.filter import Field
from infra.runtime.database import Database
from infra.runtime.grpc.call import Call
from infra.runtime.grpc.reads import Listing, listing, page_token
from infra.runtime.grpc.status import InvalidRequestError, Violation
from infra.runtime.grpc.wire import freshness_to_wire, position_from_wire
from infra.runtime.sql_filter import to_sql

T = TypeVar("T")

_TEXT: Final = Field()
_NUMBER_MAX: Final = (1 << 63) - 1


def told(number: int) -> int:
    """A sum as the contract's int64 says it: its largest and its smallest number stand for all that is beyond."""
    return max(-_NUMBER_MAX - 1, min(number, _NUMBER_MAX))


def money(currency_code: str, minor_units: int) -> Money:
    """An amount as the contract says it; see `told`."""
    return Money(currency_code=currency_code, minor_units=told(minor_units))


class Answers:
    """Reads of the consumer's own database, each from one snapshot and with its age."""

    def __init__(self, database: Database, frontier: Frontier) -> None:
        self._database = database
        self._frontier = frontier

    async def read(
        self, min_position: PositionMessage, call: Call, work: Callable[[Connection], T]
    ) -> tuple[T, Freshness]:
        """Reads rows and their position from one snapshot that includes `min_position`.

        Raises:
            StalePositionError: It does not get there within the caller's time.
            PositionError: It is no position of this log.
        """
        await self._frontier.reach(min_position, call.time_remaining())
        as_of_us = self._frontier.as_of_us  # before the snapshot, which can only be newer
        result, checkpoint = await self._database.read(lambda rows: (work(rows), load_checkpoint(rows)))
        position = PositionMessage() if checkpoint is None else checkpoint.position
        return result, freshness_to_wire(
            position_from_wire(position), as_of_us, max(0, self._frontier.now_us() - as_of_us)
        )


class PageRequest(Protocol):
    """What the requests of all lists have in common."""

    @property
    def page_size(self) -> int:
        """At most this many; 0 for the default."""

    @property
    def page_token(self) -> str:
        """From the previous page; empty for the first."""


class ListRequest(PageRequest, Protocol):
    """The request of a list under a filter."""

    @property
    def filter(self) -> str:
        """AIP-160; empty for everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a table, by key.

    Attributes:
        table: All columns of its key are text.
        condition: Of its rows.
        asked: Where the page begins, and how long it is.
    """

    table: sa.Table
    condition: sa.ColumnElement[bool]
    asked: Listing

    def read(self, connection: Connection) -> tuple[Sequence[Row[Any]], str]:
        """The page's rows, and the token of the next page; empty on the last."""
        size = self.asked.size
        rows = read_page(connection, self.table, self.condition, self.asked.after, size + 1)
        if len(rows) <= size:
            return rows, ""
        last = rows[size - 1]
        return rows[:size], page_token(last[: len(self.table.primary_key.columns)], self.asked.made_under)


def page_under(request: PageRequest, table: sa.Table, condition: sa.ColumnElement[bool], *, variant: str) -> Page:
    """The page that is asked for, of a list under a condition of the service's own, which `variant` identifies.

    Raises:
        InvalidRequestError: Its size or its token cannot be.
    """
    asked = listing(request, {}, [str for _ in table.primary_key.columns], variant=variant)
    return Page(table=table, condition=condition, asked=asked)


def page_of(request: ListRequest, table: sa.Table) -> Page:
    """The page that is asked for, of a list under a filter over the table's key.

    Raises:
        InvalidRequestError: The filter, or the page's size or token, cannot be.
    """
    columns = {column.name: column for column in table.primary_key.columns}
    asked = listing(request, dict.fromkeys(columns, _TEXT), [str for _ in columns])
    return Page(table=table, condition=to_sql(asked.term, columns), asked=asked)


def refuse_empty(**fields: str) -> None:
    """Refuses a key that has a part missing.

    Raises:
        InvalidRequestError: Names every field that is empty, or that no database can hold.
    """
    violations = [Violation(name, "must not be empty") for name, value in fields.items() if not value]
    violations += [Violation(name, "must not hold U+0000") for name, value in fields.items() if "\0" in value]
    if violations:
        raise InvalidRequestError(violations)
