"""Resolving positions: translate, ask, translate back."""

from stateset.sync.v1 import sync_service_pb2

from infra.kernel.position import Position
from infra.runtime.grpc.call import Call
from infra.runtime.grpc.status import InvalidRequestError, Violation
from infra.runtime.grpc.wire import (
    NO_TIME,
    is_time,
    position_from_wire,
    position_of_token,
    position_to_wire,
    timestamp_from_wire,
    timestamp_to_wire,
    token_of,
)
from sync.application.positions import Positions
from sync.domain.frames import StartTime
from sync.domain.offsets import TopicOffsets


class PositionServicer:
    """The part of `stateset.sync.v1.SyncService` that says where places are."""

    def __init__(self, positions: Positions) -> None:
        self._positions = positions

    async def ResolvePosition(
        self, request: sync_service_pb2.ResolvePositionRequest, _call: Call
    ) -> sync_service_pb2.ResolvePositionResponse:
        """See the contract."""
        place = await self._positions.resolve(_from_wire(request))
        return sync_service_pb2.ResolvePositionResponse(
            position=position_to_wire(place.position),
            token=token_of(place.position),
            time=timestamp_to_wire(place.time_us),
            kafka=None if place.offsets is None else _to_wire(place.offsets),
        )


def _from_wire(request: sync_service_pb2.ResolvePositionRequest) -> Position | StartTime | TopicOffsets:
    match request.WhichOneof("at"):
        case "position":
            return position_from_wire(request.position)
        case "token":
            return position_of_token(request.token)
        case "time":
            if not is_time(request.time):
                raise InvalidRequestError([Violation("time", NO_TIME)])
            return StartTime(timestamp_from_wire(request.time))
        case "kafka":
            return TopicOffsets(topic=request.kafka.topic, next_offset=tuple(request.kafka.next_offset))
    raise InvalidRequestError([Violation("at", "position, token, time or kafka must be set")])


def _to_wire(offsets: TopicOffsets) -> sync_service_pb2.KafkaOffsets:
    return sync_service_pb2.KafkaOffsets(
        topic=offsets.topic, next_offset=offsets.next_offset, expired_partitions=offsets.expired
    )
