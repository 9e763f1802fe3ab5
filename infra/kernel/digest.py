"""A digest that two copies of a set agree on, whatever the order in which each reads it."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

_BYTES: Final = 16
_MODULUS: Final = 1 << 8 * _BYTES


@dataclass(slots=True)
class Digest:
    """Count and sum modulo 2^128 of the entries' BLAKE2b-128 hashes.

    A sum, unlike an exclusive or, notices an entry that is there twice; and entries can be taken out again.
    """

    count: int = 0
    sum: int = 0

    def add(self, *parts: object) -> None:
        """Adds one entry: its parts as text, joined by U+0000, which none of them may hold."""
        self.count += 1
        self.sum = (self.sum + _hash(parts)) % _MODULUS

    @property
    def hash(self) -> bytes:
        """The sum, big-endian."""
        return self.sum.to_bytes(_BYTES, "big")


def _hash(parts: tuple[object, ...]) -> int:
    return int.from_bytes(blake2b("\0".join(map(str, parts)).encode(), digest_size=_BYTES).digest(), "big")
