"""JSON as it goes onto the wire."""

import json
from typing import Any


def json_text(tree: Any) -> str:  # noqa: ANN401 - any JSON
    """The JSON, with nothing between its parts."""
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":"))


def json_bytes(tree: Any) -> bytes:  # noqa: ANN401 - any JSON
    """The same, as bytes."""
    return json_text(tree).encode()
