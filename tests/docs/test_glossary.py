"""The glossary has one row for each word."""

import re
from collections import Counter
from pathlib import Path


def test_a_word_has_one_row() -> None:
    words = re.findall(r"^\| (\w[^|]*) \|", Path("docs/glossary.md").read_text(), re.MULTILINE)
    assert [word for word, rows in Counter(words).items() if rows > 1] == []
