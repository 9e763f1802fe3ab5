"""The page of the Sync Server's metrics speaks of each of them, and of no other."""

import re
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from sync.adapters import kafka_source
from sync.application import metrics

PAGE = Path("docs/operations/sync-metrics.md")


def told(metric: MetricWrapperBase) -> str:
    name: str = metric._name + ("_total" if metric._type == "counter" else "")  # noqa: SLF001 - the library tells it nowhere else
    labels = ", ".join(metric._labelnames)  # noqa: SLF001 - as above
    return name + (f"{{{labels}}}" if labels else "")


def test_every_metric_of_the_sync_server_has_its_row() -> None:
    measured = {
        told(metric)
        for metric in [*vars(metrics).values(), *vars(kafka_source).values()]
        if isinstance(metric, MetricWrapperBase)
    }
    rows = re.findall(r"^\| `(stateset_sync_[^`]+)`", PAGE.read_text(), re.MULTILINE)
    assert sorted(measured) == sorted(rows)
