"""Proxy and certificates for internet access: requests to providers and the webhook of alerts, downloads of setup. Nothing else uses a proxy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cryptoviz.settings.file_type import File
from cryptoviz.settings.secret_types import HttpUrl, ProxyUrl, SecretUrl

__all__ = ["SHELL_NAMES", "DownloadSettings", "NetworkSettings", "shell_values"]

SHELL_NAMES: dict[str, tuple[str, ...]] = {
    "https_proxy": ("network", "proxy_url"),
    "HTTPS_PROXY": ("network", "proxy_url"),
    "all_proxy": ("network", "proxy_url"),
    "ALL_PROXY": ("network", "proxy_url"),
    "no_proxy": ("network", "no_proxy"),
    "NO_PROXY": ("network", "no_proxy"),
}
"""Conventional proxy variables of the shell, in order of precedence. `CRYPTOVIZ_` settings override them."""
_LOCAL = ("127.0.0.1", "localhost", "::1")
_PROXY = re.compile(r"https?://[\x21-\x7e]+")


class DownloadSettings(BaseModel):
    """Downloads of engines by setup. `maven_url` can be set to a mirror."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    maven_url: HttpUrl = SecretUrl("https://repo1.maven.org/maven2")
    parallel: int = Field(default=4, ge=1, le=16)


class NetworkSettings(BaseModel):
    """Internet access. Connections to engines, control service and dashboard never use the proxy."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    proxy_url: ProxyUrl = SecretUrl("")
    """HTTP proxy, `http://user:password@host:port`. Empty: the shell's `https_proxy` or `all_proxy`, also in capitals; otherwise no proxy."""
    no_proxy: str = ""
    """Comma-separated hosts that are contacted without the proxy. Empty: the shell's `no_proxy`."""
    ca_file: File | None = None
    """PEM file of certificate authorities to trust in addition to the system's, such as that of an inspecting proxy."""

    @field_validator("no_proxy")
    @classmethod
    def _hosts(cls, value: str) -> str:
        for one in value.split(","):
            if "://" in one or "@" in one or any(letter.isspace() for letter in one.strip()):
                raise ValueError("valid are hosts with commas between them, such as localhost,.example.org")
        return value

    def proxy_for(self, url: str) -> str | None:
        """The proxy for a URL; None for loopback and the hosts of `no_proxy`."""
        host = urlsplit(url).hostname or ""
        if not self.proxy_url or host in _LOCAL or host.startswith("127."):
            return None
        names = [name.strip().lower().lstrip(".") for name in self.no_proxy.split(",")]
        near = any(name == "*" or (name and (host == name or host.endswith(f".{name}"))) for name in names)
        return None if near else str(self.proxy_url)


def shell_values(environ: Mapping[str, str]) -> dict[str, Any]:
    """Settings from the shell's variables. Other proxies than HTTP (`socks5://`) are ignored, because they are for other programs."""
    tree: dict[str, Any] = {}
    for name, (section, field) in SHELL_NAMES.items():
        value = environ.get(name, "").strip()
        if field == "proxy_url" and value and "://" not in value:
            value = f"http://{value}"
        if value and (field != "proxy_url" or _PROXY.fullmatch(value)):
            tree.setdefault(section, {}).setdefault(field, value)
    return tree
