"""Messages as JSON: the text that `google.protobuf.json_format` makes of them, in a third of its time.

What there is to know of a field, its name and how its values are spelled, is looked up once in the life of the process.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from json.encoder import encode_basestring as quoted
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import DoubleValue, FloatValue

from sync.gateway.json_text import json_text

Spell = Callable[[Any], str]
"""Makes the JSON of a value."""

_SECONDS_KEPT: Final = 4_096  # what is told together has mostly happened within few seconds
_NANOS: Final = 1_000_000_000  # of a second
_LONG: Final[Spell] = '"%d"'.__mod__
_BOOLS: Final[Mapping[bool, str]] = {True: "true", False: "false"}


def json_of_message(message: Message) -> str:
    """The message's JSON, with nothing between its parts.

    Raises:
        ValueError: It holds what JSON has no words for, such as a time after the year 9999.
    """
    members = []
    for field, value in message.ListFields():
        name, spell = _MEMBERS[field]
        members.append(name + spell(value))
    return "{" + ",".join(members) + "}"


def json_of_field(message: Message, name: str) -> str:
    """The JSON of the value of the field of that name; that of nothing where it is not set: `[]`, `{}` or `null`."""
    for field, value in message.ListFields():
        if field.name == name:
            return _MEMBERS[field][1](value)
    unset = message.DESCRIPTOR.fields_by_name[name]
    return "[]" if unset.is_repeated else "{}" if unset.message_type is not None else "null"


class _Members(dict[FieldDescriptor, tuple[str, Spell]]):
    """By field, its name with the colon behind it, and what spells its value.

    Made when a field is first met: a message may hold itself.
    """

    def __missing__(self, field: FieldDescriptor) -> tuple[str, Spell]:
        member = self[field] = quoted(field.json_name) + ":", _spelling(field)
        return member


_MEMBERS: Final = _Members()


class _Names(dict[int, str]):
    """The names of an enum's values; that of a value of tomorrow is its number."""

    def __missing__(self, number: int) -> str:
        return str(number)


def _spelling(field: FieldDescriptor) -> Spell:
    if not field.is_repeated:
        return _spelling_of_one(field)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _map(*field.message_type.fields)
    return _list(_spelling_of_one(field))


def _spelling_of_one(field: FieldDescriptor) -> Spell:
    kind = field.message_type
    if kind is not None:
        theirs = kind.file.package == "google.protobuf"
        return _WELL_KNOWN.get(kind.full_name, _as_json_format) if theirs else json_of_message
    if field.enum_type is not None:
        values = field.enum_type.values_by_number
        return _Names({number: quoted(value.name) for number, value in values.items()}).__getitem__
    return _bytes if field.type == FieldDescriptor.TYPE_BYTES else _SCALARS[field.cpp_type]


def _list(spell: Spell) -> Spell:
    def spelled(values: Iterable[Any]) -> str:
        return "[" + ",".join(map(spell, values)) + "]"

    return spelled


def _map(key: FieldDescriptor, value: FieldDescriptor) -> Spell:
    spell_key = _BOOLS.__getitem__ if key.cpp_type == FieldDescriptor.CPPTYPE_BOOL else str
    spell = _spelling_of_one(value)

    def spelled(entries: Mapping[Any, Any]) -> str:
        return "{" + ",".join([f"{quoted(spell_key(each))}:{spell(entries[each])}" for each in entries]) + "}"

    return spelled


def _bytes(value: bytes) -> str:
    return f'"{b64encode(value).decode()}"'


def _timestamp(time: Timestamp) -> str:
    nanos = time.nanos
    if not nanos:
        return f'"{_second(time.seconds)}Z"'
    if not 0 < nanos < _NANOS:
        return _as_json_format(time)  # which says what is wrong with it
    fraction = f"{nanos:09}".removesuffix("000").removesuffix("000")
    return f'"{_second(time.seconds)}.{fraction}Z"'


@lru_cache(_SECONDS_KEPT)
def _second(seconds: int) -> str:
    return Timestamp(seconds=seconds).ToJsonString().removesuffix("Z")


def _as_json_format(message: Message) -> str:
    return json_text(MessageToDict(message))


_WELL_KNOWN: Final[Mapping[str, Spell]] = {"google.protobuf.Timestamp": _timestamp}
_SCALARS: Final[Mapping[int, Spell]] = {
    FieldDescriptor.CPPTYPE_STRING: quoted,
    FieldDescriptor.CPPTYPE_BOOL: _BOOLS.__getitem__,
    FieldDescriptor.CPPTYPE_INT32: str,
    FieldDescriptor.CPPTYPE_UINT32: str,
    FieldDescriptor.CPPTYPE_INT64: _LONG,
    FieldDescriptor.CPPTYPE_UINT64: _LONG,
    FieldDescriptor.CPPTYPE_DOUBLE: lambda value: _as_json_format(DoubleValue(value=value)),
    FieldDescriptor.CPPTYPE_FLOAT: lambda value: _as_json_format(FloatValue(value=value)),
}
