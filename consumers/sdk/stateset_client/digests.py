"""The digest over orders, as the contract defines it: a sum, so that one order can be taken out and put in again."""

from hashlib import blake2b
from typing import Final

_BYTES: Final = 16
_MODULUS: Final = 1 << 8 * _BYTES


def number_of(order_id: str, version: int) -> int:
    """What one order at a version adds to the sum."""
    return int.from_bytes(blake2b(f"{order_id}\0{version}".encode(), digest_size=_BYTES).digest(), "big")


def hash_of(total: int) -> bytes:
    """The sum as the contract writes it, 16 bytes."""
    return (total % _MODULUS).to_bytes(_BYTES, "big")
