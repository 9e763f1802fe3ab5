"""Every unary RPC of every service as HTTP/JSON: what a path says becomes the message, the reply becomes JSON.

Calls go over gRPC to whoever serves them, this process included: the chain around each call, its deadline, its errors
and its metrics are then the same for everybody by construction.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from starlette.requests import Request
from starlette.responses import Response

from infra.runtime.grpc.server import MESSAGE_BYTES_MAX
from sync.gateway.binding import message_of
from sync.gateway.errors import RequestRefusedError, refused
from sync.gateway.headers import etag_of, metadata_of, put_fields, seconds_of
from sync.gateway.json_encoder import json_of_field, json_of_message
from sync.gateway.requests import body_of, query_of, refuse_others
from sync.gateway.rules import Routes, Rule, rules_of

_SAFE: Final = frozenset(("GET", "HEAD"))


@dataclass(frozen=True, slots=True)
class Backend:
    """Services and the channel to whoever serves them."""

    services: tuple[ServiceDescriptor, ...]
    channel: grpc.aio.Channel


class Transcoder:
    """Serves every rule of the backends' services."""

    def __init__(self, backends: Iterable[Backend], *, allowed_origins: frozenset[str]) -> None:
        self._allowed_origins = allowed_origins
        self._calls: dict[str, Any] = {}
        rules: list[Rule] = []
        for backend in backends:
            for rule in (rule for service in backend.services for rule in rules_of(service)):
                rules.append(rule)
                self._calls[rule.rpc.full_name] = backend.channel.unary_unary(
                    f"/{rule.rpc.containing_service.full_name}/{rule.rpc.name}",
                    response_deserializer=GetMessageClass(rule.rpc.output_type).FromString,
                )
        self._routes = Routes(rules)

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """What is served."""
        return tuple(self._routes.rules)

    async def answer(self, request: Request) -> Response:
        """The answer to a request, whatever comes of it."""
        try:
            return await self._answer(request)
        except Exception as error:  # noqa: BLE001 - every failure is an answer
            return refused(error, if_match="if-match" in request.headers)

    async def _answer(self, request: Request) -> Response:
        if request.method not in _SAFE:
            refuse_others(request.headers, self._allowed_origins)
        rule, variables = self._routes.find(request.method, request.scope["raw_path"].decode("ascii"))
        body = await body_of(request) if rule.body else b""
        message = message_of(rule, variables, query_of(request.scope), body)
        put_fields(request.headers, message)
        call = self._calls[rule.rpc.full_name](
            _encoded(message), timeout=seconds_of(request.headers), metadata=metadata_of(request.headers)
        )
        reply = await call
        headers = {"cache-control": "no-store"}
        etag = etag_of(reply)
        if etag is not None:
            headers["etag"] = etag
        if "replayed" in await call.trailing_metadata():
            headers["idempotent-replayed"] = "true"
        return Response(_json_of(reply, rule.response_body), 200, headers, "application/json")


def _encoded(message: Message) -> bytes:
    encoded = message.SerializeToString()
    if len(encoded) > MESSAGE_BYTES_MAX:
        raise RequestRefusedError("BODY_TOO_LARGE", f"the request has more than {MESSAGE_BYTES_MAX} bytes as Protobuf")
    return encoded


def _json_of(reply: Message, response_body: str) -> str:
    return json_of_field(reply, response_body) if response_body else json_of_message(reply)
