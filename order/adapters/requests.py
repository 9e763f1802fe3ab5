"""From request messages to commands: everything that is wrong with a request is told at once."""

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
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


def submission(method: str, request: Any, call: Call) -> Submission:  # noqa: ANN401 - any command's request
    """The command in a request, with its origin.

    Raises:
        InvalidRequestError: Some fields cannot be understood; it names every one.
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
    return Submission(
        method=method,
        command=command,
        principal=call.principal,
        request_id=request.request_id,
        fields=_fingerprint(request),
        deadline=call.deadline,
        size_bytes=request.ByteSize(),
        etag="" if isinstance(command, PlaceOrder) else request.etag,
        validate_only=request.validate_only,
        reason=request.reason,
        occur_time_us=occur_time_us,
        correlation_id=request.correlation_id,
        causation_id=request.causation_id,
        traceparent=call.traceparent,
        personal=request.personal.SerializeToString() if isinstance(command, PlaceOrder | AmendOrder) else b"",
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


def _fingerprint(request: Message) -> dict[str, bytes]:
    return {
        name: blake2b(_content(descriptor, value), digest_size=8).digest()
        for descriptor, value in request.ListFields()
        if (name := descriptor.name) not in ("request_id", "validate_only")
    }


def _content(descriptor: FieldDescriptor, value: Any) -> bytes:  # noqa: ANN401 - of any field
    if isinstance(value, str) or descriptor.message_type is None:  # most are text, which is quickly seen
        return repr(value).encode()
    messages = value if descriptor.is_repeated else (value,)
    encoded = [each.SerializeToString(deterministic=True) for each in messages]
    return b"".join(len(each).to_bytes(4, "big") + each for each in encoded)


_COMMANDS: Final[Mapping[type[Any], Callable[[Any, str, Checks], Command]]] = {**ORDER_COMMANDS, **GOODS_COMMANDS}
