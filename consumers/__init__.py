"""Those who live on the events: Risk, Portfolio, Analytics, and the command line with its demo.

They meet the system on the wire.
"""
