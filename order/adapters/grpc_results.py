"""GetCommandResult: what became of a command, and the fence that makes the answer final."""

from typing import Final

from google.rpc import status_pb2
from stateset.order.v1 import order_service_pb2

from infra.runtime.clock import Clock
from infra.runtime.grpc.call import Call
from order.adapters.requests import ERASE_CUSTOMER, request_key
from order.application.ports import Log, Outcome, StoredReply

_STATES: Final = {
    Outcome.COMMITTED: order_service_pb2.COMMAND_STATE_COMMITTED,
    Outcome.REFUSED: order_service_pb2.COMMAND_STATE_REFUSED,
    Outcome.NOT_EXECUTED: order_service_pb2.COMMAND_STATE_NOT_EXECUTED,
    Outcome.BEGUN: order_service_pb2.COMMAND_STATE_UNKNOWN,
}


class CommandResults:
    """Answers from what commands have left under their request ids."""

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    async def GetCommandResult(
        self, request: order_service_pb2.GetCommandResultRequest, call: Call
    ) -> order_service_pb2.GetCommandResultResponse:
        """What became of the caller's command."""
        key = request_key(request, call)
        if request.fence:
            return _told(await self._log.fence(key, self._clock.now_us()))
        stored = await self._log.read_reply(key)
        if stored is None:
            return order_service_pb2.GetCommandResultResponse(state=order_service_pb2.COMMAND_STATE_UNKNOWN)
        return _told(stored)


def _told(stored: StoredReply) -> order_service_pb2.GetCommandResultResponse:
    told = order_service_pb2.GetCommandResultResponse(state=_STATES[stored.outcome], method=stored.method)
    if stored.outcome is Outcome.COMMITTED:
        told.reply.CopyFrom(_reply(stored))
    elif stored.outcome is Outcome.REFUSED:
        told.refusal.CopyFrom(status_pb2.Status.FromString(stored.reply))
    return told


def _reply(stored: StoredReply) -> order_service_pb2.CommandReply:
    """What all responses have in common; that to an erasure of many orders, the position alone."""
    if stored.method != ERASE_CUSTOMER:
        return order_service_pb2.CommandReply.FromString(stored.reply)
    erased = order_service_pb2.EraseCustomerPersonalDataResponse.FromString(stored.reply)
    return order_service_pb2.CommandReply(position=erased.position)
