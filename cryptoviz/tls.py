"""Certificate authorities for TLS connections: those of certifi, the system and the settings. Environment variables are ignored."""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path

import certifi

from cryptoviz.errors import SettingsError

__all__ = ["trust"]


@lru_cache(maxsize=4)
def trust(ca_file: Path | None = None) -> ssl.SSLContext:
    """SSL context for clients, with verification of host names and certificates.

    Raises:
        SettingsError: `ca_file` cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certifi.where())
    # Not `load_default_certs`, which follows SSL_CERT_FILE and SSL_CERT_DIR.
    built_in = ssl.get_default_verify_paths()
    cafile, capath = Path(built_in.openssl_cafile), Path(built_in.openssl_capath)
    if cafile.is_file() or capath.is_dir():
        context.load_verify_locations(cafile if cafile.is_file() else None, capath if capath.is_dir() else None)
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            setting = "CRYPTOVIZ_NETWORK__CA_FILE"
            raise SettingsError(f"{setting} is {str(ca_file)!r}, which contains no usable certificates: {error}", setting=setting) from None
    return context
