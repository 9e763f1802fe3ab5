"""The broker's jars: fetched once by Maven, kept in the user's cache."""

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from infra.runtime.lifespan import StartupError

_POM: Final = Path(__file__).with_name("pom.xml")
_FETCH_SECONDS: Final = 300.0  # 44 MB take five seconds on a good line


def kafka_version() -> str:
    """The version that pom.xml names."""
    found = re.search(r"<kafka\.version>(.+?)</kafka\.version>", _POM.read_text())
    if found is None:
        raise LookupError(f"{_POM} names no kafka.version")
    return found[1]


def jars_folder(data_dir: Path, environment: Mapping[str, str]) -> Path:
    """Where the jars are, or will be: in the user's cache if that can be written, else in the data folder."""
    base = Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or "/nonexistent") / ".cache")
    folder = f"kafka-{kafka_version()}"
    cached = base / "stateset" / folder
    return cached if cached.is_dir() or is_writable(cached) else data_dir / "cache" / folder


def fetch_jars(folder: Path, maven: Path, environment: Mapping[str, str]) -> None:
    """Fills the folder. It is complete as soon as it exists, however many fill it at once.

    Raises:
        StartupError: Maven could not fetch them.
    """
    folder = folder.absolute()  # Maven takes what is not for a place beside its pom.xml
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as name:
        temporary = Path(name)
        _copy_dependencies(temporary, maven, environment)
        try:
            (temporary / "libs").rename(folder)
        except OSError as error:
            if not folder.is_dir():  # else another was first, with the same jars
                raise StartupError(
                    f"Kafka's jars cannot be put into {folder} ({error.strerror}): make room for it, "
                    "or use --bus direct to do without"
                ) from error


def is_writable(path: Path) -> bool:
    """Whether this user could make the path."""
    nearest = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _copy_dependencies(temporary: Path, maven: Path, environment: Mapping[str, str]) -> None:
    shutil.copy(_POM, temporary)
    # Maven keeps its downloads in the home of the user's account, whatever HOME says.
    own_store = () if is_writable(_account_home() / ".m2") else (f"-Dmaven.repo.local={temporary / 'store'}",)
    goal = (
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
        f"-DoutputDirectory={temporary / 'libs'}",
        *own_store,
    )
    try:
        done = subprocess.run(  # noqa: S603 - the Maven that the user has installed
            [str(maven), "-B", "-q", "-f", str(temporary / "pom.xml"), *goal],
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=_FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StartupError(f"Maven did not fetch Kafka within {_FETCH_SECONDS:.0f} s; use --bus direct") from error
    if done.returncode:
        said = next((line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line), "no reason given")
        raise StartupError(f"Maven could not fetch Kafka: {said[:400]}; use --bus direct to do without")


def _account_home() -> Path:
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:  # a container's nameless user
        return Path("/nonexistent")
