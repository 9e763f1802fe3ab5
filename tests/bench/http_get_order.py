"""GetOrder of the Sync Server over HTTP/JSON, against the same over gRPC: one process serves both."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import grpc
from stateset.order.v1 import order_service_pb2_grpc
from stateset.sync.v1 import sync_service_pb2, sync_service_pb2_grpc

from tests.bench.effort import Effort
from tests.bench.grpc_call import CallTemplate
from tests.bench.http1_load import Http1Load
from tests.bench.place_order import new_order
from tests.bench.processes import free_address, run_server
from tests.bench.report import Comparison
from tests.bench.rounds import Contender, alternate
from tests.bench.unary import ANSWER_SECONDS, CALLERS, DEADLINE_SECONDS, open_load

_METHOD: Final = "/stateset.sync.v1.SyncService/GetOrder"
_ORDER: Final = new_order(f"{0:012x}")


def http_get_order(folder: Path, effort: Effort) -> dict[str, Comparison]:
    """CPU of the Sync Server per order that is read from its read model, on SQLite.

    Raises:
        BenchError: A server did not start, or a call was not answered with OK.
    """
    http = free_address()
    with (
        run_server("order", _own(folder, "order"), folder / "order.log") as orders,
        run_server(
            "sync",
            (*_own(folder, "sync"), "--order-address", orders.address, "--http-address", http),
            folder / "sync.log",
        ) as sync,
    ):
        _place(orders.address, sync.address)
        message = sync_service_pb2.GetOrderRequest(order_id=_ORDER.order_id).SerializeToString()
        template = CallTemplate(sync.address, _METHOD, message, deadline_seconds=DEADLINE_SECONDS)
        samples = alternate(
            Contender("grpc", sync.cpu_seconds, partial(open_load, template, sync.address)),
            Contender("http", sync.cpu_seconds, partial(_open_http, http)),
            rounds=effort.rounds,
            seconds=effort.seconds,
        )
    return {"http_get_order_vs_grpc_cpu_ratio": Comparison(unit="call", reference=samples[0], ours=samples[1])}


def _own(folder: Path, module: str) -> tuple[str, ...]:
    return "--database", f"sqlite:///{folder / module}.db", "--admin-address", "127.0.0.1:0"


def _place(order_address: str, sync_address: str) -> None:
    """Places the order, and waits until the read model has it."""
    with grpc.insecure_channel(order_address) as orders, grpc.insecure_channel(sync_address) as sync:
        placed = order_service_pb2_grpc.OrderServiceStub(orders).PlaceOrder(
            _ORDER, timeout=ANSWER_SECONDS, wait_for_ready=True
        )
        request = sync_service_pb2.GetOrderRequest(order_id=_ORDER.order_id, min_position=placed.position)
        sync_service_pb2_grpc.SyncServiceStub(sync).GetOrder(request, timeout=ANSWER_SECONDS, wait_for_ready=True)


@contextmanager
def _open_http(address: str) -> Iterator[Http1Load]:
    request = f"GET /v1/read-model/orders/{_ORDER.order_id} HTTP/1.1\r\nhost: {address}\r\n\r\n".encode()
    with Http1Load(address, request, callers=CALLERS) as load:
        yield load
