"""A contract with everything that `google.api.http` can say and ours does not, for whoever reads such rules."""

from typing import Any

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, text_format, timestamp_pb2
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pool import Default

_FILE = """
name: "stateset/made_up/v1/shelf.proto" package: "stateset.made_up.v1" syntax: "proto3"
dependency: "google/protobuf/timestamp.proto" dependency: "google/protobuf/duration.proto"
dependency: "google/protobuf/field_mask.proto"
enum_type { name: "Mood" value { name: "MOOD_UNSPECIFIED" number: 0 } value { name: "MOOD_GOOD" number: 1 } }
message_type { name: "Inner"
  field { name: "deep_text" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "deepText" }
  field { name: "numbers" number: 2 type: TYPE_INT64 label: LABEL_REPEATED json_name: "numbers" }
  field { name: "inner" number: 3 type: TYPE_MESSAGE type_name: ".stateset.made_up.v1.Inner" label: LABEL_OPTIONAL
          json_name: "inner" } }
message_type { name: "ReadRequest"
  field { name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "name" }
  field { name: "inner" number: 2 type: TYPE_MESSAGE type_name: ".stateset.made_up.v1.Inner" label: LABEL_OPTIONAL
          json_name: "inner" }
  field { name: "moods" number: 3 type: TYPE_ENUM type_name: ".stateset.made_up.v1.Mood" label: LABEL_REPEATED
          json_name: "moods" }
  field { name: "is_new" number: 4 type: TYPE_BOOL label: LABEL_OPTIONAL json_name: "isNew" }
  field { name: "raw" number: 5 type: TYPE_BYTES label: LABEL_OPTIONAL json_name: "raw" }
  field { name: "at" number: 6 type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp" label: LABEL_OPTIONAL
          json_name: "at" }
  field { name: "within" number: 7 type: TYPE_MESSAGE type_name: ".google.protobuf.Duration" label: LABEL_OPTIONAL
          json_name: "within" }
  field { name: "mask" number: 8 type: TYPE_MESSAGE type_name: ".google.protobuf.FieldMask" label: LABEL_OPTIONAL
          json_name: "mask" }
  field { name: "left" number: 9 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "left" oneof_index: 0 }
  field { name: "right" number: 10 type: TYPE_INT32 label: LABEL_OPTIONAL json_name: "right" oneof_index: 0 }
  field { name: "share" number: 11 type: TYPE_DOUBLE label: LABEL_OPTIONAL json_name: "share" }
  field { name: "inners" number: 12 type: TYPE_MESSAGE type_name: ".stateset.made_up.v1.Inner" label: LABEL_REPEATED
          json_name: "inners" }
  oneof_decl { name: "side" } }
service { name: "Shelves"
  method { name: "Read" input_type: ".stateset.made_up.v1.ReadRequest"
           output_type: ".stateset.made_up.v1.ReadRequest" }
  method { name: "Write" input_type: ".stateset.made_up.v1.ReadRequest"
           output_type: ".stateset.made_up.v1.ReadRequest" }
  method { name: "Watch" server_streaming: true input_type: ".stateset.made_up.v1.ReadRequest"
           output_type: ".stateset.made_up.v1.ReadRequest" } }
"""
_RULES = {
    "Read": """
        get: "/v1/{name=shelves/*}" response_body: "inner"
        additional_bindings { get: "/v2/{inner.deep_text}/{name=**}:read" response_body: "inners" }
        additional_bindings { custom { kind: "QUERY" path: "/v1/all/*/shelves" } }
    """,
    "Write": """
        patch: "/v1/{name=shelves/*}/inner" body: "inner"
        additional_bindings { put: "/v1/w/{name}" body: "*" }
    """,
    "Watch": 'get: "/v1/watch"',
}


def _service() -> ServiceDescriptor:
    dependencies = (timestamp_pb2, duration_pb2, field_mask_pb2)  # in the pool once they are imported
    file = text_format.Parse(_FILE, descriptor_pb2.FileDescriptorProto())
    assert {module.DESCRIPTOR.name for module in dependencies} == set(file.dependency)
    for method in file.service[0].method:
        options: Any = method.options
        options.Extensions[annotations_pb2.http].CopyFrom(text_format.Parse(_RULES[method.name], http_pb2.HttpRule()))
    return Default().AddSerializedFile(file.SerializeToString()).services_by_name["Shelves"]


SHELVES = _service()
