"""Settings from the environment and the command line. What nobody knows is refused, not ignored."""

import os
from collections.abc import Sequence
from difflib import get_close_matches
from typing import ClassVar, Final, Self

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from infra.runtime.lifespan import StartupError

# Every prefix that some process of the system reads: a variable under another process's prefix is not ours to judge.
_PREFIXES: Final = ("STATESET_ORDER_", "STATESET_SYNC_", "STATESET_PORTFOLIO_", "STATESET_RISK_", "STATESET_ANALYTICS_")
_SHARED: Final = frozenset({"STATESET_SUPERVISED", "STATESET_KAFKA_BOOTSTRAP_SERVERS", "STATESET_KAFKA_CLIENT_CONFIG"})


class Settings(BaseSettings):
    """Base of a process's settings: `--grpc-port 1` before `STATESET_ORDER_GRPC_PORT=1` before the default."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        cli_kebab_case=True,
        cli_exit_on_error=False,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )
    program: ClassVar[str]

    @classmethod
    def load(cls, arguments: Sequence[str]) -> Self:
        """The settings that the environment and the command line make.

        Raises:
            StartupError: One is unknown or has a value that it cannot have; the message names it.
        """
        prefix = cls.model_config.get("env_prefix", "")
        known = {f"{prefix}{name}".upper() for name in cls.model_fields}
        _refuse_unknown(prefix, known)
        try:
            return cls(_cli_parse_args=list(arguments), _cli_prog_name=cls.program)  # type: ignore[call-arg]
        except (ValidationError, SettingsError) as error:
            raise StartupError(f"{cls.program}: {_said_shortly(error)}; see {cls.program} --help") from error


def _refuse_unknown(prefix: str, known: set[str]) -> None:
    for name in os.environ:
        if not name.startswith("STATESET_") or name in known | _SHARED:
            continue
        if name.startswith(prefix) or not name.startswith(_PREFIXES):
            nearest = get_close_matches(name, known, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else "unset it, or see --help for the settings there are"
            raise StartupError(f"unknown setting {name} in the environment: {hint}")


def _said_shortly(error: ValidationError | SettingsError) -> str:
    if isinstance(error, SettingsError):
        return str(error).removeprefix("error parsing CLI: ")
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']} (got {first['input']!r})"
