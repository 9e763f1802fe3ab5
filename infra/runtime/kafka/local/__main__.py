"""`python -m infra.runtime.kafka.local JAVA JARS FOLDER PORT CONTROLLER_PORT`: becomes the broker."""

import base64
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Final

from infra.runtime.kafka.local.broker import Installation, LocalBroker
from infra.runtime.lifespan import EXIT_UNUSABLE, StartupError

_PR_SET_PDEATHSIG: Final = 1  # <sys/prctl.h>
_FORMAT_SECONDS: Final = 60.0  # 0.7 s on an idle machine


def main(arguments: list[str]) -> int:
    """Turns into the broker of the arguments; returns only if that cannot be."""
    java, jars, folder, port, controller_port = arguments
    return become(
        LocalBroker(
            installation=Installation(java=Path(java), maven=None, jars=Path(jars)),
            folder=Path(folder),
            port=int(port),
            controller_port=int(controller_port),
        )
    )


def become(broker: LocalBroker) -> int:
    """Formats the folder if it is new, then turns into the JVM, in it; returns only if that cannot be."""
    _die_with_parent()
    try:
        broker.records.mkdir(parents=True, exist_ok=True)
        os.chdir(broker.folder)
        os.environ["LC_ALL"] = "C.UTF-8"  # Java reads the names of files as the locale has them, and Python as UTF-8
        shutil.rmtree(broker.scratch, ignore_errors=True)
        broker.scratch.mkdir()
        broker.properties.write_text(broker.configuration())
        if not broker.is_formatted:
            _format(broker)
        command = broker.jvm("kafka.Kafka", str(broker.properties))
        os.execv(command[0], command)  # noqa: S606 - a shell would stand between the broker and its signals
    except (OSError, subprocess.SubprocessError, StartupError) as error:
        sys.stderr.write(f"{error}\n")
    return EXIT_UNUSABLE


def cluster_id() -> str:
    """A new one: a random UUID in Kafka's spelling, which never begins with a dash."""
    while True:
        made = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not made.startswith("-"):
            return made


def _format(broker: LocalBroker) -> None:
    command = broker.jvm("kafka.tools.StorageTool", "format", "-t", cluster_id(), "-c", str(broker.properties))
    done = subprocess.run(  # noqa: S603 - the broker's own tool
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_FORMAT_SECONDS,
        check=False,
    )
    sys.stderr.write(done.stdout)
    if done.returncode:  # the reason comes last; settings and traces of calls are indented
        reasons = [line for line in done.stdout.splitlines() if line.strip() and not line[0].isspace()]
        raise StartupError(f"cannot make {broker.records} a folder of Kafka's: {(reasons or ['no reason given'])[-1]}")


def _die_with_parent() -> None:
    """A JVM does not watch its standard input as our services do: Linux tells it when its supervisor is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
