"""The clients keep pace with the contract."""

import re

import pytest
from google.protobuf.descriptor import ServiceDescriptor
from stateset.order.v1 import fulfillment_service_pb2, log_service_pb2, order_service_pb2, return_service_pb2
from stateset.sync.v1 import sync_service_pb2
from stateset_client import OrderClient, SyncClient

SERVICES = [
    (OrderClient, order_service_pb2.DESCRIPTOR.services_by_name["OrderService"]),
    (OrderClient, fulfillment_service_pb2.DESCRIPTOR.services_by_name["FulfillmentService"]),
    (OrderClient, return_service_pb2.DESCRIPTOR.services_by_name["ReturnService"]),
    (OrderClient, log_service_pb2.DESCRIPTOR.services_by_name["LogService"]),
    (SyncClient, sync_service_pb2.DESCRIPTOR.services_by_name["SyncService"]),
]


@pytest.mark.parametrize(("client", "service"), SERVICES, ids=[service.name for _, service in SERVICES])
def test_every_call_that_ends_in_one_answer_is_a_method(client: type, service: ServiceDescriptor) -> None:
    names = [re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower() for method in service.methods]
    one_answer = [name for name, method in zip(names, service.methods, strict=True) if not method.server_streaming]
    assert [name for name in one_answer if not hasattr(client, name)] == []
