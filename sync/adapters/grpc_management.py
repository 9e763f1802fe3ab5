"""The RPCs that manage durable subscriptions: translate, ask, translate back."""

from collections.abc import AsyncIterator

from stateset.sync.v1 import sync_service_pb2

from infra.runtime.grpc.call import Call
from infra.runtime.grpc.reads import listing
from infra.runtime.grpc.status import InvalidRequestError, Violation
from infra.runtime.grpc.wire import position_from_wire, position_to_wire
from sync.adapters.wire_requests import creation_from_wire, name_from_wire, seek_from_wire
from sync.application.floors import Checkpoint, Floors
from sync.application.management import Managed, Management
from sync.domain.subscription import AckStatus, SubscriptionKey


class ManagementServicer:
    """The part of `stateset.sync.v1.SyncService` that needs no stream."""

    def __init__(self, management: Management, floors: Floors) -> None:
        self._management = management
        self._floors = floors

    async def PutCheckpoints(
        self, requests: AsyncIterator[sync_service_pb2.PutCheckpointsRequest], call: Call
    ) -> sync_service_pb2.PutCheckpointsResponse:
        """See the contract."""
        summary = await self._floors.put(_checkpoint(request, call) async for request in requests)
        return sync_service_pb2.PutCheckpointsResponse(
            committed=summary.counts[AckStatus.COMMITTED],
            already=summary.counts[AckStatus.ALREADY],
            fenced=summary.counts[AckStatus.FENCED],
            fenced_names=summary.fenced_names,
        )

    async def CreateSubscription(
        self, request: sync_service_pb2.CreateSubscriptionRequest, call: Call
    ) -> sync_service_pb2.CreateSubscriptionResponse:
        """See the contract."""
        term, start = creation_from_wire(request)
        made = await self._management.create(_key(request.name, call), request.filter, term, start)
        return sync_service_pb2.CreateSubscriptionResponse(subscription=_to_wire(made))

    async def GetSubscription(
        self, request: sync_service_pb2.GetSubscriptionRequest, call: Call
    ) -> sync_service_pb2.GetSubscriptionResponse:
        """See the contract."""
        found = await self._management.find(_key(request.name, call))
        return sync_service_pb2.GetSubscriptionResponse(subscription=_to_wire(found))

    async def ListSubscriptions(
        self, request: sync_service_pb2.ListSubscriptionsRequest, call: Call
    ) -> sync_service_pb2.ListSubscriptionsResponse:
        """See the contract."""
        asked = listing(request, {}, (str,))
        after = "" if asked.after is None else asked.after[0]
        found = await self._management.page(call.principal, after=after, limit=asked.size + 1)
        page = [_to_wire(each) for each in found[: asked.size]]
        keys, sizes = [(each.name,) for each in page], [each.ByteSize() for each in page]
        count, token = asked.cut(keys, sizes, more=len(found) > asked.size)
        return sync_service_pb2.ListSubscriptionsResponse(subscriptions=page[:count], next_page_token=token)

    async def DeleteSubscription(
        self, request: sync_service_pb2.DeleteSubscriptionRequest, call: Call
    ) -> sync_service_pb2.DeleteSubscriptionResponse:
        """See the contract."""
        await self._management.delete(_key(request.name, call))
        return sync_service_pb2.DeleteSubscriptionResponse()

    async def SeekSubscription(
        self, request: sync_service_pb2.SeekSubscriptionRequest, call: Call
    ) -> sync_service_pb2.SeekSubscriptionResponse:
        """See the contract."""
        to = seek_from_wire(request)
        moved = await self._management.seek(_key(request.name, call), to)
        return sync_service_pb2.SeekSubscriptionResponse(subscription=_to_wire(moved))


def _checkpoint(request: sync_service_pb2.PutCheckpointsRequest, call: Call) -> Checkpoint:
    if not request.HasField("through"):
        raise InvalidRequestError([Violation("through", "must be set")])
    return Checkpoint(
        key=_key(request.name, call),
        delivery_epoch=request.delivery_epoch,
        through=position_from_wire(request.through),
    )


def _key(name: str, call: Call) -> SubscriptionKey:
    return SubscriptionKey(principal=call.principal, name=name_from_wire(name))


def _to_wire(managed: Managed) -> sync_service_pb2.Subscription:
    return sync_service_pb2.Subscription(
        name=managed.name,
        filter=managed.filter,
        floor=position_to_wire(managed.floor),
        delivery_epoch=managed.delivery_epoch,
        streams=managed.streams,
    )
