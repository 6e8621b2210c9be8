"""Addresses and certificates of embedded engines beyond loopback: what clients of the engines get, on every node, and what is refused."""

# ruff: noqa: E501 (whole messages; compared, not bound)

from __future__ import annotations

import pickle
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from cryptoviz.errors import SettingsError
from cryptoviz.kafka import client_config, consumer, java_config
from cryptoviz.lake.objects import S3Access
from cryptoviz.security.certificates import certificate_of, issue, new_authority
from cryptoviz.security.tls import ca_path
from cryptoviz.settings import claim_home, dump_settings_file, load_settings, load_settings_file
from cryptoviz.settings.engine_tls import authority_file, server_identity
from cryptoviz.settings.listeners import pipeline_ports
from tests.support.settings import forget_settings

OPEN: dict[str, Any] = {"engines": {"bind": "192.0.2.7"}}
TLS = Path(__file__).parents[2] / "data" / "tls"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_settings(monkeypatch, tmp_path)


def test_on_loopback_nothing_changes(tmp_path: Path) -> None:
    settings = claim_home(load_settings(home=tmp_path / "home"))
    assert (settings.kafka.bootstrap_servers, settings.kafka.security_protocol) == ("127.0.0.1:19092", "SASL_PLAINTEXT")
    assert settings.s3.endpoint == "http://127.0.0.1:9002"
    assert settings.redis.url.endswith("@127.0.0.1:6379/0")
    assert settings.kafka.ca_pem == settings.s3.ca_pem == settings.redis.ca_pem == ""
    assert not (tmp_path / "home" / "tls").exists()


def test_another_loopback_address_needs_no_certificate(tmp_path: Path) -> None:
    settings = claim_home(load_settings(home=tmp_path / "home", engines={"bind": "127.0.0.2"}))
    assert (settings.kafka.bootstrap_servers, settings.kafka.security_protocol) == ("127.0.0.2:19092", "SASL_PLAINTEXT")
    assert settings.s3.endpoint == "http://127.0.0.2:9002"
    assert not settings.engines.exposed


def test_beyond_loopback_every_client_uses_tls_a_password_and_this_homes_authority(tmp_path: Path) -> None:
    settings = claim_home(load_settings(home=tmp_path / "home", **OPEN))
    authority = authority_file(settings).read_text(encoding="ascii")
    assert settings.kafka.ca_pem == settings.s3.ca_pem == settings.redis.ca_pem == authority
    assert "PRIVATE" not in authority
    config = client_config(settings.kafka)
    assert (config["bootstrap.servers"], config["security.protocol"], config["ssl.ca.pem"]) == ("192.0.2.7:19092", "SASL_SSL", authority)
    assert len(config["sasl.password"]) == 64
    java = java_config(settings.kafka)
    assert (java["security.protocol"], java["ssl.truststore.type"], java["ssl.truststore.certificates"]) == ("SASL_SSL", "PEM", authority)
    assert settings.s3.endpoint == "https://192.0.2.7:9002"
    options = settings.s3.storage_options()
    assert (options["AWS_ALLOW_HTTP"], options["proxy_excludes"], options["proxy_ca_certificate"]) == ("false", "192.0.2.7", authority)
    assert S3Access.of(settings.s3).ca_pem == authority
    password = settings.redis.password.get_secret_value()
    expected = {"url": f"rediss://:{password}@192.0.2.7:6379/0", "socket_timeout": 2.0, "socket_connect_timeout": 2.0, "ssl_ca_data": authority}
    assert settings.redis.connection(2.0) == expected


def test_later_commands_and_other_nodes_trust_the_same_authority(tmp_path: Path) -> None:
    first = claim_home(load_settings(home=tmp_path / "home", **OPEN))
    assert claim_home(load_settings(home=tmp_path / "home", **OPEN)) == load_settings(home=tmp_path / "home", **OPEN) == first
    file = tmp_path / "handed" / "settings.json"
    dump_settings_file(first, file)
    authority_file(first).unlink()
    assert load_settings_file(file).s3 == first.s3
    assert pickle.loads(pickle.dumps(first)).kafka == first.kafka


def test_the_key_of_the_authority_is_for_its_owner_alone_and_in_no_settings(tmp_path: Path) -> None:
    settings = claim_home(load_settings(home=tmp_path / "home", **OPEN))
    key = tmp_path / "home" / "tls" / "authority.pem"
    assert (stat.S_IMODE(key.stat().st_mode), stat.S_IMODE(key.parent.stat().st_mode)) == (0o600, 0o700)
    file = tmp_path / "handed.json"
    dump_settings_file(settings, file)
    assert "BEGIN CERTIFICATE" in file.read_text()
    assert "PRIVATE" not in file.read_text()
    key.chmod(0o644)
    with pytest.raises(SettingsError, match="others may read"):
        claim_home(settings)


def test_a_damaged_authority_is_named(tmp_path: Path) -> None:
    settings = claim_home(load_settings(home=tmp_path / "home", **OPEN))
    key = tmp_path / "home" / "tls" / "authority.pem"
    key.write_text("nothing")
    with pytest.raises(SettingsError, match=r"authority.pem is not a certificate authority: remove it"):
        claim_home(settings)


