"""What the command line says: one line at a time, at once."""

import sys


class OutputError(Exception):
    """Standard output takes nothing more; its cause says why."""


def say(line: str) -> None:
    """Writes a line to standard output.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except OSError as error:
        raise OutputError(f"cannot write to standard output ({error.strerror}): give it another place") from error


def complain(line: str) -> None:
    """Writes a line to standard error."""
    sys.stderr.write(f"{' '.join(line.split())}\n")


def first(error: BaseException) -> BaseException:
    """The error to tell of: itself, or the first one of a group."""
    return first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
