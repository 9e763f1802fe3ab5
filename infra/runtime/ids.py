"""Identifiers that sort by time."""

import secrets


def uuid7(now_us: int) -> str:
    """A UUIDv7 for the given time, its 74 random bits from the operating system.

    Source: RFC 9562 §5.7.
    """
    random = secrets.randbits(74)
    value = (
        (now_us // 1000 & (1 << 48) - 1) << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    )
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
