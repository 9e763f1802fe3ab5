"""What a service refuses, for people."""

import grpc
from stateset_client import StateSetError


def told(error: BaseException, *, service: str, address: str) -> str:
    """The error that a call to the service at the address ended with, in one line."""
    if isinstance(error, StateSetError) and error.code is grpc.StatusCode.UNIMPLEMENTED:
        return f"no {service} at {address}, or one that is older than this command: name another with --address"
    if isinstance(error, StateSetError) and error.code is grpc.StatusCode.UNAVAILABLE and not error.reason:
        return unanswered(address)  # gRPC's own words tell of its parts
    return f"{address}: {error}"


def unanswered(address: str) -> str:
    """What is said where nobody speaks at an address."""
    return f"{address} does not answer: is it up? See `stateset up`"
