"""The RPCs of the parking place."""

from stateset.sync.v1 import sync_service_pb2

from infra.runtime.grpc.call import Call
from infra.runtime.grpc.reads import listing
from sync.adapters.checked import Checked
from sync.adapters.wire_parking import choice_from_wire, parked_to_wire
from sync.application.parked import ParkingPlaces
from sync.domain.parking import Choice
from sync.domain.subscription import SubscriptionKey

_BEFORE_ALL = (-1, 0)


class ParkingServicer:
    """Serves what `stateset.sync.v1.SyncService` has about parked events."""

    def __init__(self, places: ParkingPlaces) -> None:
        self._places = places

    async def ListParked(
        self, request: sync_service_pb2.ListParkedRequest, call: Call
    ) -> sync_service_pb2.ListParkedResponse:
        """See the contract."""
        key = _key(request, call, checked := Checked())
        checked.done()
        asked = listing(request, {}, (int, int), variant=request.subscription)
        page = await self._places.page(key, after=asked.after or _BEFORE_ALL, limit=asked.size)
        parked = [parked_to_wire(event) for event in page.events]
        keys, sizes = [(event.shard, event.seq) for event in page.events], [each.ByteSize() for each in parked]
        count, token = asked.cut(keys, sizes, more=page.more)
        return sync_service_pb2.ListParkedResponse(parked=parked[:count], next_page_token=token)

    async def ReplayParked(
        self, request: sync_service_pb2.ReplayParkedRequest, call: Call
    ) -> sync_service_pb2.ReplayParkedResponse:
        """See the contract."""
        key, choice = _chosen(request, call)
        return sync_service_pb2.ReplayParkedResponse(events=await self._places.replay(key, choice))

    async def DiscardParked(
        self, request: sync_service_pb2.DiscardParkedRequest, call: Call
    ) -> sync_service_pb2.DiscardParkedResponse:
        """See the contract."""
        key, choice = _chosen(request, call)
        return sync_service_pb2.DiscardParkedResponse(events=await self._places.discard(key, choice))


def _chosen(
    request: sync_service_pb2.ReplayParkedRequest | sync_service_pb2.DiscardParkedRequest, call: Call
) -> tuple[SubscriptionKey, Choice]:
    checked = Checked()
    key, choice = _key(request, call, checked), choice_from_wire(request, checked)
    checked.done()
    return key, choice


def _key(
    request: sync_service_pb2.ListParkedRequest
    | sync_service_pb2.ReplayParkedRequest
    | sync_service_pb2.DiscardParkedRequest,
    call: Call,
    checked: Checked,
) -> SubscriptionKey:
    checked.refuse_unless(bool(request.subscription), "subscription", "must be set")
    return SubscriptionKey(principal=call.principal, name=checked.text(request.subscription, "subscription"))
