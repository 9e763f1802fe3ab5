"""What the bench reads off an admin port."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

from tests.bench.metrics import await_metric, mean_seconds, read_metrics
from tests.bench.processes import BenchError
from tests.harness.ports import free_address


@contextmanager
def serving(registry: CollectorRegistry) -> Iterator[str]:
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_mean_is_of_what_came_in_between() -> None:
    registry = CollectorRegistry()
    hop = Histogram("hop_seconds", "A hop.", registry=registry)
    hop.observe(100)
    with serving(registry) as address:
        before = read_metrics(address)
        hop.observe(0.25)
        hop.observe(0.75)
        after = read_metrics(address)

    assert mean_seconds(before, after, "hop_seconds") == 0.5
    assert mean_seconds(after, after, "hop_seconds") == 0


def test_a_metric_is_awaited_until_it_is_reached_and_no_longer_than_that() -> None:
    registry = CollectorRegistry()
    done = Counter("done", "Things.", registry=registry)
    done.inc(7)
    with serving(registry) as address:
        assert await_metric(address, "done_total", 7, seconds_max=10) > 0
        with pytest.raises(BenchError, match="done_total is 7 after 0 s, not 8"):
            await_metric(address, "done_total", 8, seconds_max=0.2)


def test_nobody_there_is_nothing_measured() -> None:
    assert read_metrics(free_address()) == {}
