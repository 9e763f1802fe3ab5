"""Shipments and deliveries: message in, handler, message out."""

from stateset.order.v1 import fulfillment_service_pb2

from infra.runtime.grpc.call import Call
from order.adapters.commands import Commands
from order.adapters.grpc_records import RecordReads
from order.adapters.wire_records import shipment_to_wire
from order.domain.records import Shipment


class FulfillmentServicer:
    """`stateset.order.v1.FulfillmentService`."""

    def __init__(self, commands: Commands, records: RecordReads) -> None:
        self._commands = commands
        self._records = records

    async def RecordShipment(self, request: fulfillment_service_pb2.RecordShipmentRequest, call: Call) -> bytes:
        """Records a shipment."""
        return await self._commands.carry_out("RecordShipment", request, call)

    async def RecordDelivery(self, request: fulfillment_service_pb2.RecordDeliveryRequest, call: Call) -> bytes:
        """Records a delivery."""
        return await self._commands.carry_out("RecordDelivery", request, call)

    async def GetShipment(
        self, request: fulfillment_service_pb2.GetShipmentRequest, call: Call
    ) -> fulfillment_service_pb2.GetShipmentResponse:
        """Reads one shipment."""
        shipment = await self._records.one(Shipment, request, request.shipment_id, call)
        return fulfillment_service_pb2.GetShipmentResponse(shipment=shipment_to_wire(shipment))

    async def ListShipments(
        self, request: fulfillment_service_pb2.ListShipmentsRequest, call: Call
    ) -> fulfillment_service_pb2.ListShipmentsResponse:
        """Lists an order's shipments by id."""
        shipments, token = await self._records.page(Shipment, request, call)
        return fulfillment_service_pb2.ListShipmentsResponse(
            shipments=map(shipment_to_wire, shipments), next_page_token=token
        )
