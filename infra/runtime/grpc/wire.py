"""Between the messages that all services share and the values that their code works with."""

from base64 import b64decode, urlsafe_b64encode
from functools import lru_cache
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from stateset.common.v1 import position_pb2

from infra.kernel.position import Position, PositionMalformedError

_VARINT_BITS: Final = 0x7F
_TOKEN_CHARACTERS_MAX: Final = 4_096
_SECONDS_MIN: Final = -62_135_596_800  # the years 1 to 9999, as a Timestamp's own definition has them
_SECONDS_MAX: Final = 253_402_300_799
_NANOS_MAX: Final = 999_999_999
NO_TIME: Final = "must be a time of the years 1 to 9999"


def position_to_wire(position: Position) -> position_pb2.Position:
    """The position as a message."""
    return position_pb2.Position(
        log_epoch=position.log_epoch, next_seq=position.next_seq, filter_hash=position.filter_hash
    )


def position_from_wire(message: position_pb2.Position) -> Position:
    """The position in a message, as it stands: `check_log` says whether it is one of ours."""
    return Position(
        log_epoch=message.log_epoch, next_seq=tuple(message.next_seq), filter_hash=bytes(message.filter_hash)
    )


def token_of(position: Position) -> str:
    """The position as one word that an address, a header and a line of text can hold."""
    return urlsafe_b64encode(position_to_wire(position).SerializeToString()).decode().rstrip("=")


def position_of_token(token: str) -> Position:
    """The position that a token stands for: `check_log` says whether it is one of ours.

    Raises:
        PositionMalformedError: It is no token.
    """
    if len(token) > _TOKEN_CHARACTERS_MAX:
        raise PositionMalformedError(f"a token has at most {_TOKEN_CHARACTERS_MAX} characters")
    try:
        encoded = b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
        return position_from_wire(position_pb2.Position.FromString(encoded))
    except (ValueError, DecodeError) as error:
        raise PositionMalformedError("this is no token of a position") from error


def timestamp_to_wire(time_us: int) -> Timestamp:
    """Microseconds since 1970 as a message."""
    message = Timestamp()
    set_timestamp(message, time_us)
    return message


def set_timestamp(message: Timestamp, time_us: int) -> None:
    """Fills a message that is part of another one with microseconds since 1970."""
    message.seconds, micros = divmod(time_us, 1_000_000)
    message.nanos = micros * 1000


def is_time(message: Timestamp) -> bool:
    """Whether the message is a time at all; what is not, no database takes. `NO_TIME` says so to its sender."""
    return _SECONDS_MIN <= message.seconds <= _SECONDS_MAX and 0 <= message.nanos <= _NANOS_MAX


def timestamp_from_wire(message: Timestamp) -> int:
    """Microseconds since 1970; what is finer is cut off."""
    return message.seconds * 1_000_000 + message.nanos // 1000


def freshness_to_wire(position: Position, as_of_us: int, staleness_us: int) -> position_pb2.Freshness:
    """How old an answer is that includes everything below `position`, and the whole log as of `as_of_us`."""
    staleness = Duration()
    staleness.FromMicroseconds(staleness_us)
    return position_pb2.Freshness(
        position=position_to_wire(position), as_of=timestamp_to_wire(as_of_us), staleness=staleness
    )


def embedded(field_number: int, body: bytes) -> bytes:
    """A message field around a message that is encoded already."""
    return field_head(field_number, len(body)) + body


@lru_cache(maxsize=4096)  # few field numbers, and lengths that are alike
def field_head(field_number: int, size: int) -> bytes:
    """What stands before a message of so many bytes that is a field of another one."""
    return varint(field_number << 3 | 2) + varint(size)


@lru_cache(maxsize=4096)  # numbers that a whole group shares
def varint(number: int) -> bytes:
    """A number of 0 or more, as messages encode it."""
    encoded = bytearray()
    while number > _VARINT_BITS:
        encoded.append(number & _VARINT_BITS | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
