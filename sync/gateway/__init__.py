"""The gateway: the same contracts for those who cannot speak gRPC, as HTTP/JSON, server-sent events and WebSocket."""
