"""What every RPC that is a command does with its request."""

from typing import Any

from infra.runtime.grpc.call import Call
from infra.runtime.grpc.status import EncodedRefusalError
from order.adapters.requests import submission
from order.application.writer import Writer


class Commands:
    """Carries out any command's request."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def carry_out(self, method: str, request: Any, call: Call) -> bytes:  # noqa: ANN401 - any command's request
        """The encoded response; the trailing metadata says when it was given before.

        Raises:
            EncodedRefusalError: The command is refused, now or when it first came.
        """
        self._writer.admit()
        reply = await self._writer.submit(submission(method, request, call))
        if reply.replayed:
            call.set_trailing("replayed", "true")
        if reply.refused:
            raise EncodedRefusalError(reply.body)
        return reply.body
