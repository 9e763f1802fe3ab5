"""Which HTTP requests call which RPC: what the contracts say with `google.api.http`."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from sync.gateway.template import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One HTTP method and path of an RPC.

    Attributes:
        rpc: What is called.
        method: The HTTP method.
        template: The path.
        body: The request's field that the body is; `*` for all that the path leaves, empty for no body.
        response_body: The reply's field that is answered; empty for the whole reply.
    """

    rpc: MethodDescriptor
    method: str
    template: Template
    body: str
    response_body: str


def rules_of(service: ServiceDescriptor) -> Iterator[Rule]:
    """The rules of the service's unary RPCs, additional bindings included."""
    for rpc in service.methods:
        options: Any = rpc.GetOptions()
        if options.HasExtension(annotations_pb2.http) and not rpc.client_streaming and not rpc.server_streaming:
            annotation = options.Extensions[annotations_pb2.http]
            for each in (annotation, *annotation.additional_bindings):
                yield _rule(rpc, each)


def _rule(rpc: MethodDescriptor, annotation: Any) -> Rule:  # noqa: ANN401 - this message of google's comes without types
    kind = annotation.WhichOneof("pattern")
    custom = annotation.custom
    method, path = (custom.kind, custom.path) if kind == "custom" else (kind.upper(), getattr(annotation, kind))
    return Rule(
        rpc=rpc,
        method=method,
        template=Template.parse(path),
        body=annotation.body,
        response_body=annotation.response_body,
    )


class UnknownPathError(Exception):
    """No rule has the path."""


class MethodNotAllowedError(Exception):
    """The path has rules, but none for the method."""

    def __init__(self, allowed: Collection[str]) -> None:
        self.allowed = ", ".join(sorted({*allowed, *(["HEAD"] if "GET" in allowed else [])}))
        super().__init__(f"the path answers {self.allowed}")


class Routes:
    """Every rule, found by method and path."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = sorted(rules, key=lambda rule: rule.template.specificity, reverse=True)
        counts = {None, *(rule.template.slashes for rule in self.rules)}
        self._by_slashes = {
            count: [rule for rule in self.rules if rule.template.slashes in (None, count)] for count in counts
        }

    def find(self, method: str, raw_path: str) -> tuple[Rule, Mapping[str, str]]:
        """The rule that serves the request, and the variables of its path. HEAD is answered as GET is.

        Raises:
            UnknownPathError: There is none.
            MethodNotAllowedError: There is none for the method.
            UnicodeDecodeError: The path is no UTF-8.
        """
        method = "GET" if method == "HEAD" else method
        allowed: set[str] = set()
        for rule in self._candidates(raw_path.count("/")):
            variables = rule.template.match(raw_path)
            if variables is not None:
                if rule.method == method:
                    return rule, variables
                allowed.add(rule.method)
        raise MethodNotAllowedError(allowed) if allowed else UnknownPathError

    def _candidates(self, slashes: int) -> list[Rule]:
        return self._by_slashes.get(slashes) or self._by_slashes[None]
