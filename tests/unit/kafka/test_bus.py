from pathlib import Path

import pytest

from consumers.cli.bus import SERVERS_VARIABLE, choose_bus
from consumers.cli.preflight import refuse_unknown_settings
from infra.runtime.kafka.cluster import Cluster
from infra.runtime.lifespan import StartupError
from order.settings import OrderSettings
from tests.harness.kafka_tools import JAVA_17, machine

MAVEN = "Apache Maven 3.8.7"
GIVEN = {SERVERS_VARIABLE: "broker:9092"}


@pytest.mark.parametrize("asked", ["auto", "kafka"])
def test_an_address_comes_before_a_kafka_of_our_own(tmp_path: Path, asked: str) -> None:
    bus = choose_bus(asked, tmp_path, {**machine(tmp_path, java=JAVA_17, maven=MAVEN), **GIVEN})
    assert (bus.name, bus.cluster, bus.installation) == ("kafka", Cluster(servers="broker:9092"), None)
    assert bus.line == f"bus: Kafka at broker:9092 ({SERVERS_VARIABLE} is set)"


@pytest.mark.parametrize("asked", ["auto", "kafka"])
def test_java_and_maven_make_a_kafka_of_our_own(tmp_path: Path, asked: str) -> None:
    bus = choose_bus(asked, tmp_path, machine(tmp_path, java=JAVA_17, maven=MAVEN))
    assert bus.name == "kafka"
    assert bus.installation is not None
    assert f"{tmp_path}/bin/java is here" in bus.line


def test_without_any_kafka_auto_is_direct_and_says_why(tmp_path: Path) -> None:
    bus = choose_bus("auto", tmp_path, machine(tmp_path))
    assert bus.name == "direct"
    assert f"{SERVERS_VARIABLE} is not set, and Java 17 or newer is not on the PATH" in bus.line


def test_kafka_that_is_asked_for_and_cannot_be_had_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"^--bus kafka: .* is not set, and Maven, .*, is not on the PATH$"):
        choose_bus("kafka", tmp_path, machine(tmp_path, java=JAVA_17))


def test_direct_that_is_asked_for_is_direct(tmp_path: Path) -> None:
    bus = choose_bus("direct", tmp_path, {**machine(tmp_path, java=JAVA_17, maven=MAVEN), **GIVEN})
    assert (bus.name, bus.cluster, bus.installation) == ("direct", None, None)
    assert "as asked" in bus.line


def test_the_address_of_kafka_is_a_setting_that_every_process_tolerates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SERVERS_VARIABLE, "broker:9092")
    refuse_unknown_settings(GIVEN)
    assert OrderSettings.load([]).kafka_bootstrap_servers == ""  # `stateset up` passes it on to those who need it
