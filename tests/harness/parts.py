"""Parts of a machine that some tests need: without one they are skipped and named, and in CI they fail."""

import os
from collections import Counter
from collections.abc import Iterable
from typing import NoReturn

import pytest

_MARK = "without "


def missing(part: str, why: str) -> NoReturn:
    """Ends the test: skipped on a developer's machine, failed where CI=true, since CI provides every part."""
    reason = f"{_MARK}{part}: {why}"
    if os.environ.get("CI", "").lower() in {"true", "1"}:
        pytest.fail(f"{reason} (CI=true, so nothing may be missing)", pytrace=False)
    pytest.skip(reason)


def not_run(skip_reasons: Iterable[str]) -> list[str]:
    """For each missing part one line: how many tests did not run, and why."""
    reasons = (reason.removeprefix("Skipped: ") for reason in skip_reasons)
    counted = Counter(reason.removeprefix(_MARK) for reason in reasons if reason.startswith(_MARK))
    return [f"not run ({count} tests): {_MARK}{reason}" for reason, count in sorted(counted.items())]
