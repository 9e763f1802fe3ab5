"""What a path, a query and a body become; everything that they cannot become is refused, by the field."""

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from infra.runtime.grpc.status import InvalidRequestError
from sync.gateway.binding import VALUES_MAX, json_of, message_of, parsed
from sync.gateway.rules import Routes, Rule, rules_of
from tests.harness.gateway_contract import SHELVES

ROUTES = Routes(rules_of(SHELVES))
READ, _ = ROUTES.find("GET", "/v1/shelves/x")
PATCH, _ = ROUTES.find("PATCH", "/v1/shelves/x/inner")
PUT, _ = ROUTES.find("PUT", "/v1/w/x")
NAMED = {"name": "shelves/x"}


def bound(rule: Rule, query: list[tuple[str, str]], body: bytes = b"") -> dict[str, Any]:
    message = MessageToDict(message_of(rule, NAMED, query, body))
    assert message.pop("name") == "shelves/x"
    return message


def violations(rule: Rule, query: list[tuple[str, str]], body: bytes = b"") -> list[str]:
    with pytest.raises(InvalidRequestError) as raised:
        message_of(rule, NAMED, query, body)
    return [violation.field for violation in raised.value.violations]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ([("inner.deep_text", "a"), ("inner.numbers", "1")], {"inner": {"deepText": "a", "numbers": ["1"]}}),
        ([("inner.numbers", "1"), ("inner.numbers", "-2")], {"inner": {"numbers": ["1", "-2"]}}),
        ([("inner.inner.deepText", "")], {"inner": {"inner": {}}}),
        ([("moods", "MOOD_GOOD"), ("moods", "1"), ("moods", "7")], {"moods": ["MOOD_GOOD", "MOOD_GOOD", 7]}),
        ([("isNew", "true")], {"isNew": True}),
        ([("raw", "-_8=")], {"raw": "+/8="}),
        ([("at", "2026-01-02T03:04:05.5Z")], {"at": "2026-01-02T03:04:05.500Z"}),
        ([("within", "1.5s")], {"within": "1.500s"}),
        ([("mask", "a,b.c")], {"mask": "a,b.c"}),
        ([("right", "-5")], {"right": -5}),
        ([("share", "0.25")], {"share": 0.25}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_query_is_bound_to_the_fields_that_it_names(query: list[tuple[str, str]], message: dict[str, Any]) -> None:
    assert message == bound(READ, query)


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ([("nobody", "1"), ("inner.nobody", "1"), ("is_new.x", "1")], ["nobody", "inner.nobody", "is_new.x"]),
        ([("inner", "1")], ["inner"]),
        ([("inners.deep_text", "1")], ["inners.deep_text"]),
        ([("is_new", "yes")], ["is_new"]),
        ([("is_new", "true"), ("isNew", "true")], ["isNew"]),
        ([("moods", "MOOD_GOOD"), ("moods", "MOOD_BAD")], ["moods[1]"]),
        ([("inner.numbers", "1.5")], ["inner.numbers[0]"]),
        ([("inner.numbers", "9223372036854775808")], ["inner.numbers[0]"]),
        ([("right", "")], ["right"]),
        ([("left", "a"), ("right", "1")], ["right"]),
        ([("at", "yesterday")], ["at"]),
        ([("at", "2026-01-02T03:04:05+25:00")], ["at"]),
        ([("at", "2026-1-2T3:4:5Z")], ["at"]),
        ([("raw", "/ /=")], ["raw"]),
        ([("within", "1e400s")], ["within"]),
        ([("name", "x")], ["name"]),
        ([("", "x")], [""]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_query_that_is_bound_to_nothing_is_refused(query: list[tuple[str, str]], fields: list[str]) -> None:
    assert fields == violations(READ, query)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ([("left", "a"), ("right", "1")], "right: cannot be given together with left"),
        ([("moods", "MOOD_BAD")], "moods[0]: must be one of MOOD_UNSPECIFIED, MOOD_GOOD"),
        ([("inner.numbers", "x")], "inner.numbers[0]: must be a whole number from -9223372036854775808 to"),
        ([("at", "yesterday")], "at: must be a time such as 2026-01-02T03:04:05Z"),
        ([("within", "1")], "within: must be a duration such as 1.5s"),
        ([("raw", "/ /=")], "raw: must be base64"),
    ],
)
def test_what_a_field_may_hold_is_told(query: list[tuple[str, str]], told: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        message_of(READ, NAMED, query, b"")
    [violation] = raised.value.violations
    assert f"{violation.field}: {violation.description}".startswith(told)


def test_a_body_may_be_one_field_and_the_query_the_others() -> None:
    query = [("is_new", "true")]
    assert bound(PATCH, query, b'{"deepText": "a"}') == {"isNew": True, "inner": {"deepText": "a"}}
    assert violations(PATCH, [("inner.deep_text", "a")], b"{}") == ["inner.deep_text"]


def test_a_body_may_be_everything_that_the_path_leaves() -> None:
    assert bound(PUT, [], b'{"is_new": true, "name": "shelves/x"}') == {"isNew": True}
    assert bound(PUT, []) == {}
    assert violations(PUT, [("is_new", "true")]) == ["is_new"]
    assert violations(PUT, [], b'{"name": "shelves/y"}') == ["name"]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (
            b'{"nobody": 1, "inner": {"deepText": "a", "x": 1}, "inners": [{}, {"y": 1}]}',
            ["nobody", "inner.x", "inners[1].y"],
        ),
        (b'{"is_new": true, "isNew": true}', ["isNew"]),
        (b'{"right": "1_0"}', ["right"]),
        ('{"right": "\u0661"}'.encode(), ["right"]),
        (b'{"inner": {"numbers": ["1", "1 "]}}', ["inner.numbers[1]"]),
        (b'{"inner": {"deepText": "\\ud800"}}', ["inner.deepText"]),
        (b'{"inner": {"numbers": [1e300]}}', ["inner.numbers[0]"]),
        (b'{"inner": {"numbers": 1}}', ["inner.numbers"]),
        (b'{"inner": 1}', ["inner"]),
        (b'{"inners": [null]}', ["inners"]),
        (b'{"right": 2147483648}', ["right"]),
        (b'{"isNew": "true"}', ["isNew"]),
        (b'{"moods": [1, 1.5, true, 4294967297, "4294967297", {}]}', [f"moods[{at}]" for at in range(1, 6)]),
        (
            b'{"inners": [{}, {"numbers": [1, 1.5]}, {"numbers": ["x"]}]}',
            ["inners[1].numbers[1]", "inners[2].numbers[0]"],
        ),
        (b"[]", [""]),
        (b"null", [""]),
        (b"1", [""]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_body_that_says_what_no_field_can_hold_is_refused(body: bytes, fields: list[str]) -> None:
    assert fields == violations(PUT, [], body)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "Expecting value: line 1 column 1"),
        (b"{", "Expecting property name .*: line 1 column 2"),
        (b"\xff", "not UTF-8"),
        (b'{"a": 1, "a": 2}', "a name is given twice"),
        (b'{"\\ud800": 1}', "not UTF-8"),
        (b'[{"a": {"\\udfff": 1}}]', "not UTF-8"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": -Infinity}', "-Infinity is no number"),
        (b'{"a": 1e400}', "a number is too large"),
        (b"[" * 100_000, f"{VALUES_MAX} values"),
        (b"[" * (VALUES_MAX - 1), "nested too deeply"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "a number is too large"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_what_is_no_json_is_refused_with_the_reason(body: bytes, told: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"body .*{told}"):
        json_of(body)


@pytest.mark.parametrize("value", [b"{}", b"1", b"[]", b'"\\\\"', b'{"\\"":[]}'], ids=bytes.decode)
def test_a_body_of_more_values_than_any_request_has_is_not_looked_at(value: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="10000 values"):
        json_of(b"[" + b",".join([value] * (VALUES_MAX + 1)) + b"]")


def test_what_stands_in_texts_is_no_value() -> None:
    text = '\\",[{' * VALUES_MAX
    assert json_of(json.dumps({"a": text}).encode()) == {"a": text}


def test_a_body_that_is_nested_without_end_is_refused() -> None:
    tree: dict[str, Any] = {}
    for _ in range(400):
        tree = {"inner": tree}
    with pytest.raises(InvalidRequestError):
        parsed(READ.rpc.input_type, tree)
