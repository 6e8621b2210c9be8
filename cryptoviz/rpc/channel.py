"""How both ends of the control service are wired: keepalive, size limits, metadata keys. The two sides must agree, so they stand here once."""

from __future__ import annotations

__all__ = ["AUTHORIZATION", "BUSY", "CHANNEL_OPTIONS", "ERROR_DOMAIN", "MAX_REQUEST_BYTES", "MAX_RESPONSE_BYTES", "SERVER_OPTIONS", "STATUS_DETAILS"]

AUTHORIZATION = "authorization"
"""Metadata key of the token: `Bearer <token>`."""

STATUS_DETAILS = "grpc-status-details-bin"
"""Trailing metadata that carries `google.rpc.Status`, as all gRPC languages read it."""

BUSY = "OPERATION_BUSY"
ERROR_DOMAIN = "cryptoviz"
"""Reason and domain of a `google.rpc.ErrorInfo`: another operation of the kind runs; its id is in the metadata as `operation_id`."""

MAX_REQUEST_BYTES = 64 * 1024
"""The longest honest request is a component name; this leaves room and keeps a flood small."""

MAX_RESPONSE_BYTES = 4 * 1024 * 1024
"""A page of log lines; TailLogs splits below it."""

_KEEPALIVE_TIME_MS = 30_000
_KEEPALIVE_TIMEOUT_MS = 15_000
_CONNECTIONS = 512
_STREAMS = 256

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", _KEEPALIVE_TIME_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    # The service restarts within seconds; the default of up to two minutes between attempts would hide that.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A proxy setting of the shell must not redirect loopback calls.
    ("grpc.enable_http_proxy", 0),
)

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", _KEEPALIVE_TIME_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    # Half of the clients' interval, so that an honest client is never told to calm down.
    ("grpc.http2.min_ping_interval_without_data_ms", _KEEPALIVE_TIME_MS // 2),
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    # Both alike: between the two, gRPC refuses some at random. The token takes 60 bytes.
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.absolute_max_metadata_size", 8 * 1024),
    # More than all budgets of one connection together (`control.rpc.methods`), so that its streams never keep its calls waiting.
    ("grpc.max_concurrent_streams", _STREAMS),
    # As many as can be on their way: past the defaults of 1 000 and 3 000, gRPC cancels calls at random, those with the token too.
    ("grpc.server.max_pending_requests", _CONNECTIONS * _STREAMS),
    ("grpc.server.max_pending_requests_hard_limit", _CONNECTIONS * _STREAMS),
    # Sockets are file descriptors, of which the controller needs some for its own files.
    ("grpc.max_allowed_incoming_connections", _CONNECTIONS),
    # Of TLS, and of HTTP/2's first frames: a socket that says nothing is closed; two minutes by default.
    ("grpc.server_handshake_timeout_ms", 5_000),
    # Connections without a call; a client opens its next one by itself.
    ("grpc.max_connection_idle_ms", 300_000),
    # On by default on Linux: two controllers would both bind the port and share its calls.
    ("grpc.so_reuseport", 0),
)
