"""Identifiers that sort by time."""

import os
from typing import Final

_VARIANTS: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))  # 0b10, then two random bits


def uuid7(now_us: int) -> str:
    """A UUIDv7 for the given time, its 74 random bits from the operating system.

    Source: RFC 9562 §5.7.
    """
    time = f"{now_us // 1000:012x}"
    random = os.urandom(10).hex()
    return f"{time[:8]}-{time[8:]}-7{random[:3]}-{_VARIANTS[random[3]]}{random[4:7]}-{random[7:19]}"
