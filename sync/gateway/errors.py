"""Every failure as `google.rpc.Status` in JSON, with the HTTP status that says the same."""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import grpc.aio
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from grpc_status import rpc_status
from starlette.responses import Response

from infra.runtime.grpc.status import COMMON_ERRORS, ErrorTable, Refusal, refusal_of, to_status
from infra.runtime.log import get_logger
from sync.adapters.grpc_status import DOMAIN, ERRORS
from sync.gateway.json_text import json_bytes
from sync.gateway.rules import MethodNotAllowedError, UnknownPathError

_CANCELED: Final = 499  # the caller has gone; no code of the registry says so

HTTP_STATUS: Final[Mapping[StatusCode, int]] = {
    StatusCode.OK: HTTPStatus.OK,
    StatusCode.CANCELLED: _CANCELED,
    StatusCode.UNKNOWN: HTTPStatus.INTERNAL_SERVER_ERROR,
    StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    StatusCode.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    StatusCode.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    StatusCode.ABORTED: HTTPStatus.CONFLICT,
    StatusCode.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    StatusCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    StatusCode.DATA_LOSS: HTTPStatus.INTERNAL_SERVER_ERROR,
    StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
}
# Where HTTP has a word of its own for what happened.
_BY_REASON: Final[Mapping[str, int]] = {
    "POSITION_EXPIRED": HTTPStatus.GONE,
    "POSITION_AHEAD": HTTPStatus.CONFLICT,
    "LOG_EPOCH_CHANGED": HTTPStatus.CONFLICT,
    "METHOD_NOT_ALLOWED": HTTPStatus.METHOD_NOT_ALLOWED,
    "BODY_TOO_LARGE": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "HEADERS_TOO_LARGE": HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "BODY_TOO_SLOW": HTTPStatus.REQUEST_TIMEOUT,
    "CONTENT_ENCODING_UNSUPPORTED": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "CONTENT_TYPE_UNSUPPORTED": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "NOT_ACCEPTABLE": HTTPStatus.NOT_ACCEPTABLE,
    "UPGRADE_REQUIRED": HTTPStatus.UPGRADE_REQUIRED,
}
_CODES: Final = {code.value[0]: code for code in StatusCode}
_log = get_logger(__name__)


class RequestRefusedError(Exception):
    """A request that is refused before it is one of the contract's."""

    def __init__(self, reason: str, message: str, code: StatusCode = StatusCode.INVALID_ARGUMENT) -> None:
        super().__init__(message)
        self.reason = reason
        self.code = code


class TooManyConnectionsError(Exception):
    """The server has as many connections as it may have."""

    def __init__(self, connections_max: int) -> None:
        super().__init__(f"the server has {connections_max} connections already")


_ERRORS: Final[ErrorTable] = {
    **COMMON_ERRORS,
    **ERRORS,
    TooManyConnectionsError: lambda error: Refusal(
        code=StatusCode.UNAVAILABLE, reason="TOO_MANY_CONNECTIONS", message=str(error), retry_after_seconds=5
    ),
    RequestRefusedError: lambda error: Refusal(code=error.code, reason=error.reason, message=str(error)),
    UnknownPathError: lambda _error: Refusal(
        code=StatusCode.NOT_FOUND, reason="UNKNOWN_PATH", message="nothing is served here; /docs shows what is"
    ),
    MethodNotAllowedError: lambda error: Refusal(
        code=StatusCode.UNIMPLEMENTED,
        reason="METHOD_NOT_ALLOWED",
        message=str(error),
        metadata={"allow": error.allowed},
    ),
    UnicodeDecodeError: lambda _error: Refusal(
        code=StatusCode.INVALID_ARGUMENT, reason="INVALID_REQUEST", message="the address holds what is no UTF-8"
    ),
    TimeoutError: lambda _error: Refusal(
        code=StatusCode.DEADLINE_EXCEEDED, reason="DEADLINE_EXCEEDED", message="out of time"
    ),
}


def status_of(error: Exception) -> status_pb2.Status:
    """The status that tells of an error, ours or a service's. What was not foreseen is logged, not told."""
    if isinstance(error, grpc.aio.AioRpcError):
        return _told_by_service(error)
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    refusal = refusal_of(error, _ERRORS)
    if refusal is None:
        _log.error("unforeseen error", exc_info=error)
        refusal = Refusal(code=StatusCode.INTERNAL, reason="INTERNAL", message="internal error; it was logged")
    return to_status(refusal, DOMAIN)


def json_of_status(status: status_pb2.Status) -> dict[str, Any]:
    """The status as JSON; a detail of a type that nobody here knows is left out."""
    try:
        tree: dict[str, Any] = MessageToDict(status)
    except TypeError:
        tree = {"code": status.code, "message": status.message}
    return tree


def refused(error: Exception, *, if_match: bool = False) -> Response:
    """The answer that tells of an error.

    Args:
        error: What went wrong.
        if_match: The request was to hold for one version only, as HTTP says it: such a refusal is 412.
    """
    status = status_of(error)
    reason, retry_seconds = _facts(status)
    http_status = _BY_REASON.get(reason, HTTP_STATUS[_CODES.get(status.code, StatusCode.UNKNOWN)])
    if if_match and reason == "ETAG_MISMATCH":
        http_status = HTTPStatus.PRECONDITION_FAILED
    headers = {"cache-control": "no-store"}
    if retry_seconds is not None:
        headers["retry-after"] = str(max(1, math.ceil(retry_seconds)))
    if isinstance(error, MethodNotAllowedError):
        headers["allow"] = error.allowed
    return Response(json_bytes(json_of_status(status)), http_status, headers, "application/json")


def _told_by_service(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """Its own words if it is one of ours; what gRPC itself says names addresses, and is not passed on."""
    try:
        told: status_pb2.Status | None = rpc_status.from_call(error)  # type: ignore[arg-type]  # has what it asks for
    except ValueError:
        told = None
    if told is not None:
        return told
    # It is not the caller who has canceled, as nobody would be told then: the service stopped as the call came.
    code = StatusCode.UNAVAILABLE if error.code() is StatusCode.CANCELLED else error.code()
    retry_seconds = 1.0 if code in (StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED) else None
    return to_status(
        Refusal(
            code=code,
            reason=f"SERVICE_{code.name}",
            message="the service behind this path did not answer as it should; a command may have been carried out: "
            "send it again under the same Idempotency-Key",
            retry_after_seconds=retry_seconds,
        ),
        DOMAIN,
    )


def _facts(status: status_pb2.Status) -> tuple[str, float | None]:
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    seconds = None
    for detail in status.details:
        detail.Unpack(info)
        if detail.Unpack(retry):
            seconds = retry.retry_delay.ToMilliseconds() / 1000
    return info.reason, seconds
