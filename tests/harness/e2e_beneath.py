"""What a system stands on in the end-to-end tests: databases and a bus of its own, where this machine has the parts."""

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.cli.bus import Bus
from infra.runtime.kafka.local.broker import Installation
from infra.runtime.kafka.local.java import NoLocalKafkaError
from infra.runtime.postgres.server import find_programs
from tests.harness.parts import missing


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder that does not exist yet. Not below pytest's own: that is root's alone, and PostgreSQL is not root."""
    folder = Path(f"/tmp/stateset-e2e-{uuid.uuid4().hex}")  # noqa: S108 - a name of its own
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def need_postgres() -> None:
    """Ends the test where a PostgreSQL of our own cannot run."""
    if find_programs() is None:
        missing("PostgreSQL", "its programs are neither installed nor in a wheel")


def own_kafka(data_dir: Path) -> Bus:
    """A broker in the data folder; ends the test where there can be none."""
    try:
        installation = Installation.find(data_dir, os.environ)
    except NoLocalKafkaError as error:
        missing("Kafka", str(error))
    return Bus(name="kafka", line="bus: Kafka of our own", installation=installation)
