"""The Order Service's RPCs: message in, handler, message out."""

from stateset.order.v1 import order_service_pb2

from infra.runtime.grpc.call import Call
from order.adapters.commands import Commands
from order.adapters.grpc_erasures import Erasures
from order.adapters.grpc_ingest import OrderIngest
from order.adapters.grpc_reads import OrderReads
from order.adapters.grpc_results import CommandResults
from order.adapters.grpc_streams import EventStreams


class OrderServicer:
    """`stateset.order.v1.OrderService`."""

    def __init__(
        self,
        commands: Commands,
        ingest: OrderIngest,
        erasures: Erasures,
        reads: OrderReads,
        results: CommandResults,
        streams: EventStreams,
    ) -> None:
        self._commands = commands
        self.IngestOrders = ingest.IngestOrders
        self.EraseOrderPersonalData = erasures.EraseOrderPersonalData
        self.EraseCustomerPersonalData = erasures.EraseCustomerPersonalData
        self.GetOrder = reads.GetOrder
        self.BatchGetOrders = reads.BatchGetOrders
        self.ListOrders = reads.ListOrders
        self.ListOrderEvents = reads.ListOrderEvents
        self.GetCommandResult = results.GetCommandResult
        self.StreamOrderEvents = streams.StreamOrderEvents
        self.SubscribeOrderEvents = streams.SubscribeOrderEvents

    async def PlaceOrder(self, request: order_service_pb2.PlaceOrderRequest, call: Call) -> bytes:
        """Places an order."""
        return await self._commands.carry_out("PlaceOrder", request, call)

    async def AcceptOrder(self, request: order_service_pb2.AcceptOrderRequest, call: Call) -> bytes:
        """Accepts a pending order."""
        return await self._commands.carry_out("AcceptOrder", request, call)

    async def RejectOrder(self, request: order_service_pb2.RejectOrderRequest, call: Call) -> bytes:
        """Refuses a pending order."""
        return await self._commands.carry_out("RejectOrder", request, call)

    async def CancelOrder(self, request: order_service_pb2.CancelOrderRequest, call: Call) -> bytes:
        """Cancels open units."""
        return await self._commands.carry_out("CancelOrder", request, call)

    async def RecordFill(self, request: order_service_pb2.RecordFillRequest, call: Call) -> bytes:
        """Records a fill."""
        return await self._commands.carry_out("RecordFill", request, call)

    async def AmendOrder(self, request: order_service_pb2.AmendOrderRequest, call: Call) -> bytes:
        """Changes what has not happened yet."""
        return await self._commands.carry_out("AmendOrder", request, call)

    async def ConfirmOrderCancel(self, request: order_service_pb2.ConfirmOrderCancelRequest, call: Call) -> bytes:
        """Cancels what a market has canceled."""
        return await self._commands.carry_out("ConfirmOrderCancel", request, call)

    async def RejectOrderCancel(self, request: order_service_pb2.RejectOrderCancelRequest, call: Call) -> bytes:
        """Records that a market has canceled nothing."""
        return await self._commands.carry_out("RejectOrderCancel", request, call)

    async def BustFill(self, request: order_service_pb2.BustFillRequest, call: Call) -> bytes:
        """Takes a fill back."""
        return await self._commands.carry_out("BustFill", request, call)

    async def HoldOrder(self, request: order_service_pb2.HoldOrderRequest, call: Call) -> bytes:
        """Puts a hold on an order."""
        return await self._commands.carry_out("HoldOrder", request, call)

    async def ReleaseOrderHold(self, request: order_service_pb2.ReleaseOrderHoldRequest, call: Call) -> bytes:
        """Takes a hold off an order."""
        return await self._commands.carry_out("ReleaseOrderHold", request, call)

    async def RecordPayment(self, request: order_service_pb2.RecordPaymentRequest, call: Call) -> bytes:
        """Records a payment."""
        return await self._commands.carry_out("RecordPayment", request, call)

    async def RecordRefund(self, request: order_service_pb2.RecordRefundRequest, call: Call) -> bytes:
        """Records a refund."""
        return await self._commands.carry_out("RecordRefund", request, call)
