"""Requests that nobody in their right mind would send: made from the contract's descriptors, by a seed."""

import random
from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

Known = Mapping[str, Callable[[random.Random], Any]]
"""By the name of a field, how to draw a value that makes sense there; None leaves the field as it is.

A message that has no name here is made of its fields; a repeated one has a single part: the ids of parts must differ.
"""

_DEPTH_MAX: Final = 6
_SET: Final = {True: 0.97, False: 0.85}  # of the fields of a message that makes sense, so that most do; of a wild one
_BITS = {
    FieldDescriptor.CPPTYPE_INT32: (32, True),
    FieldDescriptor.CPPTYPE_INT64: (64, True),
    FieldDescriptor.CPPTYPE_UINT32: (32, False),
    FieldDescriptor.CPPTYPE_UINT64: (64, False),
    FieldDescriptor.CPPTYPE_ENUM: (32, True),
}
_TEXTS: Final = (
    *("", "\0", "a\0b", " ", "\n", "0", "-1", "None", "%00", "%s", "'", '"', "\\", "';--", "../../etc/passwd"),
    *(
        "\u202e",
        "\ufeff",
        "\ud7ff",
        "\ue000",
        "\U0010ffff",
        "ß",
        "İ",
        "e\u0301",
        "a" * 64,
        "a" * 65,
        "ü" * 64,
        "1" * 400,
    ),
    *(
        "1" * 400,
        "state = ",
        "(((((",
        "NOT " * 200,
        'a:"',
        "*",
        "USD",
        "usd",
        "9" * 20,
        "2026-13-45T99:99:99Z",
        "=" * 50,
    ),
)
_LONG_TEXTS: Final = ("x" * 20_000, "\U0001f600" * 3_000)
_DOUBLES: Final = (0.0, -0.0, 1.0, float("nan"), float("inf"), -float("inf"), 1e308, 5e-324)


class Maker:
    """Makes the body of one request after the other."""

    def __init__(self, chance: random.Random, known: Known) -> None:
        self._chance = chance
        self._known = known

    def body(self, described: Descriptor) -> bytes:
        """Of a message of this type: sensible, spoiled here and there, wild, or not even a message."""
        drawn = self._chance.random()
        if drawn < 0.3:
            return self.sensible(described).SerializeToString()
        if drawn < 0.65:
            message = self.sensible(described)
            for _ in range(self._chance.randint(1, 3)):
                self.spoil(message)
            return message.SerializeToString()
        if drawn < 0.85:
            return self.wild(described).SerializeToString()
        return self.noise(self.sensible(described).SerializeToString())

    def sensible(self, described: Descriptor) -> Message:
        """A message with most fields set to what is known to make sense, and the others left as they are."""
        message = GetMessageClass(described)()
        self._fill(message, self._known_value, depth=0)
        return message

    def wild(self, described: Descriptor) -> Message:
        """A message of any values that its fields can hold at all."""
        message = GetMessageClass(described)()
        self._fill(message, self._any_value, depth=0)
        return message

    def spoil(self, message: Message) -> None:
        """Sets one field, anywhere in the message, to anything; or clears it."""
        field = self._chance.choice(message.DESCRIPTOR.fields or [None])
        if field is None:
            return None
        if field.message_type is not None and not field.is_repeated and self._chance.random() < 0.8:
            return self.spoil(getattr(message, field.name))
        if field.message_type is not None and len(getattr(message, field.name) if field.is_repeated else ()):
            return self.spoil(self._chance.choice(getattr(message, field.name)))
        message.ClearField(field.name)
        if self._chance.random() < 0.8:
            self._set(message, field, self._any_value, depth=1)
        return None

    def noise(self, body: bytes) -> bytes:
        """The body with bytes changed, cut off, doubled or put in; or bytes that never were one."""
        if not body or self._chance.random() < 0.2:
            return self._chance.randbytes(self._chance.choice([1, 2, 7, 60, 3_000]))
        at = self._chance.randrange(len(body))
        few = self._chance.randbytes(self._chance.randint(1, 4))
        return self._chance.choice(
            [body[:at], body[at:], body + body, body[:at] + few + body[at:], body[:at] + few + body[at + len(few) :]]
        )

    def _fill(self, message: Message, value: Callable[[FieldDescriptor], Any], depth: int) -> None:
        ways = {oneof.name: self._chance.choice(oneof.fields) for oneof in message.DESCRIPTOR.oneofs}
        for field in message.DESCRIPTOR.fields:
            if field.containing_oneof is not None and field is not ways[field.containing_oneof.name]:
                continue
            if depth < _DEPTH_MAX and self._chance.random() < _SET[value == self._known_value]:
                self._set(message, field, value, depth)

    def _set(
        self,
        message: Message,
        field: Any,  # noqa: ANN401 - protobuf has two kinds of descriptors
        value: Callable[[FieldDescriptor], Any],
        depth: int,
    ) -> None:
        sensible = value == self._known_value
        if field.message_type is not None:
            target = getattr(message, field.name)
            if sensible and field.name in self._known:
                drawn = self._known[field.name](self._chance)
                if drawn is not None:
                    target.CopyFrom(drawn)
                return
            for _ in range(self._count() if field.is_repeated and not sensible else 1):
                part = target.add() if field.is_repeated else target
                part.SetInParent()
                self._fill(part, value, depth + 1)
            return
        if field.is_repeated:
            values = [each for each in (value(field) for _ in range(self._count())) if each is not None]
            getattr(message, field.name).extend(values)
            return
        drawn = value(field)
        if drawn is not None:
            setattr(message, field.name, drawn)

    def _count(self) -> int:
        return self._chance.choice([0, 1, 1, 1, 2, 3, 3, 12, 101]) if self._chance.random() < 0.97 else 600

    def _known_value(self, field: FieldDescriptor) -> Any:  # noqa: ANN401 - of any field
        """None where nothing is known: the field stays as it is."""
        if field.enum_type is not None:
            return self._chance.choice(field.enum_type.values).number
        if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return self._chance.random() < 0.2
        draw = self._known.get(field.name)
        return None if draw is None else draw(self._chance)

    def _any_value(self, field: FieldDescriptor) -> Any:  # noqa: ANN401 - of any field
        kind = field.cpp_type
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return self._chance.random() < 0.5
        if kind in _BITS:
            return self._number(*_BITS[kind])
        if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
            return self._chance.choice(_DOUBLES[:6] if kind == FieldDescriptor.CPPTYPE_FLOAT else _DOUBLES)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self._chance.randbytes(self._chance.choice([0, 1, 8, 300]))
        if self._chance.random() < 0.2 and self._known_value(field) is not None:
            return self._known_value(field)
        return self._chance.choice(_LONG_TEXTS if self._chance.random() < 0.02 else _TEXTS)

    def _number(self, bits: int, signed: bool) -> int:  # noqa: FBT001 - a row of the table
        most = (1 << (bits - 1 if signed else bits)) - 1
        least = -most - 1 if signed else 0
        near = self._chance.choice([least, 0, most, 1 << 31, 1_000_000_000, 253_402_300_799])
        return min(most, max(least, near + self._chance.randint(-2, 2)))
