"""Where the gateway's parts meet."""

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from google.protobuf.descriptor import FileDescriptor
from stateset.analytics.v1 import analytics_service_pb2
from stateset.order.v1 import fulfillment_service_pb2, log_service_pb2, order_service_pb2, return_service_pb2
from stateset.portfolio.v1 import portfolio_service_pb2
from stateset.risk.v1 import risk_service_pb2
from stateset.sync.v1 import sync_service_pb2

from infra.runtime.grpc.channel import open_channel
from infra.runtime.grpc.draining import Draining
from sync.application.subscribe import Streams
from sync.gateway.app import App, with_middleware
from sync.gateway.documents import documents
from sync.gateway.events import EVENTS_MESSAGES, EVENTS_PATH, EVENTS_PATHS, Events
from sync.gateway.server import open_http
from sync.gateway.transcoder import Backend, Transcoder
from sync.gateway.websocket import Socket

FILES: Final[Mapping[str, tuple[FileDescriptor, ...]]] = {
    "order": tuple(
        module.DESCRIPTOR
        for module in (order_service_pb2, fulfillment_service_pb2, return_service_pb2, log_service_pb2)
    ),
    "sync": (sync_service_pb2.DESCRIPTOR,),
    "risk": (risk_service_pb2.DESCRIPTOR,),
    "portfolio": (portfolio_service_pb2.DESCRIPTOR,),
    "analytics": (analytics_service_pb2.DESCRIPTOR,),
}


@asynccontextmanager
async def open_gateway(
    listening: socket.socket,
    backends: Mapping[str, str],
    streams: Streams,
    draining: Draining,
    *,
    shards: int,
    origins: frozenset[str],
    connections_max: int,
) -> AsyncIterator[None]:
    """Serves HTTP while the context lasts. Whoever ends it has ended the streams before.

    Args:
        listening: Where.
        backends: By name of `FILES`, the gRPC address of who serves those services.
        streams: Serves the streams of events.
        draining: Ends those that only wait for their caller's Open.
        shards: How many shards the log has.
        origins: Whose pages may use it in a browser, beside its own.
        connections_max: How many connections there may be at once.
    """
    async with AsyncExitStack() as stack:
        served = [
            Backend(
                tuple(service for file in FILES[name] for service in file.services_by_name.values()),
                await stack.enter_async_context(open_channel(where)),
            )
            for name, where in backends.items()
        ]
        transcoder = Transcoder(served, allowed_origins=origins)
        app = App(
            transcoder.answer,
            pages={
                **documents(transcoder.rules, EVENTS_PATHS, EVENTS_MESSAGES),
                EVENTS_PATH: Events(streams, shards=shards, allowed_origins=origins).answer,
            },
            sockets={"/v1/stream": Socket(streams, draining, shards=shards, allowed_origins=origins).serve},
        )
        served_app = with_middleware(app, allowed_origins=origins)
        await stack.enter_async_context(open_http(listening, served_app, connections_max=connections_max))
        yield
