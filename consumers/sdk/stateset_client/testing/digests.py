"""The digest over orders, as the contract defines it."""

from collections.abc import Iterable

from stateset.order.v1.order_pb2 import Order

from stateset_client.digests import hash_of, number_of


def digest_of(orders: Iterable[Order]) -> tuple[int, bytes]:
    """Count and hash over the (order id, version) of each."""
    numbers = [number_of(order.order_id, order.version) for order in orders]
    return len(numbers), hash_of(sum(numbers))
