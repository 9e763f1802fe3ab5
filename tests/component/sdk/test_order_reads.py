"""The client's reads against a real Order Service."""

from pathlib import Path

import pytest
from stateset.order.v1.log_service_pb2 import GetBacklogRequest
from stateset.order.v1.order_service_pb2 import (
    AcceptOrderRequest,
    BatchGetOrdersRequest,
    CancelOrderRequest,
    ListOrderEventsRequest,
    ListOrdersRequest,
)
from stateset_client import InvalidRequestError, OrderClient

from tests.harness.order_service import order_service
from tests.harness.orders import place_request


async def test_orders_and_histories_are_read_through_the_client(tmp_path: Path) -> None:
    async with order_service(tmp_path) as service, OrderClient.connect(service.address) as client:
        for order_id in ("o-1", "o-2", "o-3"):
            await client.place_order(place_request(2, order_id=order_id))
        await client.accept_order(AcceptOrderRequest(order_id="o-2"))
        await client.cancel_order(CancelOrderRequest(order_id="o-2"))

        batch = await client.batch_get_orders(BatchGetOrdersRequest(order_ids=["o-2", "o-1"]))
        assert [(order.order_id, order.version) for order in batch.orders] == [("o-2", 3), ("o-1", 1)]

        listed = [order.order_id async for order in client.list_all_orders(ListOrdersRequest(page_size=1))]
        assert sorted(listed) == ["o-1", "o-2", "o-3"]

        page = await client.list_order_events(ListOrderEventsRequest(order_id="o-2", page_size=2))
        assert [event.version for event in page.events] == [1, 2]
        history = ListOrderEventsRequest(order_id="o-2", page_size=2)
        assert [event.version async for event in client.list_all_order_events(history)] == [1, 2, 3]
        assert history.page_token == ""

        assert not (await client.get_backlog(GetBacklogRequest())).topics
        with pytest.raises(InvalidRequestError, match="unknown field 'color'"):
            await client.list_orders(ListOrdersRequest(filter="color = red"))
