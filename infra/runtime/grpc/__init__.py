"""gRPC as every service of the system speaks it: one registration, one chain around each call, one error shape."""
