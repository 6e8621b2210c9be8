"""Values of the right type that cannot be used, of limits, engines, ports and folders: each is refused when settings are read. Whole messages are compared."""

# ruff: noqa: E501, ISC004 (whole messages, each on its line)

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import certifi
import pytest
from hypothesis import given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from cryptoviz.providers.registry import BUILT_IN_PROVIDERS, HISTORY_PROVIDERS
from cryptoviz.settings import Settings, load_settings
from cryptoviz.settings.listeners import meet, pipeline_ports
from tests.support.settings import forget_settings, refused


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_settings(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # A tick of a minute is published after 54 s, one of half a second after 450 ms.
        (
            {"collect": {"consensus_wait_ms": 54_001}},
            "CRYPTOVIZ_COLLECT__CONSENSUS_WAIT_MS is 54001 and CRYPTOVIZ_COLLECT__TICK_S is 60: a tick is published after nine tenths of its interval: "
            "valid are up to 54000 ms",
        ),
        (
            {"collect": {"tick_s": 0.5, "consensus_wait_ms": 451}},
            "CRYPTOVIZ_COLLECT__CONSENSUS_WAIT_MS is 451 and CRYPTOVIZ_COLLECT__TICK_S is 0.5: a tick is published after nine tenths of its interval: "
            "valid are up to 450 ms",
        ),
        (
            {"providers": {"kraken": {"rate_limit_wait_s": 90, "max_wait_s": 30}}},
            "CRYPTOVIZ_PROVIDERS__KRAKEN__RATE_LIMIT_WAIT_S is 90 and CRYPTOVIZ_PROVIDERS__KRAKEN__MAX_WAIT_S is 30: "
            "the default wait must not exceed the maximum",
        ),
        (
            {"crypto_list": ["BTC", "ETH"], "providers": {"kraken": {"scrapers": 3}}},
            "CRYPTOVIZ_PROVIDERS__KRAKEN__SCRAPERS is 3, and there are 2 coins (CRYPTO_LIST, CRYPTOVIZ_EXTRA_ASSETS): "
            "valid is at most one scraper for each coin",
        ),
        (
            {"providers": {"kraken": {"breaker": {"open_s": 400}}}},
            "CRYPTOVIZ_PROVIDERS__KRAKEN__BREAKER: open_s is 400 and max_open_s is 300: the first wait must not exceed the maximum",
        ),
        (
            {"lake": {"close_after_s": 200_000, "raw_keep_days": 2}},
            "CRYPTOVIZ_LAKE__CLOSE_AFTER_S is 200000 and CRYPTOVIZ_LAKE__RAW_KEEP_DAYS is 2: a day would be deleted before it is closed: "
            "valid are up to 172800 s",
        ),
        (
            {"lake": {"quiet_s": 86_401, "prices_keep_days": 1}},
            "CRYPTOVIZ_LAKE__QUIET_S is 86401 and CRYPTOVIZ_LAKE__PRICES_KEEP_DAYS is 1: a day would be deleted before it is closed: "
            "valid are up to 86400 s",
        ),
        (
            {"ray": {"num_cpus": 1}},
            "CRYPTOVIZ_RAY__NUM_CPUS is 1 and CRYPTOVIZ_LAKE__EXECUTOR_CORES is 2: the lake job would never start; "
            "valid are at least as many, or 0 for the machine's",
        ),
        (
            {"kafka": {"max_record_bytes": 67_108_865}},
            "CRYPTOVIZ_KAFKA__MAX_RECORD_BYTES is 67108865, and the embedded broker keeps records in files of 67108864 bytes: valid is at most that, "
            "and at most CRYPTOVIZ_KAFKA__RETENTION_BYTES",
        ),
    ],
)
def test_inconsistent_limits_and_times_are_refused(settings: dict[str, Any], message: str) -> None:
    assert refused(**settings).message == message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CRYPTOVIZ_KAFKA__MAX_RECORD_BYTES", "1000"),
        ("CRYPTOVIZ_KAFKA__MAX_RECORD_BYTES", "1073741824"),
        ("CRYPTOVIZ_RAY__OBJECT_STORE_BYTES", "1000000"),
        ("CRYPTOVIZ_RAY__NAMESPACE", ""),
        ("CRYPTOVIZ_S3__REGION", ""),
        ("CRYPTOVIZ_S3__REGION", "us east"),
        ("CRYPTOVIZ_MARKET__SEED", "-1"),
        ("CRYPTOVIZ_LAKE__LEASE_S", "2"),
    ],
)
def test_values_that_a_library_would_refuse(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert refused().message.startswith(f"{name} is '{value}': ")


PORTS_OF_ONE_PIPELINE = [(use.setting, use.port) for use in pipeline_ports(load_settings("demo"))]


@pytest.mark.parametrize("setting", [setting for setting, _ in PORTS_OF_ONE_PIPELINE])
def test_two_listeners_never_share_a_port(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for other, port in PORTS_OF_ONE_PIPELINE:
        if other != setting:
            monkeypatch.setenv(setting, str(port))
            error = refused("demo")
            assert {setting, other} == set(error.settings)
            assert f"are both {port}: each listener needs a port of its own" in error.message


def test_the_message_for_two_equal_ports() -> None:
    assert refused(redis={"port": 9002}).message == (
        "CRYPTOVIZ_S3__PORT (MinIO) and CRYPTOVIZ_REDIS__PORT (Redis) are both 9002: each listener needs a port of its own"
    )


def test_unused_ports_may_be_equal() -> None:
    load_settings(kafka={"bootstrap_servers": "broker:9092", "port": 9002})
    load_settings(market={"port": 9002})  # the demo's
    load_settings(dashboard={"host": "192.0.2.1", "port": 9002})
    assert refused(dashboard={"host": "0.0.0.0", "port": 9002}).setting == "CRYPTOVIZ_S3__PORT"
    assert (meet("127.0.0.1", "localhost"), meet("::1", "127.0.0.1"), meet("::", "127.0.0.1"), meet("some.name", "127.0.0.1")) == (
        True,
        False,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kafka": {"bootstrap_servers": "127.0.0.1:9002"}}, "CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS names port 9002 of this machine, where the pipeline's own MinIO listens (CRYPTOVIZ_S3__PORT): valid is the address of your server"),
        ({"redis": {"url": "redis://localhost:19092"}}, "CRYPTOVIZ_REDIS__URL names port 19092 of this machine, where the pipeline's own Kafka listens (CRYPTOVIZ_KAFKA__PORT): valid is the address of your server"),
        ({"s3": {"endpoint": "http://127.0.0.1:5006"}}, "CRYPTOVIZ_S3__ENDPOINT names port 5006 of this machine, where the pipeline's own dashboard listens (CRYPTOVIZ_DASHBOARD__PORT): valid is the address of your server"),
        ({"s3": {"embedded": False}}, "CRYPTOVIZ_S3__EMBEDDED is false, and CRYPTOVIZ_S3__ENDPOINT has no server: set CRYPTOVIZ_S3__ENDPOINT, or leave CRYPTOVIZ_S3__EMBEDDED unset"),
        ({"redis": {"embedded": "yes", "url": "redis://h:1"}}, "CRYPTOVIZ_REDIS__EMBEDDED is true, and CRYPTOVIZ_REDIS__URL names another server: leave CRYPTOVIZ_REDIS__URL unset for the embedded server, or unset CRYPTOVIZ_REDIS__EMBEDDED"),
        ({"kafka": {"embedded": True, "bootstrap_servers": "h:1"}}, "CRYPTOVIZ_KAFKA__EMBEDDED is true, and CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS names another server: leave CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS unset for the embedded server, or unset CRYPTOVIZ_KAFKA__EMBEDDED"),
        # Topics and buckets.
        ({"kafka": {"stream_topic": "a b"}}, "CRYPTOVIZ_KAFKA__STREAM_TOPIC is 'a b': valid are 1 to 249 of letters, digits, '.', '_' and '-', but not '.' or '..'"),
        ({"kafka": {"ledger_topic": ".."}}, "CRYPTOVIZ_KAFKA__LEDGER_TOPIC is '..': valid are 1 to 249 of letters, digits, '.', '_' and '-', but not '.' or '..'"),
        ({"kafka": {"raw_topic": "__consumer_offsets"}}, "CRYPTOVIZ_KAFKA__RAW_TOPIC is '__consumer_offsets', which is an internal topic of Kafka: valid is another name"),
        ({"kafka": {"raw_topic": "one", "ledger_topic": "one"}}, "CRYPTOVIZ_KAFKA__RAW_TOPIC and CRYPTOVIZ_KAFKA__LEDGER_TOPIC are both 'one': each topic needs a name of its own, they must differ"),
        ({"kafka": {"raw_topic": "a.b", "stream_topic": "a_b"}}, "CRYPTOVIZ_KAFKA__RAW_TOPIC is 'a.b' and CRYPTOVIZ_KAFKA__STREAM_TOPIC is 'a_b': Kafka treats '.' and '_' as equal, valid are names that differ in more"),
        ({"s3": {"lake_bucket": "My_Bucket"}}, "CRYPTOVIZ_S3__LAKE_BUCKET is 'My_Bucket': valid are 3 to 63 of lower-case letters, digits, '.' and '-', with a letter or digit at both ends, and neither an address nor a name that S3 reserves"),
        ({"s3": {"lake_bucket": "one-bucket", "prices_bucket": "one-bucket"}}, "CRYPTOVIZ_S3__PRICES_BUCKET and CRYPTOVIZ_S3__LAKE_BUCKET are both 'one-bucket': each needs a bucket of its own"),
        # Secrets without encryption.
        ({"tracing": {"endpoint": "http://receiver:4318", "headers": {"authorization": "canary-7"}}}, "CRYPTOVIZ_TRACING__HEADERS would be sent without encryption to the receiver of CRYPTOVIZ_TRACING__ENDPOINT: valid is https:// beyond loopback, or no headers"),
        ({"alerts": {"webhook_url": "ftp://canary-7"}}, "CRYPTOVIZ_ALERTS__WEBHOOK_URL is (hidden): valid is http:// or https:// with a host, an optional path and query, and no user"),
        ({"alerts": {"webhook_url": "http://hooks/x", "webhook_token": "canary-7"}}, "CRYPTOVIZ_ALERTS__WEBHOOK_TOKEN would be sent without encryption: valid for CRYPTOVIZ_ALERTS__WEBHOOK_URL is https:// beyond loopback"),
        ({"alerts": {"webhook_token": "canary-7"}}, "CRYPTOVIZ_ALERTS__WEBHOOK_TOKEN is set without CRYPTOVIZ_ALERTS__WEBHOOK_URL: valid are both, or no token"),
        ({"alerts": {"smtp_host": "mail"}}, "CRYPTOVIZ_ALERTS__SMTP_HOST is set without CRYPTOVIZ_ALERTS__MAIL_FROM and CRYPTOVIZ_ALERTS__MAIL_TO: valid are all of them, or none"),
        ({"alerts": {"mail_to": ["a@b"]}}, "settings of mail are set without CRYPTOVIZ_ALERTS__SMTP_HOST: valid are all of them, or none"),
        ({"alerts": {"smtp_host": "mail", "mail_from": "a@b", "mail_to": ["c@d"], "smtp_user": "a", "smtp_password": "canary-7", "smtp_security": "none"}}, "CRYPTOVIZ_ALERTS__SMTP_PASSWORD would be sent without encryption: valid for CRYPTOVIZ_ALERTS__SMTP_SECURITY is starttls or tls beyond loopback"),
        # Incomplete pairs of settings.
        ({"control": {"host": "192.0.2.7"}}, "CRYPTOVIZ_CONTROL__HOST is '192.0.2.7', which others can reach: set CRYPTOVIZ_CONTROL__TLS_CERT and, where the pipeline starts, CRYPTOVIZ_CONTROL__TLS_KEY, or use 127.0.0.1"),
        ({"control": {"tls_key": "/x/key.pem"}}, "CRYPTOVIZ_CONTROL__TLS_KEY is '/x/key.pem' without CRYPTOVIZ_CONTROL__TLS_CERT: valid are both, or neither"),
        ({"control": {"tls_client_cert": "/x/cert.pem"}}, "CRYPTOVIZ_CONTROL__TLS_CLIENT_CERT is '/x/cert.pem' without CRYPTOVIZ_CONTROL__TLS_CLIENT_KEY: valid are both, or neither"),
        ({"control": {"tls_client_key": "/x/key.pem"}}, "CRYPTOVIZ_CONTROL__TLS_CLIENT_KEY is '/x/key.pem' without CRYPTOVIZ_CONTROL__TLS_CLIENT_CERT: valid are both, or neither"),
        ({"control": {"tls_client_ca": "/x/ca.pem"}}, "CRYPTOVIZ_CONTROL__TLS_CLIENT_CA is '/x/ca.pem' without CRYPTOVIZ_CONTROL__TLS_CERT: certificates of clients need TLS"),
        ({"control": {"tls_client_cert": "/x/cert.pem", "tls_client_key": "/x/key.pem"}}, "CRYPTOVIZ_CONTROL__TLS_CLIENT_CERT is '/x/cert.pem' without CRYPTOVIZ_CONTROL__TLS_CERT: certificates of clients need TLS"),
        ({"control": {"tls_cert": "/x/c.pem", "tls_key": "/x/k.pem", "tls_client_ca": "/x/ca.pem"}}, "CRYPTOVIZ_CONTROL__TLS_CLIENT_CA is '/x/ca.pem' without CRYPTOVIZ_CONTROL__TLS_CLIENT_CERT: the service's own commands need a certificate"),
        ({"s3": {"endpoint": "http://h:1", "access_key": "ada"}}, "CRYPTOVIZ_S3__ACCESS_KEY is 'ada' without CRYPTOVIZ_S3__SECRET_KEY: valid are both, because CRYPTOVIZ_S3__ENDPOINT is set"),
        ({"s3": {"access_key": "ab"}}, "CRYPTOVIZ_S3__ACCESS_KEY is too short: MinIO requires 3 characters or more"),
        ({"s3": {"secret_key": "canary7"}}, "CRYPTOVIZ_S3__SECRET_KEY is too short: MinIO requires 8 characters or more"),
        ({"kafka": {"bootstrap_servers": "h:1", "sasl_password": "canary-77"}}, "CRYPTOVIZ_KAFKA__SASL_PASSWORD is set, and CRYPTOVIZ_KAFKA__SECURITY_PROTOCOL is PLAINTEXT, which sends no password: valid are SASL_SSL and SASL_PLAINTEXT"),
        ({"kafka": {"bootstrap_servers": "h:1", "ssl_ca_location": "/x/ca.pem"}}, "CRYPTOVIZ_KAFKA__SSL_CA_LOCATION is set, and CRYPTOVIZ_KAFKA__SECURITY_PROTOCOL is PLAINTEXT, which is not encrypted: valid are SSL and SASL_SSL"),
        ({"kafka": {"bootstrap_servers": "h:1", "security_protocol": "SASL_SSL", "sasl_username": "u", "sasl_password": ""}}, "CRYPTOVIZ_KAFKA__SECURITY_PROTOCOL is SASL_SSL: set CRYPTOVIZ_KAFKA__SASL_USERNAME and CRYPTOVIZ_KAFKA__SASL_PASSWORD"),
        ({"kafka": {"security_protocol": "SSL"}}, "CRYPTOVIZ_KAFKA__SECURITY_PROTOCOL is SSL and CRYPTOVIZ_KAFKA__SASL_MECHANISM is PLAIN: the embedded broker supports SASL_PLAINTEXT and PLAINTEXT, with mechanism PLAIN"),
        ({"redis": {"url": "redis://:canary-1@h:1", "password": "canary-2"}}, "CRYPTOVIZ_REDIS__PASSWORD and CRYPTOVIZ_REDIS__URL contain different passwords (hidden): valid is one of them, or the same in both"),
    ],
)  # fmt: skip
def test_inconsistent_engine_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    error = refused(**settings)
    assert error.message == message
    assert error.setting in message


@pytest.mark.parametrize("name", ["ab", "a" * 64, "-ab", "ab-", "a..b", "a.-b", "a-.b", "192.168.5.4", "xn--ab", "ab-s3alias", "ab--ol-s3", "a b", "a/b", "ä-bucket", ""])  # fmt: skip
def test_buckets_that_s3_refuses(name: str) -> None:
    assert refused(s3={"prices_bucket": name}).message.startswith(f"CRYPTOVIZ_S3__PRICES_BUCKET is {name!r}: valid are 3 to 63 ")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-days",
        "2",
    ]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key


