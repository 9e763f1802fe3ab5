"""JSON as it goes onto the wire."""

import json
from typing import Any


def json_bytes(tree: Any) -> bytes:  # noqa: ANN401 - any JSON
    """The JSON, with nothing between its parts."""
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
