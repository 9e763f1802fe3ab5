"""`python -m tests.harness.kafka_classes FOLDER`: an option of Java by which a broker finds its classes ready to map.

A third of what a broker's start costs is reading its jars. A JVM that ends can leave what it has read to others of its
version. Says nothing where there is no Kafka to be had: the tests that need one will.
"""

import os
import subprocess
import sys
import tempfile
from hashlib import blake2b
from pathlib import Path

from infra.runtime.kafka.local.broker import Installation
from infra.runtime.kafka.local.java import NoLocalKafkaError
from tests.harness.kafka_broker import local_broker


def main(folder: Path) -> None:
    """Makes the archive unless it is there, and prints the option."""
    try:
        installation = Installation.find(folder, os.environ)
    except NoLocalKafkaError:
        return
    archive = folder.absolute() / f"classes-{_version(installation)}.jsa"
    if not archive.exists():
        _make(archive)
    sys.stdout.write(f"-XX:SharedArchiveFile={archive}\n")


def _version(installation: Installation) -> str:
    """Of Java and of the jars: an archive is of no use to others."""
    java = subprocess.run([installation.java, "-version"], capture_output=True, check=True).stderr
    return blake2b(java + bytes(installation.jars), digest_size=8).hexdigest()


def _make(archive: Path) -> None:
    """What a broker has read until it is stopped."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as name:
        made = Path(name) / archive.name
        os.environ["JDK_JAVA_OPTIONS"] = f"-XX:TieredStopAtLevel=1 -XX:ArchiveClassesAtExit={made}"
        with local_broker(Path(name)):
            pass
        made.rename(archive)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
