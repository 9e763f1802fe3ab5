"""PlaceOrder at twice what the Order Service can do: how much of its peak it still answers with OK, in time."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from tests.bench.effort import Effort
from tests.bench.grpc_call import NUMBER, CallTemplate
from tests.bench.http2_load import Load
from tests.bench.open_load import OpenLoad
from tests.bench.place_order import METHOD, new_order
from tests.bench.processes import BenchError, run_server
from tests.bench.report import Reading
from tests.bench.rounds import WARM_UP_SECONDS
from tests.bench.unary import CALLERS, CONNECTIONS

_TIMES: Final = 2  # the capacity
_DEADLINE_SECONDS: Final = 2  # a caller who waits for longer has gone; what it is answered then is lost work
_CROWD_CONNECTIONS: Final = 32
_SETTLE_SECONDS: Final = 3.0  # longer than any queue in the service


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """Calls per second: at the peak, and at twice that."""

    peak: float
    ok: float
    refused: float
    unheard: float


def overload(folder: Path, effort: Effort) -> dict[str, Reading]:
    """Goodput at twice the capacity, as a share of the peak of a closed loop just before, on SQLite.

    Raises:
        BenchError: The server did not start, or its connections broke.
    """
    settings = ("--database", f"sqlite:///{folder / 'order.db'}", "--admin-address", "127.0.0.1:0")
    message = new_order(NUMBER).SerializeToString()
    with run_server("order", settings, folder / "order.log") as ours:
        template = CallTemplate(ours.address, METHOD, message, deadline_seconds=_DEADLINE_SECONDS)
        rounds = [_overloaded(template, ours.address, effort.seconds) for _ in range(effort.rounds)]
    return {
        "place_order_overload_goodput_ratio": Reading(
            value=median(each.ok / each.peak for each in rounds),
            unit="of peak",
            goal=0.8,
            more_is_better=True,
            rests_on={
                f"{name}_per_s": round(median(getattr(each, name) for each in rounds))
                for name in ("peak", "ok", "refused", "unheard")
            },
        )
    }


def _overloaded(template: CallTemplate, address: str, seconds: float) -> _Round:
    with Load(template, address, callers=CALLERS, connections=CONNECTIONS) as load:
        load.run(WARM_UP_SECONDS)
        calm = load.run(seconds)
        load.finish(_DEADLINE_SECONDS)
    if not calm.replies:
        raise BenchError(f"no call was answered with OK: {calm.first_error}")
    peak = calm.replies / calm.seconds
    with OpenLoad(template, address, per_second=round(_TIMES * peak), connections=_CROWD_CONNECTIONS) as crowd:
        crowd.run(_SETTLE_SECONDS)
        before = crowd.unheard
        tally = crowd.run(seconds)
        return _Round(
            peak=peak,
            ok=tally.replies / tally.seconds,
            refused=tally.errors / tally.seconds,
            unheard=(crowd.unheard - before) / tally.seconds,
        )
