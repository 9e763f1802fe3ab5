"""How a fake server says no."""

from collections.abc import Sequence

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from stateset_client.errors import Violation


class Refusal(Exception):  # noqa: N818 - a status to end a call with
    """A status that a call or a stream ends with."""

    def __init__(self, code: grpc.StatusCode, reason: str, message: str, violations: Sequence[Violation] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.violations = tuple(violations)

    @classmethod
    def of_fields(cls, violations: Sequence[Violation]) -> "Refusal":
        """Of a request of which these fields are wrong."""
        message = "; ".join(f"{each.field}: {each.description}" for each in violations)
        return cls(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", message, violations)

    def details(self) -> bytes:
        """The rich status of the wire."""
        return self.status().SerializeToString()

    def status(self) -> status_pb2.Status:
        """The rich status."""
        details: list[Message] = [error_details_pb2.ErrorInfo(reason=self.reason, domain="sync.stateset.dev")]
        if self.violations:
            bad = error_details_pb2.BadRequest()
            for each in self.violations:
                bad.field_violations.add(field=each.field, description=each.description)
            details.append(bad)
        status = status_pb2.Status(code=self.code.value[0], message=str(self))
        for detail in details:
            packed = AnyMessage()
            packed.Pack(detail)
            status.details.append(packed)
        return status
