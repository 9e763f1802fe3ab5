"""Benchmarks: our servers against bare ones by CPU time, and figures of the whole beside their goals."""
