"""Path templates of `google.api.http`: `/v1/orders/{order_id}:accept`, `/v1/{name=shelves/*}`, `/v1/{path=**}`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

_TOKEN: Final = re.compile(r"\{(?P<field>[\w.]+)(?:=(?P<segments>[^}]*))?\}|(?P<wild>\*\*?)|(?P<literal>[^{}*]+)")
_WILD: Final = {"*": "[^/]+", "**": ".*"}
_ENCODED_SLASH: Final = re.compile("%(?=2[Ff])")


@dataclass(frozen=True, slots=True)
class Template:
    """A path with variables. `text` is the path as OpenAPI writes it: the names alone in the braces."""

    text: str
    variables: tuple[str, ...]
    slashes: int | None
    _pattern: re.Pattern[str]
    _many: tuple[bool, ...]

    @classmethod
    def parse(cls, template: str) -> "Template":
        """The template that the contract writes.

        Raises:
            ValueError: It is none.
        """
        pattern = shown = ""
        variables: list[str] = []
        many: list[bool] = []
        end = 0
        for token in _TOKEN.finditer(template):
            if token.start() != end:
                break
            end = token.end()
            if token["field"]:
                segments = token["segments"] or "*"
                variables.append(token["field"])
                many.append(segments != "*")
                pattern += f"({_segments(segments)})"
                shown += f"{{{token['field']}}}"
            else:
                pattern += _segments(token[0])
                shown += token[0]
        if end != len(template) or not template.startswith("/"):
            raise ValueError(f"no path template: {template}")
        slashes = None if "**" in template else pattern.replace("[^/]", "").count("/")
        return cls(shown, tuple(variables), slashes, re.compile(pattern), tuple(many))

    @property
    def specificity(self) -> tuple[bool, int]:
        """Larger for the template that is to be tried first: one with a verb, then one with more letters of its own."""
        return ":" in self.text.rpartition("/")[2], len(re.sub(r"\{.*?\}|\*", "", self.text))

    def match(self, raw_path: str) -> Mapping[str, str] | None:
        """The values of the variables in a path that is percent-encoded still; none if it is another path.

        Raises:
            UnicodeDecodeError: What is encoded is no UTF-8.
        """
        found = self._pattern.fullmatch(raw_path)
        if found is None:
            return None
        values = zip(self.variables, found.groups(), self._many, strict=True)
        return {name: _decoded(value, many=many) for name, value, many in values}


def _segments(text: str) -> str:
    return "".join(_WILD.get(part) or re.escape(part) for part in re.split(r"(\*\*?)", text) if part)


def _decoded(value: str, *, many: bool) -> str:
    """A slash that is encoded stays so where others stand between segments: the two must not look alike."""
    return unquote(_ENCODED_SLASH.sub("%25", value) if many else value, errors="strict")
