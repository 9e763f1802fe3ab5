"""From an HTTP request's path, query and body to the message that an RPC takes. What nobody knows is refused."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from infra.runtime.grpc.status import VIOLATIONS_MAX, InvalidRequestError, Violation
from sync.gateway.rules import Rule

Query = Sequence[tuple[str, str]]

VALUES_MAX: Final = 10_000  # of a body: each costs the loop some 10 µs, and the largest requests have 7,000
# A text in JSON, closed or not: what stands outside of them counts the values.
_TEXT: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_RANGES: Final = {
    FieldDescriptor.CPPTYPE_INT32: range(-(2**31), 2**31),
    FieldDescriptor.CPPTYPE_ENUM: range(-(2**31), 2**31),
    FieldDescriptor.CPPTYPE_INT64: range(-(2**63), 2**63),
    FieldDescriptor.CPPTYPE_UINT32: range(2**32),
    FieldDescriptor.CPPTYPE_UINT64: range(2**64),
}
_BOOLS: Final = {"true": True, "false": False}
# Messages that JSON writes as a text or a number: a query can hold them.
_TEXTS: Final = frozenset(
    f"google.protobuf.{name}"
    for name in """
    Timestamp Duration FieldMask StringValue BytesValue BoolValue Int32Value Int64Value UInt32Value UInt64Value
    FloatValue DoubleValue
    """.split()
)
# json_format wraps a message of this kind around the error of each field on the way.
_WITHIN: Final = re.compile(r"Failed to parse (\w+) field: ")
_NAME_MAX: Final = 100
_DIGITS_MAX: Final = 40  # no field holds as many
_WHOLE: Final = re.compile(f"-?[0-9]{{1,{_DIGITS_MAX}}}")
_BASE64: Final = re.compile("[A-Za-z0-9+/_-]*={0,2}")
# As texts, values are what JSON and the contracts call them; Python reads more, such as 1_000.
_SPELLINGS: Final[Mapping[str, re.Pattern[str]]] = {
    "google.protobuf.Timestamp": re.compile(
        "[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
    ),
    "google.protobuf.Duration": re.compile("-?[0-9]+([.][0-9]{1,9})?s"),
    "google.protobuf.FieldMask": re.compile("[A-Za-z0-9.]+(,[A-Za-z0-9.]+)*|"),
}
_EXAMPLES: Final = {
    "google.protobuf.Timestamp": "a time such as 2026-01-02T03:04:05Z",
    "google.protobuf.Duration": "a duration such as 1.5s",
    "google.protobuf.FieldMask": "names as JSON has them, such as lines,expireTime",
}


def message_of(rule: Rule, variables: Mapping[str, str], query: Query, body: bytes) -> Message:
    """The request's message.

    Raises:
        InvalidRequestError: Some of it cannot be understood.
    """
    kind = rule.rpc.input_type
    message = parsed(kind, _body_of(rule, body)) if rule.body else GetMessageClass(kind)()
    given = _bound(rule, variables, query)
    if not rule.body:
        return given
    violations = [
        Violation(name, "differs from the path")
        for name in variables
        if _value_at(message, name) not in (_value_at(given, name), type(_value_at(given, name))())
    ]
    if violations:
        raise InvalidRequestError(violations)
    message.MergeFrom(given)
    return message


def json_of(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    """The JSON of a body, as strict as the format: no NaN, no name twice, no number beyond what a float holds.

    Raises:
        InvalidRequestError: It is none, or holds too many values.
    """
    outside = _TEXT.sub(b"", body)
    if sum(map(outside.count, (b",", b"[", b"{"))) > VALUES_MAX:
        raise InvalidRequestError([Violation("", f"the body has more than {VALUES_MAX} values")])
    try:
        return json.loads(
            body.decode(),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite_number,
            parse_int=_whole_number,
        )
    except (ValueError, RecursionError) as error:
        told = (
            str(error)
            if isinstance(error, (json.JSONDecodeError, _StricterError))
            else "it is not UTF-8, or nested too deeply"
        )
        raise InvalidRequestError([Violation("", f"the body is no JSON: {told}")]) from error


def _body_of(rule: Rule, body: bytes) -> Any:  # noqa: ANN401 - any JSON
    tree = json_of(body) if body else {}
    return tree if rule.body == "*" else {rule.body: tree}


def _bound(rule: Rule, variables: Mapping[str, str], query: Query) -> Message:
    violations = [Violation(name, said) for name, _ in query if (said := _misplaced(rule, variables, name)) is not None]
    if violations:
        raise InvalidRequestError(violations)
    return bound(rule.rpc.input_type, [*variables.items(), *query])


def bound(kind: Descriptor, query: Query) -> Message:
    """The message of that kind whose fields the parameters are.

    Raises:
        InvalidRequestError: One of them is no such field, or has a value it cannot have.
    """
    tree: dict[str, Any] = {}
    violations = []
    for name, value in query:
        try:
            _put(tree, kind, name, value)
        except ParseError as error:
            violations.append(Violation(name, str(error)))
    if violations:
        raise InvalidRequestError(violations)
    return parsed(kind, tree)


def _misplaced(rule: Rule, variables: Mapping[str, str], name: str) -> str | None:
    """What is wrong with a parameter that is given elsewhere."""
    field = rule.rpc.input_type.fields_by_name.get(rule.body)
    if rule.body == "*" or (field is not None and name.partition(".")[0] in (field.name, field.json_name)):
        return "belongs into the body"
    return "is given by the path" if name in variables else None


def _put(tree: dict[str, Any], kind: Descriptor, name: str, value: str) -> None:
    """Puts a value where its name, `a.b.c` by the names of the contract or of JSON, says."""
    first, _, rest = name.partition(".")
    field = _field(kind, first)
    if field is None:
        raise ParseError("is no parameter of this path")
    inner = field.message_type
    if rest:
        if inner is None or field.is_repeated:
            raise ParseError("is no parameter of this path")
        _put(tree.setdefault(field.name, {}), inner, rest, value)
        return
    if inner is not None and inner.full_name not in _TEXTS:
        raise ParseError("holds several fields: name one, with a dot")
    leaf = _leaf(field, value)
    if field.is_repeated:
        tree.setdefault(field.name, []).append(leaf)
    elif field.name in tree:
        raise ParseError("is given twice")
    else:
        tree[field.name] = leaf


def _field(kind: Descriptor, name: str) -> FieldDescriptor | None:
    field = kind.fields_by_name.get(name) if name.isascii() else None  # half a surrogate would break the look-up
    return field or next((each for each in kind.fields if each.json_name == name), None)


def _leaf(field: FieldDescriptor, value: str) -> Any:  # noqa: ANN401 - any JSON
    inner = field.message_type
    if field.type == FieldDescriptor.TYPE_BOOL or (inner is not None and inner.name == "BoolValue"):
        if value not in _BOOLS:
            raise ParseError("must be true or false")
        return _BOOLS[value]
    return value


def parsed(kind: Descriptor, tree: Any) -> Message:  # noqa: ANN401 - any JSON
    """The message of that kind that the JSON spells.

    Raises:
        InvalidRequestError: It spells none.
    """
    message: Message = GetMessageClass(kind)()
    violations = list(islice(_misfits(kind, tree, ""), VIOLATIONS_MAX))
    if violations:
        raise InvalidRequestError(violations)
    try:
        return ParseDict(tree, message)
    # What a field cannot hold is told in as many ways as there are fields; none of them is meant for a caller.
    except (ParseError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        path = ".".join(_WITHIN.findall(str(error)))
        raise InvalidRequestError([Violation(path, "has a value it cannot have")]) from error


def _misfits(kind: Descriptor, tree: Any, path: str) -> Iterator[Violation]:  # noqa: ANN401 - any JSON
    """Names that are none of the contract's, fields that are given by both of their names, values that fit none."""
    if not isinstance(tree, dict):
        if not path:
            yield Violation("", "the body must be a JSON object")
        return
    given: set[str] = set()
    for name, value in tree.items():
        field = _field(kind, name)
        here = f"{path}.{name[:_NAME_MAX]}".removeprefix(".")
        if field is None or field.name in given:
            yield Violation(here, "is no field of this request" if field is None else "is given twice")
            continue
        others = field.containing_oneof.fields if field.containing_oneof and value is not None else ()
        if other := next((each.json_name for each in others if each.name in given), None):
            yield Violation(here, f"cannot be given together with {other}")
        given.add(field.name)
        inner = field.message_type
        for each_path, each in _places(here, value):
            if isinstance(each, dict) and inner is not None and inner.file.package != "google.protobuf":
                yield from _misfits(inner, each, each_path)
            elif not _fits(field, each):
                yield Violation(each_path, f"must be {_expected(field)}")


