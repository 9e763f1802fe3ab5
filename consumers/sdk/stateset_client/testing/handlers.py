"""The four streams of the contract, as handlers of a fake server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import grpc
from stateset.order.v1 import order_service_pb2 as order
from stateset.order.v1.order_frame_pb2 import ServerFrame
from stateset.sync.v1 import sync_service_pb2 as sync

from stateset_client.testing.session import Log, Refusal, Session
from stateset_client.testing.settling import Book, Place


class Server(Log, Protocol):
    """A log that serves streams."""

    @property
    def books(self) -> Mapping[str, Book]:
        """What is kept of each subscription."""

    def serve(self, session: Session) -> AsyncIterator[ServerFrame]:
        """The frames of one stream."""

    def replay_parked(self, name: str, order_id: str | None, place: Place | None) -> int:
        """Has parked events sent again; how many."""

    def discard_parked(self, name: str, order_id: str | None, place: Place | None) -> int:
        """Forgets parked events for good; how many."""


def handlers(fake: Server) -> list[grpc.GenericRpcHandler]:
    """Handlers for both services, served from one log."""

    def two_way(request: Any, reply: Any) -> Any:  # noqa: ANN401 - messages of either service
        async def handle(frames: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - gRPC's
            opening = await anext(frames)
            async with _ending(context):
                session = Session(fake, opening.frame.open, credited=True)
                reader = asyncio.create_task(session.receive(frames), name="fake-sync-read")
                try:
                    async for frame in fake.serve(session):
                        yield reply(frame=frame)
                finally:
                    reader.cancel()

        return grpc.stream_stream_rpc_method_handler(
            handle,
            request_deserializer=request.FromString,
            response_serializer=reply.SerializeToString,
        )

    def one_way(request: Any, reply: Any) -> Any:  # noqa: ANN401 - messages of either service
        async def handle(asked: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - gRPC's
            async with _ending(context):
                async for frame in fake.serve(Session(fake, asked.open, credited=False)):
                    yield reply(frame=frame)

        return grpc.unary_stream_rpc_method_handler(
            handle,
            request_deserializer=request.FromString,
            response_serializer=reply.SerializeToString,
        )

    return [
        grpc.method_handlers_generic_handler(
            "stateset.sync.v1.SyncService",
            {
                "Subscribe": two_way(sync.SubscribeRequest, sync.SubscribeResponse),
                "StreamEvents": one_way(sync.StreamEventsRequest, sync.StreamEventsResponse),
                **_parking(fake),
            },
        ),
        grpc.method_handlers_generic_handler(
            "stateset.order.v1.OrderService",
            {
                "SubscribeOrderEvents": two_way(order.SubscribeOrderEventsRequest, order.SubscribeOrderEventsResponse),
                "StreamOrderEvents": one_way(order.StreamOrderEventsRequest, order.StreamOrderEventsResponse),
            },
        ),
    ]


def _parking(fake: Server) -> dict[str, Any]:
    """The RPCs of the parking place."""

    def unary(request: Any, work: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - messages of any RPC
        async def handle(asked: Any, _context: Any) -> Any:  # noqa: ANN401 - gRPC's
            return work(asked)

        return grpc.unary_unary_rpc_method_handler(
            handle, request_deserializer=request.FromString, response_serializer=lambda reply: reply.SerializeToString()
        )

    def listed(asked: sync.ListParkedRequest) -> sync.ListParkedResponse:
        parked = sorted(fake.books[asked.subscription].parked.items())
        return sync.ListParkedResponse(
            parked=[
                sync.ParkedEvent(
                    event=each.event,
                    whole_order=each.whole_order,
                    reason=each.reason,
                    attempts=each.attempts,
                    replaying=each.replaying,
                )
                for _, each in parked
            ]
        )

    def replayed(asked: sync.ReplayParkedRequest) -> sync.ReplayParkedResponse:
        return sync.ReplayParkedResponse(events=fake.replay_parked(asked.subscription, *_which(asked)))

    def discarded(asked: sync.DiscardParkedRequest) -> sync.DiscardParkedResponse:
        return sync.DiscardParkedResponse(events=fake.discard_parked(asked.subscription, *_which(asked)))

    return {
        "ListParked": unary(sync.ListParkedRequest, listed),
        "ReplayParked": unary(sync.ReplayParkedRequest, replayed),
        "DiscardParked": unary(sync.DiscardParkedRequest, discarded),
    }


def _which(asked: sync.ReplayParkedRequest | sync.DiscardParkedRequest) -> tuple[str | None, Place | None]:
    match asked.WhichOneof("which"):
        case "event":
            return None, (asked.event.shard, asked.event.seq)
        case "order_id":
            return asked.order_id, None
    return None, None


@asynccontextmanager
async def _ending(context: Any) -> AsyncIterator[None]:  # noqa: ANN401 - gRPC's
    """Turns a refusal into the status that the stream ends with."""
    try:
        yield
    except Refusal as refusal:
        if refusal.reason:
            context.set_trailing_metadata((("grpc-status-details-bin", refusal.details()),))
        await context.abort(refusal.code, str(refusal))
