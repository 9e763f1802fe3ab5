"""What is read of an HTTP request, and how much of it."""

import asyncio
from typing import Final
from urllib.parse import parse_qsl

from grpc import StatusCode
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from infra.runtime.grpc.status import InvalidRequestError, Violation
from sync.gateway.errors import RequestRefusedError

BODY_BYTES_MAX: Final = 524_288  # JSON of a message that gRPC takes is at most about twice as long
_BODY_SECONDS: Final = 10.0
_PARAMETERS_MAX: Final = 600  # a batch has 100 ids; the rest is room
_JSON: Final = "application/json"
_OWN_SITES: Final = frozenset(("none", "same-origin"))


async def body_of(request: Request) -> bytes:
    """The JSON body of a request, whole.

    Raises:
        RequestRefusedError: It is not JSON, too large, or does not come.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > BODY_BYTES_MAX:
                    raise RequestRefusedError("BODY_TOO_LARGE", f"the body has more than {BODY_BYTES_MAX} bytes")
    except TimeoutError as error:
        raise RequestRefusedError("BODY_TOO_SLOW", f"the body was not there after {_BODY_SECONDS:.0f} s") from error
    except ClientDisconnect as error:
        raise RequestRefusedError("CANCELED", "the caller has gone", StatusCode.CANCELLED) from error
    if body and request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise RequestRefusedError("CONTENT_ENCODING_UNSUPPORTED", "the body must come as it is: no content-encoding")
    # A body without a type is what a page of anybody's may send in a browser's name without asking first.
    if body and request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise RequestRefusedError("CONTENT_TYPE_UNSUPPORTED", f"the body must be JSON: send content-type: {_JSON}")
    return bytes(body)


def query_of(scope: Scope) -> list[tuple[str, str]]:
    """The parameters of a request's address.

    Raises:
        InvalidRequestError: There are too many, or they are no text.
    """
    try:
        return parse_qsl(
            scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_PARAMETERS_MAX,
        )
    except ValueError as error:
        said = f"must be UTF-8, percent-encoded, and at most {_PARAMETERS_MAX} parameters"
        raise InvalidRequestError([Violation("", f"the query {said}")]) from error


def refuse_others(headers: Headers, allowed: frozenset[str]) -> None:
    """Refuses what comes from a page that is not of this server or one of the allowed origins.

    Raises:
        RequestRefusedError: It does.
    """
    if not _is_own(headers, allowed):
        raise RequestRefusedError("ORIGIN_REFUSED", "pages of this origin may not", StatusCode.PERMISSION_DENIED)


def _is_own(headers: Headers, allowed: frozenset[str]) -> bool:
    origin = headers.get("origin")
    if origin is None:  # which browsers leave out where a page loads an image, say; they tell of it in another way
        return headers.get("sec-fetch-site", "none") in _OWN_SITES
    return origin in allowed or origin.partition("://")[2] == headers.get("host")
