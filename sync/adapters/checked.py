"""What is wrong with a request, field by field."""

from infra.runtime.grpc.status import InvalidRequestError, Violation


class Checked:
    """Collects what is wrong with a request, field by field."""

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    def refuse_unless(self, holds: bool, field: str, description: str) -> None:  # noqa: FBT001 - the condition is the point
        """Notes a violation if the condition does not hold."""
        if not holds:
            self._violations.append(Violation(field, description))

    def text(self, value: str, field: str) -> str:
        """The text, which must not hold U+0000: no database and no C library agrees on what it means."""
        self.refuse_unless("\0" not in value, field, "must not contain U+0000")
        return value

    def done(self) -> None:
        """Ends the check.

        Raises:
            InvalidRequestError: Something is wrong.
        """
        if self._violations:
            raise InvalidRequestError(self._violations)
