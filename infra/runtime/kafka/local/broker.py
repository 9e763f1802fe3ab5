"""One broker: where it lives, how it is configured, how it is started, and when it serves."""

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.runtime.kafka.local.jars import fetch_jars, jars_folder
from infra.runtime.kafka.local.java import find_java, find_maven
from infra.runtime.supervisor import Program

HOST: Final = "127.0.0.1"
_FORMATTED: Final = "meta.properties"  # the last file that formatting writes
_PROBE_TOPIC: Final = "stateset.broker-ready"
_PROBE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What a broker runs on.

    Attributes:
        java: The executable.
        maven: What fetches the jars; none where they are in the cache.
        jars: The folder that holds them, or will.
    """

    java: Path
    maven: Path | None
    jars: Path

    @classmethod
    def find(cls, data_dir: Path, environment: Mapping[str, str]) -> "Installation":
        """What this machine has. Nothing is fetched or written.

        Raises:
            NoLocalKafkaError: Something is missing.
        """
        java, jars = find_java(environment), jars_folder(data_dir, environment)
        return cls(java=java, maven=None if jars.is_dir() else find_maven(environment), jars=jars)

    def complete(self, environment: Mapping[str, str]) -> None:
        """Fetches the jars unless they are there; may take minutes on a slow line.

        Raises:
            StartupError: They cannot be had.
        """
        if self.maven is not None and not self.jars.is_dir():
            fetch_jars(self.jars, self.maven, environment)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBroker:
    """A single node that is its own controller, for one data folder.

    Attributes:
        installation: What it runs on; complete before the program is started.
        folder: Its configuration and its records; made when it first starts.
        port: Where clients connect, on 127.0.0.1 only.
        controller_port: Where it talks to itself. Both ports may change from one start to the next.
    """

    installation: Installation
    folder: Path
    port: int
    controller_port: int

    @property
    def address(self) -> str:
        """What clients are told as bootstrap server."""
        return f"{HOST}:{self.port}"

    @property
    def records(self) -> Path:
        """The folder of the partitions."""
        return self.folder / "records"

    @property
    def properties(self) -> Path:
        """The file that the broker is configured by."""
        return self.folder / "server.properties"

    @property
    def scratch(self) -> Path:
        """Where the JVM unpacks native libraries, which a killed one leaves behind; emptied by the next start."""
        return self.folder / "scratch"

    @property
    def is_formatted(self) -> bool:
        """Whether the records' folder belongs to a broker."""
        return (self.records / _FORMATTED).exists()

    def program(self) -> Program:
        """For the supervisor. The process is the JVM itself, so that a signal to it reaches the broker."""
        return Program(
            name="kafka",
            command=(
                *(sys.executable, "-P", "-m", "infra.runtime.kafka.local"),
                *(str(path.absolute()) for path in (self.installation.java, self.installation.jars, self.folder)),
                *(str(self.port), str(self.controller_port)),
            ),
            is_ready=lambda: serves(self.address),
        )

    def configuration(self) -> str:
        """The content of the properties file."""
        return "".join(f"{key}={value}\n" for key, value in self._settings().items())

    def jvm(self, main: str, *arguments: str) -> list[str]:
        """A command line of the broker's Java."""
        return [
            str(self.installation.java),
            *("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC"),
            *("-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS"),
            f"-Djava.io.tmpdir={self.scratch}",
            *("-cp", f"{self.installation.jars}{os.sep}*", main, *arguments),
        ]

    def remove(self) -> None:
        """Removes the records of a broker that does not run; a folder that is no broker's stays."""
        if self.is_formatted:
            shutil.rmtree(self.folder)

    def _settings(self) -> dict[str, str]:
        one = dict.fromkeys(
            (
                "default.replication.factor",
                "min.insync.replicas",
                "offsets.topic.replication.factor",
                "offsets.topic.num.partitions",
                "transaction.state.log.replication.factor",
                "transaction.state.log.min.isr",
                "transaction.state.log.num.partitions",
                "share.coordinator.state.topic.replication.factor",
                "share.coordinator.state.topic.min.isr",
            ),
            "1",
        )
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{HOST}:{self.controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{HOST}:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            # From the folder, where the broker runs: this is a list, to which a comma in a name would be the next one.
            "log.dirs": self.records.name,
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            # The old session must run out before a killed broker is let back in: 9 s by default.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # Else the controller writes twice a second that nothing has happened: a third of what an idle broker costs.
            "metadata.max.idle.interval.ms": "0",
            **one,
        }


async def serves(address: str) -> bool:
    """Whether a broker at the address takes a record. An open port is not enough: coordinators load after it opens."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return await asyncio.to_thread(_takes_a_record, address)


def _takes_a_record(address: str) -> bool:
    client: dict[str, str | int | float | bool] = {
        "bootstrap.servers": address,
        "log_level": 0,
    }  # the answer says it all
    admin = AdminClient(client)
    created = admin.create_topics(
        [NewTopic(_PROBE_TOPIC, 1, config={"retention.ms": "60000"})], request_timeout=_PROBE_SECONDS
    )
    try:
        created[_PROBE_TOPIC].exception(timeout=_PROBE_SECONDS)  # that it exists already is as good
        taken: list[bool] = []
        producer = Producer({**client, "enable.idempotence": True, "message.timeout.ms": round(_PROBE_SECONDS * 1000)})
        producer.produce(_PROBE_TOPIC, b"ready", on_delivery=lambda error, _: taken.append(error is None))
        producer.flush(_PROBE_SECONDS)
    except (KafkaException, TimeoutError):
        return False
    return taken == [True]
