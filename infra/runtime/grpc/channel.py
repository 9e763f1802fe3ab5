"""Channels between our own processes."""

from typing import Final

import grpc.aio

_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # a minute otherwise, whatever the line above says
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 1_048_576 + 65_536),
    ("grpc.enable_http_proxy", 0),
    # A peer that was restarted is found again within a second, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel to `host:port`; close it, or use it as an async context."""
    return grpc.aio.insecure_channel(address, options=_OPTIONS)
