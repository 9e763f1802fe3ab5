"""Which Java and which Maven this machine has."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

JAVA_VERSION_MIN: Final = 17  # what the broker's jars are compiled for
_ASK_SECONDS: Final = 20.0  # a JVM answers in a tenth of a second; a crowded machine may need far longer


class NoLocalKafkaError(Exception):
    """This machine cannot run a broker of its own; the message says what it lacks, as half a sentence."""


def find_java(environment: Mapping[str, str]) -> Path:
    """The Java to run: that of JAVA_HOME if it is set, else the first on the PATH.

    Raises:
        NoLocalKafkaError: There is none, or it is too old.
    """
    java = _executable("java", environment)
    version = java_version(_said([str(java), "-version"], environment))
    if version < JAVA_VERSION_MIN:
        raise NoLocalKafkaError(f"{java} is Java {version}, and Kafka needs {JAVA_VERSION_MIN} or newer")
    return java


def find_maven(environment: Mapping[str, str]) -> Path:
    """The Maven on the PATH.

    Raises:
        NoLocalKafkaError: There is none, or it does not run.
    """
    found = shutil.which("mvn", path=environment.get("PATH"))
    if found is None:
        raise NoLocalKafkaError("Maven, which fetches Kafka, is not on the PATH")
    if "Apache Maven" not in _said([found, "-version"], environment):
        raise NoLocalKafkaError(f"{found} does not say that it is Apache Maven")
    return Path(found)


def java_version(said: str) -> int:
    """The feature release in what `java -version` says, such as 17 for "17.0.15" and 8 for "1.8.0_392"; else 0."""
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found[1]) if found else 0


def _executable(name: str, environment: Mapping[str, str]) -> Path:
    home = environment.get("JAVA_HOME")
    if home:
        found = shutil.which(name, path=str(Path(home) / "bin"))
        if found is None:
            raise NoLocalKafkaError(f"JAVA_HOME is {home}, and there is no Java in it")
        return Path(found)
    found = shutil.which(name, path=environment.get("PATH"))
    if found is None:
        raise NoLocalKafkaError(f"Java {JAVA_VERSION_MIN} or newer is not on the PATH")
    return Path(found)


def _said(command: list[str], environment: Mapping[str, str]) -> str:
    """What the command says on both of its outputs; nothing if it does not run."""
    try:
        done = subprocess.run(  # noqa: S603 - an executable found where the user has put it
            command, env=dict(environment), capture_output=True, text=True, timeout=_ASK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr
