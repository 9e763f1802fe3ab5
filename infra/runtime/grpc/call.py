"""The chain around every call: identity, deadline, errors, metrics, trace. One object a method, resolved at start."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, NamedTuple

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from prometheus_client import Counter, Histogram
from stateset.common.v1.options_pb2 import Access, access

from infra.runtime.grpc.door import Door
from infra.runtime.grpc.status import (
    COMMON_ERRORS,
    DeadlineTooShortError,
    EncodedRefusalError,
    ErrorTable,
    Refusal,
    StoppingError,
    refusal_of,
    to_status,
)
from infra.runtime.log import get_logger

LOCAL: Final = "local"  # the principal of every call where authentication is off
DEADLINE_SECONDS: Final = 10.0  # of a unary call that came without one: long for a commit, short for a person
_LEAST_SECONDS: Final = 0.005  # less than a group commit takes: begun work would be wasted
# A caller's time is up a little before ours is: gRPC tells it in three digits, rounded up.
_ROUNDED_UP: Final = 0.01

HANDLED = Counter("stateset_grpc_server_handled_total", "Calls ended, by method and status code.", ["method", "code"])
SECONDS = Histogram(
    "stateset_grpc_server_seconds",
    "Time from the arrival of a unary call to its reply.",
    ["method"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
_CODES: Final = {code.value[0]: code for code in StatusCode}
_log = get_logger(__name__)


class Call(NamedTuple):
    """What a handler may know about the call that it serves.

    Attributes:
        principal: Who calls.
        traceparent: The caller's W3C trace context; empty when it sent none.
        deadline: When the caller stops waiting, by `time.monotonic()`.
        bounded: The caller has set the deadline.
        context: gRPC's own.
    """

    principal: str
    traceparent: str
    deadline: float
    bounded: bool
    context: grpc.aio.ServicerContext[Any, Any]

    def time_remaining(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def set_trailing(self, key: str, value: str) -> None:
        """Sends one entry of trailing metadata with the reply."""
        self.context.set_trailing_metadata(((key, value),))


UnaryHandler = Callable[[Any, Call], Awaitable[Any]]
StreamHandler = Callable[[Any, Call], AsyncIterator[Any]]


class Method:
    """One RPC: its handler, and everything that happens around each of its calls."""

    def __init__(self, descriptor: MethodDescriptor, domain: str, errors: ErrorTable, door: Door) -> None:
        self.access = access_of(descriptor)
        self._name = f"/{descriptor.containing_service.full_name}/{descriptor.name}"
        self._domain = domain
        self._door = door
        self._errors = {**COMMON_ERRORS, **errors}
        self._ok = HANDLED.labels(self._name, "OK")
        self._seconds = SECONDS.labels(self._name)

    def unary(self, handler: UnaryHandler) -> Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Any]]:
        """The handler of a call with one reply, in its chain."""

        async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:  # noqa: ANN401 - any message
            started, call = time.perf_counter(), None
            self._door.begin()
            try:
                call = self._admit(request, context, DEADLINE_SECONDS)
                if call.bounded:  # gRPC cancels it in time; another timer would cost as much as reading the request
                    reply = await handler(request, call)
                else:
                    async with asyncio.timeout(DEADLINE_SECONDS):
                        reply = await handler(request, call)
            except BaseException as error:
                status = self._status_of(error, context, time.perf_counter() - started)
                if status is None:
                    raise
            else:
                self._ok.inc()
                return reply
            finally:
                self._door.end()
                self._seconds.observe(time.perf_counter() - started)
            refusal = self._refuse(status, context)
            del request, call, context  # see _refuse
            return await refusal

        return handle

    def stream(self, handler: StreamHandler) -> Callable[[Any, grpc.aio.ServicerContext[Any, Any]], AsyncIterator[Any]]:
        """The handler of a call with many replies, in its chain."""

        async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:  # noqa: ANN401 - any message
            started = time.perf_counter()
            try:
                async with aclosing(handler(request, self._admit(request, context, None))) as frames:  # type: ignore[type-var]
                    async for frame in frames:
                        yield frame
            except BaseException as error:
                if _is_left(error):
                    raise GeneratorExit from error
                status = self._status_of(error, context, time.perf_counter() - started)
                if status is None:
                    raise
            else:
                self._ok.inc()
                return
            refusal = self._refuse(status, context)
            del request, context  # see _refuse
            await refusal

        return handle

    def _admit(
        self,
        request: Any,  # noqa: ANN401 - any message
        context: grpc.aio.ServicerContext[Any, Any],
        default_seconds: float | None,
    ) -> Call:
        self._door.enter()
        if isinstance(request, DecodeError):
            raise DecodeError(*request.args)  # itself, it would lead by its traceback to this frame, which holds it
        remaining = context.time_remaining()
        bounded = remaining is not None
        if remaining is None:
            remaining = float("inf") if default_seconds is None else default_seconds
        elif remaining < _LEAST_SECONDS:
            raise DeadlineTooShortError(f"{remaining * 1000:.1f} ms are too short; nothing was done")
        traceparent = ""
        for key, value in context.invocation_metadata() or ():
            if key == "traceparent":
                traceparent = str(value)
        return Call(LOCAL, traceparent, time.monotonic() + remaining, bounded, context)

    def _status_of(
        self, error: BaseException, context: grpc.aio.ServicerContext[Any, Any], seconds: float
    ) -> Status | None:
        """What the call is answered with after so many seconds; none where nobody waits, and the error has to go on."""
        if isinstance(error, asyncio.CancelledError):
            if _canceled_by_caller():
                left = context.time_remaining()
                is_late = left is not None and left <= _ROUNDED_UP * (seconds + left)
                code = StatusCode.DEADLINE_EXCEEDED if is_late else StatusCode.CANCELLED
                HANDLED.labels(self._name, code.name).inc()
                return None
            # Cancelled from within, by a stop: without a status the client would wait until its deadline.
            error = StoppingError("stopping; try again")
        if isinstance(error, grpc.aio.AbortError) or not isinstance(error, (Exception, BaseExceptionGroup)):
            return None
        return status_of(_single(error), self._name, self._domain, self._errors)

    def _refuse(self, status: Status, context: grpc.aio.ServicerContext[Any, Any]) -> Awaitable[None]:
        """Ends the call with the status once it is awaited, which raises.

        gRPC keeps what is raised beside the context. A frame on its way that still held the context would close a
        circle, and with it the request and gRPC's own memory of the call would wait for Python to search for circles.
        """
        code = _CODES[status.code]
        HANDLED.labels(self._name, code.name).inc()
        trailing = context.trailing_metadata() or ()
        context.set_trailing_metadata((*trailing, ("grpc-status-details-bin", status.SerializeToString())))
        return context.abort(code, status.message)


def _canceled_by_caller() -> bool:
    """Whether gRPC has canceled the call's task; what a handler waited for can be canceled, too, and ends it alike.

    `ServicerContext.cancelled` does not tell: it is false until the call has ended.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def status_of(error: BaseException, method: str, domain: str, errors: ErrorTable) -> Status:
    """How a call, or a part of it, is told what it ended with; what nobody has foreseen is logged.

    Args:
        error: What happened.
        method: In which method.
        domain: Who speaks.
        errors: Everything that is foreseen.
    """
    if isinstance(error, EncodedRefusalError):
        return Status.FromString(error.status)
    if isinstance(error, TimeoutError):
        refusal = Refusal(code=StatusCode.DEADLINE_EXCEEDED, reason="DEADLINE_EXCEEDED", message="out of time")
        return to_status(refusal, domain)
    foreseen = refusal_of(error, errors) if isinstance(error, Exception) else None
    if foreseen is None:
        _log.error("unforeseen error", method=method, exc_info=error)
        foreseen = Refusal(code=StatusCode.INTERNAL, reason="INTERNAL", message="internal error; it was logged")
    return to_status(foreseen, domain)


def status_of_end(error: Exception | None, domain: str, errors: ErrorTable) -> Status:
    """What a stream that ends with the error, or without one, says last: the status of its call."""
    return Status() if error is None else status_of(error, "Closed", domain, {**COMMON_ERRORS, **errors})


def access_of(descriptor: MethodDescriptor) -> Access:
    """The access rule of a method.

    Raises:
        ValueError: The contract declares none, or one that is open to nobody.
    """
    rule = descriptor.GetOptions().Extensions[access]
    if not rule.roles or 0 in rule.roles:
        raise ValueError(f"{descriptor.full_name} declares no roles that may call it")
    return rule


def _is_left(error: BaseException) -> bool:
    """Whether nobody reads the stream any more; something else may have gone wrong at the same moment."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(GeneratorExit) is not None
    return isinstance(error, GeneratorExit)


def _single(error: BaseException) -> BaseException:
    """What went wrong first, out of the group that a TaskGroup wraps around it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
