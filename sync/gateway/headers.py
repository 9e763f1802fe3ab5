"""What headers say to a call: how long it may take, which fields they stand for, what is passed on."""

import re
from typing import Final

from google.protobuf.message import Message
from starlette.datastructures import Headers

from infra.runtime.grpc.call import DEADLINE_SECONDS
from infra.runtime.grpc.status import InvalidRequestError, Violation
from sync.gateway.errors import RequestRefusedError

DEADLINE_SECONDS_MAX: Final = 60.0

_TIMEOUT: Final = re.compile("([0-9]{1,8})([HMSmun])")
_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PASSED_ON: Final = ("authorization", "traceparent", "tracestate")
_PASSED_ON_MAX: Final = 7_000  # characters of them; gRPC takes 8 KiB of metadata, and has some of its own
_FIELDS: Final = {"idempotency-key": "request_id", "if-match": "etag"}
_ETAG: Final = re.compile('"[^"]*"')  # the contract's etags are HTTP's, quotes and all


def seconds_of(headers: Headers) -> float:
    """How long the call may take: what `grpc-timeout` says, as gRPC writes it; 10 s without, 60 s at most.

    Raises:
        InvalidRequestError: It says nothing that makes sense.
    """
    text = headers.get("grpc-timeout")
    if text is None:
        return DEADLINE_SECONDS
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        raise InvalidRequestError([Violation("grpc-timeout", "must be a number and a unit of H, M, S, m, u, n: 500m")])
    return min(int(found[1]) * _UNITS[found[2]], DEADLINE_SECONDS_MAX)


def metadata_of(headers: Headers) -> list[tuple[str, str]]:
    """What goes on to the service: who calls, and the trace.

    Raises:
        InvalidRequestError: One of them holds what gRPC cannot carry.
        RequestRefusedError: They hold more.
    """
    found = [(name, headers[name]) for name in _PASSED_ON if name in headers]
    strange = [Violation(name, "must be printable ASCII") for name, value in found if not _is_plain(value)]
    if strange:
        raise InvalidRequestError(strange)
    if sum(len(value) for _, value in found) > _PASSED_ON_MAX:
        said = f"{', '.join(_PASSED_ON)} have more than {_PASSED_ON_MAX} characters together"
        raise RequestRefusedError("HEADERS_TOO_LARGE", said)
    return found


def put_fields(headers: Headers, message: Message) -> None:
    """Puts what `Idempotency-Key` and `If-Match` say into the request's `request_id` and `etag`.

    Raises:
        InvalidRequestError: The request has no such field, or says something else there.
    """
    for header, name in _FIELDS.items():
        value = _only(headers, header)
        if value is None:
            continue
        if name not in message.DESCRIPTOR.fields_by_name:
            raise InvalidRequestError([Violation(header, "this request is not bound to one: leave it out")])
        if header == "if-match" and not _ETAG.fullmatch(value):
            raise InvalidRequestError([Violation(header, "must be one etag, with its double quotes")])
        if getattr(message, name) not in ("", value):
            raise InvalidRequestError([Violation(name, f"differs from {header}")])
        setattr(message, name, value)


def _only(headers: Headers, name: str) -> str | None:
    """What the header says, in UTF-8; None if it is not there."""
    said = headers.getlist(name)
    if len(said) > 1:
        raise InvalidRequestError([Violation(name, "is given twice")])
    try:
        return said[0].encode("latin-1").decode() if said else None
    except UnicodeDecodeError as error:
        raise InvalidRequestError([Violation(name, "must be UTF-8")]) from error


def etag_of(reply: Message) -> str | None:
    """The header for the order that a reply holds; none if it holds none."""
    if "order" not in reply.DESCRIPTOR.fields_by_name:
        return None
    return getattr(reply.order, "etag", "") or None  # type: ignore[attr-defined]  # looked up above


def _is_plain(value: str) -> bool:
    return value.isascii() and value.isprintable()
