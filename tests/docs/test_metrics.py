"""Every metric of ours has its row in the page that tells it."""

import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client.metrics import MetricWrapperBase

from consumers import runner
from sync.adapters import kafka_source
from sync.application import metrics


def told(metric: MetricWrapperBase) -> str:
    name: str = metric._name + ("_total" if metric._type == "counter" else "")  # noqa: SLF001 - the library tells it nowhere else
    labels = ", ".join(metric._labelnames)  # noqa: SLF001 - as above
    return name + (f"{{{labels}}}" if labels else "")


@pytest.mark.parametrize(
    ("modules", "prefix", "page"),
    [
        ([metrics, kafka_source], "stateset_sync", "docs/operations/sync-metrics.md"),
        ([runner], "stateset_consumer", "docs/operations/consumers.md"),
    ],
)
def test_every_metric_has_its_row(modules: Sequence[ModuleType], prefix: str, page: str) -> None:
    measured = {
        told(metric) for module in modules for metric in vars(module).values() if isinstance(metric, MetricWrapperBase)
    }
    rows = re.findall(rf"^\| `({prefix}_[^`]+)`", Path(page).read_text(), re.MULTILINE)
    assert sorted(measured) == sorted(rows)
