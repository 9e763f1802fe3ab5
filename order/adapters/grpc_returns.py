"""Returns: message in, handler, message out."""

from stateset.order.v1 import return_service_pb2

from infra.runtime.grpc.call import Call
from order.adapters.commands import Commands
from order.adapters.grpc_records import RecordReads
from order.adapters.wire_records import return_to_wire
from order.domain.records import Return


class ReturnServicer:
    """`stateset.order.v1.ReturnService`."""

    def __init__(self, commands: Commands, records: RecordReads) -> None:
        self._commands = commands
        self._records = records

    async def RequestReturn(self, request: return_service_pb2.RequestReturnRequest, call: Call) -> bytes:
        """Records that units are to come back."""
        return await self._commands.carry_out("RequestReturn", request, call)

    async def ApproveReturn(self, request: return_service_pb2.ApproveReturnRequest, call: Call) -> bytes:
        """Grants a return."""
        return await self._commands.carry_out("ApproveReturn", request, call)

    async def RejectReturn(self, request: return_service_pb2.RejectReturnRequest, call: Call) -> bytes:
        """Refuses a return."""
        return await self._commands.carry_out("RejectReturn", request, call)

    async def ReceiveReturn(self, request: return_service_pb2.ReceiveReturnRequest, call: Call) -> bytes:
        """Records what became of returned units."""
        return await self._commands.carry_out("ReceiveReturn", request, call)

    async def GetReturn(
        self, request: return_service_pb2.GetReturnRequest, call: Call
    ) -> return_service_pb2.GetReturnResponse:
        """Reads one return."""
        found = await self._records.one(Return, request, request.return_id, call)
        return return_service_pb2.GetReturnResponse(order_return=return_to_wire(found))

    async def ListReturns(
        self, request: return_service_pb2.ListReturnsRequest, call: Call
    ) -> return_service_pb2.ListReturnsResponse:
        """Lists an order's returns by id."""
        returns, token = await self._records.page(Return, request, call)
        return return_service_pb2.ListReturnsResponse(returns=map(return_to_wire, returns), next_page_token=token)
