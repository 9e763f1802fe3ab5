"""Tiny real programs for a supervisor, and what the operating system knows about processes."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from infra.runtime.supervisor import Program

# Writes its pid when it serves; ends when it is told to, or when its life line does.
_SERVER = """
import os, signal, sys
path, journal, name = sys.argv[1:4]
signal.signal(signal.SIGTERM, lambda *_: end("told"))
def end(why):
    open(journal, "a").write(f"{name} {why}\\n")
    os._exit(0)
open(journal, "a").write(f"{name} started\\n")
open(path, "w").write(str(os.getpid()))
sys.stdin.read()
end("life line")
"""


def server(folder: Path, name: str) -> Program:
    """A program that serves until it is told to stop; `journal` in the folder tells its story."""
    pid_file = folder / f"{name}.pid"
    command = (sys.executable, "-c", _SERVER, str(pid_file), str(folder / "journal"), name)
    return Program(name=name, command=command, is_ready=_is_alive(pid_file))


def chatty(folder: Path, name: str) -> Program:
    """A program that says that it serves, and does."""
    pid_file = folder / f"{name}.pid"
    script = "import os, sys, time; print('serving', flush=True); open(sys.argv[1], 'w').write(str(os.getpid()))"
    command = (sys.executable, "-c", f"{script}; time.sleep(60)", str(pid_file))
    return Program(name=name, command=command, is_ready=_is_alive(pid_file))


def failing(name: str, line: str, code: int) -> Program:
    """A program that says a line and ends."""
    script = f"import sys; sys.stderr.write({line!r} + chr(10)); sys.exit({code})"
    return Program(name=name, command=(sys.executable, "-c", script), is_ready=_never)


def once_usable(folder: Path, name: str, line: str) -> Program:
    """A program that serves until it is killed, and from then on says a line and ends as one that cannot start."""
    pid_file = folder / f"{name}.pid"
    script = (
        "import os, sys, time\n"
        "if os.path.exists(sys.argv[1]):\n"
        "    print(sys.argv[2])\n"
        "    sys.exit(2)\n"
        "open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    )
    return Program(name=name, command=(sys.executable, "-c", script, str(pid_file), line), is_ready=_is_alive(pid_file))


def deaf(folder: Path, name: str) -> Program:
    """A program that serves and does not listen when it is told to stop."""
    pid_file = folder / f"{name}.pid"
    script = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    )
    return Program(name=name, command=(sys.executable, "-c", script, str(pid_file)), is_ready=_is_alive(pid_file))


def journal(folder: Path) -> list[str]:
    """What the servers in the folder did, line by line."""
    return (folder / "journal").read_text().splitlines()


def is_running(pid: int) -> bool:
    """Whether there is such a process; one that is dead and not yet collected does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def variables_of(pid: int) -> set[str]:
    """The environment that the process was started with, NAME=value."""
    return set(Path(f"/proc/{pid}/environ").read_text().split("\0"))


def _is_alive(pid_file: Path) -> Callable[[], Awaitable[bool]]:
    def look() -> bool:
        pid = pid_file.read_text() if pid_file.exists() else ""
        return pid.isdecimal() and is_running(int(pid))

    async def ask() -> bool:
        return look()

    return ask


async def _never() -> bool:
    return False
