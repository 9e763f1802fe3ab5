"""What the gateway says of itself."""

import re
from typing import Any

from sync.gateway.openapi import document
from sync.gateway.rules import Routes, rules_of
from tests.component.gateway.test_http import gateway
from tests.harness.gateway_contract import SHELVES
from tests.harness.gateway_golden import served_rpcs


def references(tree: Any) -> set[str]:  # noqa: ANN401 - any JSON
    if isinstance(tree, list):
        return set().union(*map(references, tree)) if tree else set()
    if not isinstance(tree, dict):
        return set()
    own = {tree["$ref"]} if isinstance(tree.get("$ref"), str) else set()
    return own.union(*map(references, tree.values()))


async def test_the_document_has_every_rpc_and_every_message_and_says_what_they_are() -> None:
    async with gateway() as http:
        described = (await http.get("/openapi.json")).json()
    assert described["openapi"] == "3.1.0"
    operations = [each for methods in described["paths"].values() for each in methods.values()]
    assert {each["operationId"] for each in operations} == {*served_rpcs(), "events"}
    schemas = described["components"]["schemas"]
    assert references(described) <= {f"#/components/schemas/{name}" for name in schemas}
    ours = [schema for name, schema in schemas.items() if name.startswith("stateset.")]
    assert all(each["description"] for each in (*operations, *ours))
    place = described["paths"]["/v1/orders"]["post"]
    assert place["requestBody"]["content"]["application/json"]["schema"]["properties"]["customerId"] == {
        "type": "string",
        "description": "Who orders: 1 to 64 characters.",
    }
    accept = described["paths"]["/v1/orders/{order_id}:accept"]["post"]
    assert "orderId" not in accept["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {each["name"]: each["in"] for each in accept["parameters"]} == {
        "order_id": "path",
        "idempotency-key": "header",
        "if-match": "header",
        "grpc-timeout": "header",
    }
    assert set(accept["responses"]["200"]["headers"]) == {"ETag", "Idempotent-Replayed"}
    assert set(accept["responses"]["default"]["headers"]) == {"Retry-After"}
    events = {each["name"]: each for each in described["paths"]["/v1/events"]["get"]["parameters"]}
    assert events["batchEventsMax"]["description"].endswith("250 when 0.")
    assert not {"silenceMax", "unackedEventsMax"} & events.keys()
    assert {"start", "start.time"} <= events.keys()
    assert {"opened", "events", "goAway"} <= schemas["stateset.order.v1.ServerFrame"]["properties"].keys()
    assert {"open", "ack", "credit"} <= schemas["stateset.stream.v1.ClientFrame"]["properties"].keys()


async def test_the_page_shows_every_path_and_loads_nothing() -> None:
    async with gateway() as http:
        page = await http.get("/docs")
        paths = (await http.get("/openapi.json")).json()["paths"]
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert not re.search(r"<script|<link|src=|url\(|href=.?http", page.text)
    assert [path for path in paths if f"<code>{path}</code>" not in page.text] == []


def test_a_contract_with_everything_is_described() -> None:
    described = document(Routes(rules_of(SHELVES)).rules, title="Made up", pages={})
    read = described["paths"]["/v1/{name}"]["get"]
    assert read["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/stateset.made_up.v1.Inner"
    }
    names = [each["name"] for each in read["parameters"]]
    assert {"inner.deepText", "inner.inner.numbers", "moods", "at", "within", "mask", "left"} <= set(names)
    patch = described["paths"]["/v1/{name}/inner"]["patch"]
    assert [each["name"] for each in patch["parameters"] if each["name"].startswith("inner.")] == []
