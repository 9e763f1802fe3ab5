"""For tests of those who read events: a server that speaks the real wire and does what the test says."""

from stateset_client.testing.fake_sync import FakeSync

__all__ = ["FakeSync"]
