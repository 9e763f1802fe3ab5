import re
from pathlib import Path

from tests.guarantees import validators
from tests.guarantees.mutants import MUTANTS

ROOT = Path(__file__).parents[2]
CHECKS = (
    *(validators.COMMANDS, validators.READS, validators.OPENINGS, validators.BATCHES),
    *(validators.BOOKMARKS, validators.ENDS, validators.LOGS),
)


def test_every_test_that_the_guarantees_name_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "guarantees.md").read_text()))
    there = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert named - there == set()


def test_the_guarantees_name_every_check_and_every_mutant() -> None:
    rows = re.findall(
        r"^\| (G[\d, G]+) \| (`.*`) \| (`.*`) \|$", (ROOT / "docs" / "guarantees.md").read_text(), re.MULTILINE
    )
    named = [{name for row in rows for name in re.findall(r"`(\w+)`", row[column])} for column in (1, 2)]
    assert named == [{check.__name__ for table in CHECKS for check in table.values()}, set(MUTANTS)]


def test_every_link_of_the_documents_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        (page.name, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []
