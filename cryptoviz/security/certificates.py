"""A private certificate authority, and certificates that it signs. Keys are P-256 in PKCS #8, which OpenSSL, Java and Go read."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["certificate_of", "issue", "new_authority", "pkcs8"]

_AUTHORITY_DAYS = 3650
_CERTIFICATE_DAYS = 825
"""Longer than any run of an engine, which gets a new certificate at each start."""
_CLOCK_SKEW = timedelta(days=1)
"""The clocks of the nodes differ."""


def new_authority(name: str) -> str:
    """Key and self-signed certificate, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False, key_cert_sign=True,
        crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = _builder(subject, subject, key, _AUTHORITY_DAYS).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(usage, critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return _key_pem(key) + _certificate_pem(builder.sign(key, hashes.SHA256()))


def issue(authority: str, hosts: Iterable[str]) -> tuple[str, str]:
    """Key and certificate of a server with these names and addresses, signed by the authority, each as PEM."""
    signer, issuer = _signer(authority), x509.load_pem_x509_certificate(authority.encode())
    key = ec.generate_private_key(ec.SECP256R1())
    names = [_general_name(host) for host in dict.fromkeys(hosts)]
    builder = _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CryptoViz engine")]), issuer.subject, key, _CERTIFICATE_DAYS)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    return _key_pem(key), _certificate_pem(builder.sign(signer, hashes.SHA256()))


def certificate_of(authority: str) -> str:
    """The certificate of an authority, which clients trust, as PEM. Raises ValueError if the text is not what `new_authority` made."""
    _signer(authority)
    return _certificate_pem(x509.load_pem_x509_certificate(authority.encode()))


def pkcs8(key: str) -> str:
    """A private key in PEM form, as PKCS #8: Java reads no other."""
    made = serialization.load_pem_private_key(key.encode(), None)
    return made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def _signer(authority: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(authority.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the key of the authority is of another kind")
    return key


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now - _CLOCK_SKEW).not_valid_after(now + timedelta(days=days))


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def _certificate_pem(certificate: x509.Certificate) -> str:
    return ssl.DER_cert_to_PEM_cert(certificate.public_bytes(serialization.Encoding.DER))
