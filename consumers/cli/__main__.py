"""`stateset`: parses the command line, then loads what the command needs and nothing else."""

import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final, cast

from consumers.cli.arguments import parser
from consumers.cli.console import OutputError, complain, first

_HANDLERS: Final = {
    "up": "consumers.cli.up:main",
    "demo": "consumers.cli.demo.main:main",
    "topics": "consumers.cli.topics:main",
    "log": "consumers.cli.log:main",
    "place": "consumers.cli.orders:place",
    "get": "consumers.cli.orders:get",
    "list": "consumers.cli.orders:list_",
    "watch": "consumers.cli.watch:main",
}
_SIGNALED: Final = 128  # what a shell adds to the number of the signal that has ended a process


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code: 0 done, 1 failed, 2 cannot be done as told, 128 + a signal."""
    code = 1
    try:
        code = _run(parser().parse_text(sys.argv[1:] if arguments is None else arguments))
    except* KeyboardInterrupt:
        code = _SIGNALED + signal.SIGINT
    except* OutputError as errors:
        code = _without_output(first(errors))
    except* OSError as errors:
        complain(f"stateset: {first(errors)}")
    return code


def _run(options: Namespace) -> int:
    module, _, function = _HANDLERS[options.command].partition(":")
    handler = cast(Callable[[Namespace], int], getattr(import_module(module), function))
    return handler(options)


def _without_output(error: BaseException) -> int:
    """The exit code; nothing is said where it is only that nobody reads on."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where the last flush, at the exit, does no harm
    if isinstance(error.__cause__, BrokenPipeError):
        return _SIGNALED + signal.SIGPIPE
    complain(f"stateset: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
