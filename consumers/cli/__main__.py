"""`stateset`: parses the command line, then loads what the command needs and nothing else."""

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final, cast

from consumers.cli.arguments import parser

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code: 0 done, 1 failed, 2 cannot be done as told."""
    options = parser().parse_args(arguments)
    module, _, function = _HANDLERS[options.command].partition(":")
    handler = cast(Callable[[Namespace], int], getattr(import_module(module), function))
    return handler(options)


if __name__ == "__main__":
    sys.exit(main())