def _places(path: str, value: Any) -> Iterable[tuple[str, Any]]:  # noqa: ANN401 - any JSON
    """The values at a path, each with its own: there may be a list of them."""
    return ((f"{path}[{at}]", each) for at, each in enumerate(value)) if isinstance(value, list) else [(path, value)]


def _fits(field: FieldDescriptor, value: Any) -> bool:  # noqa: ANN401 - any JSON
    """Whether a field can hold a value, as far as json_format would not tell, or not where."""
    numbers = _RANGES.get(field.cpp_type)
    if isinstance(value, str):
        if field.enum_type is not None and value.isascii() and value in field.enum_type.values_by_name:
            return True
        spelling = _spelling(field)
        if spelling is not None and not spelling.fullmatch(value):
            return False
    if numbers is None or value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return False
    return not (isinstance(value, float) and not value.is_integer()) and int(value) in numbers


def _expected(field: FieldDescriptor) -> str:
    """What a field's value may be, for people."""
    if field.enum_type is not None:
        return f"one of {', '.join(field.enum_type.values_by_name)}"
    if field.message_type is not None:
        return _EXAMPLES.get(field.message_type.full_name, "what the contract says")
    numbers = _RANGES.get(field.cpp_type)
    return "base64" if numbers is None else f"a whole number from {numbers[0]} to {numbers[-1]}"


def _spelling(field: FieldDescriptor) -> re.Pattern[str] | None:
    """How a text that stands for the field's value is spelled; None where any may."""
    if field.message_type is not None:
        return _SPELLINGS.get(field.message_type.full_name)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _BASE64
    return _WHOLE if field.cpp_type in _RANGES else None


def _value_at(message: Message, path: str) -> Any:  # noqa: ANN401 - a field of any type
    value: Any = message
    for name in path.split("."):
        value = getattr(value, name)
    return value


class _StricterError(ValueError):
    """Python would take for JSON what is none."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise _StricterError("a name is given twice in one object")
    "".join(tree).encode()  # ValueError: half a surrogate, of which no error could tell
    return tree


def _no_constant(name: str) -> None:
    raise _StricterError(f"{name} is no number")


def _finite_number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _StricterError("a number is too large")
    return number


def _whole_number(text: str) -> int:
    if len(text) > _DIGITS_MAX:
        raise _StricterError("a number is too large")
    return int(text)
