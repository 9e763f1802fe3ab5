"""What becomes of the library's threads when a broker cannot be reached."""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from infra.runtime.kafka import lookup, producer
from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.errors import BrokerError
from infra.runtime.kafka.lookup import Lookup
from infra.runtime.kafka.producer import TransactionalProducer
from tests.harness.ports import free_address
from tests.harness.waiting import eventually

TASKS = Path("/proc/self/task")


@pytest.fixture
def cluster() -> Cluster:
    return Cluster.read(free_address(), "")


@pytest.fixture
def _no_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def threads() -> int:
    """Those of the library, too."""
    return len(list(TASKS.iterdir()))


def look(cluster: Cluster) -> None:
    with closing(Lookup(cluster, committed=True)) as asked:
        asked.topic("events")


def take_over(cluster: Cluster) -> None:
    with closing(TransactionalProducer(cluster, "relay")) as taking:
        taking.take_over()


@pytest.mark.skipif(not TASKS.exists(), reason="this system does not show the threads of a process")
@pytest.mark.usefixtures("_no_collection")
@pytest.mark.parametrize("tried", [look, take_over])
async def test_a_try_that_fails_leaves_no_thread_behind(
    tried: Callable[[Cluster], None], cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(producer, "_TAKE_OVER_SECONDS", 0.2)
    before = threads()
    assert before >= threading.active_count()
    for _ in range(3):
        with pytest.raises(BrokerError):
            tried(cluster)
    await eventually(lambda: threads() <= before)
