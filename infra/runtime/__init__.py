"""What every process of the system runs on: its life span, settings, logs, metrics, database and gRPC server."""
