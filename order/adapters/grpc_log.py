"""The log's own RPCs: where it stands, who reads it, what is not on the bus yet."""

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from stateset.common.v1 import position_pb2
from stateset.order.v1 import log_service_pb2

from infra.kernel.position import Position
from infra.runtime.clock import Clock
from infra.runtime.grpc.call import Call
from infra.runtime.grpc.reads import at_least, filtered, listing
from infra.runtime.grpc.status import InvalidRequestError, Violation
from infra.runtime.grpc.wire import NO_TIME, is_time, position_to_wire, timestamp_from_wire, timestamp_to_wire
from order.adapters.grpc_reads import ORDER_FIELDS
from order.adapters.grpc_replay import Replays
from order.application.backlog import ShardBacklog, backlog
from order.application.heads import settled_us
from order.application.ports import Head, Log, Reader
from order.application.queries import Queries
from order.application.relay_ports import Lease
from order.domain.errors import SubscriptionNotFoundError


class LogServicer:
    """`stateset.order.v1.LogService`."""

    def __init__(self, log: Log, lease: Lease, queries: Queries, replays: Replays, clock: Clock) -> None:
        self.ReplayEvents = replays.ReplayEvents
        self._log = log
        self._lease = lease
        self._queries = queries
        self._clock = clock

    async def GetLogHead(
        self, _request: log_service_pb2.GetLogHeadRequest, _call: Call
    ) -> log_service_pb2.GetLogHeadResponse:
        """Where each shard stands."""
        read_time_us = await settled_us(self._log, self._clock)
        earliest, heads = await self._log.earliest(), await self._log.heads()  # so never above them
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

    async def ResolveTime(
        self, request: log_service_pb2.ResolveTimeRequest, _call: Call
    ) -> log_service_pb2.ResolveTimeResponse:
        """Where each shard's events of that time begin."""
        if not request.HasField("time"):
            raise InvalidRequestError([Violation("time", "must be set")])
        if not is_time(request.time):
            raise InvalidRequestError([Violation("time", NO_TIME)])
        seqs = await self._log.seqs_at(timestamp_from_wire(request.time))
        position = Position(log_epoch=self._log.log_epoch, next_seq=tuple(seqs))
        return log_service_pb2.ResolveTimeResponse(position=position_to_wire(position))

    async def GetDigest(
        self, request: log_service_pb2.GetDigestRequest, call: Call
    ) -> log_service_pb2.GetDigestResponse:
        """Count and hash over every matching order."""
        term = filtered(request, ORDER_FIELDS)
        position, digest = await self._queries.digest(term, at_least(request, call))
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

    async def ListLogSubscriptions(
        self, request: log_service_pb2.ListLogSubscriptionsRequest, _call: Call
    ) -> log_service_pb2.ListLogSubscriptionsResponse:
        """Who reads the log, and how far each has confirmed."""
        asked = listing(request, {}, (str,))
        after = "" if asked.after is None else asked.after[0]
        earliest, heads = await self._log.earliest(), await self._log.heads()
        found = await self._log.readers(after, asked.size + 1)
        told = [_subscription(reader, earliest, heads) for reader in found[: asked.size]]
        count, token = asked.cut(
            [(each.name,) for each in told], [each.ByteSize() for each in told], more=len(found) > asked.size
        )
        return log_service_pb2.ListLogSubscriptionsResponse(subscriptions=told[:count], next_page_token=token)

    async def DeleteLogSubscription(
        self, request: log_service_pb2.DeleteLogSubscriptionRequest, _call: Call
    ) -> log_service_pb2.DeleteLogSubscriptionResponse:
        """Deletes a subscription that nobody will open again."""
        if "\0" in request.name or not await self._log.forget_reader(request.name):
            raise SubscriptionNotFoundError(request.name)
        return log_service_pb2.DeleteLogSubscriptionResponse()


def _subscription(reader: Reader, earliest: Sequence[int], heads: Sequence[Head]) -> log_service_pb2.LogSubscription:
    floors = [max(reader.floors.get(shard, 1), first) for shard, first in enumerate(earliest)]
    return log_service_pb2.LogSubscription(
        name=reader.name,
        delivery_epoch=reader.delivery_epoch,
        floors=[reader.floors.get(shard, 0) for shard in range(len(heads))],
        events_behind=sum(max(0, head.next_seq - floor) for head, floor in zip(heads, floors, strict=True)),
    )


def _shard_backlog(found: ShardBacklog, now_us: int) -> log_service_pb2.ShardBacklog:
    age = None
    if found.oldest_us is not None:
        age = Duration()
        age.FromMicroseconds(max(0, now_us - found.oldest_us))
    return log_service_pb2.ShardBacklog(shard=found.shard, next_seq=found.next_seq, events=found.events, age=age)
