"""Which shard an order belongs to: the same arithmetic as Java's Kafka clients, so that their partitions agree."""

from functools import lru_cache
from struct import iter_unpack
from typing import Final

SHARDS_MAX: Final = 256
"""A log has no more."""

_SEED: Final = 0x9747B28C
_MULTIPLIER: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """The unsigned 32-bit MurmurHash2 of `key`.

    Source: the algorithm is Austin Appleby's; seed and byte order are those of `org.apache.kafka.common.utils.Utils`.
    """
    length = len(key)
    h = _SEED ^ length
    for (word,) in iter_unpack("<I", key[: length & ~3]):
        k = word * _MULTIPLIER & _MASK
        h = (h * _MULTIPLIER & _MASK) ^ ((k ^ k >> 24) * _MULTIPLIER & _MASK)
    rest = key[length & ~3 :]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * _MULTIPLIER & _MASK
    h = (h ^ h >> 13) * _MULTIPLIER & _MASK
    return h ^ h >> 15


@lru_cache(maxsize=4096)  # one command asks several times, and the next ones often about the same order
def shard_of(order_id: str, shards: int) -> int:
    """The shard of an order in a log of `shards` shards; also its Kafka partition."""
    return (murmur2(order_id.encode()) & 0x7FFFFFFF) % shards
