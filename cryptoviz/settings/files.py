"""Checks of files and folders in settings when settings are read; a missing file would otherwise fail later with an unrelated error."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cryptoviz.errors import SettingsError
from cryptoviz.local.home import unfit_reason

if TYPE_CHECKING:
    from cryptoviz.settings.tree import Settings

__all__ = ["check_files"]


def check_files(settings: Settings) -> None:
    """Check the folders and files in the settings.

    Raises:
        SettingsError: a file is missing, of the wrong kind, or has invalid content.
    """
    for setting, folder in (("CRYPTOVIZ_HOME", settings.home), ("CRYPTOVIZ_CACHE", settings.cache)):
        for place in (folder, *folder.parents):
            if place.exists() or place.is_symlink():
                if not place.is_dir():
                    what = "a file" if place.is_file() else "no folder"
                    where = f"which is {what}" if place == folder else f"below {str(place)!r}, which is {what}"
                    raise SettingsError(f"{setting} is {str(folder)!r}, {where}: valid is a folder, or a path where one can be made", setting=setting)
                break
    if reason := unfit_reason(settings.home):
        raise SettingsError(f"CRYPTOVIZ_HOME is {str(settings.home)!r}: {reason}; choose a folder for the pipeline alone", setting="CRYPTOVIZ_HOME")
    control, engines = settings.control, settings.engines
    for prefix, cert, key in (
        ("CONTROL__TLS", control.tls_cert, control.tls_key),
        ("CONTROL__TLS_CLIENT", control.tls_client_cert, control.tls_client_key),
        ("ENGINES__TLS", engines.tls_cert, engines.tls_key),
    ):
        if cert is not None and key is not None:
            _check_pair(f"CRYPTOVIZ_{prefix}_CERT", cert, f"CRYPTOVIZ_{prefix}_KEY", key)
    for setting, file in (
        ("CRYPTOVIZ_CONTROL__TLS_CERT", control.tls_cert if control.tls_key is None else None),
        ("CRYPTOVIZ_CONTROL__TLS_CLIENT_CA", control.tls_client_ca),
        ("CRYPTOVIZ_ENGINES__CA_FILE", engines.ca_file),
        ("CRYPTOVIZ_KAFKA__SSL_CA_LOCATION", settings.kafka.ssl_ca_location),
        ("CRYPTOVIZ_S3__CA_FILE", settings.s3.ca_file),
        ("CRYPTOVIZ_REDIS__CA_FILE", settings.redis.ca_file),
        ("CRYPTOVIZ_NETWORK__CA_FILE", settings.network.ca_file),
        ("CRYPTOVIZ_TRACING__CA_FILE", settings.tracing.ca_file),
    ):
        if file is not None:
            _require_file(setting, file)
            _try(setting, file, "certificates in PEM form", lambda found: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(found))


def _check_pair(cert_setting: str, cert: Path, key_setting: str, key: Path) -> None:
    _require_file(cert_setting, cert)
    _require_file(key_setting, key)
    _try(cert_setting, cert, "a certificate in PEM form", lambda found: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(found))
    try:
        # With an empty password, OpenSSL does not ask for the password of an encrypted key at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        text = f"{key_setting} is {str(key)!r}, which is not the private key of the certificate {str(cert)!r} ({reason})"
        raise SettingsError(
            f"{text}: valid is its private key in PEM form, without a password", setting=key_setting, settings=(key_setting, cert_setting)
        ) from None


def _require_file(setting: str, path: Path) -> None:
    def read(found: Path) -> None:
        with found.open("rb") as file:
            file.read(1)

    if not path.exists():
        raise SettingsError(f"{setting} is {str(path)!r}, which does not exist: valid is a file in PEM form", setting=setting)
    if not path.is_file():
        raise SettingsError(f"{setting} is {str(path)!r}, which is not a file: valid is a file in PEM form", setting=setting)
    _try(setting, path, "a file that this user can read", read)


def _try(setting: str, path: Path, valid: str, use: Callable[[Path], object]) -> None:
    try:
        use(path)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"{setting} is {str(path)!r}, which cannot be used ({reason}): valid is {valid}", setting=setting) from None
