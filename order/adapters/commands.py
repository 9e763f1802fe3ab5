"""What every RPC that is a command does with its request."""

from typing import Any

from infra.runtime.grpc.call import Call
from infra.runtime.grpc.status import EncodedRefusalError
from order.adapters.requests import submission
from order.application.group import Reply
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
        reply = await self._reply(method, request, call)
        if reply.replayed:
            call.set_trailing("replayed", "true")
        return _body(reply)

    async def carry_out_part(self, method: str, request: Any, call: Call) -> bytes:  # noqa: ANN401 - as above
        """The same for one of many commands that a call makes: that one was given before does not say that all were."""
        return _body(await self._reply(method, request, call))

    async def _reply(self, method: str, request: Any, call: Call) -> Reply:  # noqa: ANN401 - as above
        self._writer.admit()
        return await self._writer.submit(submission(method, request, call))


def _body(reply: Reply) -> bytes:
    if reply.refused:
        raise EncodedRefusalError(reply.body)
    return reply.body