def test_a_key_is_that_of_its_certificate_and_commands_need_none(pair: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = pair
    assert load_settings(control={"tls_cert": cert, "tls_key": key}).control.tls_key == key
    assert load_settings(control={"host": "192.0.2.7", "tls_cert": cert}).control.address == "192.0.2.7:50051"
    assert refused(control={"tls_cert": key}).message.endswith("): valid is certificates in PEM form")
    missing = tmp_path / "missing.pem"
    assert refused(control={"tls_cert": cert, "tls_key": missing}).message == (
        f"CRYPTOVIZ_CONTROL__TLS_KEY is {str(missing)!r}, which does not exist: valid is a file in PEM form"
    )
    assert refused(control={"tls_cert": tmp_path, "tls_key": key}).message == (
        f"CRYPTOVIZ_CONTROL__TLS_CERT is {str(tmp_path)!r}, which is not a file: valid is a file in PEM form"
    )
    swapped = refused(control={"tls_cert": key, "tls_key": cert}).message
    assert swapped.startswith(f"CRYPTOVIZ_CONTROL__TLS_CERT is {str(key)!r}, which cannot be used (")
    assert swapped.endswith("): valid is a certificate in PEM form")
    files = {"tls_cert": cert, "tls_key": key, "tls_client_cert": cert}
    assert refused(control=files | {"tls_client_key": missing}).setting == "CRYPTOVIZ_CONTROL__TLS_CLIENT_KEY"
    assert refused(control=files | {"tls_client_key": key, "tls_client_ca": missing}).setting == "CRYPTOVIZ_CONTROL__TLS_CLIENT_CA"
    other = refused(control={"tls_cert": cert, "tls_key": cert}).message
    assert other.startswith(f"CRYPTOVIZ_CONTROL__TLS_KEY is {str(cert)!r}, which is not the private key of the certificate {str(cert)!r} (")
    assert other.endswith("): valid is its private key in PEM form, without a password")


def test_files_of_certificate_authorities(tmp_path: Path) -> None:
    assert load_settings(network={"ca_file": certifi.where()}).network.ca_file == Path(certifi.where())
    empty = tmp_path / "empty.pem"
    empty.touch()
    sections: tuple[tuple[str, Callable[[Any], dict[str, Any]]], ...] = (
        ("CRYPTOVIZ_NETWORK__CA_FILE", lambda path: {"network": {"ca_file": path}}),
        (
            "CRYPTOVIZ_KAFKA__SSL_CA_LOCATION",
            lambda path: {"kafka": {"bootstrap_servers": "h:1", "security_protocol": "SSL", "ssl_ca_location": path}},
        ),
    )
    for setting, section in sections:
        assert refused(**section(tmp_path / "no.pem")).message.startswith(f"{setting} is {str(tmp_path / 'no.pem')!r}, which does not exist")
        assert refused(**section(empty)).message.startswith(f"{setting} is {str(empty)!r}, which cannot be used (")
        assert refused(**section("relative.pem")).message == (
            f"{setting} is 'relative.pem': the path is relative: valid is an absolute path, or a path that begins with ~"
        )
        assert refused(**section("")).message == f"{setting} is '': it is empty: valid is an absolute path, or leave it unset"


@pytest.mark.parametrize("setting", ["CRYPTOVIZ_HOME", "CRYPTOVIZ_CACHE"])
def test_invalid_folders(setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    for value, message in (
        ("", f"{setting} is '': it is empty: valid is an absolute path, or leave it unset"),
        (" ", f"{setting} is ' ': it is empty: valid is an absolute path, or leave it unset"),
        ("data/home", f"{setting} is 'data/home': the path is relative: valid is an absolute path, or a path that begins with ~"),
        (str(file), f"{setting} is {str(file)!r}, which is a file: valid is a folder, or a path where one can be made"),
        (
            str(file / "a" / "b"),
            f"{setting} is {str(file / 'a' / 'b')!r}, below {str(file)!r}, which is a file: valid is a folder, or a path where one can be made",
        ),
    ):
        monkeypatch.setenv(setting, value)
        assert refused().message == message


@pytest.mark.parametrize(
    ("home", "reason"), [("/", "it is the root of the file system"), ("~", f"it is or contains the home directory {Path.home().resolve()}")]
)
def test_directories_that_can_never_be_a_home(home: str, reason: str) -> None:
    assert refused(home=home).message == f"CRYPTOVIZ_HOME is {str(Path(home).expanduser())!r}: {reason}; choose a folder for the pipeline alone"


def test_home_and_cache_are_two_folders(tmp_path: Path) -> None:
    assert refused(home=tmp_path / "x", cache=tmp_path / "x").message == (
        f"CRYPTOVIZ_HOME and CRYPTOVIZ_CACHE are both {str(tmp_path / 'x')!r}: the home has to be a folder for the pipeline alone"
    )


PROFILES: list[tuple[Literal["live", "demo"], dict[str, Any]]] = [
    ("live", {}),
    ("demo", {}),
    # As in `cluster.yaml`: external servers, and a joined cluster.
    ("live", {"ray": {"address": "auto"}, "kafka": {"bootstrap_servers": "a:9092,b:9092"}, "s3": {"endpoint": "https://s3.example"}, "redis": {"url": "rediss://u:p@r.example:6380/0"}}),
    ("live", {"ray": {"node_ip": "192.0.2.7"}}),
    ("live", {"kafka": {"bootstrap_servers": "a:9092", "security_protocol": "SASL_SSL", "sasl_username": "u", "sasl_password": "p"}}),
    ("live", {"kafka": {"security_protocol": "PLAINTEXT"}}),
]  # fmt: skip


@pytest.mark.parametrize(("profile", "given"), PROFILES)
def test_valid_settings_are_accepted_also_by_a_child_process(profile: Literal["live", "demo"], given: dict[str, Any], tmp_path: Path) -> None:
    from cryptoviz.settings import claim_home, dump_settings_file, load_settings_file

    settings = claim_home(load_settings(profile, home=tmp_path / "home", **given))
    dump_settings_file(settings, tmp_path / "settings.json")
    assert load_settings_file(tmp_path / "settings.json").model_dump() == settings.model_dump()
    assert settings.profile == profile


@given(
    tick_s=st.floats(0.5, 86_400),
    providers=st.lists(st.sampled_from(BUILT_IN_PROVIDERS), min_size=1, unique=True),
    history=st.lists(st.sampled_from(HISTORY_PROVIDERS), min_size=1, unique=True),
    wait_share=st.floats(0, 0.89),
    first_port=st.integers(1024, 60_000),
)
@tuned(deadline=None, max_examples=40)
def test_settings_within_their_limits_are_accepted_by_live_and_demo(
    tick_s: float, providers: list[str], history: list[str], wait_share: float, first_port: int
) -> None:
    wait_ms = int(wait_share * tick_s * 1000)
    ports = iter(range(first_port, first_port + 20))
    tree: dict[str, Any] = {
        "collect": {"tick_s": tick_s, "providers": providers, "history_providers": history, "consensus_wait_ms": wait_ms},
        "kafka": {"port": next(ports), "controller_port": next(ports)},
        "s3": {"port": next(ports), "console_port": next(ports)},
        "redis": {"port": next(ports)},
        "ray": {"gcs_port": next(ports), "client_port": next(ports), "dashboard_port": next(ports)},
        "control": {"port": next(ports)},
        "dashboard": {"port": next(ports)},
        "lake": {"ui_port": next(ports)},
        "market": {"port": next(ports)},
    }
    for profile in ("live", "demo"):
        settings: Settings = load_settings(profile, **tree)
        assert settings.collect.consensus_wait_ms == wait_ms


def test_the_demo_starts_with_settings_for_the_live_pipeline() -> None:
    own = {"max_wait_s": 20.0, "rate_limit_wait_s": 10.0}
    tree: dict[str, Any] = {
        "providers": {"coingecko": {"enabled": False}, "coinmarketcap": {"rate_limit_wait_s": 40.0}, "kraken": own, "binance": {"max_wait_s": 60.0}}
    }
    # From the environment, as live settings of a user; arguments would apply to the demo too.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRYPTOVIZ_COLLECT__CONSENSUS_WAIT_MS", "5000")
        for name, fields in tree["providers"].items():
            for field, value in fields.items():
                patch.setenv(f"CRYPTOVIZ_PROVIDERS__{name}__{field}".upper(), str(value))
        demo = load_settings("demo")
        assert load_settings().collect.consensus_wait_ms == 5000
    assert demo.collect.consensus_wait_ms == 1800
    assert demo.collect.providers == ("coinmarketcap",)
    assert (demo.provider("coinmarketcap").rate_limit_wait_s, demo.provider("coinmarketcap").max_wait_s) == (40.0, 40.0)
