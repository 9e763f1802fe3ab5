"""What every test may ask for, and the last lines of a run."""

from collections.abc import Generator

import hypothesis
import pytest
import structlog

from tests.harness.parts import not_run

pytest_plugins = ["tests.harness.kafka_broker", "tests.harness.postgres"]

# The machine decides how long an example takes; the test's own timeout bounds all of them.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

# With rich at hand structlog would draw each traceback with all its variables: a planted bug makes hundreds of them,
# and a minute of CPU.
_PLAIN = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _PLAIN])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Campaigns first: none of two workers that share the files should be left alone with the longest in the end."""
    items.sort(key=lambda item: "guarantees" not in item.path.parts)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    """Says last, after all other summaries, which tests had no part to run on; silence would look like success."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    for line in not_run(report.longrepr[2] for report in skipped):
        terminalreporter.write_line(line, yellow=True)
