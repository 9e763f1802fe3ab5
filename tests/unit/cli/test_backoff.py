from infra.runtime.supervisor import Backoff


def delays(*healthy_seconds: float) -> list[float]:
    backoff = Backoff()
    said = []
    for seconds in healthy_seconds:
        backoff = backoff.after_death(healthy_seconds=seconds)
        said.append(backoff.delay_seconds)
    return said


def test_the_delay_doubles_up_to_two_seconds() -> None:
    assert delays(*[0] * 7) == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_a_while_of_health_starts_the_delays_anew() -> None:
    assert delays(0, 9.9, 10, 0) == [0.1, 0.2, 0.1, 0.2]


def test_many_deaths_do_not_overflow() -> None:
    assert delays(*[0] * 2000)[-1] == 2.0
