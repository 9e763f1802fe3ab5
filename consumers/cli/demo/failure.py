"""Why a demo ends before it can judge."""


class DemoError(Exception):
    """The demo cannot go on; the message is one line for the person who started it."""
