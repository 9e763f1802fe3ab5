"""docs/contracts.md: complete, and true."""

import re
from pathlib import Path

from stateset.order.v1 import order_event_pb2

from infra.runtime.grpc.channel import open_channel
from tests.harness.order_service import order_service
from tests.harness.story import METHODS, Stage, steps

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "contracts.md").read_text()
STEPS = list(steps(TEXT))
KINDS = ("order", "fill", "hold", "shipment", "delivery", "return", "payment", "refund")
NOT_BY_A_CALL_ALONE = set(
    """
    BUS_REFUSED BUS_UNAVAILABLE DEADLINE_EXCEEDED DEADLINE_TOO_SHORT INTERNAL LOG_HOLE ORDER_NOT_DUE OVERLOADED
    POSITION_EXPIRED POSITION_FILTER_MISMATCH POSITION_NOT_REACHED PRE_TRADE_CHECK STOPPING STORE_UNAVAILABLE
    TOO_MANY_SUBSCRIPTIONS
    """.split()
)
"""What no call to a healthy service meets: it takes load, time, limits, an old position, a database that is away."""


def reasons() -> set[str]:
    """Every reason in the tables that make refusals."""
    sources = ("order/adapters/grpc_status.py", "infra/runtime/grpc/status.py", "infra/runtime/grpc/call.py")
    code = "".join((ROOT / source).read_text() for source in sources)
    said = set(re.findall(r'(?:reason=|_conflict\(|_no_bus\()"([A-Z_]+)"', code))
    conflicts = {f"{kind.upper()}_ID_CONFLICT" for kind in KINDS}
    return said | conflicts | {f"{kind.upper()}_NOT_FOUND" for kind in ("fill", "hold", "shipment", "return")}


async def test_the_story_is_what_a_service_answers(tmp_path: Path) -> None:
    async with order_service(tmp_path, shards=12) as service, open_channel(service.address) as channel:
        stage = Stage(channel)
        for step in STEPS:
            await stage.play(step)


def test_every_rpc_is_called() -> None:
    assert {step.method for step in STEPS} == METHODS.keys()


def test_every_event_is_explained_and_caused() -> None:
    changes = order_event_pb2.OrderEvent.DESCRIPTOR.oneofs_by_name["change"].fields
    names = {field.message_type.name for field in changes if field.message_type is not None}
    explained = set(re.findall(r"`(\w+)`", TEXT.split("## Events")[1].split("## Refusals")[0]))
    caused = {line.rpartition(".")[2] for step in STEPS for line in step.answers if "type: stateset.order.v1." in line}
    assert names <= explained
    assert names == caused


def test_every_reason_is_explained_and_met_where_a_call_can_meet_it() -> None:
    explained = set(re.findall(r"`([A-Z_]+)`", TEXT.split("## Refusals")[1]))
    met = {step.refusal[1] for step in STEPS if step.refusal}
    assert explained == reasons()
    assert met == reasons() - NOT_BY_A_CALL_ALONE
