"""Where a Kafka is, and how its clients are let in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from infra.runtime.kafka.errors import QUIET, kafka_error
from infra.runtime.lifespan import StartupError

_ACCEPTED: Final = "security.protocol, sasl.*, ssl.*, client.rack and broker.address.family"
_NAMES: Final = frozenset({"security.protocol", "client.rack", "broker.address.family"})
_FAMILIES: Final = ("sasl.", "ssl.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A Kafka as every client of ours is told of it.

    Attributes:
        servers: The addresses that are asked first.
        config_file: Where the access was read; none if there is no such file.
        access: librdkafka's settings for security. They hold secrets, so they are in no repr and no message.
    """

    servers: str
    config_file: str = ""
    access: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, servers: str, config_file: str) -> "Cluster":
        """A Kafka with the access that a properties file describes; without a file, one that is open to everybody.

        Raises:
            StartupError: The file cannot be read, or has a line that cannot be used. No value is told.
        """
        return cls(servers=servers, config_file=config_file, access=_access(config_file) if config_file else {})

    def client(self, hear: Callable[[KafkaError], None]) -> dict[str, Any]:
        """What a client is configured by, beside what it is for; `hear` is told what befalls its connections."""
        return {**self.access, **QUIET, "bootstrap.servers": self.servers, "error_cb": hear}


def _access(config_file: str) -> dict[str, str]:
    try:
        text = Path(config_file).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise StartupError(f"cannot read the Kafka client configuration {config_file} ({why}): give another") from error
    found = dict(
        _setting(line, f"{config_file}, line {number}")
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip() and not line.lstrip().startswith("#")
    )
    if any(name.startswith(_FAMILIES) for name in found) and "security.protocol" not in found:
        raise StartupError(
            f"{config_file}: it names no security.protocol, such as SASL_SSL: without one, all is sent in the open"
        )
    _try(found, config_file)
    return found


def _setting(line: str, where: str) -> tuple[str, str]:
    """Its name and value. A line that is refused is told by its number: it may be a piece of a key."""
    name, equals, value = (part.strip() for part in line.partition("="))
    if not equals:
        raise StartupError(f"{where}: there is no `=`: write name=value, or # before a comment")
    if name not in _NAMES and not name.startswith(_FAMILIES):
        raise StartupError(f"{where}: its name is not among {_ACCEPTED}: remove the line")
    return name, value


def _try(access: Mapping[str, str], config_file: str) -> None:
    """Lets librdkafka judge names and values, which it does when a client is made; this one has no address."""
    try:
        Producer({**access, **QUIET})
    except KafkaException as error:
        said = kafka_error(error).str().removeprefix("Failed to create producer: ")
        for value in filter(None, access.values()):
            said = said.replace(f'"{value}"', "that is set")
        raise StartupError(f"{config_file}: librdkafka refuses it: {said}") from error
