"""Outcomes of events that must be answered, however long the server is away."""

from collections.abc import Sequence

from stateset_client.batch import AckResult, AckStatus, Settled
from stateset_client.errors import FencedError
from stateset_client.subscription import Subscription


async def settle_until_answered(subscription: Subscription, settled: Sequence[Settled], what: str) -> AckResult:
    """Says what became of events, again and again until the server answers. What was not committed comes again.

    Args:
        subscription: Whose events they are.
        settled: What became of them.
        what: The name by which an error calls what is read.

    Raises:
        FencedError: Another reader has taken over the subscription.
        StateSetError: The subscription has ended for good.
    """
    while True:
        try:
            result = await subscription.settle(*settled)
        except TimeoutError:
            continue  # an event that is never settled would hold its order for good
        if result.status is AckStatus.FENCED:
            raise FencedError.of(f"another reader has taken over {what}")
        return result
