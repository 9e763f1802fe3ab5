"""What a refusal says."""

from infra.runtime.grpc.status import InvalidRequestError, Violation


def test_what_is_wrong_with_a_field_names_it_and_what_is_wrong_with_the_whole_names_none() -> None:
    refusal = InvalidRequestError([Violation("", "the body must be a JSON object"), Violation("name", "must be set")])
    assert str(refusal) == "the body must be a JSON object; name: must be set"
