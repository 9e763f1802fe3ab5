"""Calls that are written down: raw gRPC, so that no library hides what a service says."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any, Final

import grpc.aio
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from stateset.order.v1 import order_service_pb2 as orders
from stateset.sync.v1 import sync_service_pb2 as sync

from infra.kernel.shard import shard_of
from tests.guarantees.history import FENCED, OK, READ_MODEL, REFUSED, UNKNOWN, Answered, History, Invoked, Seqs, now_ns
from tests.guarantees.truth import digest_of, digest_of_bytes

CALL_SECONDS: Final = 5.0  # a frozen process keeps a caller no longer than that
_FINAL: Final = frozenset(
    {
        *(StatusCode.FAILED_PRECONDITION, StatusCode.ALREADY_EXISTS, StatusCode.NOT_FOUND),
        *(StatusCode.INVALID_ARGUMENT, StatusCode.ABORTED),
    }
)
_REPEATED: Final = frozenset({StatusCode.FAILED_PRECONDITION, StatusCode.ALREADY_EXISTS, StatusCode.NOT_FOUND})
_FENCED_REASON: Final = "REQUEST_FENCED"
_OPTIONS: Final = (
    *(("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)),
    *(("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 2_000)),  # so that a dead link is left,
    *(("grpc.http2.ping_timeout_ms", 2_000), ("grpc.http2.max_pings_without_data", 0)),  # … and not after a minute
)


@asynccontextmanager
async def channels(addresses: Sequence[str]) -> AsyncIterator[list[grpc.aio.Channel]]:
    """A channel to each address."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(grpc.aio.insecure_channel(address, options=_OPTIONS))
            for address in addresses
        ]


