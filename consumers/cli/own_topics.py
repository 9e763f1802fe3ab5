"""What to do where topics of a Kafka of our own are refused: it ends with us, and no command reaches it any more."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from consumers.cli.system import Plan
from infra.runtime.lifespan import StartupError

_ABOUT_TOPICS: Final = "`stateset topics "  # the remedy that every such refusal names, whichever process it comes from
_ABOUT_A_RESTORED_LOG: Final = "`stateset log new-epoch`"  # else nothing would refuse it any more


@contextmanager
def own_topics_advised(plan: Plan, advise: Callable[[str], None]) -> Iterator[None]:
    """Says what to do, if the body ends because topics of the plan's own broker are refused."""
    try:
        yield
    except (StartupError, BaseExceptionGroup) as error:
        broker = plan.kafka.broker if plan.kafka is not None else None
        if broker is not None and _names(error, _ABOUT_TOPICS):
            first = f"after {_ABOUT_A_RESTORED_LOG}, " if _names(error, _ABOUT_A_RESTORED_LOG) else ""
            advise(
                f"this Kafka was our own and has ended, too: {first}remove {broker.folder} and start again; "
                "the log fills it"
            )
        raise


def _names(error: BaseException, remedy: str) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_names(each, remedy) for each in error.exceptions)
    return isinstance(error, StartupError) and remedy in str(error)
