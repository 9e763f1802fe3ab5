"""The useful subset of the AIP-160 filter language, parsed once and evaluated by each side in its own way.

    customer_id = "c-1" AND (state = FILLED OR state = SHIPPED) AND NOT store_id:*

As in AIP-160, OR binds tighter than AND, and terms that only follow each other are joined by AND. Texts compare by code
point; a time is written as in RFC 3339, in quotes.
"""

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Final

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<sign>!=|<=|>=|[=<>:()-])|(?P<word>[^\s=!<>:()"']+))"""
)
_COMPARE: Final[Mapping[str, Callable[..., bool]]] = {
    "=": operator.eq,
    ":": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NO_VALUES: Final = frozenset((*_COMPARE, "(", ")", "AND", "OR", "NOT", "-"))  # but in quotes
_TERMS_MAX: Final = 100  # a filter is written by a person or a small program; more is an attack on the evaluator
_DEPTH_MAX: Final = 20
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class FilterError(ValueError):
    """A filter that cannot be understood; the message says where and what would be."""


@dataclass(frozen=True, slots=True)
class Field:
    """What a filter may say about one attribute.

    Attributes:
        values: The only values it can have, or none for any text.
        many: It has several values at once: `:` and `=` ask whether one of them is equal, `!=` whether none is.
        time: It is a time, in microseconds since 1970.
    """

    values: Collection[str] | None = None
    many: bool = False
    time: bool = False


@dataclass(frozen=True, slots=True)
class Compare:
    """`field sign value`; the sign `:` with the value `*` asks whether the field has any text."""

    field: str
    sign: str
    value: str | int

    def holds(self, attributes: Mapping[str, "Attribute"]) -> bool:
        """Whether the attributes satisfy it. A missing attribute is an empty one."""
        actual = attributes.get(self.field, "")
        if self.sign == ":" and self.value == "*":
            return bool(actual)
        if isinstance(actual, (str, int)):
            return _COMPARE[self.sign](actual, self.value)
        if self.sign == "!=":
            return self.value not in actual
        return any(_COMPARE[self.sign](each, self.value) for each in actual)


@dataclass(frozen=True, slots=True)
class Not:
    """The term does not hold."""

    term: "Term"

    def holds(self, attributes: Mapping[str, "Attribute"]) -> bool:
        """See `Compare.holds`."""
        return not self.term.holds(attributes)


@dataclass(frozen=True, slots=True)
class All:
    """Every term holds; none at all always does."""

    terms: tuple["Term", ...]

    def holds(self, attributes: Mapping[str, "Attribute"]) -> bool:
        """See `Compare.holds`."""
        return all(term.holds(attributes) for term in self.terms)


@dataclass(frozen=True, slots=True)
class Any:
    """At least one term holds."""

    terms: tuple["Term", ...]

    def holds(self, attributes: Mapping[str, "Attribute"]) -> bool:
        """See `Compare.holds`."""
        return any(term.holds(attributes) for term in self.terms)


Term = Compare | Not | All | Any
Attribute = str | int | Collection[str]

EVERYTHING: Final[Term] = All(())


def parse(text: str, fields: Mapping[str, Field]) -> Term:
    """The meaning of a filter; `EVERYTHING` of an empty one.

    Raises:
        FilterError: It is not a filter, or names a field or a value that there is not.
    """
    return _Parser(text, fields).parse()


def filter_hash(term: Term) -> bytes:
    """Identity of a filter: 8 bytes; empty for `EVERYTHING`."""
    return b"" if term == EVERYTHING else blake2b(repr(term).encode(), digest_size=8).digest()


def fields_of(term: Term) -> frozenset[str]:
    """The fields that a filter speaks of."""
    match term:
        case Compare(field, _, _):
            return frozenset((field,))
        case Not(inner):
            return fields_of(inner)
        case All(terms) | Any(terms):
            return frozenset().union(*map(fields_of, terms))


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str, fields: Mapping[str, Field]) -> None:
        self._fields = fields
        self._tokens = _tokens(text)
        self._next = 0
        self._terms = 0
        self._depth = 0

    def parse(self) -> Term:
        if not self._tokens:
            return EVERYTHING
        term = self._expression()
        if self._peek() is not None:
            raise FilterError(f"unexpected {self._peek()!r}")
        return term

    def _expression(self) -> Term:
        terms = [self._factor()]
        while self._peek() not in (None, ")"):
            if self._peek() == "AND":
                self._take()
            terms.append(self._factor())
        return terms[0] if len(terms) == 1 else All(tuple(terms))

    def _factor(self) -> Term:
        terms = [self._term()]
        while self._peek() == "OR":
            self._take()
            terms.append(self._term())
        return terms[0] if len(terms) == 1 else Any(tuple(terms))

    def _term(self) -> Term:
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise FilterError(f"nested more than {_DEPTH_MAX} deep")
        try:
            if self._peek() in ("NOT", "-"):
                self._take()
                return Not(self._term())
            if self._peek() == "(":
                self._take()
                inner = self._expression()
                self._expect(")")
                return inner
            return self._restriction()
        finally:
            self._depth -= 1

    def _restriction(self) -> Compare:
        self._terms += 1
        if self._terms > _TERMS_MAX:
            raise FilterError(f"more than {_TERMS_MAX} restrictions")
        name = self._take()
        field = self._fields.get(name)
        if field is None:
            raise FilterError(f"unknown field {name!r}; known: {', '.join(sorted(self._fields))}")
        sign = self._take()
        if sign not in _COMPARE:
            raise FilterError(f"expected one of {' '.join(_COMPARE)} after {name}, got {sign!r}")
        value = _unquoted(self._value(f"{name} {sign}"))
        if field.time:
            return Compare(name, sign, _time_us(name, value))
        if field.values is not None and value not in field.values and (sign, value) != (":", "*"):
            raise FilterError(f"{name} is never {value!r}; it is one of {', '.join(sorted(field.values))}")
        return Compare(name, sign, value)

    def _value(self, before: str) -> str:
        token = self._take()
        if token in _NO_VALUES:
            raise FilterError(f"expected a value after {before}, got {token}: in quotes, if it is one")
        return token

    def _peek(self) -> str | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self) -> str:
        token = self._peek()
        if token is None:
            raise FilterError("the filter ends too early")
        self._next += 1
        return token

    def _expect(self, wanted: str) -> None:
        token = self._take()
        if token != wanted:
            raise FilterError(f"expected {wanted!r}, got {token!r}")


def _tokens(text: str) -> list[str]:
    tokens = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise FilterError(f"cannot read {text[at : at + 20]!r} at character {at}")
        tokens.append(found.group().strip())
        at = found.end()
    return tokens


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token[0] in "\"'" else token


def _time_us(name: str, value: str) -> int:
    try:
        return (datetime.fromisoformat(value) - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, TypeError) as error:  # a time without a zone cannot be compared, and raises the second
        raise FilterError(f'{name} is a time such as "2026-01-31T12:00:00Z", not {value!r}') from error