@pytest.mark.parametrize(("bind", "advertised", "host"), [("0.0.0.0", "head.example", "head.example"), ("::", "2001:db8::7", "[2001:db8::7]")])
def test_a_wildcard_has_an_advertised_address(bind: str, advertised: str, host: str, tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home", engines={"bind": bind, "advertised": advertised})
    assert settings.kafka.bootstrap_servers == f"{host}:19092"
    assert settings.s3.endpoint == f"https://{host}:9002"
    assert settings.redis.url == f"rediss://{host}:6379/0"
    hosts = {use.name: use.host for use in pipeline_ports(settings)}
    assert [hosts[name] for name in ("Kafka", "MinIO", "Redis")] == [bind] * 3
    assert [hosts[name] for name in ("Kafka broker", "Kafka controller", "MinIO console")] == ["127.0.0.1"] * 3


def test_the_certificate_names_the_advertised_address_and_is_signed_by_the_authority(tmp_path: Path) -> None:
    settings = claim_home(load_settings(home=tmp_path / "home", engines={"bind": "0.0.0.0", "advertised": "head.example"}))
    identity = server_identity(settings)
    certificate = x509.load_pem_x509_certificate(identity.certificate.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["head.example", "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(identity.authority.encode()))
    assert identity.key.startswith("-----BEGIN PRIVATE KEY-----")
    assert "PRIVATE" not in repr(identity)


def test_own_certificates_and_authorities_are_used_by_content(tmp_path: Path) -> None:
    authority = new_authority("of the company")
    key, certificate = issue(authority, ["head.example"])
    files = {"tls_cert": certificate, "tls_key": key, "ca_file": certificate_of(authority)}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    own = {name: tmp_path / name for name in files}
    settings = claim_home(load_settings(home=tmp_path / "home", engines={"bind": "0.0.0.0", "advertised": "head.example"} | own))
    assert settings.s3.ca_pem == files["ca_file"]
    assert not (tmp_path / "home" / "tls").exists()
    identity = server_identity(settings)
    assert (identity.certificate, identity.authority) == (certificate, files["ca_file"])


def test_the_authority_of_an_external_engine_travels_by_content(tmp_path: Path) -> None:
    ca = TLS / "ca.pem"
    settings = load_settings(
        home=tmp_path / "home",
        kafka={"bootstrap_servers": "b.example:9093", "security_protocol": "SSL", "ssl_ca_location": ca},
        s3={"endpoint": "https://s.example:9000", "access_key": "a", "secret_key": "b", "ca_file": ca},
        redis={"url": "rediss://r.example:6379/0", "ca_file": ca},
    )
    assert settings.kafka.ca_pem == settings.s3.ca_pem == settings.redis.ca_pem == ca.read_text()
    assert client_config(settings.kafka)["ssl.ca.pem"] == ca.read_text()
    consumer(settings.kafka).close()  # librdkafka reads it, or refuses it
    assert settings.redis.connection(2.0)["ssl_ca_data"] == ca.read_text()


def test_an_authority_in_memory_is_a_file_for_libraries_that_only_read_files() -> None:
    pem = (TLS / "ca.pem").read_text()
    path = ca_path(pem)
    assert path is not None
    for _ in range(2):
        assert Path(path).read_text() == pem
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    assert ca_path("") is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"engines": {"bind": "0.0.0.0"}}, "CRYPTOVIZ_ENGINES__BIND is '0.0.0.0', all addresses of this machine: set CRYPTOVIZ_ENGINES__ADVERTISED"),
        ({"engines": {"advertised": "h"}}, "CRYPTOVIZ_ENGINES__ADVERTISED is 'h', and the engines listen on 127.0.0.1 only: set CRYPTOVIZ_ENGINES__BIND"),
        ({"engines": {"bind": "::", "advertised": "0.0.0.0"}}, "CRYPTOVIZ_ENGINES__ADVERTISED is '0.0.0.0': it is a wildcard"),
        (OPEN | {"kafka": {"security_protocol": "PLAINTEXT"}}, "CRYPTOVIZ_KAFKA__SECURITY_PROTOCOL is PLAINTEXT, and CRYPTOVIZ_ENGINES__BIND is '192.0.2.7', which others can reach"),
        (OPEN | {"kafka": {"security_protocol": "SSL"}}, "CRYPTOVIZ_KAFKA__SECURITY_PROTOCOL is SSL and CRYPTOVIZ_KAFKA__SASL_MECHANISM is PLAIN: the embedded broker supports"),
        ({"kafka": {"security_protocol": "SASL_SSL"}}, "the embedded broker supports SASL_PLAINTEXT and PLAINTEXT, with mechanism PLAIN"),
        ({"engines": {"bind": "192.0.2.7", "tls_cert": TLS / "good.pem"}}, "without CRYPTOVIZ_ENGINES__TLS_KEY: valid are both, or neither"),
        ({"engines": {"bind": "192.0.2.7", "ca_file": TLS / "ca.pem"}}, "without CRYPTOVIZ_ENGINES__TLS_CERT: valid are both"),
        ({"engines": {"bind": "192.0.2.7", "tls_cert": TLS / "ca.pem", "tls_key": TLS / "ca.pem"}}, "CRYPTOVIZ_ENGINES__TLS_KEY is"),
        ({"s3": {"ca_file": TLS / "none.pem"}}, "CRYPTOVIZ_S3__CA_FILE is"),
        (OPEN | {"kafka": {"broker_port": 19093}}, "CRYPTOVIZ_KAFKA__BROKER_PORT (Kafka broker)"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(home=tmp_path / "home", **given)
    assert message in str(caught.value)


def test_an_address_of_the_embedded_server_keeps_its_user_and_database(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home", redis={"embedded": True, "url": "redis://ada:pw@localhost:6379/3"}, **OPEN)
    assert settings.redis.url == "rediss://ada:pw@192.0.2.7:6379/3"
