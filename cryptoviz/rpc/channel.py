"""Channel options shared by client and server of the control service: keepalive, size limits, metadata keys."""

from __future__ import annotations

__all__ = ["AUTHORIZATION", "CHANNEL_OPTIONS", "MAX_REQUEST_BYTES", "MAX_RESPONSE_BYTES", "SERVER_OPTIONS", "STATUS_DETAILS"]

AUTHORIZATION = "authorization"
"""Metadata key of the token: `Bearer <token>`."""

STATUS_DETAILS = "grpc-status-details-bin"
"""Standard key of the trailing metadata with `google.rpc.Status`."""

MAX_REQUEST_BYTES = 64 * 1024
"""Ample for valid requests, which are short; bounds the cost of a flood."""

MAX_RESPONSE_BYTES = 4 * 1024 * 1024
"""TailLogs splits its pages below this size."""

_KEEPALIVE_TIME_MS = 30_000
_KEEPALIVE_TIMEOUT_MS = 15_000
_CONNECTIONS = 512
_STREAMS = 256

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", _KEEPALIVE_TIME_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    # The service restarts within seconds; gRPC's default backs off for up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A proxy setting of the shell must not redirect loopback calls.
    ("grpc.enable_http_proxy", 0),
)

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", _KEEPALIVE_TIME_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    # Half of the clients' interval, so that a correct client never gets ENHANCE_YOUR_CALM.
    ("grpc.http2.min_ping_interval_without_data_ms", _KEEPALIVE_TIME_MS // 2),
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    # Soft and hard limit are equal: between them, gRPC refuses calls at random. The token takes 60 bytes.
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.absolute_max_metadata_size", 8 * 1024),
    # Above the sum of all budgets per connection (`control.rpc.methods`), so that open streams never block other calls.
    ("grpc.max_concurrent_streams", _STREAMS),
    # The maximum of calls in flight. Above the defaults of 1,000 and 3,000, gRPC cancels calls at random, also those with the token.
    ("grpc.server.max_pending_requests", _CONNECTIONS * _STREAMS),
    ("grpc.server.max_pending_requests_hard_limit", _CONNECTIONS * _STREAMS),
    # Sockets use file descriptors, which the controller also needs for files.
    ("grpc.max_allowed_incoming_connections", _CONNECTIONS),
    # Covers TLS and the first HTTP/2 frames: silent sockets are closed. gRPC's default is two minutes.
    ("grpc.server_handshake_timeout_ms", 5_000),
    # Connections without a call are closed; clients reconnect by themselves.
    ("grpc.max_connection_idle_ms", 300_000),
    # On by default on Linux: two controllers could bind the same port and share its calls.
    ("grpc.so_reuseport", 0),
)
