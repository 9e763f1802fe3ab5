"""The bench around the load: what it measures, what it refuses to call a measurement, what it writes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from stateset.order.v1 import order_event_pb2, order_frame_pb2

from tests.bench.events import EVENT_BYTES, encoded_event
from tests.bench.fanout import check_dense
from tests.bench.processes import BenchError, run_server
from tests.bench.report import Comparison, Reading, show, write_json
from tests.bench.rounds import Sample
from tests.harness.parts import missing


def sample(cpu_us_per_unit: float, *, cpu_share: float = 1.0) -> Sample:
    units, cpu_seconds = 1_000_000, cpu_us_per_unit
    return Sample(units=units, seconds=cpu_seconds / cpu_share, cpu_seconds=cpu_seconds, load_cpu_seconds=0.1)


def result(*, share_of_ours: float = 1.0) -> Comparison:
    return Comparison(
        unit="call",
        reference=[sample(100), sample(120), sample(500)],
        ours=[sample(200, cpu_share=share_of_ours), sample(240, cpu_share=share_of_ours), sample(250)],
    )


def test_a_ratio_is_the_references_median_by_ours(tmp_path: Path) -> None:
    write_json({"some_ratio": result()}, tmp_path / "bench.json")

    entry = json.loads((tmp_path / "bench.json").read_text())["some_ratio"]
    assert entry["value"] == 240
    assert entry["reference"] == 120
    assert entry["ratio"] == 0.5
    assert (entry["ratio_least"], entry["ratio_greatest"]) == (0.5, 2.0)
    assert entry["unit"] == "µs of server CPU per call"
    assert entry["saturated"] is True


def test_a_server_that_was_not_kept_busy_is_named(tmp_path: Path) -> None:
    idle = result(share_of_ours=0.89)
    console = Console(record=True, width=140, file=(tmp_path / "out").open("w"))

    show({"some_ratio": idle}, console)
    write_json({"some_ratio": idle}, tmp_path / "bench.json")
    console.file.close()

    assert json.loads((tmp_path / "bench.json").read_text())["some_ratio"]["saturated"] is False
    assert "some_ratio: not saturated: ours used 89% of a core, not 90% or more" in console.export_text()


@pytest.mark.parametrize(
    ("value", "goal", "more_is_better", "verdict"),
    [
        (30_000, 30_000, True, "PASS"),
        (29_999, 30_000, True, "short of goal"),
        (10, 10, False, "PASS"),
        (10.1, 10, False, "short of goal"),
        (10, None, False, "no goal"),
    ],
)
def test_a_reading_says_whether_its_goal_is_reached(
    *, value: float, goal: float | None, more_is_better: bool, verdict: str
) -> None:
    assert reading(value=value, goal=goal, more_is_better=more_is_better).verdict == verdict


def test_a_reading_taken_otherwise_than_asked_says_so_beside_its_verdict() -> None:
    assert reading(value=9, goal=10, caveat="at 558 events/s").verdict == "PASS (at 558 events/s)"


def test_a_reading_has_no_reference_and_no_ratio(tmp_path: Path) -> None:
    write_json({"some_ratio": result(), "some_ms": reading(value=9.9)}, tmp_path / "bench.json")

    entries = json.loads((tmp_path / "bench.json").read_text())
    assert set(entries) == {"some_ratio", "some_ms"}
    assert entries["some_ms"] == {
        "value": 9.9,
        "unit": "ms",
        "reference": None,
        "ratio": None,
        "goal": 10,
        "verdict": "PASS",
        "events": 7,
    }


def reading(*, value: float, goal: float | None = 10, more_is_better: bool = False, caveat: str = "") -> Reading:
    return Reading(
        value=value, unit="ms", goal=goal, more_is_better=more_is_better, rests_on={"events": 7}, caveat=caveat
    )


def frame(shard: int, *seqs: int) -> tuple[int, order_frame_pb2.Events]:
    events = [order_event_pb2.OrderEvent.FromString(encoded_event(shard, seq)) for seq in seqs]
    batch = order_frame_pb2.EventBatch(shard=shard, first_seq=seqs[0], last_seq=seqs[-1], events=events)
    return 1, order_frame_pb2.Events(batches=[batch])


def test_frames_without_a_hole_are_a_delivery() -> None:
    check_dense([frame(0, 7, 8), frame(1, 3), frame(0, 9), frame(1, 4, 5)])


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([frame(0, 7, 8), frame(0, 10)], id="hole between frames"),
        pytest.param([frame(0, 7, 9)], id="hole within a frame"),
        pytest.param([frame(0, 7, 8), frame(0, 8)], id="repetition"),
    ],
)
def test_frames_with_a_hole_or_a_repetition_are_none(frames: list[tuple[int, order_frame_pb2.Events]]) -> None:
    with pytest.raises(BenchError, match="shard 0"):
        check_dense(frames)


@pytest.mark.parametrize("seq", [1, 127, 128, 20_000, 10_000_000])
def test_events_are_of_one_size(seq: int) -> None:
    assert len(encoded_event(11, seq)) == EVENT_BYTES


def test_a_server_that_does_not_start_is_an_error_that_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match=r"has ended; it said: (?s:.)*--reply"),
        run_server("tests.bench.reference_order", (), tmp_path / "log"),
    ):
        pytest.fail("it started")


def test_a_servers_cpu_time_is_read_and_the_server_does_not_outlive_its_context(tmp_path: Path) -> None:
    with run_server("tests.bench.reference_sync", (), tmp_path / "log") as server:
        assert 0 < server.cpu_seconds() < 10
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def bench(tmp_path: Path, *arguments: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], Any]:
    """Runs the command; what it said, and the entries that it wrote."""
    command = [sys.executable, "-m", "tests.bench", "--data-dir", str(tmp_path / "data"), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, env={**os.environ, **environment}
    )
    left = [path.name for path in (tmp_path / "data").iterdir()]
    assert left == ["bench.json"], f"{left}: a database is left behind; {done.stdout}{done.stderr}"
    return done, json.loads((tmp_path / "data" / "bench.json").read_text())


def test_the_command_compares_and_writes_it_down(tmp_path: Path) -> None:
    done, entries = bench(tmp_path, "--rounds", "1", "--seconds", "0.3", "place_order_sqlite", "fanout")

    assert done.returncode == 0, done.stdout + done.stderr
    assert set(entries) == {"place_order_cpu_ratio_sqlite", "fanout_cpu_ratio"}
    for name, entry in entries.items():
        assert name in done.stdout
        assert entry["ratio"] == pytest.approx(entry["reference"] / entry["value"], abs=0.01)
        assert 0 < entry["ratio"] < 2


def test_what_the_machine_lacks_is_said_last_and_the_other_benches_run(tmp_path: Path) -> None:
    lacking = {"PATH": "", "JAVA_HOME": "", "STATESET_KAFKA_BOOTSTRAP_SERVERS": ""}
    done, entries = bench(tmp_path, "--rounds", "1", "--seconds", "0.3", "relay", "stalled_reader", **lacking)

    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "relay: not run without Kafka: Java 17 or newer is not on the PATH"
    assert set(entries) == {"stalled_reader_bytes"}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("place_order_postgres",), {"place_order_cpu_ratio_postgres"}),
        (("get_order",), {"get_order_cpu_ratio"}),
        (("http_get_order",), {"http_get_order_vs_grpc_cpu_ratio"}),
        (
            ("http_streams",),
            {"sse_100_cpu_ratio", "sse_100_deliveries_per_s", "ws_100_cpu_ratio", "ws_100_deliveries_per_s"},
        ),
        (("list_orders",), {"list_orders_p50_ms", "list_orders_growth"}),
        (("ingest",), {"ingest_events_per_s"}),
        (("ingest_orders",), {"ingest_orders_per_s"}),
        (("client_events",), {"client_events_per_s"}),
        (("stalled_reader",), {"stalled_reader_bytes"}),
        (("stalled_neighbour",), {"stalled_neighbour_p99_ratio"}),
        (("idle",), {"idle_10k_subscribers_mib", "idle_10k_subscribers_core"}),
        (
            ("commit_to_live",),
            {
                "commit_to_live_bare_p50_ms",
                "commit_to_live_bare_p99_ms",
                "commit_to_live_p50_ms",
                "commit_to_live_p99_ms",
            },
        ),
        (("commit_to_live_kafka",), {"commit_to_live_kafka_p50_ms", "commit_to_live_kafka_p99_ms"}),
    ],
)
def test_each_bench_finds_what_it_is_named_for(names: tuple[str, ...], found: set[str], tmp_path: Path) -> None:
    effort = (
        "--rounds",
        "1",
        "--seconds",
        "0.3",
        "--backlog-events",
        "2000",
        "--live-seconds",
        "1",
        "--live-events-per-s",
        "100",
        "--listed-orders",
        "20000",
        "--loaded-orders",
        "2000",
        "--idle-subscribers",
        "250",
        "--neighbours",
        "20",
    )
    done, entries = bench(tmp_path, *effort, *names)

    if lacks := re.search(r"not run without (\w+): (.+)", done.stdout):
        missing(lacks[1], lacks[2])
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(entries) == found
    assert all(entry["value"] > 0 for entry in entries.values())
