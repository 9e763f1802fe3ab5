"""The command line: the whole system on one machine, its demo on real orders, and small commands for single orders."""
