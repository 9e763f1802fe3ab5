"""What to do where topics of a Kafka of our own are refused: it ends with us, and no command reaches it any more."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from consumers.cli.system import Plan
from infra.runtime.lifespan import StartupError

_ABOUT_TOPICS: Final = "`stateset topics "  # the remedy that every such refusal names, whichever process it comes from


@contextmanager
def own_topics_advised(plan: Plan, advise: Callable[[str], None]) -> Iterator[None]:
    """Says what to do, if the body ends because topics of the plan's own broker are refused."""
    try:
        yield
    except (StartupError, BaseExceptionGroup) as error:
        broker = plan.kafka.broker if plan.kafka is not None else None
        if broker is not None and _is_about_topics(error):
            advise(
                f"this Kafka was our own and has ended, too: remove {broker.folder} and start again; the log fills it"
            )
        raise


def _is_about_topics(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_is_about_topics, error.exceptions))
    return isinstance(error, StartupError) and _ABOUT_TOPICS in str(error)
