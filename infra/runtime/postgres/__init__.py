"""PostgreSQL: one URL for every service, a schema for each, any number of processes."""
