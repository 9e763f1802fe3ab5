"""Messages that read only some fields of a message of the contract: what is skipped costs next to nothing."""

from collections.abc import Collection
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass


def view_of(message: Descriptor, paths: Collection[str]) -> Any:  # noqa: ANN401 - a class whose fields the paths name
    """A class that parses the message's bytes, but has no more fields than these.

    Args:
        message: Of the contract; names and numbers are taken from it.
        paths: Fields, with dots into messages. An enum is its number; a message that no path goes into is its bytes.

    Raises:
        KeyError: The message has no such field.
    """
    file = FileDescriptorProto(name=f"view/{message.full_name}", package="view", syntax="proto3")
    _describe(file.message_type.add(name=message.name), message, paths)
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(f"view.{message.name}"))


def _describe(view: DescriptorProto, message: Descriptor, paths: Collection[str]) -> None:
    inner: dict[str, list[str]] = {}
    for name, _, path in (each.partition(".") for each in paths):
        inner.setdefault(name, []).extend([path] if path else [])
    for name, below in inner.items():
        field = message.fields_by_name[name]
        described = view.field.add(name=name, number=field.number, label=_label(field), type=_type(field))
        if below and field.message_type is not None:
            described.type, described.type_name = FieldDescriptorProto.TYPE_MESSAGE, name.title()
            _describe(view.nested_type.add(name=name.title()), field.message_type, below)


def _type(field: FieldDescriptor) -> FieldDescriptorProto.Type.ValueType:
    if field.message_type is not None:
        return FieldDescriptorProto.TYPE_BYTES
    if field.enum_type is not None:
        return FieldDescriptorProto.TYPE_INT32
    return FieldDescriptorProto.Type.ValueType(field.type)


def _label(field: FieldDescriptor) -> FieldDescriptorProto.Label.ValueType:
    return FieldDescriptorProto.LABEL_REPEATED if field.is_repeated else FieldDescriptorProto.LABEL_OPTIONAL
