"""Names of all keys in Redis. The collector, the dashboard and the controller meet here."""

from __future__ import annotations

__all__ = [
    "ALERTS_KEY", "DESIRED_KEY", "LATEST_KEY", "LATEST_TICK_KEY", "LIMIT_KEY", "OWNER_KEY", "PROTECTION_KEY", "QUOTA_KEY", "of_namespace",
    "quote_key",
]  # fmt: skip

LATEST_KEY = "cryptoviz:latest"
"""Hash: asset id -> unified record as JSON. Written by the collector, read by the dashboard."""
LATEST_TICK_KEY = "cryptoviz:latest:tick"
"""String: UTC epoch ms of the newest tick in `LATEST_KEY`."""
QUOTA_KEY = "cryptoviz:quota"
"""Hash: account of a provider -> its use (`actors.quota.usage`) as JSON."""
PROTECTION_KEY = "cryptoviz:protection"
"""Hash: `breaker:<pipeline>:<provider>` and `hold:..` -> state as JSON (`actors.kept_state`)."""
LIMIT_KEY = "cryptoviz:limit"
"""Prefix of the rate limiters' buckets, before `:<account of a provider>`."""
DESIRED_KEY = "cryptoviz:control:{namespace}:desired"
"""String: desired state of the pipeline in this Ray namespace, as JSON."""
OWNER_KEY = "cryptoviz:control:{namespace}:owner"
"""String: the pipeline that uses this namespace, as JSON. Expires."""

ALERTS_KEY = "cryptoviz:alerts:{namespace}:{part}"
"""Alert rules of this Ray namespace, their states, firings and queues (`cryptoviz.alerts.store`). Written by commands and the dashboard."""


_QUOTE_KEY = "cryptoviz:quote:{namespace}:{venue}:{symbol}"


def quote_key(namespace: str, venue: str, symbol: str) -> str:
    """String: the last quote of an instrument (`cryptoviz.trades.quote`) as JSON. Written by streams, read by the dashboard. Expires."""
    return _QUOTE_KEY.format(namespace=namespace, venue=venue, symbol=symbol)


def of_namespace(key: str, namespace: str) -> str:
    """`LATEST_KEY` or `LATEST_TICK_KEY` of a pipeline: with a Ray namespace other than the default, keys of its own."""
    return key if namespace == "cryptoviz" else f"{key}@{namespace}"
