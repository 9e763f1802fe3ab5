"""One RPC under load, ours against a server that answers it with a constant reply."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench.effort import Effort
from tests.bench.grpc_call import CallTemplate
from tests.bench.http2_load import Load, Tally
from tests.bench.processes import BenchError, Server, run_server
from tests.bench.report import Comparison
from tests.bench.rounds import Contender, alternate

CALLERS: Final = 64
CONNECTIONS: Final = 4
DEADLINE_SECONDS: Final = 10
ANSWER_SECONDS: Final = 15.0  # more than a call's own deadline


def against_constant(
    template: Callable[[str], CallTemplate], ours: Server, reply: bytes, folder: Path, effort: Effort
) -> Comparison:
    """CPU of our server per call.

    Args:
        template: The call, by the address that it is for.
        ours: The server that is measured.
        reply: What the other one answers every call with: of the size of ours.
        folder: For the other one's output.
        effort: How often, and how long.

    Raises:
        BenchError: The other one did not start, or a call was not answered with OK.
    """
    constant = folder / "reply"
    constant.write_bytes(reply)
    with run_server("tests.bench.reference_order", ("--reply", str(constant)), folder / "reference.log") as reference:
        samples = alternate(
            _contender("reference", reference, template),
            _contender("ours", ours, template),
            rounds=effort.rounds,
            seconds=effort.seconds,
        )
    return Comparison(unit="call", reference=samples[0], ours=samples[1])


def _contender(name: str, server: Server, template: Callable[[str], CallTemplate]) -> Contender:
    return Contender(name, server.cpu_seconds, partial(open_load, template(server.address), server.address))


class _Calls:
    """A load whose every call must be answered with OK."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def run(self, seconds: float) -> int:
        return _checked(self._load.run(seconds)).replies


@contextmanager
def open_load(template: CallTemplate, address: str) -> Iterator[_Calls]:
    """Loads the server with the call while the context lasts."""
    with Load(template, address, callers=CALLERS, connections=CONNECTIONS) as load:
        yield _Calls(load)
        _checked(load.finish(ANSWER_SECONDS))


def _checked(tally: Tally) -> Tally:
    if tally.errors or not tally.replies:
        raise BenchError(f"{tally.errors} calls failed of {tally.errors + tally.replies}: {tally.first_error}")
    return tally
