"""The Order Service's RPCs: message in, handler, message out."""

from google.protobuf.duration_pb2 import Duration
from stateset.common.v1 import position_pb2
from stateset.order.v1 import log_service_pb2, order_service_pb2

from infra.runtime.clock import Clock
from infra.runtime.grpc.call import Call
from infra.runtime.grpc.reads import at_least
from infra.runtime.grpc.wire import position_to_wire, timestamp_to_wire
from order.adapters.commands import Commands
from order.adapters.grpc_erasures import Erasures
from order.adapters.grpc_ingest import OrderIngest
from order.adapters.grpc_reads import OrderReads
from order.adapters.grpc_results import CommandResults
from order.adapters.grpc_streams import EventStreams
from order.application.backlog import ShardBacklog, backlog
from order.application.ports import Log
from order.application.queries import Queries
from order.application.relay_ports import Lease


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


class LogServicer:
    """`stateset.order.v1.LogService`."""

    def __init__(self, log: Log, lease: Lease, queries: Queries, clock: Clock) -> None:
        self._log = log
        self._lease = lease
        self._queries = queries
        self._clock = clock

    async def GetLogHead(
        self, _request: log_service_pb2.GetLogHeadRequest, _call: Call
    ) -> log_service_pb2.GetLogHeadResponse:
        """Where each shard stands."""
        read_time_us = self._clock.now_us()  # before the read: whatever was recorded by then is below the heads
        heads, earliest = await self._log.heads(), await self._log.earliest()
        shards = [
            log_service_pb2.ShardHead(
                shard=shard,
                next_seq=head.next_seq,
                earliest_seq=earliest[shard],
                last_record_time=timestamp_to_wire(head.record_time_us) if head.record_time_us else None,
            )
            for shard, head in enumerate(heads)
        ]
        return log_service_pb2.GetLogHeadResponse(
            log_epoch=self._log.log_epoch, shards=shards, read_time=timestamp_to_wire(read_time_us)
        )

    async def GetDigest(
        self, request: log_service_pb2.GetDigestRequest, call: Call
    ) -> log_service_pb2.GetDigestResponse:
        """Count and hash over every order."""
        position, digest = await self._queries.digest(at_least(request, call))
        return log_service_pb2.GetDigestResponse(
            position=position_to_wire(position),
            digest=position_pb2.Digest(count=digest.count, hash=digest.hash),
        )

    async def GetBacklog(
        self, _request: log_service_pb2.GetBacklogRequest, _call: Call
    ) -> log_service_pb2.GetBacklogResponse:
        """How much of the log is not on the bus yet."""
        found = await backlog(self._log, self._lease)
        now_us = self._clock.now_us()
        return log_service_pb2.GetBacklogResponse(
            topics=[
                log_service_pb2.TopicBacklog(topic=topic, shards=[_shard_backlog(each, now_us) for each in shards])
                for topic, shards in found.items()
            ]
        )


def _shard_backlog(found: ShardBacklog, now_us: int) -> log_service_pb2.ShardBacklog:
    age = None
    if found.oldest_us is not None:
        age = Duration()
        age.FromMicroseconds(max(0, now_us - found.oldest_us))
    return log_service_pb2.ShardBacklog(shard=found.shard, next_seq=found.next_seq, events=found.events, age=age)
