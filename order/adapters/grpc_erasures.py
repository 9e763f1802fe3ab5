"""Erasures of personal data: answered once the data is gone from the files, too."""

import asyncio
from hashlib import blake2b
from typing import Final

from stateset.order.v1 import order_service_pb2

from infra.kernel.filter import Compare
from infra.kernel.position import AtLeast, Position
from infra.runtime.clock import Clock
from infra.runtime.grpc.call import Call
from infra.runtime.grpc.reads import page_after, page_token
from infra.runtime.grpc.status import InvalidRequestError
from infra.runtime.grpc.wire import position_from_wire, position_to_wire
from order.adapters.checks import Checks
from order.adapters.commands import Commands
from order.adapters.requests import ERASE_CUSTOMER, REQUEST_ID_MIN, content_of, differing_fields
from order.application.group import refusal_of_repeat
from order.application.ports import Log, Outcome, RequestKey, StoredReply
from order.application.queries import Queries

_NOW: Final = AtLeast(position=None, seconds=0)
_ORDERS_MAX: Final = 100  # at a time: about a group of commands, so that others need not wait for long


class Erasures:
    """The RPCs of `OrderService` that erase."""

    def __init__(self, commands: Commands, queries: Queries, log: Log, clock: Clock) -> None:
        self._commands = commands
        self._queries = queries
        self._log = log
        self._clock = clock

    async def EraseOrderPersonalData(
        self, request: order_service_pb2.EraseOrderPersonalDataRequest, call: Call
    ) -> bytes:
        """Erases one order's data; a repeat sees to the files again, as the first try may have died before that."""
        reply = await self._commands.carry_out("EraseOrderPersonalData", request, call)
        if not request.validate_only:
            await self._log.scrub()
        return reply

    async def EraseCustomerPersonalData(
        self, request: order_service_pb2.EraseCustomerPersonalDataRequest, call: Call
    ) -> bytes:
        """Erases the data of a customer's next orders; a repeat of what was begun does all of it again."""
        _check(request)
        made_under = b"customer:" + request.customer_id.encode()
        after = page_after(request.page_token, made_under, (int, str))
        key = (call.principal, request.request_id)
        stored = await self._begun(request, key)
        if stored.outcome is Outcome.COMMITTED:
            call.set_trailing("replayed", "true")
            reply = stored.reply
        else:
            told = await self._erase(request, None if after is None else (after[0], after[1]), made_under, call)
            reply = told.SerializeToString()
        if request.validate_only:
            return reply
        await self._log.scrub()
        return await self._log.finish(key, reply)

    async def _begun(self, request: order_service_pb2.EraseCustomerPersonalDataRequest, key: RequestKey) -> StoredReply:
        """What is stored under the request's id; that it is begun, if nothing was.

        Raises:
            RequestFencedError: Its caller was told for good that it was not carried out.
            RequestIdReusedError: The id is that of another request.
        """
        content = content_of(request)
        if request.validate_only:
            stored = await self._log.read_reply(key) or StoredReply(Outcome.BEGUN, ERASE_CUSTOMER, content)
        else:
            stored = await self._log.begin(key, ERASE_CUSTOMER, content, self._clock.now_us())
        refused = refusal_of_repeat(request.request_id, ERASE_CUSTOMER, content, stored, differing_fields)
        if refused is not None:
            raise refused
        return stored

    async def _erase(
        self,
        request: order_service_pb2.EraseCustomerPersonalDataRequest,
        after: tuple[int, str] | None,
        made_under: bytes,
        call: Call,
    ) -> order_service_pb2.EraseCustomerPersonalDataResponse:
        """A command for each order of the page behind `after`."""
        term = Compare("customer_id", "=", request.customer_id)
        found = await self._queries.page(term, after, _ORDERS_MAX + 1, _NOW)
        orders = found[:_ORDERS_MAX]
        replies = await asyncio.gather(
            *(
                self._commands.carry_out_part("EraseOrderPersonalData", _of_order(request, order.order_id), call)
                for order in orders
            )
        )
        more = len(found) > len(orders)
        return order_service_pb2.EraseCustomerPersonalDataResponse(
            order_ids=[order.order_id for order in orders],
            position=position_to_wire(self._behind(replies)),
            next_page_token=page_token((orders[-1].place_time_us, orders[-1].order_id), made_under) if more else "",
        )

    def _behind(self, replies: list[bytes]) -> Position:
        position = Position(log_epoch=self._log.log_epoch, next_seq=(0,) * self._log.shards)
        for reply in replies:
            told = order_service_pb2.EraseOrderPersonalDataResponse.FromString(reply)
            position = position.merged(position_from_wire(told.position))
        return position


def _check(request: order_service_pb2.EraseCustomerPersonalDataRequest) -> None:
    checks = Checks()
    checks.identifier("request_id", request.request_id, least=REQUEST_ID_MIN)
    checks.identifier("customer_id", request.customer_id)
    for name in ("reason", "correlation_id", "causation_id"):
        checks.text(name, getattr(request, name))
    if checks.found:
        raise InvalidRequestError(checks.found)


def _of_order(
    request: order_service_pb2.EraseCustomerPersonalDataRequest, order_id: str
) -> order_service_pb2.EraseOrderPersonalDataRequest:
    """The command for one order: under the same request id for every try of the same page."""
    key = f"{request.request_id}\0{order_id}".encode()
    return order_service_pb2.EraseOrderPersonalDataRequest(
        request_id=blake2b(key, digest_size=16).hexdigest(),
        order_id=order_id,
        validate_only=request.validate_only,
        reason=request.reason,
        correlation_id=request.correlation_id,
        causation_id=request.causation_id,
    )
