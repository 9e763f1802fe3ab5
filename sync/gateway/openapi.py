"""An OpenAPI 3.1 document of every path, made from the descriptors; their comments are its descriptions."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.rpc import status_pb2

from sync.gateway.rules import Rule

Json = dict[str, Any]

_DEPTH_MAX: Final = 2  # of messages in messages in a query; they may be without end
_WELL_KNOWN: Final[Mapping[str, Json]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "required": ["@type"],
        "additionalProperties": True,
    },
}
_INTEGER: Final[Json] = {"type": "integer", "format": "int32"}
_LONG: Final[Json] = {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
_SCALARS: Final[Mapping[int, Json]] = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_INT32: _INTEGER,
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "minimum": 0},
    FieldDescriptor.TYPE_INT64: _LONG,
    FieldDescriptor.TYPE_UINT64: _LONG,
    FieldDescriptor.TYPE_DOUBLE: {"type": "number"},
}
_STATUS: Final[Any] = status_pb2.Status.DESCRIPTOR
_HEADERS: Final = {
    "idempotency-key": ("request_id", "The command's request id; instead of the field."),
    "if-match": ("etag", "The order's etag, with its double quotes; instead of the field."),
}
_TEXT: Final[Json] = {"type": "string"}
_TIMEOUT: Final[Json] = {
    "name": "grpc-timeout",
    "in": "header",
    "description": "The most that the call may take, as gRPC writes it: 500m, 2S. 10 s without, 60 s at most.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,8}[HMSmun]$"},
}
_ETAG: Final[Json] = {"description": "The order's etag, with its double quotes.", "schema": _TEXT}
_REPLAYED: Final[Json] = {"description": "`true` where the stored answer was given again.", "schema": _TEXT}
_RETRY_AFTER: Final[Json] = {
    "description": "Seconds after which trying again makes sense.",
    "schema": {"type": "integer", "minimum": 1},
}


def document(
    rules: Iterable[Rule], *, title: str, pages: Mapping[str, Json], messages: Iterable[Descriptor] = ()
) -> Json:
    """The document.

    Args:
        rules: What is served.
        title: Its title.
        pages: By path, what is served beside the contracts, as OpenAPI writes it.
        messages: What those pages speak.
    """
    paths: dict[str, Json] = {path: dict(page) for path, page in pages.items()}
    schemas: dict[str, Json] = {}
    for kind in messages:
        _put_schema(kind, schemas)
    for rule in sorted(rules, key=lambda rule: rule.template.text):
        paths.setdefault(rule.template.text, {})[rule.method.lower()] = _operation(rule, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1"},
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _operation(rule: Rule, schemas: dict[str, Json]) -> Json:
    rpc = rule.rpc
    service = rpc.containing_service
    answer: Json = {"$ref": _put_schema(rpc.output_type, schemas)}
    if rule.response_body:
        answer = _schema(rpc.output_type.fields_by_name[rule.response_body], schemas)
    operation: Json = {
        "operationId": f"{service.full_name}.{rpc.name}",
        "tags": [service.name],
        "description": comment_of(rpc.full_name),
        "parameters": [*_path_parameters(rule, schemas), *_query_parameters(rule, schemas), *_header_parameters(rule)],
        "responses": {
            "200": {"description": "OK", "headers": _answer_headers(rule), "content": _json(answer)},
            "default": {
                "description": "A failure.",
                "headers": {"Retry-After": _RETRY_AFTER},
                "content": _json({"$ref": _put_schema(_STATUS, schemas)}),
            },
        },
    }
    if rule.body:
        operation["requestBody"] = {"required": False, "content": _json(_body(rule, schemas))}
    return operation


def _body(rule: Rule, schemas: dict[str, Json]) -> Json:
    if rule.body != "*":
        return _schema(rule.rpc.input_type.fields_by_name[rule.body], schemas)
    rest = [field for field in rule.rpc.input_type.fields if field.name not in rule.template.variables]
    return {**_object(rest, schemas), "additionalProperties": False}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _path_parameters(rule: Rule, schemas: dict[str, Json]) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, **_described(_field_at(rule.rpc.input_type, name), schemas)}
        for name in rule.template.variables
    ]


def _query_parameters(rule: Rule, schemas: dict[str, Json]) -> list[Json]:
    if rule.body == "*":
        return []
    kept = [field for field in rule.rpc.input_type.fields if field.name not in (*rule.template.variables, rule.body)]
    return query_parameters(kept, schemas)


def query_parameters(fields: Iterable[FieldDescriptor], schemas: dict[str, Json], prefix: str = "") -> list[Json]:
    """The fields as parameters of a query; those of a message inside have its name and a dot before theirs."""
    found: list[Json] = []
    for field in fields:
        inner = field.message_type
        name = prefix + field.json_name
        if inner is not None and inner.full_name not in _WELL_KNOWN:
            if not field.is_repeated and name.count(".") < _DEPTH_MAX:
                found += query_parameters(inner.fields, schemas, f"{name}.")
        else:
            found.append({"name": name, "in": "query", **_described(field, schemas)})
    return found


def _header_parameters(rule: Rule) -> list[Json]:
    names = rule.rpc.input_type.fields_by_name
    fields = [
        {"name": header, "in": "header", "description": said, "schema": _TEXT}
        for header, (field, said) in _HEADERS.items()
        if field in names and field not in rule.template.variables
    ]
    return [*fields, _TIMEOUT]


def _answer_headers(rule: Rule) -> Json:
    headers = {"ETag": _ETAG} if "order" in rule.rpc.output_type.fields_by_name else {}
    return headers | ({"Idempotent-Replayed": _REPLAYED} if "request_id" in rule.rpc.input_type.fields_by_name else {})


def _described(field: FieldDescriptor, schemas: dict[str, Json]) -> Json:
    return {"description": comment_of(field.full_name), "schema": _schema(field, schemas)}


def _field_at(kind: Descriptor, path: str) -> FieldDescriptor:
    first, _, rest = path.partition(".")
    field = kind.fields_by_name[first]
    return _field_at(field.message_type, rest) if rest and field.message_type is not None else field


def _schema(field: FieldDescriptor, schemas: dict[str, Json]) -> Json:
    one = _schema_of_one(field, schemas)
    return {"type": "array", "items": one} if field.is_repeated else one


def _schema_of_one(field: FieldDescriptor, schemas: dict[str, Json]) -> Json:
    if field.message_type is not None:
        known = _WELL_KNOWN.get(field.message_type.full_name)
        return known or {"$ref": _put_schema(field.message_type, schemas)}
    if field.enum_type is not None:
        return {"$ref": _put_enum(field.enum_type, schemas)}
    return _SCALARS[field.type]


def _put_schema(kind: Descriptor, schemas: dict[str, Json]) -> str:
    if kind.full_name not in schemas:
        schemas[kind.full_name] = {}  # a message may hold itself
        schemas[kind.full_name] = {**_object(kind.fields, schemas), "description": comment_of(kind.full_name)}
    return f"#/components/schemas/{kind.full_name}"


def _object(fields: Iterable[FieldDescriptor], schemas: dict[str, Json]) -> Json:
    properties = {field.json_name: _property(field, schemas) for field in fields}
    return {"type": "object", "properties": properties}


def _property(field: FieldDescriptor, schemas: dict[str, Json]) -> Json:
    return {**_schema(field, schemas), "description": comment_of(field.full_name)}


def _put_enum(kind: EnumDescriptor, schemas: dict[str, Json]) -> str:
    schemas[kind.full_name] = {
        "type": "string",
        "enum": [value.name for value in kind.values],
        "description": comment_of(kind.full_name),
    }
    return f"#/components/schemas/{kind.full_name}"


def comment_of(full_name: str) -> str:
    """What the contract says above a message, a field, an RPC or an enum; empty for what is not ours."""
    return _comments().get(full_name, "")


@cache
def _comments() -> Mapping[str, str]:
    described = FileDescriptorSet.FromString(files("stateset").joinpath("descriptors.binpb").read_bytes())
    return {name: said for file in described.file for name, said in _comments_of(file)}


def _comments_of(file: FileDescriptorProto) -> Iterable[tuple[str, str]]:
    for location in file.source_code_info.location:
        said = location.leading_comments
        if said:
            yield _name_at(file, list(location.path)), " ".join(said.split())


def _name_at(file: FileDescriptorProto, path: list[int]) -> str:
    """The full name of what a path of field numbers and indices leads to."""
    at: Any = file
    names = [file.package]
    while len(path) > 1:
        number, index, *path = path
        field = at.DESCRIPTOR.fields_by_number[number]
        if not field.is_repeated or field.message_type is None:
            return ""
        at = getattr(at, field.name)[index]
        names.append(getattr(at, "name", ""))
    return ".".join(names)
