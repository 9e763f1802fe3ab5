"""Paths: which request is which RPC's, and what its path says."""

import pytest

from sync.gateway.main import FILES
from sync.gateway.rules import MethodNotAllowedError, Routes, UnknownPathError, rules_of
from sync.gateway.template import Template
from tests.harness.gateway_contract import SHELVES
from tests.harness.gateway_golden import served_rpcs

MADE_UP = Routes(rules_of(SHELVES))
OURS = Routes(
    rule for files in FILES.values() for file in files for s in file.services_by_name.values() for rule in rules_of(s)
)


@pytest.mark.parametrize(
    ("template", "path", "variables"),
    [
        ("/v1/orders/{order_id}", "/v1/orders/a", {"order_id": "a"}),
        ("/v1/orders/{order_id}", "/v1/orders/a%2Fb%20c", {"order_id": "a/b c"}),
        ("/v1/orders/{order_id}", "/v1/orders/", None),
        ("/v1/orders/{order_id}", "/v1/orders/a/b", None),
        ("/v1/orders/{order_id}:accept", "/v1/orders/a:b:accept", {"order_id": "a:b"}),
        ("/v1/{name=shelves/*}", "/v1/shelves/x", {"name": "shelves/x"}),
        ("/v1/{name=shelves/*}", "/v1/shelves/x%2fy%41", {"name": "shelves/x%2fyA"}),
        ("/v1/{name=shelves/*/books/**}:read", "/v1/shelves/s/books/a/b:read", {"name": "shelves/s/books/a/b"}),
        ("/v1/*/b.d", "/v1/a/b.d", {}),
        ("/v1/*/b.d", "/v1/a/bxd", None),
        ("/v1/{a.b}/{c}", "/v1/1/2", {"a.b": "1", "c": "2"}),
    ],
)
def test_a_template_matches_what_it_says(template: str, path: str, variables: dict[str, str] | None) -> None:
    assert variables == Template.parse(template).match(path)


@pytest.mark.parametrize("template", ["v1/orders", "/v1/{", "/v1/{a=b", "/v1/}"])
def test_what_is_no_template_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="no path template"):
        Template.parse(template)


@pytest.mark.parametrize(
    ("method", "path", "rpc", "variables"),
    [
        ("GET", "/v1/shelves/x", "Read", {"name": "shelves/x"}),
        ("HEAD", "/v1/shelves/x", "Read", {"name": "shelves/x"}),
        ("GET", "/v2/deep/a/b/c:read", "Read", {"inner.deep_text": "deep", "name": "a/b/c"}),
        ("QUERY", "/v1/all/x/shelves", "Read", {}),
        ("PATCH", "/v1/shelves/x/inner", "Write", {"name": "shelves/x"}),
        ("PUT", "/v1/w/x", "Write", {"name": "x"}),
    ],
)
def test_every_binding_of_an_rpc_is_served(method: str, path: str, rpc: str, variables: dict[str, str]) -> None:
    rule, found = MADE_UP.find(method, path)
    assert (rule.rpc.name, found) == (rpc, variables)


def test_a_verb_is_preferred_to_an_id_with_a_colon() -> None:
    assert OURS.find("GET", "/v1/orders:batchGet")[0].rpc.name == "BatchGetOrders"
    assert OURS.find("POST", "/v1/orders/a:accept")[0].rpc.name == "AcceptOrder"
    rule, variables = OURS.find("GET", "/v1/orders/a:accept")
    assert (rule.rpc.name, variables) == ("GetOrder", {"order_id": "a:accept"})


def test_a_path_without_the_method_says_which_it_has() -> None:
    with pytest.raises(MethodNotAllowedError) as raised:
        OURS.find("DELETE", "/v1/orders")
    assert raised.value.allowed == "GET, HEAD, POST"


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/watch", "/v1/orders/a/b/c", "//v1/orders"])
def test_a_path_of_nobody_is_unknown(path: str) -> None:
    with pytest.raises(UnknownPathError):
        (MADE_UP if path == "/v1/watch" else OURS).find("GET", path)


def test_every_unary_rpc_of_the_services_has_a_path() -> None:
    unary = {
        rpc.full_name
        for files in FILES.values()
        for file in files
        for service in file.services_by_name.values()
        for rpc in service.methods
        if not rpc.client_streaming and not rpc.server_streaming
    }
    assert unary == set(served_rpcs())
    assert len(unary) > 40
