from confluent_kafka import KafkaError

from infra.runtime.kafka.errors import Ear

LOST = KafkaError(KafkaError._TRANSPORT, "connection lost")  # noqa: SLF001 - confluent-kafka's public name
NONE_LEFT = KafkaError(KafkaError._ALL_BROKERS_DOWN)  # noqa: SLF001 - as above
UNTRUSTED = KafkaError(KafkaError._SSL, "not trusted")  # noqa: SLF001 - as above
LATE = KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001 - as above
UNKNOWN = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)


def test_a_call_that_ran_out_of_time_is_told_by_what_befell_its_connections() -> None:
    ear = Ear()
    assert ear.reason(LATE) is LATE
    for error, why in ((NONE_LEFT, LATE), (LOST, LOST), (UNTRUSTED, UNTRUSTED), (LOST, UNTRUSTED)):
        ear.hear(error)
        assert ear.reason(LATE) is why
    assert ear.refusal is UNTRUSTED
    assert ear.reason(UNKNOWN) is UNKNOWN
