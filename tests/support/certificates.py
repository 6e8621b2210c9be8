"""Certificate authorities and certificates for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["authority", "certificate"]

_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


def authority(folder: Path, name: str) -> Path:
    """The certificate of a new authority; its key is beside it, `.key`."""
    path = folder / f"{name}.pem"
    _openssl("req", "-x509", *_EC, "-subj", f"/CN={name}", "-keyout", str(path.with_suffix(".key")), "-out", str(path))
    return path


def certificate(folder: Path, name: str, signer: Path) -> tuple[Path, Path]:
    """Certificate and key for localhost, signed by an authority."""
    path, key, request = (folder / f"{name}{suffix}" for suffix in (".pem", ".key", ".csr"))
    _openssl("req", "-new", *_EC[:-2], "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
    extensions = folder / f"{name}.ext"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    by = ("-CA", str(signer), "-CAkey", str(signer.with_suffix(".key")), "-CAcreateserial")
    _openssl("x509", "-req", "-in", str(request), *by, "-days", "2", "-extfile", str(extensions), "-out", str(path))
    return path, key


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=300)
