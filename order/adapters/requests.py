"""From request messages to commands: everything that is wrong with a request is told at once."""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final

from google.protobuf.message import Message
from stateset.order.v1 import order_service_pb2

from infra.runtime.grpc.call import Call
from infra.runtime.grpc.status import InvalidRequestError
from order.adapters.checks import Checks
from order.adapters.requests_goods import GOODS_COMMANDS
from order.adapters.requests_order import ORDER_COMMANDS
from order.application.ports import RequestKey, Submission
from order.domain.commands import AmendOrder, Command, PlaceOrder

REQUEST_ID_MIN: Final = 8
ERASE_CUSTOMER: Final = "EraseCustomerPersonalData"
"""The one request with an id of its own that is no command, but makes many."""


def submission(method: str, request: Any, call: Call) -> Submission:  # noqa: ANN401 - any command's request
    """The command in a request, with its origin.

    Raises:
        InvalidRequestError: Some fields cannot be understood; it names every one, or the first 20.
    """
    checks = Checks()
    checks.identifier("request_id", request.request_id, least=REQUEST_ID_MIN)
    derived = isinstance(request, order_service_pb2.PlaceOrderRequest) and not request.order_id
    order_id = _derived_id(call.principal, request.request_id) if derived else request.order_id
    checks.identifier("order_id", order_id)
    command = _COMMANDS[type(request)](request, order_id, checks)
    for name in ("reason", "correlation_id", "causation_id"):
        checks.text(name, getattr(request, name))
    occur_time_us = checks.time("occur_time", request.occur_time) if request.HasField("occur_time") else None
    if checks.found:
        raise InvalidRequestError(checks.found)
    given = isinstance(command, (PlaceOrder, AmendOrder)) and request.HasField("personal")
    personal = request.personal.SerializeToString() if given else b""
    personal_hash = blake2b(personal, digest_size=8).hexdigest() if personal else ""
    if isinstance(command, PlaceOrder) and personal:
        command = command._replace(personal_hash=personal_hash)
    content = content_of(request, personal_hash)
    return Submission(
        method=method,
        command=command,
        principal=call.principal,
        request_id=request.request_id,
        content=content,
        deadline=call.deadline,
        size_bytes=len(content),
        etag="" if isinstance(command, PlaceOrder) else request.etag,
        validate_only=request.validate_only,
        reason=request.reason,
        occur_time_us=occur_time_us,
        correlation_id=request.correlation_id,
        causation_id=request.causation_id,
        traceparent=call.traceparent,
        personal=personal,
    )


def request_key(request: order_service_pb2.GetCommandResultRequest, call: Call) -> RequestKey:
    """The key of the command that the request asks about.

    Raises:
        InvalidRequestError: No command can have this request id.
    """
    checks = Checks()
    checks.identifier("request_id", request.request_id, least=REQUEST_ID_MIN)
    if checks.found:
        raise InvalidRequestError(checks.found)
    return call.principal, request.request_id


def _derived_id(principal: str, request_id: str) -> str:
    """The same for every try of a request, so that a retry cannot place a second order."""
    return blake2b(f"{principal}\0{request_id}".encode(), digest_size=16).hexdigest()


def content_of(request: Any, personal_hash: str = "") -> bytes:  # noqa: ANN401 - any command's request
    """What a repeat must say again; of personal data a hash, which no erasure has to find."""
    if personal_hash:
        hashed = type(request)()
        hashed.CopyFrom(request)
        hashed.personal.Clear()
        hashed.personal.recipient_name = personal_hash
        request = hashed
    encoded: bytes = request.SerializeToString(deterministic=True)
    return encoded


def differing_fields(method: str, first: bytes, again: bytes) -> list[str]:
    """Names of the fields in which two contents of the method's requests differ."""
    request = _REQUESTS[method]
    one, other = (_fields(request.FromString(content)) for content in (first, again))
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _fields(request: Message) -> dict[str, Any]:
    return {
        descriptor.name: value
        for descriptor, value in request.ListFields()
        if descriptor.name not in ("request_id", "validate_only")
    }


_COMMANDS: Final[Mapping[type[Any], Callable[[Any, str, Checks], Command]]] = {**ORDER_COMMANDS, **GOODS_COMMANDS}
_REQUESTS: Final[Mapping[str, type[Message]]] = {
    **{kind.__name__.removesuffix("Request"): kind for kind in _COMMANDS},
    ERASE_CUSTOMER: order_service_pb2.EraseCustomerPersonalDataRequest,
}
