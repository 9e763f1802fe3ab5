"""Sends made-up requests to a service that is a process of its own, and says what became of both."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from tests.harness.fuzz_messages import Known, Maker

UNFORESEEN: Final = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED})
_AT_ONCE: Final = 16
_CALL_SECONDS: Final = 5.0
_SHOWN: Final = 400


def requests_a_method() -> int:
    """How many requests each method gets: the environment's FUZZ, else 100."""
    return int(os.environ.get("FUZZ") or 100)


def unary_methods(services: Sequence[ServiceDescriptor]) -> list[MethodDescriptor]:
    """Those without a stream on either side."""
    return [
        method
        for service in services
        for method in service.methods
        if not method.client_streaming and not method.server_streaming
    ]


def resident_bytes(pid: int) -> int:
    """Memory of the process that is in use now."""
    _, resident, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    return int(resident) * os.sysconf("SC_PAGE_SIZE")


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
        body = Maker(chance, known).body(method.input_type)
        code, details = await _call(channel, method, body)
        told.codes[method.name, code] += 1
        if code in UNFORESEEN:
            told.unforeseen.append(f"{method.full_name} {number}: {code.name}: {details}: {body[:_SHOWN]!r}")


async def _call(channel: grpc.aio.Channel, method: MethodDescriptor, body: bytes) -> tuple[grpc.StatusCode, str]:
    call: Any = channel.unary_unary(f"/{method.containing_service.full_name}/{method.name}")
    try:
        await call(body, timeout=_CALL_SECONDS)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""
