"""The RPCs of the contract, as handlers of a fake server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Any, Protocol

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from stateset.order.v1 import order_service_pb2 as order
from stateset.order.v1.order_frame_pb2 import ServerFrame
from stateset.sync.v1 import sync_service_pb2 as sync

from stateset_client.testing.checks import refuse_open, refuse_request
from stateset_client.testing.refusal import Refusal
from stateset_client.testing.session import Session
from stateset_client.testing.unary import Subscribed, UnaryRpcs


class Server(Subscribed, Protocol):
    """A log that serves streams and calls."""

    def serve(self, session: Session) -> AsyncIterator[ServerFrame]:
        """The frames of one stream."""


def handlers(fake: Server) -> list[grpc.GenericRpcHandler]:
    """Handlers for both services, served from one log."""
    shards = len(fake.head.next_seq)

    def two_way(request: Any, reply: Any, path: str) -> Any:  # noqa: ANN401 - messages of either service
        async def handle(frames: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - gRPC's
            opening = await anext(frames)
            async with _ending(context):
                refuse_open(opening.frame.open, path=path, shards=shards, durable=True)
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
                refuse_open(asked.open, path="open.", shards=shards, durable=False)
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
                "Subscribe": two_way(sync.SubscribeRequest, sync.SubscribeResponse, "frame.open."),
                "StreamEvents": one_way(sync.StreamEventsRequest, sync.StreamEventsResponse),
                **_calls(UnaryRpcs(fake)),
            },
        ),
        grpc.method_handlers_generic_handler(
            "stateset.order.v1.OrderService",
            {
                "SubscribeOrderEvents": two_way(
                    order.SubscribeOrderEventsRequest, order.SubscribeOrderEventsResponse, "open."
                ),
                "StreamOrderEvents": one_way(order.StreamOrderEventsRequest, order.StreamOrderEventsResponse),
            },
        ),
    ]


def _calls(rpcs: UnaryRpcs) -> dict[str, Any]:
    """A handler for each method of the same name."""

    def unary(method: MethodDescriptor) -> Any:  # noqa: ANN401 - gRPC's
        answer = getattr(rpcs, method.name)

        async def handle(asked: Any, context: Any) -> Any:  # noqa: ANN401 - messages of any RPC
            async with _ending(context):
                refuse_request(asked)
                replied = answer(asked)
                return await replied if isawaitable(replied) else replied

        make = grpc.stream_unary_rpc_method_handler if method.client_streaming else grpc.unary_unary_rpc_method_handler
        return make(
            handle,
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=lambda reply: reply.SerializeToString(),
        )

    methods = sync.DESCRIPTOR.services_by_name["SyncService"].methods
    return {method.name: unary(method) for method in methods if hasattr(rpcs, method.name)}


@asynccontextmanager
async def _ending(context: Any) -> AsyncIterator[None]:  # noqa: ANN401 - gRPC's
    """Turns a refusal into the status that the stream ends with."""
    try:
        yield
    except Refusal as refusal:
        if refusal.reason:
            context.set_trailing_metadata((("grpc-status-details-bin", refusal.details()),))
        await context.abort(refusal.code, str(refusal))
