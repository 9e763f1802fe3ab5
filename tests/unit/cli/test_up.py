"""What `up` says of how it went."""

from consumers.cli.up import standing


def test_everything_is_up_only_where_nothing_has_ended_again() -> None:
    assert standing({"order": True, "sync": True}) == "Everything is up. Ctrl-C stops it."
    assert standing({"order": True, "sync": False, "risk": False}).startswith("All were up, but sync, risk ended again")
