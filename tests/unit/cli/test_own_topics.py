"""What `up` and `demo` say last where topics of a Kafka of their own are refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from consumers.cli.own_topics import own_topics_advised
from consumers.cli.system import Plan
from infra.runtime.lifespan import StartupError

FOLDER = Path(".stateset/kafka")


def advice_on(said: str, *, folder: Path | None = FOLDER) -> list[str]:
    broker = None if folder is None else SimpleNamespace(folder=folder)
    advice: list[str] = []
    plan = cast(Plan, SimpleNamespace(kafka=SimpleNamespace(broker=broker)))
    with pytest.raises(BaseExceptionGroup), own_topics_advised(plan, advice.append):
        raise BaseExceptionGroup("", [StartupError(said)])
    return advice


def test_topics_of_another_log_are_to_be_removed() -> None:
    [said] = advice_on("topic t holds log a, this is log b: `stateset topics reset` empties it")
    assert said == "this Kafka was our own and has ended, too: remove .stateset/kafka and start again; the log fills it"


def test_where_the_log_was_restored_it_is_made_another_one_first() -> None:
    [said] = advice_on("if it was restored, stop and run `stateset log new-epoch`; then `stateset topics reset` …")
    assert "after `stateset log new-epoch`, remove .stateset/kafka and start again" in said


def test_about_anything_else_or_a_kafka_of_others_nothing_is_said() -> None:
    assert advice_on("the port is taken") == []
    assert advice_on("`stateset topics reset` empties it", folder=None) == []
