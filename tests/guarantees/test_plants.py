"""The tests of promises that no history shows fail once a promise is broken, and say so themselves."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest

from tests.guarantees.plants import CAUGHT, PLANTS

TESTS: Final = Path(__file__).parents[1]
BROKER: Final = TESTS / "broker"

pytestmark = pytest.mark.timeout(600)  # the first test of a fixture waits for the run of all


def files_of(tests: Iterable[str]) -> Mapping[str, Path]:
    """Where each test is."""
    found = {
        name: path
        for path in TESTS.rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    return {test: found[test] for test in tests}


FILES: Final = files_of(test for _, _, test in PLANTS.values())
ON_KAFKA: Final = [name for name, (_, _, test) in PLANTS.items() if FILES[test].is_relative_to(BROKER)]
BY_THEMSELVES: Final = [name for name in PLANTS if name not in ON_KAFKA]


def caught_of(names: Iterable[str], folder: Path, **environment: str) -> tuple[set[str], str]:
    """Which of the bugs their tests have caught, and what the run has said."""
    tests = {PLANTS[name][2] for name in names}
    report = folder / "report.xml"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.guarantees.plants"),
            *(f"--junit-xml={report}", "-k", "not postgres"),
            *(f"{FILES[test]}::{test}" for test in sorted(tests)),
        ],
        cwd=TESTS.parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    properties = ET.parse(report).iter("property") if report.exists() else ()  # noqa: S314 - our own file
    return {each.attrib["value"] for each in properties if each.attrib["name"] == CAUGHT}, run.stdout + run.stderr


Caught = tuple[set[str], str]


@pytest.fixture(scope="module")
def caught(tmp_path_factory: pytest.TempPathFactory) -> Caught:
    return caught_of(BY_THEMSELVES, tmp_path_factory.mktemp("plants"))


@pytest.fixture(scope="module")
def caught_on_kafka(tmp_path_factory: pytest.TempPathFactory, kafka_servers: str) -> Caught:
    folder = tmp_path_factory.mktemp("plants")
    return caught_of(ON_KAFKA, folder, STATESET_KAFKA_BOOTSTRAP_SERVERS=kafka_servers)


@pytest.mark.parametrize("name", BY_THEMSELVES)
def test_a_planted_bug_fails_its_test(name: str, caught: Caught) -> None:
    names, said = caught
    assert name in names, said


@pytest.mark.parametrize("name", ON_KAFKA)
def test_a_planted_bug_fails_its_test_on_kafka(name: str, caught_on_kafka: Caught) -> None:
    names, said = caught_on_kafka
    assert name in names, said
