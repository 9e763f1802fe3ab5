"""Request ids that sort by time."""

import secrets
import time
import uuid


def new_request_id() -> str:
    """A UUIDv7 of now.

    Source: RFC 9562 §5.7.
    """
    random = secrets.randbits(74)
    milliseconds = time.time_ns() // 1_000_000
    return str(uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | random >> 62 << 64 | 0b10 << 62 | random & (1 << 62) - 1))
