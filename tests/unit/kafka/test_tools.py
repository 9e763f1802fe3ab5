import os
from pathlib import Path

import pytest

from infra.runtime.kafka.local.broker import Installation
from infra.runtime.kafka.local.jars import fetch_jars, jars_folder, kafka_version
from infra.runtime.kafka.local.java import NoLocalKafkaError, find_java, java_version
from infra.runtime.lifespan import StartupError
from tests.harness.kafka_tools import JAVA_8, JAVA_17, machine, tool

MAVEN = "Apache Maven 3.8.7"


@pytest.mark.parametrize(
    ("said", "version"),
    [
        (JAVA_17, 17),
        (JAVA_8, 8),
        ('java version "21" 2023-09-19 LTS', 21),
        ('openjdk version "25-ea" 2025-09-16', 25),
        ("command not found", 0),
    ],
)
def test_java_says_its_version_in_several_ways(said: str, version: int) -> None:
    assert java_version(said) == version


def test_java_home_comes_before_the_path(tmp_path: Path) -> None:
    environment = {**machine(tmp_path, java=JAVA_8), "JAVA_HOME": str(tmp_path / "jdk")}
    java = tool(tmp_path / "jdk" / "bin", "java", JAVA_17)
    assert find_java(environment) == java


@pytest.mark.parametrize(
    ("java", "maven", "why"),
    [
        ("", MAVEN, "Java 17 or newer is not on the PATH"),
        (JAVA_8, MAVEN, "is Java 8, and Kafka needs 17 or newer"),
        (JAVA_17, "", "Maven, which fetches Kafka, is not on the PATH"),
        (JAVA_17, "another mvn", "does not say that it is Apache Maven"),
    ],
)
def test_what_a_machine_lacks_is_named(tmp_path: Path, java: str, maven: str, why: str) -> None:
    with pytest.raises(NoLocalKafkaError, match=why):
        Installation.find(tmp_path, machine(tmp_path, java=java, maven=maven))


def test_a_java_home_without_java_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoLocalKafkaError, match=r"JAVA_HOME is .*/jdk, and there is no Java in it"):
        find_java({**machine(tmp_path, java=JAVA_17), "JAVA_HOME": str(tmp_path / "jdk")})


def test_where_the_jars_are_maven_is_not_needed(tmp_path: Path) -> None:
    environment = machine(tmp_path, java=JAVA_17)
    jars_folder(tmp_path, environment).mkdir(parents=True)
    assert Installation.find(tmp_path, environment).maven is None


def test_the_jars_are_kept_in_the_cache_or_else_in_the_data_folder(tmp_path: Path) -> None:
    kept = f"kafka-{kafka_version()}"
    home, data = tmp_path / "home", tmp_path / "data"
    no_folder = tmp_path / "file"
    no_folder.touch()
    assert jars_folder(data, {"HOME": str(home)}) == home / ".cache" / "stateset" / kept
    assert jars_folder(data, {"HOME": str(home), "XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "stateset" / kept
    assert jars_folder(data, {"HOME": str(no_folder)}) == data / "cache" / kept


def test_a_fetch_that_fails_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    maven = tool(tmp_path / "bin", "mvn", "[ERROR] no route to host", code=1)
    with pytest.raises(StartupError, match=r"Maven could not fetch Kafka: .* no route to host") as refused:
        fetch_jars(tmp_path / "cache" / "kafka", maven, os.environ)
    assert "\n" not in str(refused.value)
    assert list((tmp_path / "cache").iterdir()) == []


MAVEN_OF_FILES = """#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in -f) pom=$2 ;; -DoutputDirectory=*) folder=${1#*=} ;; esac
    shift
done
cd "$(dirname "$pom")" && mkdir -p "$folder" && touch "$folder/kafka.jar"
"""


@pytest.mark.parametrize("folder", ["data/kafka", "{tmp_path}/data/kafka"])
def test_the_folder_of_the_jars_may_be_named_from_here(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maven would take it as named from the pom.xml."""
    monkeypatch.chdir(tmp_path)
    maven = tmp_path / "mvn"
    maven.write_text(MAVEN_OF_FILES)
    maven.chmod(0o755)
    fetch_jars(Path(folder.format(tmp_path=tmp_path)), maven, os.environ)
    assert [path.name for path in (tmp_path / "data" / "kafka").iterdir()] == ["kafka.jar"]


def test_jars_that_do_not_come_are_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    maven = tool(tmp_path / "bin", "mvn", "done")
    with pytest.raises(StartupError, match=r"cannot be put into .*: make room for it, or use --bus direct"):
        fetch_jars(tmp_path / "cache" / "kafka", maven, os.environ)
