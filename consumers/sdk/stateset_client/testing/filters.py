"""Filters, as far as a fake must know them: which there are, which are the same, and what they speak of."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_pb2 import OrderState

_TOKEN: Final = re.compile(r"""\s*(?:("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(!=|<=|>=|[=<>:()-])|([^\s=!<>:()"']+))""")
_SIGNS: Final = ("=", ":", "!=", "<", "<=", ">", ">=")
_NO_VALUES: Final = (*_SIGNS, "(", ")", "AND", "OR", "NOT", "-")
_TERMS_MAX: Final = 100
_DEPTH_MAX: Final = 20

Fields = Mapping[str, Collection[str]]
"""What a filter may speak of, and the only values that each can have; none for any text."""
_CHANGES: Final = OrderEvent.DESCRIPTOR.oneofs_by_name["change"].fields
_STATES: Final = {each.name.removeprefix("ORDER_STATE_") for each in OrderState.DESCRIPTOR.values}
_TEXTS: Final[Fields] = dict.fromkeys(("order_id", "customer_id", "store_id", "currency_code"), ())
EVENT_FIELDS: Final[Fields] = {
    **_TEXTS,
    "product_id": (),
    "type": {each.message_type.full_name for each in _CHANGES if each.message_type},
}
ORDER_FIELDS: Final[Fields] = {**_TEXTS, "state": _STATES}


class FilterError(ValueError):
    """A filter that cannot be understood."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What is to be known of a filter without its meaning.

    Attributes:
        hash: Its identity, 8 bytes; empty for that of everything.
        fields: Of which it speaks.
    """

    hash: bytes
    fields: frozenset[str]


def parse(text: str, fields: Fields = EVENT_FIELDS) -> Filter:
    """The filter that is written there, over these fields.

    Raises:
        FilterError: It is none.
    """
    parser = _Parser(text, fields)
    term = parser.parse()
    digest = blake2b(repr(term).encode(), digest_size=8).digest() if term else b""
    return Filter(digest, frozenset(parser.named))


_Term = tuple[Any, ...]  # a restriction, or terms behind the word that joins them; empty for everything


class _Parser:
    """Recursive descent over the tokens of one text. OR binds tighter than AND, which may be left out.

    Attributes:
        named: The field of each restriction.
    """

    def __init__(self, text: str, fields: Fields) -> None:
        self._fields = fields
        self._tokens = _tokens(text)
        self._depth = 0
        self.named: list[str] = []

    def parse(self) -> _Term:
        term = self._all() if self._tokens else ()
        if self._tokens:
            raise FilterError(f"unexpected {self._peek()!r}")
        return term

    def _all(self) -> _Term:
        terms = [self._any()]
        while self._peek() not in ("", ")"):
            if self._peek() == "AND":
                self._take()
            terms.append(self._any())
        return _joined("AND", terms)

    def _any(self) -> _Term:
        terms = [self._term()]
        while self._peek() == "OR":
            self._take()
            terms.append(self._term())
        return _joined("OR", terms)

    def _term(self) -> _Term:
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise FilterError(f"nested more than {_DEPTH_MAX} deep")
        try:
            return self._nested()
        finally:
            self._depth -= 1

    def _nested(self) -> _Term:
        word = self._take()
        if word in ("NOT", "-"):
            return "NOT", self._term()
        if word != "(":
            return self._restriction(word)
        inner = self._all()
        if (word := self._take()) != ")":
            raise FilterError(f"expected ')', got {word!r}")
        return inner

    def _restriction(self, field: str) -> _Term:
        self.named.append(field)
        if len(self.named) > _TERMS_MAX:
            raise FilterError(f"more than {_TERMS_MAX} restrictions")
        if field not in self._fields:
            raise FilterError(f"unknown field {field!r}; known: {', '.join(sorted(self._fields))}")
        sign = self._take()
        if sign not in _SIGNS:
            raise FilterError(f"expected one of {' '.join(_SIGNS)} after {field}, got {sign!r}")
        value = self._take()
        if value in _NO_VALUES:
            raise FilterError(f"expected a value after {field} {sign}, got {value}: in quotes, if it is one")
        value = re.sub(r"\\(.)", r"\1", value[1:-1]) if value[0] in "\"'" else value
        values = self._fields[field]
        if values and value not in values and (sign, value) != (":", "*"):
            raise FilterError(f"{field} is never {value!r}; it is one of {', '.join(sorted(values))}")
        return field, sign, value

    def _peek(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def _take(self) -> str:
        if not self._tokens:
            raise FilterError("the filter ends too early")
        return self._tokens.pop(0)


def _joined(word: str, terms: list[_Term]) -> _Term:
    return terms[0] if len(terms) == 1 else (word, *terms)


def _tokens(text: str) -> list[str]:
    tokens, at, text = [], 0, text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise FilterError(f"cannot read {text[at : at + 20]!r} at character {at}")
        tokens.append(found.group().strip())
        at = found.end()
    return tokens
