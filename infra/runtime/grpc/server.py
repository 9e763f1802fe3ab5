"""A gRPC server from contracts: every method of a service is registered, guarded and drained alike."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from infra.runtime.grpc.call import Method, UnaryHandler
from infra.runtime.grpc.door import Door
from infra.runtime.grpc.draining import Draining
from infra.runtime.grpc.health import Condition, Health, tell
from infra.runtime.grpc.status import ErrorTable
from infra.runtime.lifespan import StartupError, background

MESSAGE_BYTES_MAX: Final = 262_144  # received; an order with all its lines fits
FRAME_BYTES_MAX: Final = 1_048_576  # sent; a frame of a stream fits
_REFLECTION: Final = "grpc.reflection.v1.ServerReflection"
DRAIN_SECONDS: Final = 7.0  # for calls that work: what only waits ends by itself, and so do streams
# For what the last calls were answered to go out, and for GoAway to reach streams whose readers take so long to take
# anything. Who takes nothing at all cannot be told anything, either.
_GOODBYE_SECONDS: Final = 2.0

OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a second process on the port must fail, not share it, unless it is meant to
    ("grpc.max_concurrent_streams", 100),  # callers hold the others back
    # It would count calls that have just ended, and refuse callers who keep to the limit. Without it, 200,000 calls
    # that are reset at once take 80 MB and not 7.
    ("grpc.http.overload_protection", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", FRAME_BYTES_MAX),
    ("grpc.max_metadata_size", 8192),
    ("grpc.absolute_max_metadata_size", 8192),
    ("grpc.keepalive_time_ms", 10_000),  # with the next two, a peer that is dead is known within 15 s
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # a minute otherwise, whatever the line above says
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 9_000),
    ("grpc.max_connection_idle_ms", 300_000),
)


@dataclass(frozen=True, slots=True)
class Service:
    """One service of a contract and the object whose methods, named as in the contract, serve it."""

    descriptor: ServiceDescriptor
    servicer: object


@asynccontextmanager
async def open_server(
    address: str,
    services: Sequence[Service],
    *,
    domain: str,
    errors: ErrorTable,
    draining: Draining,
    shared_address: str = "",
    conditions: Sequence[Condition] = (),
) -> AsyncIterator[int]:
    """Serves until the context ends, then drains.

    Health says NOT_SERVING, `draining` is set, new calls are refused, those under way end, and the port is free: within
    ten seconds. No stream is waited for whose reader has not read what it was sent within two.

    Args:
        address: `host:port`; port 0 takes any free one.
        services: What to serve. Health and reflection are added.
        domain: Who speaks in errors, such as "order.stateset.dev".
        errors: The services' own refusals.
        draining: Long streams watch it and end themselves; so does what only waits.
        shared_address: `host:port` to serve at as well, together with other processes that say the same; the system
            deals new connections out among them. Empty for none.
        conditions: Told by the health service under their names.

    Yields:
        The port of `address`.

    Raises:
        StartupError: A port is in use.
    """
    options = {**dict(OPTIONS), "grpc.so_reuseport": int(bool(shared_address))}
    server = grpc.aio.server(options=tuple(options.items()))
    door = Door()
    for service in services:
        server.add_generic_rpc_handlers((_handlers(service, domain, errors, door, draining),))
    checks = Health(draining)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    names = [service.descriptor.full_name for service in services]
    _reflect([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    port = _bind(server, address, "--grpc-address")
    if shared_address:
        _bind(server, shared_address, "--grpc-shared-address")
    try:
        await server.start()
        for name in (health.OVERALL_HEALTH, *names):
            await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
        async with AsyncExitStack() as watches:
            for condition in conditions:
                await watches.enter_async_context(background(tell(condition, checks), name=condition.name))
            yield port
    finally:
        await checks.enter_graceful_shutdown()
        draining.set()
        await door.shut()
        await door.emptied(DRAIN_SECONDS)
        await server.stop(_GOODBYE_SECONDS)


def _reflect(names: Sequence[str], server: grpc.aio.Server) -> None:
    """Describes the services, under both names of reflection: the package has v1alpha, tools come to ask v1 alone.

    All but the name is the same. v1 is not among those it lists, as nobody could describe it.
    """
    reflection.enable_server_reflection(names, server)
    handler = grpc.stream_stream_rpc_method_handler(
        reflection.aio.ReflectionServicer(names).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = {"ServerReflectionInfo": handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_REFLECTION, methods),))


def _bind(server: grpc.aio.Server, address: str, option: str) -> int:
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if port == 0:
        raise StartupError(f"address {address} is not free: stop what listens there, or choose another with {option}")
    return port


def _handlers(
    service: Service, domain: str, errors: ErrorTable, door: Door, draining: Draining
) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(
        service.descriptor.full_name,
        {
            method.name: _handler(method, getattr(service.servicer, method.name), domain, errors, door, draining)
            for method in service.descriptor.methods
        },
    )


def _handler(
    descriptor: MethodDescriptor,
    behaviour: Callable[..., Any],
    domain: str,
    errors: ErrorTable,
    door: Door,
    draining: Draining,
) -> Any:  # noqa: ANN401 - gRPC has one class for all four kinds
    method = Method(descriptor, domain, errors, door)
    kinds: dict[tuple[bool, bool], tuple[Any, Any]] = {
        (False, False): (grpc.unary_unary_rpc_method_handler, method.unary),
        (False, True): (grpc.unary_stream_rpc_method_handler, method.stream),
        (True, False): (grpc.stream_unary_rpc_method_handler, method.unary),
        (True, True): (grpc.stream_stream_rpc_method_handler, method.stream),
    }
    make, wrap = kinds[descriptor.client_streaming, descriptor.server_streaming]
    if descriptor.client_streaming and not descriptor.server_streaming:
        behaviour = _heard(behaviour, draining)
    return make(
        wrap(behaviour),
        request_deserializer=_reader(descriptor),
        response_serializer=_serialize,
    )


def _heard(behaviour: UnaryHandler, draining: Draining) -> UnaryHandler:
    """Who has more to say before its one reply is waited for, until the server drains."""
    return lambda requests, call: behaviour(draining.heard(requests), call)


def _reader(descriptor: MethodDescriptor) -> Callable[[bytes], Any]:
    """Makes messages of bytes. What goes wrong there, gRPC would answer by itself, as UNKNOWN and with its text.

    So a lone request that is none is handed on as the error that it is; in a stream, the one who reads it meets it.
    """
    read = GetMessageClass(descriptor.input_type).FromString
    if descriptor.client_streaming:
        return read

    def read_or_tell(body: bytes) -> Message | DecodeError:
        try:
            return read(body)
        except DecodeError as error:
            return error

    return read_or_tell


def _serialize(reply: Message | bytes) -> bytes:
    """Replies may be encoded already: a stored reply, a frame that many share."""
    return reply if isinstance(reply, bytes) else reply.SerializeToString()
