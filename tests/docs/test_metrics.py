"""The pages of what our processes measure speak of each of their metrics, and of no other."""

import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

PAGES = Path("docs/operations")


def told(name: str, kind: str | None, labels: Sequence[str] = ()) -> str:
    return name + ("_total" if kind == "counter" else "") + (f"{{{', '.join(labels)}}}" if labels else "")


def measured() -> Iterator[str]:
    """What a process registers as it is loaded."""
    for module in ("order.main", "sync.main", "sync.adapters.kafka_source", "consumers.runner"):
        import_module(module)
    for metric in list(REGISTRY._collector_to_names):  # noqa: SLF001 - the library tells it nowhere else
        if isinstance(metric, MetricWrapperBase):
            yield told(metric._name, metric._type, metric._labelnames)  # noqa: SLF001 - as above
        else:
            yield from (told(family.name, family.type) for family in metric.collect())


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
