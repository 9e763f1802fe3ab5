"""Pages of a fake server's lists: opaque tokens that serve the list they were made for, and no other."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from stateset_client.errors import Violation
from stateset_client.testing.refusal import Refusal

_PAGE: Final = 50
_PAGE_MAX: Final = 500


def page_size(asked: int) -> int:
    """The size of a page."""
    return min(asked or _PAGE, _PAGE_MAX)


def page_token(after: str, made_for: str) -> str:
    """Token of the page behind `after`, of the list with that identity."""
    return urlsafe_b64encode(json.dumps([made_for, after]).encode()).decode()


def page_after(token: str, made_for: str) -> str:
    """Behind what the token's page begins; empty for the first page.

    Raises:
        Refusal: It is no token of this list.
    """
    if not token:
        return ""
    try:
        list_of, after = json.loads(urlsafe_b64decode(token))
    except (ValueError, TypeError):
        list_of = after = None
    if list_of != made_for or not isinstance(after, str):
        raise Refusal.of_fields([Violation("page_token", "not a token of this list")])
    return after
