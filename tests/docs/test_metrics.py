"""The pages of what our processes measure speak of each of their metrics, and of no other."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

PAGES = Path("docs/operations")


def told(metric: MetricWrapperBase) -> str:
    name: str = metric._name + ("_total" if metric._type == "counter" else "")  # noqa: SLF001 - the library tells it nowhere else
    labels = ", ".join(metric._labelnames)  # noqa: SLF001 - as above
    return name + (f"{{{labels}}}" if labels else "")


def measured() -> Iterator[str]:
    """What a process registers as it is loaded."""
    for module in ("order.main", "sync.main", "sync.adapters.kafka_source", "consumers.runner"):
        import_module(module)
    for metric in list(REGISTRY._collector_to_names):  # noqa: SLF001 - as above
        if isinstance(metric, MetricWrapperBase):
            yield told(metric)


@pytest.mark.parametrize(
    ("page", "prefixes"),
    [
        ("sync-metrics.md", ("stateset_sync_",)),
        ("order-metrics.md", ("stateset_order_", "stateset_grpc_server_")),
        ("consumers.md", ("stateset_consumer_",)),
    ],
)
def test_every_metric_has_its_row(page: str, prefixes: tuple[str, ...]) -> None:
    rows = re.findall(r"^\| `(stateset_[^`]+)`", (PAGES / page).read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(metric for metric in measured() if metric.startswith(prefixes))
