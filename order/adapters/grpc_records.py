"""Authoritative reads of an order's records."""

from typing import Any, TypeVar

from infra.runtime.grpc.call import Call
from infra.runtime.grpc.reads import at_least, listing
from order.adapters.wire_records import history_to_wire
from order.application.queries import Queries
from order.application.read_ports import Records
from order.domain.errors import RecordNotFoundError
from order.domain.records import Return, Shipment

Kind = TypeVar("Kind", Shipment, Return)


class RecordReads:
    """What the fulfillment and the return service read alike."""

    def __init__(self, records: Records, queries: Queries) -> None:
        self._records = records
        self._queries = queries

    async def one(self, kind: type[Kind], request: Any, record_id: str, call: Call) -> Kind:  # noqa: ANN401 - a Get
        """The record of the request's order.

        Raises:
            RecordNotFoundError: There is none.
        """
        await self._queries.reach(at_least(request, call))
        key = (request.order_id, kind.kind, record_id)
        found = await self._records.read_record(key)
        if not isinstance(found, kind):
            raise RecordNotFoundError(request.order_id, kind.kind, record_id)
        return found

    async def page(self, kind: type[Kind], request: Any, call: Call) -> tuple[list[Kind], str]:  # noqa: ANN401 - a List
        """One page of the order's records, by id, and the token of the next; empty on the last.

        Raises:
            OrderNotFoundError: There is no such order.
            InvalidRequestError: The page cannot be understood, or its token is of another list.
        """
        asked = listing(request, {}, (str,), variant=f"{kind.kind}:{request.order_id}")
        await self._queries.order(request.order_id, at_least(request, call))
        after = "" if asked.after is None else asked.after[0]
        found = await self._records.list_records(request.order_id, kind.kind, after, asked.size + 1)
        records = [record for record in found[: asked.size] if isinstance(record, kind)]
        sizes = [history_to_wire(record, "").ByteSize() for record in records]
        count, token = asked.cut([(record.record_id,) for record in records], sizes, more=len(found) > asked.size)
        return records[:count], token
