"""The first frame of a stream whose caller sends frames."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Protocol, TypeVar

from stateset.stream.v1 import stream_pb2

from infra.runtime.grpc.draining import Draining
from infra.runtime.grpc.status import InvalidRequestError, Violation

OPEN_SECONDS: Final = 10.0  # a caller that begins a stream and says nothing is not waited for


class Framed(Protocol):
    """A request that is a frame of the caller's."""

    @property
    def frame(self) -> stream_pb2.ClientFrame:
        """The frame."""


Request = TypeVar("Request", bound=Framed)


async def first_of(requests: AsyncIterator[Request], draining: Draining) -> Request:
    """The frame that opens the stream.

    Raises:
        InvalidRequestError: The first frame opens none, or none has come in time.
        StoppingError: The process is about to leave, and none has come.
    """
    try:
        async with draining.waiting(), asyncio.timeout(OPEN_SECONDS):
            first = await anext(requests, None)
    except TimeoutError as error:
        raise InvalidRequestError([Violation("frame.open", f"must come within {OPEN_SECONDS:g} s")]) from error
    if first is None or first.frame.WhichOneof("frame") != "open":
        raise InvalidRequestError([Violation("frame.open", "must be the first frame")])
    return first
