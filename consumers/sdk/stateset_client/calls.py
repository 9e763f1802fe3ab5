"""Calls as both clients make them: within a time, repeated where the contract allows it, lists page by page."""

from collections.abc import AsyncIterator
from typing import Final, TypeVar

import grpc.aio
from stateset.order.v1 import order_service_pb2 as orders
from stateset.sync.v1 import sync_service_pb2 as sync

from stateset_client.retry import retrying

TIMEOUT_SECONDS: Final = 10.0

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Listed = TypeVar(
    "Listed",
    orders.ListOrdersRequest,
    orders.ListOrderEventsRequest,
    sync.ListOrdersRequest,
    sync.ListSubscriptionsRequest,
    sync.ListParkedRequest,
)
Page = TypeVar(
    "Page",
    orders.ListOrdersResponse,
    orders.ListOrderEventsResponse,
    sync.ListOrdersResponse,
    sync.ListSubscriptionsResponse,
    sync.ListParkedResponse,
)


async def call(
    method: grpc.aio.UnaryUnaryMultiCallable[Request, Reply], request: Request, timeout_seconds: float
) -> Reply:
    """The reply of the first try that gets one; see `retrying` for what it raises."""
    return await retrying(lambda left_seconds: method(request, timeout=left_seconds), timeout_seconds)


async def pages(
    method: grpc.aio.UnaryUnaryMultiCallable[Listed, Page], request: Listed, timeout_seconds: float
) -> AsyncIterator[Page]:
    """Every page from the request's on; the timeout is for each."""
    asked = type(request)()
    asked.CopyFrom(request)
    while True:
        page = await call(method, asked, timeout_seconds)
        yield page
        if not page.next_page_token:
            return
        asked.page_token = page.next_page_token
