"""What the requests of all reads have in common: how new the answer must be, and which page of a list is asked for."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra.kernel.filter import EVERYTHING, Field, FilterError, Term, filter_hash, parse
from infra.kernel.position import AtLeast
from infra.runtime.grpc.call import Call
from infra.runtime.grpc.status import InvalidRequestError, Violation
from infra.runtime.grpc.wire import position_from_wire

PAGE_BYTES_MAX: Final = 786_432  # with the rest of the reply below what a caller receives in one message

_PAGE_DEFAULT: Final = 50
_PAGE_MAX: Final = 500
_WAIT_SHARE: Final = 0.9  # of the caller's time: the rest brings our answer to it before it gives up by itself
_NUMBER_MAX: Final = 2**63 - 1
_NO_TEXT: Final = re.compile("[\0\ud800-\udfff]")  # what no request can hold, and so no key

Key = Sequence[str | int]
"""What a list is sorted by: unlike for any two of its items."""


def at_least(request: Any, call: Call) -> AtLeast:  # noqa: ANN401 - any read's request
    """What the answer must include, and how long it may be waited for."""
    position = position_from_wire(request.min_position) if request.HasField("min_position") else None
    return AtLeast(position=position, seconds=_WAIT_SHARE * call.time_remaining())


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The page of a list that is asked for.

    Attributes:
        term: What is listed.
        after: The key behind which the page begins; none for the first page.
        size: Most items.
        made_under: Identity of the list; binds the page's token to it.
    """

    term: Term = EVERYTHING
    after: tuple[Any, ...] | None
    size: int
    made_under: bytes

    def cut(self, keys: Sequence[Key], sizes: Sequence[int], *, more: bool) -> tuple[int, str]:
        """How many of the items fit into one reply, at least one, and the token of the next page; empty on the last.

        Args:
            keys: Of the items that were found, at most a page of them.
            sizes: Of the same, in bytes.
            more: Others follow them.
        """
        count, left = 0, PAGE_BYTES_MAX
        for size in sizes:
            left -= size
            if count and left < 0:
                return count, page_token(keys[count - 1], self.made_under)
            count += 1
        return count, page_token(keys[-1], self.made_under) if more else ""


def listing(request: Any, fields: Mapping[str, Field], key: Sequence[type], *, variant: str = "") -> Listing:  # noqa: ANN401 - any list's request
    """What a list's request asks for. The page's token is the method's, too: it is of no use to another list.

    Args:
        request: Has `page_size`, `page_token` and, if there are fields, `filter`.
        fields: That the filter may name.
        key: The types of the parts of the list's key.
        variant: What else the next page must have in common with this one, such as the view.

    Raises:
        InvalidRequestError: Some fields cannot be understood; it names every one.
    """
    violations: list[Violation] = []
    term, after, size = EVERYTHING, None, _PAGE_DEFAULT
    try:
        term = filtered(request, fields) if fields else EVERYTHING
    except InvalidRequestError as error:
        violations += error.violations
    made_under = filter_hash(term) + f"{request.DESCRIPTOR.full_name} {variant}".encode()
    try:
        size = page_size(request.page_size)
    except InvalidRequestError as error:
        violations += error.violations
    if not violations:  # the token of a filter that cannot be read cannot be judged
        after = page_after(request.page_token, made_under, key)
    if violations:
        raise InvalidRequestError(violations)
    return Listing(term=term, after=after, size=size, made_under=made_under)


def filtered(request: Any, fields: Mapping[str, Field]) -> Term:  # noqa: ANN401 - any request with a filter
    """What of the fields the request's filter wants.

    Raises:
        InvalidRequestError: It is not a filter over these fields.
    """
    try:
        return parse(_text(request.filter), fields)
    except FilterError as error:
        raise InvalidRequestError([Violation("filter", str(error))]) from error


def page_size(asked: int) -> int:
    """The size of a page: 50 for 0, at most 500.

    Raises:
        InvalidRequestError: It is negative.
    """
    if asked < 0:
        raise InvalidRequestError([Violation("page_size", "must not be negative")])
    return min(asked, _PAGE_MAX) or _PAGE_DEFAULT


def page_token(after: Key, made_under: bytes) -> str:
    """Token of the page that begins behind the key `after`, of the list with that identity."""
    return base64.urlsafe_b64encode(json.dumps([made_under.hex(), *after]).encode()).decode()


def page_after(token: str, made_under: bytes, key: Sequence[type]) -> tuple[Any, ...] | None:
    """The key behind which the token's page begins; none for the first page.

    Args:
        token: From the previous page, or empty.
        made_under: Identity of the list that is asked for now.
        key: The types of the parts of its key.

    Raises:
        InvalidRequestError: It is not a token of this list, or was made for another.
    """
    if not token:
        return None
    try:
        made_for, *after = json.loads(base64.urlsafe_b64decode(token))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidRequestError([Violation("page_token", "not a token of this list")]) from error
    if made_for != made_under.hex():
        raise InvalidRequestError(
            [Violation("page_token", "made for another list: ask for the first page, or as for the previous one")]
        )
    if len(after) != len(key) or not all(map(_is_part, after, key)):
        raise InvalidRequestError([Violation("page_token", "not a token of this list")])
    return tuple(after)


def _text(value: str) -> str:
    if "\0" in value:
        raise FilterError("must not hold U+0000")
    return value


def _is_part(part: object, kind: type) -> bool:
    """Whether a database can be asked for it: callers may make tokens of their own."""
    if isinstance(part, str):
        return kind is str and not _NO_TEXT.search(part)
    return kind is int and type(part) is int and abs(part) <= _NUMBER_MAX
