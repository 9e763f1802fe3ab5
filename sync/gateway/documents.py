"""`/openapi.json` for programs, `/docs` for people: the same document, of which the page is made on the server."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

from google.protobuf.descriptor import Descriptor
from starlette.requests import Request
from starlette.responses import Response

from sync.gateway.app import Page
from sync.gateway.json_text import json_bytes
from sync.gateway.openapi import Json, document
from sync.gateway.rules import Rule

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code { font: 14px/1.4 ui-monospace, monospace; } summary { cursor: pointer; padding: .3rem 0; }
table { border-collapse: collapse; margin: .3rem 0 1rem; }
td { border-top: 1px solid #ccc; padding: .2rem 1rem .2rem 0; vertical-align: top; }
b { display: inline-block; min-width: 3.5rem; }
"""
# The page loads nothing and runs nothing.
_HEADERS: Final = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}


def documents(rules: Iterable[Rule], pages: Mapping[str, Json], messages: Iterable[Descriptor]) -> dict[str, Page]:
    """By path, the pages that describe what is served."""
    described = document(rules, title="StateSet", pages=pages, messages=messages)
    encoded, page = json_bytes(described), _html(described).encode()

    async def openapi(_: Request) -> Response:
        return Response(encoded, media_type="application/json")

    async def docs(_: Request) -> Response:
        return Response(page, headers=_HEADERS, media_type="text/html")

    return {"/openapi.json": openapi, "/docs": docs}


def _html(described: Json) -> str:
    operations = "".join(
        _operation(path, method, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    )
    schemas = "".join(_schema(name, schema) for name, schema in described["components"]["schemas"].items())
    title = escape(described["info"]["title"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}</h1><p>For programs: <a href=/openapi.json>openapi.json</a>. "
        "WebSocket: <code>/v1/stream</code>.</p>"
        f"<h2>Paths</h2>{operations}<h2>Messages</h2>{schemas}</html>"
    )


def _operation(path: str, method: str, operation: Json) -> str:
    rows = [
        (each["name"], each["in"], _type(each["schema"]), each.get("description", ""))
        for each in operation["parameters"]
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    rows += [(name, "body", _type(each), each.get("description", "")) for name, each in _properties(body)]
    answer = operation["responses"]["200"]["content"].get("application/json", {}).get("schema", {})
    rows.append(("", "answer", _type(answer), ""))
    head = f"<b>{method.upper()}</b> <code>{escape(path)}</code>"
    return f"<details><summary>{head}</summary><p>{escape(operation['description'])}</p>{_table(rows)}</details>"


def _schema(name: str, schema: Json) -> str:
    rows = [(field, _type(each), each.get("description", "")) for field, each in _properties(schema)]
    rows += [(value, "", "") for value in schema.get("enum", [])]
    head = f"<summary><code>{escape(name)}</code></summary>"
    return f"<details id='{escape(name)}'>{head}<p>{escape(schema['description'])}</p>{_table(rows)}</details>"


def _properties(schema: Json) -> Iterable[tuple[str, Any]]:
    properties: dict[str, Any] = schema.get("properties", {})
    return properties.items()


def _type(schema: Json) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"{_type(schema['items'])} …"
    return str(schema.get("format", schema.get("type", "stream")))


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
