"""Certificates of the embedded engines beyond loopback, and the authorities that clients trust: as content, since other nodes lack the files."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cryptoviz.errors import SettingsError
from cryptoviz.local.private import require_own_file, write_once, write_private

if TYPE_CHECKING:
    from cryptoviz.settings.tree import Settings

__all__ = ["ServerIdentity", "authority_file", "make_authority", "server_identity", "with_authorities"]

_HOME = "CRYPTOVIZ_HOME"
_LOCAL = ("127.0.0.1", "::1", "localhost")
"""MinIO's console, on loopback, has the same certificate."""


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """Key and certificate of the engines, and the authority that clients need (empty: those of the system); PEM."""

    certificate: str
    key: str = field(repr=False)
    authority: str = ""


def authority_file(settings: Settings) -> Path:
    """The certificate of this home's authority, for clients. Its key is beside it, mode 0600."""
    return settings.home / "tls" / "ca.crt"


def make_authority(settings: Settings) -> None:
    """Make the authority of this home, unless it exists or is not needed. Safe for concurrent processes. Raises SettingsError."""
    if not _has_own_authority(settings):
        return
    path = _authority_key(settings)
    if not os.path.lexists(path):
        from cryptoviz.security.certificates import new_authority  # 20 ms that only this needs

        write_once(path, new_authority("CryptoViz engines"))
    from cryptoviz.security.certificates import certificate_of

    try:
        certificate = certificate_of(_read_authority(path))
    except ValueError:
        raise SettingsError(
            f"{path} is not a certificate authority: remove it while the pipeline is stopped, and a new one is generated", setting=_HOME
        ) from None
    file = authority_file(settings)
    if not file.is_file() or file.read_text(encoding="ascii", errors="replace") != certificate:
        write_private(file, certificate)


def server_identity(settings: Settings) -> ServerIdentity:
    """A certificate for the engines: that of the settings, or a new one of this home's authority. Raises SettingsError."""
    from cryptoviz.security.certificates import issue, pkcs8

    engines = settings.engines
    if engines.tls_cert is not None and engines.tls_key is not None:
        authority = _content("CRYPTOVIZ_ENGINES__CA_FILE", engines.ca_file) if engines.ca_file else ""
        key = _content("CRYPTOVIZ_ENGINES__TLS_KEY", engines.tls_key)
        return ServerIdentity(_content("CRYPTOVIZ_ENGINES__TLS_CERT", engines.tls_cert), pkcs8(key), authority)
    make_authority(settings)
    authority = _read_authority(_authority_key(settings))
    key, certificate = issue(authority, (engines.reached_at, *_LOCAL))
    return ServerIdentity(certificate, key, authority_file(settings).read_text(encoding="ascii"))


def with_authorities(settings: Settings) -> Settings:
    """The settings with the content of the authorities' files in each section. Raises SettingsError if a file cannot be read."""
    engines = settings.engines
    embedded = ""
    if engines.ca_file is not None:
        embedded = _content("CRYPTOVIZ_ENGINES__CA_FILE", engines.ca_file)
    elif _has_own_authority(settings) and authority_file(settings).is_file():
        embedded = _content(_HOME, authority_file(settings))
    changed: dict[str, object] = {}
    for name, section, setting, file in (
        ("kafka", settings.kafka, "CRYPTOVIZ_KAFKA__SSL_CA_LOCATION", settings.kafka.ssl_ca_location),
        ("s3", settings.s3, "CRYPTOVIZ_S3__CA_FILE", settings.s3.ca_file),
        ("redis", settings.redis, "CRYPTOVIZ_REDIS__CA_FILE", settings.redis.ca_file),
    ):
        content = (embedded if engines.exposed else "") if section.embedded else _content(setting, file) if file is not None else ""
        if content and content != section.ca_pem:
            changed[name] = section.model_copy(update={"ca_pem": content})
    return settings.model_copy(update=changed) if changed else settings


def _has_own_authority(settings: Settings) -> bool:
    embedded = settings.kafka.embedded or settings.s3.embedded or settings.redis.embedded
    return settings.engines.exposed and settings.engines.tls_cert is None and embedded


def _authority_key(settings: Settings) -> Path:
    return settings.home / "tls" / "authority.pem"


def _read_authority(path: Path) -> str:
    require_own_file(path, _HOME)
    return path.read_text(encoding="ascii", errors="replace")


def _content(setting: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SettingsError(f"{setting} is {str(path)!r}, which cannot be read: {error.strerror}", setting=setting) from None
