"""What the command line says: one line at a time, at once."""

import sys


def say(line: str) -> None:
    """Writes a line to standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def complain(line: str) -> None:
    """Writes a line to standard error."""
    sys.stderr.write(f"{' '.join(line.split())}\n")
