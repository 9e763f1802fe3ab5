import re
from pathlib import Path

from tests.guarantees import validators
from tests.guarantees.mutants import MUTANTS
from tests.guarantees.plants import PLANTS

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
    rows = [row for row in rows_of_bugs() if not row[1].startswith("`test_")]
    named = [{name for row in rows for name in names_in(row[column])} for column in (1, 2)]
    assert named == [{check.__name__ for table in CHECKS for check in table.values()}, set(MUTANTS)]


def test_the_guarantees_name_every_other_bug_with_the_test_that_it_fails() -> None:
    rows = [row for row in rows_of_bugs() if row[1].startswith("`test_")]
    named = {(promise, test.strip("`"), bug) for promise, test, bugs in rows for bug in names_in(bugs)}
    assert named == {(promise, test, name) for name, (_, promise, test) in PLANTS.items()}


def rows_of_bugs() -> list[tuple[str, str, str]]:
    """Promise, what catches, and planted bugs."""
    document = (ROOT / "docs" / "guarantees.md").read_text()
    return re.findall(r"^\| (G[\d, G]+) \| (`.*`) \| (`.*`) \|$", document, re.MULTILINE)


def names_in(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def test_every_link_of_the_documents_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        (page.name, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []
