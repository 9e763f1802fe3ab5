"""The digest over orders, as the contract defines it."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from stateset.order.v1.order_pb2 import Order

_BYTES: Final = 16


def digest_of(orders: Iterable[Order]) -> tuple[int, bytes]:
    """Count and hash over the (order id, version) of each."""
    hashes = [blake2b(f"{order.order_id}\0{order.version}".encode(), digest_size=_BYTES).digest() for order in orders]
    total = sum(int.from_bytes(each, "big") for each in hashes) % (1 << 8 * _BYTES)
    return len(hashes), total.to_bytes(_BYTES, "big")
