"""`python -m infra.runtime.keeper [--user NAME] [--stop SIGNAL] -- COMMAND …`: keeps a program that is not ours.

It stops on SIGTERM and when the supervisor is gone, and goes when its keeper is killed; by the signal that kills it the
keeper ends, too. As root it can run as another user, for programs that refuse root.
"""

import argparse
import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

from infra.runtime.lifespan import run

_PR_SET_PDEATHSIG: Final = 1
_STOP_SECONDS: Final = 10.0


async def keep(command: list[str], user: str | None, stop_signal: signal.Signals, stop: asyncio.Event) -> int:
    """Runs the command until it ends or `stop` is set; its exit code, or minus the signal that killed it."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, user=user, preexec_fn=_dying_with(os.getpid())
    )
    ended = asyncio.create_task(process.wait(), name="kept")
    stopped = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not ended.done():
        process.send_signal(stop_signal)
        try:
            await asyncio.wait_for(asyncio.shield(ended), _STOP_SECONDS)
        except TimeoutError:
            process.kill()
            await ended
        return 0
    return ended.result()


def _dying_with(keeper: int) -> Callable[[], None] | None:
    """Asks Linux to kill the program when its keeper is gone; elsewhere only an orderly end reaches it."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:  # gone before it could be asked
            os._exit(1)

    return ask


def _die_of(number: int) -> None:
    """Ends this process by a signal."""
    if number != signal.SIGKILL:  # which nobody can handle
        signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def main() -> int:
    """The program's exit code. If a signal killed the program, it ends this process, too."""
    parser = argparse.ArgumentParser(prog="python -m infra.runtime.keeper")
    parser.add_argument("--user")
    parser.add_argument("--stop", default="SIGTERM")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    codes: list[int] = []

    async def serve(stop: asyncio.Event) -> None:
        codes.append(await keep(options.command, options.user, signal.Signals[options.stop], stop))

    code = run(serve) or codes[0]
    if code < 0:
        _die_of(-code)
    return code


if __name__ == "__main__":
    sys.exit(main())
