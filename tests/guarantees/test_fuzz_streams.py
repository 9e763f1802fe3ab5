"""Random and mutated frames on every stream of both servers: each is served or refused for a reason."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1 import log_service_pb2, log_service_pb2_grpc, order_service_pb2
from stateset.stream.v1.stream_pb2 import START_POINT_STORED, Ack, ClientFrame, Close, Credit, Heartbeat, Open, Start
from stateset.sync.v1 import sync_service_pb2
from stateset_client import OrderClient

from tests.guarantees.test_fuzz import GROWTH_MAX, KNOWN, place_some
from tests.harness.faults import seed
from tests.harness.fuzz_calls import Told, fuzz, stream_methods
from tests.harness.fuzz_messages import Known
from tests.harness.memory import resident_bytes
from tests.harness.ports import free_address
from tests.harness.sync_process import connected, running

pytestmark = pytest.mark.timeout(0)  # as many requests as asked for, each of whose waits has a bound

_SHARDS: Final = 3
_SERVICES: Final = {
    "order": [order_service_pb2.DESCRIPTOR.services_by_name["OrderService"]],
    "sync": [sync_service_pb2.DESCRIPTOR.services_by_name["SyncService"]],
}


def _known(log_epoch: str) -> Known:
    def position(chance: Any) -> Position:  # noqa: ANN401 - random.Random, as in Known
        return Position(log_epoch=log_epoch, next_seq=[chance.choice([1, 1, 2, 5, 99]) for _ in range(_SHARDS)])

    def opening(chance: Any) -> Open:  # noqa: ANN401 - as above
        start = chance.choice([Start(), Start(position=position(chance)), Start(point=START_POINT_STORED)])
        return Open(start=start, subscription=chance.choice(["", "", f"s-{chance.randrange(100)}"]))

    def frame(chance: Any) -> ClientFrame:  # noqa: ANN401 - as above
        after = (
            ClientFrame(credit=Credit(events=1_000, bytes=1_000_000)),
            ClientFrame(ack=Ack(ack_id="a", through=position(chance))),
            ClientFrame(heartbeat=Heartbeat(heartbeat_seq=1)),
            ClientFrame(close=Close()),
        )
        return ClientFrame(open=opening(chance)) if chance.random() < 2 / 3 else chance.choice(after)

    return {
        **KNOWN,
        "frame": frame,
        "open": opening,
        "position": position,
        "through": position,
        "at": position,
        "events": lambda chance: chance.choice([0, 1, 1_000]),
        "bytes": lambda chance: chance.choice([0, 1, 1_000_000]),
        "subscription": lambda chance: f"s-{chance.randrange(100)}",
        "ack_id": lambda chance: f"a-{chance.randrange(9)}",
        "heartbeat_interval": lambda chance: chance.choice([None, Duration(seconds=1)]),
        "silence_max": lambda _chance: None,
        "checkpoint_epoch": lambda chance: chance.randrange(3),
        "after_order_id": lambda chance: f"o-{chance.randrange(9)}",
        "shards": lambda chance: chance.randrange(_SHARDS),
    }


async def test_no_frame_is_answered_by_an_unforeseen_error_and_none_leaves_anything_in_memory(tmp_path: Path) -> None:
    drawn = seed()
    sys.stdout.write(f"SEED={drawn}\n")
    addresses = {name: free_address() for name in _SERVICES}
    async with (
        running("order", tmp_path, addresses["order"], "--shards", str(_SHARDS)) as order,
        connected(addresses["order"]) as to_order,
        running("sync", tmp_path, addresses["sync"], "--order-address", addresses["order"]) as sync,
        connected(addresses["sync"]) as to_sync,
    ):
        await place_some(OrderClient(to_order))
        head = await log_service_pb2_grpc.LogServiceStub(to_order).GetLogHead(log_service_pb2.GetLogHeadRequest())
        for name, channel, process in (("order", to_order, order), ("sync", to_sync, sync)):
            told = await fuzz(
                channel,
                stream_methods(_SERVICES[name]),
                seed=drawn,
                known=_known(head.log_epoch),
                resident=lambda pid=process.pid: resident_bytes(pid),  # type: ignore[misc]  # its default is its type
            )
            assert process.returncode is None
            _check(told, [method.name for method in stream_methods(_SERVICES[name])])


def _check(told: Told, methods: Sequence[str]) -> None:
    sys.stdout.write(f"{told.answers()}\nresident bytes after each third: {told.resident_bytes}\n")
    assert told.unforeseen == []
    served = {name for name, code in told.codes if code is grpc.StatusCode.OK}
    assert served == set(methods)  # what is sent is not all nonsense
    first, _, last = told.resident_bytes
    assert last <= GROWTH_MAX * first
