"""How the client's channels are set up."""

from typing import Final

import grpc.aio

_COMMON: Final = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # a minute otherwise, whatever the line above says
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 1_048_576 + 65_536),  # the servers' largest frame, and its envelope
    ("grpc.enable_http_proxy", 0),
    # A server that was restarted is found again within a second, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
_STREAM: Final = (
    *_COMMON,
    # gRPC would otherwise buffer megabytes for a reader that stands still; credit is what is meant to bound it.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 65_536),
    # A connection of its own: streams that share one are limited to 100, and wait for each other's bytes.
    ("grpc.use_local_subchannel_pool", 1),
)


def open_call_channel(address: str) -> grpc.aio.Channel:
    """A channel to `host:port` for unary calls."""
    return grpc.aio.insecure_channel(address, options=_COMMON)


def open_stream_channel(address: str) -> grpc.aio.Channel:
    """A channel to `host:port` for one stream."""
    return grpc.aio.insecure_channel(address, options=_STREAM)
