"""Calls and what they answer, written for people, and run."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from stateset.order.v1 import fulfillment_service_pb2, log_service_pb2, order_service_pb2, return_service_pb2

from tests.harness.order_service import refused
from tests.harness.waiting import eventually_async

METHODS = {
    method.name: method
    for file in (order_service_pb2, fulfillment_service_pb2, return_service_pb2, log_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
"""Every RPC of the Order Service; the names are unique over its services."""

_BLOCK = re.compile(r"```story\n(.*?)```", re.DOTALL)
_STEP = re.compile(r"^(\w+) ([\[{].*?)(?=^=> |^\w|\Z)((?:^=> [^\n]*\n?)*)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call: its method, its request as JSON (a list of them where it is a stream), and the lines behind `=>`."""

    method: str
    request: str
    answers: tuple[str, ...]

    @property
    def refusal(self) -> list[str]:
        """Code, reason and fields of the refusal that is expected, if one is."""
        [first, *_] = self.answers or ("",)
        return first.split() if first and first.split()[0].isupper() else []


def steps(text: str) -> Iterator[Step]:
    """The calls of every story in the text, in their sequence; nothing of a story is passed over."""
    for block in _BLOCK.findall(text):
        left = _STEP.sub("", block).strip()
        assert not left, f"neither a call nor an answer: {left}"
        for method, request, answers in _STEP.findall(block):
            lines = tuple(line.removeprefix("=> ") for line in answers.splitlines())
            yield Step(method=method, request=request, answers=lines)


class Stage:
    """Where a story is played: a service, and what earlier answers have said."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._known: dict[str, Any] = {}
        self._said: Any = None

    async def play(self, step: Step) -> None:
        """Makes the call, and asserts its answers; a read is asked again until it has them."""
        method = METHODS[step.method]
        if method.server_streaming:
            await self._play_stream(step, method)
            return
        if method.GetOptions().idempotency_level == method.GetOptions().NO_SIDE_EFFECTS:
            with suppress(TimeoutError):
                await eventually_async(lambda: self._holds(step, method), within_seconds=10)
                return
        assert await self._holds(step, method), f"{step} was answered: {self._said}"

    async def _holds(self, step: Step, method: MethodDescriptor) -> bool:
        try:
            reply = await self._call(method, step)
        except grpc.aio.AioRpcError as error:
            told = refused(error)
            said = self._said = [told.code.name, told.reason, *told.fields]
            return step.refusal == said[: len(step.refusal)]
        self._said = _shown(reply)
        return not step.refusal and all(self._agrees(line, self._said) for line in step.answers)

    async def _play_stream(self, step: Step, method: MethodDescriptor) -> None:
        call = self._call(method, step)
        try:
            async with asyncio.timeout(20):
                for line in step.answers:
                    while not self._agrees(line, _shown(await call.read())):
                        pass
        except grpc.aio.AioRpcError as error:
            told = refused(error)
            assert step.refusal == [told.code.name, told.reason], told
        finally:
            call.cancel()

    def _call(self, method: MethodDescriptor, step: Step) -> Any:  # noqa: ANN401 - of any kind
        kind = ("unary", "stream")[method.client_streaming], ("unary", "stream")[method.server_streaming]
        make = getattr(self._channel, "_".join(kind))(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=GetMessageClass(method.input_type).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        request = self._filled_in(json.loads(step.request))
        message = GetMessageClass(method.input_type)
        if method.client_streaming:
            return make(_left_open([ParseDict(each, message()) for each in request], method))
        return make(ParseDict(request, message()))

    def _filled_in(self, value: Any) -> Any:  # noqa: ANN401 - any JSON
        match value:
            case str() if value.startswith("$"):
                return self._known[value]
            case dict():
                return {name: self._filled_in(each) for name, each in value.items()}
            case list():
                return [self._filled_in(each) for each in value]
            case _:
                return value

    def _agrees(self, line: str, reply: Any) -> bool:  # noqa: ANN401 - any JSON
        path, _, expected = line.partition(": ")
        for name in re.findall(r"\w+", path):
            try:
                reply = reply[int(name) if isinstance(reply, list) else name]
            except (LookupError, TypeError):
                return False
        if expected.startswith("$"):
            return bool(self._known.setdefault(expected, reply) == reply)
        return expected == (reply if isinstance(reply, str) else json.dumps(reply))


def _shown(message: Message) -> Any:  # noqa: ANN401 - any JSON
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


async def _left_open(messages: Iterable[Message], method: MethodDescriptor) -> AsyncIterator[Message]:
    for message in messages:
        yield message
    if method.server_streaming:  # who has sent everything has closed a stream that goes both ways
        await eventually_async(_never, within_seconds=60)


async def _never() -> bool:
    return False
