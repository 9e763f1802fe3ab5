"""The outside: the wire, the database, and the in-memory twin. They translate, and decide nothing."""
