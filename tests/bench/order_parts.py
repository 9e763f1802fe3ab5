"""What an order costs beside its transport and its database: reading the request, deciding and encoding, making rows.

On one thread, by its CPU time, in groups as the writer makes them. Of many groups the one at the lowest tenth is told:
a busy machine makes most of them dearer, but hardly that one.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from stateset.order.v1 import order_service_pb2

from infra.runtime.grpc.call import Call
from order.adapters.requests import submission
from order.adapters.sql_group import rows_of, shards_of
from order.adapters.wire import WireCodec
from order.application.group import Group
from order.application.ports import Head, View
from order.domain.policy import Policy
from tests.bench.effort import Effort
from tests.bench.events import SHARDS
from tests.bench.place_order import new_order
from tests.bench.report import Reading

T = TypeVar("T")

_GROUP_ORDERS: Final = 64
_GROUPS: Final = 100
_TIME_US: Final = 1_800_000_000_000_000
_LOG_EPOCH: Final = "0199b1c0-0000-7000-8000-000000000000"


def order_parts(folder: Path, effort: Effort) -> dict[str, Reading]:
    """CPU of the parts of placing a three-line order, in microseconds; the whole is their sum."""
    parts = _Parts()
    for group in range(_GROUPS):
        parts.run([f"{group * _GROUP_ORDERS + number:012x}" for number in range(_GROUP_ORDERS)])
    found = parts.found_us()
    return {
        "place_order_parts_us": Reading(
            value=round(sum(found.values()), 1),
            unit="µs of CPU an order",
            goal=None,
            more_is_better=False,
            rests_on={name: round(value, 1) for name, value in found.items()},
        )
    }


class _Parts:
    def __init__(self) -> None:
        context: Any = None  # nothing is said to the caller here
        self._call = Call("local", "", float("inf"), True, context)  # noqa: FBT003 - its fields have names
        self._codec = WireCodec(_LOG_EPOCH, SHARDS)
        self._heads = {shard: Head(next_seq=1, record_time_us=0) for shard in range(SHARDS)}
        self._taken: defaultdict[str, list[float]] = defaultdict(list)

    def run(self, names: list[str]) -> None:
        """One group of new orders, from the bytes of their requests to their rows."""
        encoded = [new_order(name).SerializeToString() for name in names]
        requests = [order_service_pb2.PlaceOrderRequest.FromString(each) for each in encoded]
        submissions = self._timed("reading", lambda: [submission("PlaceOrder", each, self._call) for each in requests])
        group = Group(submissions, shards=SHARDS, codec=self._codec, policy=Policy())
        self._timed("shards", lambda: shards_of(group.needs, SHARDS))
        view = View(replies={}, orders={}, records={}, heads=dict(self._heads))
        writes = self._timed("deciding and encoding", lambda: group.decide(view, _TIME_US))
        self._timed("rows", lambda: rows_of(writes))
        self._heads |= writes.heads

    def found_us(self) -> dict[str, float]:
        """By part, for one order."""
        return {name: sorted(each)[len(each) // 10] * 1e6 / _GROUP_ORDERS for name, each in self._taken.items()}

    def _timed(self, name: str, work: Callable[[], T]) -> T:
        started = time.thread_time()
        result = work()
        self._taken[name].append(time.thread_time() - started)
        return result