class Calls:
    """Sends requests and notes what is asked and answered.

    Args:
        order: Channels to the Order Services, any of which serves everything.
        sync: A channel to the Sync Server.
        history: Where it is noted.
        log_epoch: Of the log that they serve.
        shards: Its number of shards.
    """

    def __init__(
        self,
        order: Sequence[grpc.aio.Channel],
        sync: grpc.aio.Channel,
        history: History,
        *,
        log_epoch: str,
        shards: int,
    ) -> None:
        self.servers = len(order)
        self.log_epoch = log_epoch
        self.shards = shards
        self._order = order
        self._sync = sync
        self._history = history
        self._numbers = count(1)

    async def command(
        self,
        server: int,
        method: str,
        request: Any,  # noqa: ANN401 - every command has its own message
        *,
        guard: int = 0,
        seconds: float = CALL_SECONDS,
    ) -> Answered:
        """Sends a command."""
        invoked = self._invoked(method, request.order_id, request.request_id, guard=guard)
        try:
            raw = await _send(self._order[server], f"stateset.order.v1.OrderService/{method}", request, seconds)
        except grpc.aio.AioRpcError as error:
            return self._failed(invoked, error)
        return self._replied(invoked, orders.CommandReply.FromString(raw), raw)

    async def ask(self, server: int, order_id: str, request_id: str, *, fence: bool) -> Answered:
        """Asks what became of a command; with `fence`, for good."""
        invoked = self._invoked("GetCommandResult", order_id, request_id)
        request = orders.GetCommandResultRequest(request_id=request_id, fence=fence)
        try:
            raw = await _send(
                self._order[server], "stateset.order.v1.OrderService/GetCommandResult", request, CALL_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            return self._failed(invoked, error)
        result = orders.GetCommandResultResponse.FromString(raw)
        if result.state == orders.COMMAND_STATE_COMMITTED:
            return self._replied(invoked, result.reply, result.reply.SerializeToString())
        if result.state == orders.COMMAND_STATE_REFUSED:
            return self._refused(invoked, result.refusal.SerializeToString(), REFUSED)
        outcome = FENCED if result.state == orders.COMMAND_STATE_NOT_EXECUTED else UNKNOWN
        return self._note(invoked, outcome, reason="" if fence else "NOT_YET")

    async def read(self, server: int, order_id: str, min_seqs: Seqs) -> Answered:
        """Reads an order from an Order Service."""
        invoked = self._invoked("GetOrder", order_id, "", min_seqs=min_seqs)
        request = orders.GetOrderRequest(order_id=order_id)
        self._demand(request, min_seqs)
        try:
            raw = await _send(self._order[server], "stateset.order.v1.OrderService/GetOrder", request, CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            return self._failed(invoked, error)
        return self._shown(invoked, orders.GetOrderResponse.FromString(raw).order)

    async def read_model(self, order_id: str, min_seqs: Seqs) -> Answered:
        """Reads an order from the Sync Server."""
        invoked = self._invoked(READ_MODEL, order_id, "", min_seqs=min_seqs)
        request = sync.GetOrderRequest(order_id=order_id)
        self._demand(request, min_seqs)
        try:
            raw = await _send(self._sync, "stateset.sync.v1.SyncService/GetOrder", request, CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            return self._failed(invoked, error)
        return self._shown(invoked, sync.GetOrderResponse.FromString(raw).order)

    def position_of(self, order_id: str, next_seqs: Seqs) -> Seqs:
        """A position that says something about the order's shard alone."""
        shard = shard_of(order_id, self.shards)
        return [seq if each == shard else 0 for each, seq in enumerate(next_seqs)]

    def _demand(self, request: Any, min_seqs: Seqs) -> None:  # noqa: ANN401 - a read of either service
        if min_seqs:
            request.min_position.log_epoch = self.log_epoch
            request.min_position.next_seq.extend(min_seqs)

    def _invoked(
        self, method: str, order_id: str, request_id: str, *, guard: int = 0, min_seqs: Seqs | None = None
    ) -> Invoked:
        invoked = Invoked(now_ns(), next(self._numbers), method, order_id, request_id, guard, min_seqs or [])
        self._history.note(invoked)
        return invoked

    def _replied(self, invoked: Invoked, reply: orders.CommandReply, raw: bytes) -> Answered:
        return self._note(
            invoked,
            OK,
            version=reply.order.version,
            content=digest_of(reply.order),
            reply=digest_of_bytes(raw),
            events=len(reply.events),
            next_seqs=list(reply.position.next_seq),
        )

    def _shown(self, invoked: Invoked, order: Any) -> Answered:  # noqa: ANN401 - the order of either service
        return self._note(invoked, OK, version=order.version, content=digest_of(order))

    def _failed(self, invoked: Invoked, error: grpc.aio.AioRpcError) -> Answered:
        details = details_of(error)
        if error.code() in _FINAL:
            return self._refused(invoked, details if error.code() in _REPEATED else b"", REFUSED, info_of(details))
        return self._note(invoked, UNKNOWN, reason=info_of(details).reason or error.code().name)

    def _refused(
        self, invoked: Invoked, details: bytes, outcome: str, info: error_details_pb2.ErrorInfo | None = None
    ) -> Answered:
        info = info or info_of(details)
        version = int(info.metadata.get("version") or info.metadata.get("actual_version") or 0)
        if info.reason == _FENCED_REASON:
            return self._note(invoked, FENCED, reason=info.reason)
        reply = digest_of_bytes(details) if details and invoked.request_id else ""
        return self._note(invoked, outcome, reason=info.reason, version=version, reply=reply)

    def _note(  # noqa: PLR0913 - a record's fields, most of them seldom set
        self,
        invoked: Invoked,
        outcome: str,
        *,
        reason: str = "",
        version: int = 0,
        content: str = "",
        reply: str = "",
        events: int = 0,
        next_seqs: Seqs | None = None,
    ) -> Answered:
        answered = Answered(now_ns(), invoked.call, outcome, reason, version, content, reply, events, next_seqs or [])
        self._history.note(answered)
        return answered


def details_of(error: grpc.aio.AioRpcError) -> bytes:
    """The status that an error carries, encoded; nothing where it is gRPC's own."""
    found = (value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin")
    return next((value for value in found if isinstance(value, bytes)), b"")


def info_of(details: bytes) -> error_details_pb2.ErrorInfo:
    """What the encoded status says of its reason."""
    info = error_details_pb2.ErrorInfo()
    any(detail.Unpack(info) for detail in status_pb2.Status.FromString(details).details)
    return info


async def _send(channel: grpc.aio.Channel, path: str, request: Message, seconds: float) -> bytes:
    method: grpc.aio.UnaryUnaryMultiCallable[Message, bytes] = channel.unary_unary(
        f"/{path}", request_serializer=_encoded
    )
    return await method(request, timeout=seconds)


def _encoded(message: Message) -> bytes:
    return message.SerializeToString()
