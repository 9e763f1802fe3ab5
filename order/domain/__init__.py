"""The order model: pure functions over frozen values. No time, no randomness, no input or output."""
