"""Certificate authorities for TLS connections: those of certifi, the system and the settings. Environment variables are ignored."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from pathlib import Path

import certifi

from cryptoviz.errors import SettingsError

__all__ = ["ca_path", "trust", "trust_of"]


@lru_cache(maxsize=8)
def trust(ca_file: Path | None = None, ca_pem: str = "") -> ssl.SSLContext:
    """SSL context for clients, with verification of host names and certificates.

    Args:
        ca_file: PEM file of further authorities (`network.ca_file`).
        ca_pem: content of such a file (`s3.ca_pem`).

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
    if ca_pem:
        context.load_verify_locations(cadata=ca_pem)
    return context


def trust_of(url: str, ca_pem: str = "") -> ssl.SSLContext | None:
    """As `trust`; None for a URL without TLS, since the certificates take 50 ms of processor time and 1.5 MB in each process."""
    return None if url.startswith("http:") else trust(ca_pem=ca_pem)


@lru_cache(maxsize=8)
def ca_path(ca_pem: str) -> str | None:
    """A path of these authorities, for libraries that only read files: in memory, valid in this process until it ends. None if there are none."""
    if not ca_pem:
        return None
    descriptor = os.memfd_create("ca.pem")
    os.write(descriptor, ca_pem.encode())
    return f"/proc/self/fd/{descriptor}"
