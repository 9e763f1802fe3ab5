"""Messages of any type, with any values that JSON has words for, as hypothesis makes them up."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from google.protobuf import any_pb2, duration_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from hypothesis import strategies as st

_DEPTH_MAX: Final = 3
_PARTS_MAX: Final = 3
_TEXTS: Final = st.one_of(
    st.sampled_from(["", '"\\\n\t\0\x7f', "\u2028", "</script>", "ü\U0001f600"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
)
_NANOS: Final = st.one_of(st.sampled_from([0, 1, 1_000, 10_000_000, 999_999_999]), st.integers(0, 999_999_999))
_SCALARS: Final[Mapping[int, st.SearchStrategy[Any]]] = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, (1 << 64) - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_STRING: _TEXTS,
    FieldDescriptor.CPPTYPE_ENUM: st.integers(-1, 40),  # those of today and of tomorrow
}
_COMPOUND: Final = (FieldDescriptor.TYPE_GROUP, FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_ENUM)
_SCALAR_TYPES: Final = [each for each in range(1, FieldDescriptor.MAX_TYPE + 1) if each not in _COMPOUND]
_NO_KEYS: Final = (
    *(FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT),
    *(FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE),
)


def _packed(reason: str) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(ErrorInfo(reason=reason))
    return packed


_WELL_KNOWN: Final[Mapping[Descriptor, st.SearchStrategy[Any]]] = {
    timestamp_pb2.Timestamp.DESCRIPTOR: st.builds(
        timestamp_pb2.Timestamp, seconds=st.integers(-62_135_596_800, 253_402_300_799), nanos=_NANOS
    ),
    duration_pb2.Duration.DESCRIPTOR: st.builds(
        duration_pb2.Duration, seconds=st.integers(0, 315_576_000_000), nanos=_NANOS
    ),
    field_mask_pb2.FieldMask.DESCRIPTOR: st.builds(
        field_mask_pb2.FieldMask, paths=st.lists(st.sampled_from(["a", "a_b.c"]), max_size=2)
    ),
    any_pb2.Any.DESCRIPTOR: st.builds(_packed, _TEXTS),
    struct_pb2.Struct.DESCRIPTOR: st.builds(
        lambda name, said: struct_pb2.Struct(fields={name: struct_pb2.Value(string_value=said)}), _TEXTS, _TEXTS
    ),
}


@lru_cache(None)
def messages(kind: Descriptor, depth: int = 0) -> st.SearchStrategy[Message]:
    """Messages of that type, each of whose fields is set or not."""
    if kind in _WELL_KNOWN:
        return _WELL_KNOWN[kind]
    fields = {
        field.name: _values(field, depth + 1)
        for field in kind.fields
        if field.message_type is None or depth < _DEPTH_MAX
    }
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: GetMessageClass(kind)(**given))


def _values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        key, value = kind.fields
        return st.dictionaries(_value(key, depth), _value(value, depth), max_size=_PARTS_MAX)
    one = _value(field, depth)
    return st.lists(one, max_size=_PARTS_MAX) if field.is_repeated else one


def _value(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type, depth)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=9)
    return _SCALARS[field.cpp_type]


def _everything() -> Descriptor:
    """A type with fields of every kind that there is: alone, repeated, and as the values of a map."""
    file = FileDescriptorProto(name="stateset/made_up/everything.proto", package="stateset.made_up", syntax="proto3")
    known = (*_WELL_KNOWN, wrappers_pb2.Int64Value.DESCRIPTOR, wrappers_pb2.BytesValue.DESCRIPTOR)
    file.dependency.extend({each.file.name for each in known})
    everything = file.message_type.add(name="Everything")
    kinds = [{"type": each} for each in _SCALAR_TYPES] + [
        {"type": FieldDescriptor.TYPE_MESSAGE, "type_name": f".{each.full_name}"} for each in known
    ]
    for kind in kinds:
        for label in (FieldDescriptor.LABEL_OPTIONAL, FieldDescriptor.LABEL_REPEATED):
            number = len(everything.field) + 1
            everything.field.add(name=f"field_{number}", number=number, label=label, **kind)
        number = len(everything.field) + 1
        entry = everything.nested_type.add(name=f"Field{number}Entry", options={"map_entry": True})
        key = {"type": FieldDescriptor.TYPE_STRING} if kind["type"] in _NO_KEYS else kind
        entry.field.add(name="key", number=1, label=FieldDescriptor.LABEL_OPTIONAL, **key)
        entry.field.add(name="value", number=2, label=FieldDescriptor.LABEL_OPTIONAL, **kind)
        everything.field.add(
            name=f"field_{number}",
            number=number,
            label=FieldDescriptor.LABEL_REPEATED,
            type=FieldDescriptor.TYPE_MESSAGE,
            type_name=f".stateset.made_up.Everything.{entry.name}",
        )
    return Default().AddSerializedFile(file.SerializeToString()).message_types_by_name["Everything"]


EVERYTHING: Final = _everything()
