"""Which way events travel on this machine: over a Kafka that is there, one of our own, or none."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.local.broker import Installation
from infra.runtime.kafka.local.jars import kafka_version
from infra.runtime.kafka.local.java import NoLocalKafkaError
from infra.runtime.lifespan import StartupError

SERVERS_VARIABLE: Final = "STATESET_KAFKA_BOOTSTRAP_SERVERS"
CLIENT_CONFIG_VARIABLE: Final = "STATESET_KAFKA_CLIENT_CONFIG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bus:
    """The way that was chosen.

    Attributes:
        name: As in `--bus` and in reports.
        line: Which and why, for people.
        cluster: A Kafka that is there.
        installation: What a Kafka of our own will run on.
    """

    name: Literal["direct", "kafka"]
    line: str
    cluster: Cluster | None = None
    installation: Installation | None = None


def direct(why: str) -> Bus:
    """No broker: a way that needs nothing."""
    return Bus(name="direct", line=f"bus: direct ({why}; the Sync Server reads the Order Service's own stream)")


def choose_bus(asked: str, data_dir: Path, environment: Mapping[str, str]) -> Bus:
    """What `--bus auto|kafka|direct` means on this machine. Nothing is started, fetched or written.

    Raises:
        StartupError: Kafka was asked for, and there is none to be had; or its file of access cannot be used.
    """
    if asked == "direct":
        return direct("as asked")
    servers = environment.get(SERVERS_VARIABLE, "")
    if servers:
        cluster = Cluster.read(servers, environment.get(CLIENT_CONFIG_VARIABLE, ""))
        return Bus(name="kafka", line=f"bus: Kafka at {servers} ({SERVERS_VARIABLE} is set)", cluster=cluster)
    try:
        installation = Installation.find(data_dir, environment)
    except NoLocalKafkaError as error:
        if asked == "kafka":
            raise StartupError(f"--bus kafka: {SERVERS_VARIABLE} is not set, and {error}") from error
        return direct(f"{SERVERS_VARIABLE} is not set, and {error}")
    return Bus(name="kafka", line=_local_line(installation), installation=installation)


def _local_line(installation: Installation) -> str:
    jars = f"fetched now by {installation.maven}" if installation.maven else f"its jars are in {installation.jars}"
    return f"bus: Kafka {kafka_version()} as a process of its own ({installation.java} is here; {jars})"
