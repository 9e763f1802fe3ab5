"""Stand-ins for the tools of other people's machines: scripts that say what the real ones would."""

from collections.abc import Mapping
from pathlib import Path

JAVA_17 = 'openjdk version "17.0.15" 2025-04-15'
JAVA_8 = 'openjdk version "1.8.0_392"'


def tool(folder: Path, name: str, says: str, code: int = 0) -> Path:
    """An executable that says a line on standard error and ends."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit {code}\n")
    path.chmod(0o755)
    return path


def machine(folder: Path, *, java: str = "", maven: str = "") -> Mapping[str, str]:
    """The environment on a machine with just these tools, which has fetched nothing yet."""
    if java:
        tool(folder / "bin", "java", java)
    if maven:
        tool(folder / "bin", "mvn", maven)
    return {"PATH": str(folder / "bin"), "HOME": str(folder / "home")}
