"""Sums that orders contribute to, by key. A sum does not depend on the order of its terms, nor what is made of sums."""

import operator
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

from infra.kernel.digest import Digest

Key = TypeVar("Key", bound=Hashable)
Amounts = TypeVar("Amounts", bound=tuple[int, ...])


class Sums(dict[Key, Amounts]):
    """Amounts by key; what is not there is zero.

    A key stays when its amounts cancel out: what once was touched has a row for ever, whether it was folded event by
    event or in one go.

    Args:
        make: The amounts' class: a `NamedTuple` of integers, all of them 0 by default.
    """

    def __init__(self, make: Callable[..., Amounts]) -> None:
        super().__init__()
        self._make = make
        self._zero = make()

    def add(self, key: Key, amounts: Amounts) -> None:
        """Adds to what is under the key."""
        self[key] = self._make(*map(operator.add, self.get(key, self._zero), amounts))

    def replace(self, before: Mapping[Key, Amounts], after: Mapping[Key, Amounts]) -> None:
        """An order contributes `after` instead of `before`: the difference is added, where there is one."""
        for key in before.keys() | after.keys():
            was = before.get(key, self._zero)
            difference = self._make(*map(operator.sub, after.get(key, self._zero), was))
            if key not in before or any(difference):
                self.add(key, difference)


def digest(entries: Iterable[tuple[tuple[object, ...], tuple[int, ...]]]) -> Digest:
    """Proof of what sums hold, each entry a named key and named amounts, whatever the order in which they are read."""
    result = Digest()
    for key, amounts in entries:
        result.add(type(amounts).__name__, *key, *amounts)
    return result
