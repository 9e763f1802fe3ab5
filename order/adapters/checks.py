"""What a field of a request may hold."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from stateset.common.v1 import money_pb2, personal_pb2
from stateset.order.v1 import order_pb2

from infra.kernel.money import AMOUNT_MAX, amount
from infra.runtime.grpc.status import VIOLATIONS_MAX, InvalidRequestError, Violation
from infra.runtime.grpc.wire import NO_TIME, is_time, timestamp_from_wire
from order.domain.commands import Amount, LineQuantity

T = TypeVar("T")
AnyLine = TypeVar("AnyLine", order_pb2.LineQuantity, order_pb2.FillLine)

LINES_MAX: Final = 500
_ID_MAX: Final = 64
_TEXT_MAX: Final = 1000
_QUANTITY_MAX: Final = 1_000_000_000
_QUANTITY: Final = f"must be 1 to {_QUANTITY_MAX}"
_TEXT: Final = f"must be at most {_TEXT_MAX} characters, none U+0000"
_COST: Final = f"must not come to more than {AMOUNT_MAX} minor units"


@dataclass(slots=True)
class Checks:
    """Collects violations while a request is read, as many as are told: the last of them ends the reading.

    Nothing is formatted for a request that is right.

    Attributes:
        found: The violations.
        items: The repeated field that is being read, and…
        index: … which item of it: paths are relative to that item.
    """

    found: list[Violation] = field(default_factory=list)
    items: str = ""
    index: int = 0

    def each(self, path: str, items: Iterable[T]) -> Iterator[tuple[T, "Checks"]]:
        """The items of a repeated field, each with its checks until the next one; what they find is found here."""
        checks = Checks(self.found, path)
        for checks.index, item in enumerate(items):
            yield item, checks

    def refuse(self, path: str, description: str) -> None:
        """Notes a violation; an empty path is the item itself.

        Raises:
            InvalidRequestError: No more than those found are told.
        """
        item = f"{self.items}[{self.index}]" if self.items else ""
        self.found.append(Violation(f"{item}.{path}" if item and path else item or path, description))
        if len(self.found) >= VIOLATIONS_MAX:
            raise InvalidRequestError(self.found)

    def require(self, holds: bool, path: str, description: str) -> None:  # noqa: FBT001 - the condition comes first
        """Notes a violation unless the condition holds."""
        if not holds:
            self.refuse(path, description)

    def identifier(self, path: str, value: str, *, least: int = 1) -> str:
        """Letters and signs, few enough for an index."""
        if not least <= len(value) <= _ID_MAX or not value.isprintable():
            self.refuse(path, f"must be {least} to {_ID_MAX} printable characters")
        return value

    def text(self, path: str, value: str) -> str:
        """Free text."""
        self.require(len(value) <= _TEXT_MAX and "\0" not in value, path, _TEXT)
        return value

    def quantity(self, path: str, value: int) -> int:
        """Whole units."""
        self.require(0 < value <= _QUANTITY_MAX, path, _QUANTITY)
        return value

    def price(self, path: str, price: money_pb2.Price) -> int:
        """A unit price; its nanos."""
        if price.nanos < 0:
            self.refuse(f"{path}.nanos", "must not be negative")
        return price.nanos

    def unique(self, path: str, ids: Sequence[str]) -> None:
        """Line ids that are named once."""
        if len(set(ids)) == len(ids):
            return
        before: set[str] = set()
        for line_id, item in self.each(path, ids):
            item.require(line_id not in before, "line_id", "must be named once")
            before.add(line_id)

    def few(self, path: str, lines: Sequence[T], *, least: int = 1) -> Sequence[T]:
        """The lines of a request; none of those that are too many, which nobody looks at."""
        fits = least <= len(lines) <= LINES_MAX
        self.require(fits, path, f"must be {least} to {LINES_MAX} lines")
        return lines if fits else ()

    def time(self, path: str, value: Timestamp) -> int:
        """A time, in microseconds since 1970."""
        valid = is_time(value)
        self.require(valid, path, NO_TIME)
        return timestamp_from_wire(value) if valid else 0

    def cost(self, path: str, quantity: int, price_nanos: int, currency_code: str) -> None:
        """What so many units come to."""
        cost = amount(quantity, price_nanos, currency_code)
        self.require(cost <= AMOUNT_MAX, path, _COST)

    def money(self, path: str, money: money_pb2.Money) -> Amount:
        """An amount above 0; whether it is in the order's currency is for the model to say."""
        self.require(0 < money.minor_units <= AMOUNT_MAX, f"{path}.minor_units", f"must be 1 to {AMOUNT_MAX}")
        return Amount(currency_code=money.currency_code, minor_units=money.minor_units)

    def quantities(
        self, path: str, lines: Sequence[order_pb2.LineQuantity], *, required: bool = False
    ) -> tuple[LineQuantity, ...]:
        """Units by line, each line once."""
        asked = self.lines(path, lines, least=int(required))
        return tuple(LineQuantity(line_id=line.line_id, quantity=line.quantity) for line in asked)

    def lines(self, path: str, lines: Sequence[AnyLine], *, least: int = 1) -> Sequence[AnyLine]:
        """Few enough lines, each once, with its units."""
        asked = self.few(path, lines, least=least)
        for line, item in self.each(path, asked):
            item.identifier("line_id", line.line_id)
            item.quantity("quantity", line.quantity)
        self.unique(path, [line.line_id for line in asked])
        return asked

    def personal_paths(self, path: str, message: Message) -> list[str]:
        """The paths that are set, such as "personal.ship_to.locality"; their values go nowhere from here."""
        paths: list[str] = []
        for descriptor, value in message.ListFields():
            each = f"{path}.{descriptor.name}"
            if isinstance(value, personal_pb2.PostalAddress):
                paths += self.personal_paths(each, value)
                continue
            paths.append(each)
            for text in value if descriptor.is_repeated else (value,):
                self.text(each, text)
        return paths
