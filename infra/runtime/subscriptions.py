"""How many durable subscriptions a service keeps: each is rows that stay, under a name that the caller makes up."""

from typing import Final

SUBSCRIPTIONS_MAX: Final = 10_000


class TooManySubscriptionsError(Exception):
    """One more durable subscription would be one too many; nothing was stored."""

    def __init__(self, subscriptions_max: int) -> None:
        super().__init__(
            f"{subscriptions_max} durable subscriptions are kept already: open one of them again under its name, "
            "or start the service with a larger --subscriptions-max"
        )
        self.subscriptions_max = subscriptions_max


def refuse_more(kept: int, subscriptions_max: int) -> None:
    """Refuses a new subscription beside so many that are kept.

    Raises:
        TooManySubscriptionsError: There is no room for it.
    """
    if kept >= subscriptions_max:
        raise TooManySubscriptionsError(subscriptions_max)
