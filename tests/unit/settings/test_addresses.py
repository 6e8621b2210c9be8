"""Addresses that cannot be used are refused when settings are read. Whole messages are compared."""

# ruff: noqa: E501 (whole messages, each on its line)

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.settings import forget_settings, refused


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_settings(monkeypatch, tmp_path)


IF_ASKED = ", with user:password@ before the host if required"
HTTP_ROOT = f"valid is http://host:port/path or https://host:port/path{IF_ASKED}"
HTTP_SERVER = "valid is http://host:port or https://host:port"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CRYPTOVIZ_REDIS__URL", "http://h:1", "is 'http://h:1': http:// is not supported; valid is redis://host:port/0 or rediss://host:port/0, with user:password@ before the host if required"),
        ("CRYPTOVIZ_REDIS__URL", "redis://h:1/prices", "is 'redis://h:1/prices': its path is not a database number; valid is redis://host:port/0 or rediss://host:port/0"),
        ("CRYPTOVIZ_REDIS__URL", "rediss://h:1/0?ssl_ca_cert=/x", "is 'rediss://h:1/0?ssl_ca_cert=/x': its option 'ssl_ca_cert' is unknown (did you mean ssl_ca_certs?)"),
        ("CRYPTOVIZ_REDIS__URL", "user:canary@h:1", "is '********@h:1': valid is an address with its scheme"),
        ("CRYPTOVIZ_REDIS__URL", "redis://h:1?db=x", "is 'redis://h:1?db=x': its option db is 'x': valid is a number"),
        ("CRYPTOVIZ_REDIS__URL", "redis://h:1/1?db=2", "is 'redis://h:1/1?db=2': it selects a database both in its path and by db=: valid is one of them"),
        ("CRYPTOVIZ_REDIS__URL", "rediss://h:1?ssl_cert_reqs=maybe", "is 'rediss://h:1?ssl_cert_reqs=maybe': its option ssl_cert_reqs is 'maybe': valid is none, optional or required"),
        ("CRYPTOVIZ_RAY__NODE_IP", "0.0.0.0", "is '0.0.0.0': it is a wildcard: valid is the address by which other nodes reach this one"),
        ("CRYPTOVIZ_NETWORK__NO_PROXY", "a,http://b", "is 'a,http://b': valid are hosts with commas between them, such as localhost,.example.org"),
        ("CRYPTOVIZ_S3__EMBEDDED", "maybe", "is 'maybe': Input should be a valid boolean, unable to interpret input"),
        ("CRYPTOVIZ_S3__ENDPOINT", "ftp://h:1", f"is 'ftp://h:1': ftp:// is not supported; {HTTP_SERVER}"),
        ("CRYPTOVIZ_S3__ENDPOINT", "http://", f"is 'http://': it has no host; {HTTP_SERVER}"),
        ("CRYPTOVIZ_S3__ENDPOINT", "http://:9000", f"is 'http://:9000': it has no host; {HTTP_SERVER}"),
        ("CRYPTOVIZ_S3__ENDPOINT", "http://u:canary@h:1", f"is 'http://********@h:1': it contains a user or password, which have their own settings; {HTTP_SERVER}"),
        ("CRYPTOVIZ_S3__ENDPOINT", "http://h:1/bucket", f"is 'http://h:1/bucket': it contains a path; {HTTP_SERVER}"),
        ("CRYPTOVIZ_S3__ENDPOINT", "http://h:1?x=1", f"is 'http://h:1?x=1': it contains a query; {HTTP_SERVER}"),
        ("CRYPTOVIZ_S3__ENDPOINT", "http://h:1#x", f"is 'http://h:1#x': it contains a fragment; {HTTP_SERVER}"),
        ("CRYPTOVIZ_S3__ENDPOINT", "http://h:0", f"is 'http://h:0': its port is not valid; {HTTP_SERVER}"),
        ("CRYPTOVIZ_S3__ENDPOINT", "http://h:70000", f"is 'http://h:70000': its port is not valid; {HTTP_SERVER}"),
        ("CRYPTOVIZ_S3__ENDPOINT", "http://a..b:1", f"is 'http://a..b:1': its host is not valid; {HTTP_SERVER}"),
        ("CRYPTOVIZ_PROVIDERS__KRAKEN__BASE_URL", "file:///etc/passwd", f"is 'file:///etc/passwd': file:// is not supported; {HTTP_ROOT}"),
        ("CRYPTOVIZ_PROVIDERS__KRAKEN__BASE_URL", "https://h/x?key=canary", f"is 'https://h/x?key=********': it contains a query; {HTTP_ROOT}"),
        ("CRYPTOVIZ_DOWNLOADS__MAVEN_URL", "ftp://h/maven2", f"is 'ftp://h/maven2': ftp:// is not supported; {HTTP_ROOT}"),
        ("CRYPTOVIZ_NETWORK__PROXY_URL", "http://h:1/path", "is 'http://h:1/path': it contains a path; valid is http://host:port or https://host:port, with user:password@ before the host if required"),
        ("CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS", "broker", "is 'broker': valid is host:port, or several of them with commas between them"),
        ("CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS", ":9092", "is ':9092': valid is host:port, or several"),
        ("CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS", "http://h:9092", "is 'http://h:9092': valid is host:port"),
        ("CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS", "user:canary@h:9092", "is '********@h:9092': valid is host:port"),
        ("CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS", "h:9092/x", "is 'h:9092/x': valid is host:port"),
        ("CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS", "a:9092,b", "is 'a:9092,b': valid is host:port"),
        ("CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS", ",", "is ',': valid is host:port"),
        ("CRYPTOVIZ_RAY__ADDRESS", "ray://h:10001", "is 'ray://h:10001': valid is auto on a node of the cluster, host:port of its head, or empty to start a new cluster"),
        ("CRYPTOVIZ_RAY__ADDRESS", "h", "is 'h': valid is auto"),
        ("CRYPTOVIZ_DASHBOARD__HOST", "", "is '': valid is a name, or an IPv4 or IPv6 address, without a port"),
        ("CRYPTOVIZ_CONTROL__HOST", "999.1.1.1", "is '999.1.1.1': valid is a name, or an IPv4 or IPv6 address"),
        ("CRYPTOVIZ_RAY__NODE_IP", "http://h", "is 'http://h': valid is a name, or an IPv4 or IPv6 address"),
        ("CRYPTOVIZ_DASHBOARD__ALLOW_ORIGINS", "*", "is '*': '*' is not valid: use host:port or host, without wildcard, path or user"),
        ("CRYPTOVIZ_DASHBOARD__ALLOW_ORIGINS", "a.example:1,b.example/x", "is 'a.example:1,b.example/x': 'b.example/x' is not valid"),
        ("CRYPTOVIZ_DASHBOARD__ALLOW_ORIGINS", "u@h:1", "is '********@h:1': 'u@h:1' is not valid"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["environment", ".env"])
def test_invalid_addresses(name: str, value: str, message: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = ""
    if where == "environment":
        monkeypatch.setenv(name, value)
    else:
        Path(".env").write_text(f"# comment\n\n{name}='{value}'\n")
        place = f" (line 3 of {Path('.env').absolute()})"
    error = refused()
    if name.endswith("ALLOW_ORIGINS"):
        message = message.partition(": ")[2]
    assert f"{name} is " in error.message
    assert message.removeprefix("is ") in error.message
    assert error.message.endswith(place)
    assert error.setting == name
    assert "canary" not in error.message


def test_an_invalid_proxy_of_the_shell_is_reported_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://u:canary@:8080")
    assert refused().message == (
        f"CRYPTOVIZ_NETWORK__PROXY_URL is 'http://********@:8080': it has no host; {HTTP_SERVER}{IF_ASKED} "
        "(CRYPTOVIZ_NETWORK__PROXY_URL is set by https_proxy)"
    )
