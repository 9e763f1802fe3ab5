"""ReplayEvents: message in, replay, message out."""

from typing import Final

from stateset.order.v1 import log_service_pb2

from infra.runtime.grpc.call import Call
from infra.runtime.grpc.reads import page_after, page_token
from infra.runtime.grpc.status import InvalidRequestError
from order.adapters.checks import Checks
from order.adapters.requests import REQUEST_ID_MIN
from order.application.replay import Replay

_ORDERS_MAX: Final = 100
_KEY: Final = (int, int)


class Replays:
    """The RPC of `LogService` that publishes once more."""

    def __init__(self, replay: Replay, shards: int) -> None:
        self._replay = replay
        self._shards = shards

    async def ReplayEvents(
        self, request: log_service_pb2.ReplayEventsRequest, _call: Call
    ) -> log_service_pb2.ReplayEventsResponse:
        """Publishes the next of the events that are asked for."""
        _check(request, self._shards)
        made_under = log_service_pb2.ReplayEventsRequest(
            replay_id=request.replay_id, order_ids=request.order_ids, range=request.range
        ).SerializeToString(deterministic=True)
        after = page_after(request.page_token, made_under, _KEY)
        key = None if after is None else (max(0, after[0]), max(1, after[1]))
        if request.order_ids:
            done = await self._replay.orders(request.replay_id, request.order_ids, key)
        else:
            asked = request.range
            first_seq = asked.first_seq if key is None else key[1]
            done = await self._replay.range(request.replay_id, asked.shard, first_seq, asked.last_seq)
        token = "" if done.next_key is None else page_token(done.next_key, made_under)
        return log_service_pb2.ReplayEventsResponse(topic=done.topic, events=done.events, next_page_token=token)


def _check(request: log_service_pb2.ReplayEventsRequest, shards: int) -> None:
    checks = Checks()
    checks.identifier("replay_id", request.replay_id, least=REQUEST_ID_MIN)
    ids, asked = request.order_ids, request.range
    checks.require(
        len(ids) <= _ORDERS_MAX and len(set(ids)) == len(ids),
        "order_ids",
        f"must be at most {_ORDERS_MAX} ids, each once",
    )
    checks.require(bool(ids) != request.HasField("range"), "range", "orders or a range must be named, not both")
    if request.HasField("range"):
        checks.require(0 <= asked.shard < shards, "range.shard", f"must be 0 to {shards - 1}")
        checks.require(0 < asked.first_seq <= asked.last_seq, "range", "must begin at 1 or above, and not end before")
    if checks.found:
        raise InvalidRequestError(checks.found)
