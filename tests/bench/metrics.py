"""What a server says of itself on its admin port."""

import time
from collections.abc import Mapping
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.bench.processes import BenchError

_ANSWER_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.1  # each answer takes a few milliseconds from what is measured


def read_metrics(address: str) -> Mapping[str, float]:
    """Every sample that has no label, by name; none while nobody listens there."""
    try:
        with urlopen(f"http://{address}/metrics", timeout=_ANSWER_SECONDS) as answer:
            text = answer.read().decode()
    except (URLError, ConnectionError):
        return {}
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {sample.name: sample.value for sample in samples if not sample.labels}


def await_metric(address: str, name: str, least: float, *, seconds_max: float) -> float:
    """The moment, by `time.perf_counter`, at which the metric was found to have reached `least`.

    Raises:
        BenchError: It does not in time.
    """
    deadline = time.perf_counter() + seconds_max
    while time.perf_counter() < deadline:
        value = read_metrics(address).get(name, 0.0)
        if value >= least:
            return time.perf_counter()
        time.sleep(_POLL_SECONDS)
    raise BenchError(f"{name} is {value:,.0f} after {seconds_max:.0f} s, not {least:,.0f}")


def mean_seconds(before: Mapping[str, float], after: Mapping[str, float], histogram: str) -> float:
    """The mean of what the histogram took in between two readings; 0 if that was nothing."""
    count = after[f"{histogram}_count"] - before[f"{histogram}_count"]
    return (after[f"{histogram}_sum"] - before[f"{histogram}_sum"]) / count if count else 0.0
