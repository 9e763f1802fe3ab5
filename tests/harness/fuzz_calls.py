"""Sends made-up requests to a service that is a process of its own, and says what became of both."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from tests.harness.fuzz_messages import Known, Maker

UNFORESEEN: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED})
_AT_ONCE: Final = 16
_CALL_SECONDS: Final = 5.0
_LISTEN_SECONDS: Final = 0.1  # to a stream that may have nothing to say: enough to be refused, or to be sent something
_MESSAGES: Final = (1, 1, 1, 2, 3, 6)  # of a stream of the caller's
_NOT_TOLD: Final = "Internal error from Core"  # by gRPC itself: something was written just when the stream ended
_SHOWN: Final = 400


def requests_a_method() -> int:
    """How many requests each method gets: the environment's FUZZ, else 100."""
    return int(os.environ.get("FUZZ") or 100)


def unary_methods(services: Sequence[ServiceDescriptor]) -> list[MethodDescriptor]:
    """Those without a stream on either side."""
    return [method for service in services for method in service.methods if not _streams(method)]


def stream_methods(services: Sequence[ServiceDescriptor]) -> list[MethodDescriptor]:
    """The others."""
    return [method for service in services for method in service.methods if _streams(method)]


def _streams(method: MethodDescriptor) -> bool:
    return bool(method.client_streaming or method.server_streaming)


@dataclass(slots=True)
class Told:
    """What the calls ended with.

    Attributes:
        codes: By method and code, how often.
        unforeseen: What should never have been answered, each with the request that did it.
        resident_bytes: Of the service, after each third.
    """

    codes: Counter[tuple[str, grpc.StatusCode]] = field(default_factory=Counter)
    unforeseen: list[str] = field(default_factory=list)
    resident_bytes: list[int] = field(default_factory=list)

    def answers(self) -> str:
        """How often each code was answered, over all methods."""
        sums: Counter[str] = Counter()
        for (_, code), times in self.codes.items():
            sums[code.name] += times
        return ", ".join(f"{name} {times}" for name, times in sums.most_common())


async def fuzz(
    channel: grpc.aio.Channel,
    methods: Sequence[MethodDescriptor],
    *,
    seed: int,
    known: Known,
    resident: Callable[[], int],
) -> Told:
    """Sends each method its requests, all methods in each third.

    A request follows from the seed, its method and its number alone: any one can be made again by itself.
    """
    told = Told()
    each = requests_a_method()
    turns = [(method, number) for number in range(each) for method in methods]
    third = -(-len(turns) // 3)
    for start in range(0, len(turns), third):
        waiting = iter(turns[start : start + third])
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(_send(channel, waiting, seed, known, told), name="fuzz")
        told.resident_bytes.append(resident())
    return told


async def _send(
    channel: grpc.aio.Channel,
    waiting: Iterator[tuple[MethodDescriptor, int]],
    seed: int,
    known: Known,
    told: Told,
) -> None:
    for method, number in waiting:
        chance = random.Random(f"{seed} {method.full_name} {number}")  # noqa: S311 - the seed is the point
        maker = Maker(chance, known)
        count = chance.choice(_MESSAGES) if method.client_streaming else 1
        bodies = [maker.body(method.input_type) for _ in range(count)]
        path = f"/{method.containing_service.full_name}/{method.name}"
        code, details = await (_converse if _streams(method) else _ask)(channel, path, bodies)
        told.codes[method.name, code] += 1
        if code in UNFORESEEN:
            shown = [body[:_SHOWN] for body in bodies]
            told.unforeseen.append(f"{method.full_name} {number}: {code.name}: {details}: {shown}")


async def _ask(channel: grpc.aio.Channel, path: str, bodies: Sequence[bytes]) -> tuple[grpc.StatusCode, str]:
    call: Any = channel.unary_unary(path)
    try:
        await call(bodies[0], timeout=_CALL_SECONDS)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


async def _converse(channel: grpc.aio.Channel, path: str, bodies: Sequence[bytes]) -> tuple[grpc.StatusCode, str]:
    """Says everything, and listens until the stream has ended or nothing more comes; then leaves."""
    call: Any = channel.stream_stream(path)(timeout=_CALL_SECONDS)
    listening = asyncio.create_task(_listen(call), name="listen")
    try:
        with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):  # it has ended, and its status says why
            for body in bodies:
                await call.write(body)
                await asyncio.wait([listening], timeout=_LISTEN_SECONDS)
            await call.done_writing()
            await asyncio.wait([listening], timeout=_LISTEN_SECONDS)
        if not call.done():
            return grpc.StatusCode.OK, ""
        if await call.details() == _NOT_TOLD:
            return await _converse(channel, path, bodies)
        return await call.code(), await call.details() or ""
    finally:
        listening.cancel()
        call.cancel()


async def _listen(call: Any) -> None:  # noqa: ANN401 - gRPC's generic call
    with suppress(grpc.aio.AioRpcError):
        while await call.read() is not grpc.aio.EOF:
            pass
