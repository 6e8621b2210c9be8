"""Checks that settings of the engines are consistent: topics, buckets, keys and ports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from cryptoviz.addresses import is_loopback, is_wildcard
from cryptoviz.errors import SettingsError
from cryptoviz.settings.listeners import PortUse, meet, pipeline_ports
from cryptoviz.settings.sections import ControlSettings, KafkaSettings, S3Settings

if TYPE_CHECKING:
    from cryptoviz.settings.tree import Settings

__all__ = ["SEGMENT_BYTES", "check_engines", "check_topics"]

SEGMENT_BYTES = 64 * 1024 * 1024
"""Segment size of the embedded broker's logs, and maximum size of a record."""
_TOPIC_FIELDS = (
    "raw_topic", "stream_topic", "trades_topic", "trade_gaps_topic", "venue_candles_topic", "quotes_topic", "frames_topic", "ledger_topic",
)  # fmt: skip
_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_INTERNAL_TOPICS = frozenset(("__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata"))
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_BUCKET_BEGINNINGS, _BUCKET_ENDS = ("xn--", "sthree-", "amzn-s3-demo-"), ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_OF_AN_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}")
_SHORTEST_ACCESS_KEY, _SHORTEST_SECRET_KEY = 3, 8


def check_engines(settings: Settings) -> None:
    """Check Kafka, object store, Redis and Ray, and all ports together.

    Raises:
        SettingsError: contains the settings, their values (except secrets) and what is valid.
    """
    check_topics(settings.kafka)
    _check_buckets(settings.s3)
    _check_keys(settings)
    _check_ports(settings)
    kafka, ray, lake = settings.kafka, settings.ray, settings.lake
    if kafka.embedded and kafka.max_record_bytes > min(SEGMENT_BYTES, kafka.retention_bytes):
        text = (
            f"CRYPTOVIZ_KAFKA__MAX_RECORD_BYTES is {kafka.max_record_bytes}, and the embedded broker keeps records in files of {SEGMENT_BYTES} bytes"
        )
        raise _error(f"{text}: valid is at most that, and at most CRYPTOVIZ_KAFKA__RETENTION_BYTES", "CRYPTOVIZ_KAFKA__MAX_RECORD_BYTES")
    if ray.num_cpus and not ray.address and ray.num_cpus < lake.executors * lake.executor_cores:
        settings_of_lake = ("CRYPTOVIZ_LAKE__EXECUTORS", "CRYPTOVIZ_LAKE__EXECUTOR_CORES")
        each = f"{settings_of_lake[1]} is {lake.executor_cores}"
        text = f"CRYPTOVIZ_RAY__NUM_CPUS is {ray.num_cpus} and {each}{f' for {lake.executors} executors' if lake.executors > 1 else ''}"
        why = "the lake job would never start; valid are at least as many, or 0 for the machine's"
        raise _error(f"{text}: {why}", "CRYPTOVIZ_RAY__NUM_CPUS", *settings_of_lake)


def check_topics(kafka: KafkaSettings) -> None:
    """Raise SettingsError unless all topic names are valid in Kafka and distinct."""
    topics = {f"CRYPTOVIZ_KAFKA__{name.upper()}": getattr(kafka, name) for name in _TOPIC_FIELDS}
    for setting, name in topics.items():
        if not _TOPIC.fullmatch(name) or name in (".", ".."):
            raise _error(f"{setting} is {name!r}: valid are 1 to 249 of letters, digits, '.', '_' and '-', but not '.' or '..'", setting)
        if name in _INTERNAL_TOPICS:
            raise _error(f"{setting} is {name!r}, which is an internal topic of Kafka: valid is another name", setting)
    for first, second in _pairs(topics):
        if topics[first] == topics[second]:
            raise _error(f"{first} and {second} are both {topics[first]!r}: each topic needs a name of its own, they must differ", second, first)
        if topics[first].replace(".", "_") == topics[second].replace(".", "_"):
            text = f"{first} is {topics[first]!r} and {second} is {topics[second]!r}: Kafka treats '.' and '_' as equal"
            raise _error(f"{text}, valid are names that differ in more", second, first)


def _check_buckets(s3: S3Settings) -> None:
    buckets = {"CRYPTOVIZ_S3__PRICES_BUCKET": s3.prices_bucket, "CRYPTOVIZ_S3__LAKE_BUCKET": s3.lake_bucket}
    for setting, name in buckets.items():
        fits = _BUCKET.fullmatch(name) and not _OF_AN_ADDRESS.fullmatch(name) and not any(pair in name for pair in ("..", ".-", "-."))
        if not fits or name.startswith(_BUCKET_BEGINNINGS) or name.endswith(_BUCKET_ENDS):
            text = "valid are 3 to 63 of lower-case letters, digits, '.' and '-', with a letter or digit at both ends"
            raise _error(f"{setting} is {name!r}: {text}, and neither an address nor a name that S3 reserves", setting)
    first, second = buckets
    if buckets[first] == buckets[second]:
        raise _error(f"{first} and {second} are both {buckets[first]!r}: each needs a bucket of its own", second, first)


def _check_keys(settings: Settings) -> None:
    s3, kafka, redis = settings.s3, settings.kafka, settings.redis
    secret = s3.secret_key.get_secret_value()
    if s3.embedded and len(s3.access_key) < _SHORTEST_ACCESS_KEY:
        text = f"is too short: MinIO requires {_SHORTEST_ACCESS_KEY} characters or more"
        raise _error(f"CRYPTOVIZ_S3__ACCESS_KEY {text}", "CRYPTOVIZ_S3__ACCESS_KEY")
    if s3.embedded and secret and len(secret) < _SHORTEST_SECRET_KEY:
        text = f"is too short: MinIO requires {_SHORTEST_SECRET_KEY} characters or more"
        raise _error(f"CRYPTOVIZ_S3__SECRET_KEY {text}", "CRYPTOVIZ_S3__SECRET_KEY")
    if not s3.embedded and not secret and s3.access_key != S3Settings.model_fields["access_key"].default:
        text = (
            f"CRYPTOVIZ_S3__ACCESS_KEY is {s3.access_key!r} without CRYPTOVIZ_S3__SECRET_KEY: valid are both, because CRYPTOVIZ_S3__ENDPOINT is set"
        )
        raise _error(text, "CRYPTOVIZ_S3__SECRET_KEY", "CRYPTOVIZ_S3__ACCESS_KEY")
    if kafka.sasl_password and kafka.sasl_password.get_secret_value() and not kafka.authenticated:
        text = f"CRYPTOVIZ_KAFKA__SASL_PASSWORD is set, and CRYPTOVIZ_KAFKA__SECURITY_PROTOCOL is {kafka.security_protocol}, which sends no password"
        raise _error(f"{text}: valid are SASL_SSL and SASL_PLAINTEXT", "CRYPTOVIZ_KAFKA__SECURITY_PROTOCOL", "CRYPTOVIZ_KAFKA__SASL_PASSWORD")
    if kafka.ssl_ca_location is not None and not kafka.encrypted:
        text = f"CRYPTOVIZ_KAFKA__SSL_CA_LOCATION is set, and CRYPTOVIZ_KAFKA__SECURITY_PROTOCOL is {kafka.security_protocol}, which is not encrypted"
        raise _error(f"{text}: valid are SSL and SASL_SSL", "CRYPTOVIZ_KAFKA__SECURITY_PROTOCOL", "CRYPTOVIZ_KAFKA__SSL_CA_LOCATION")
    inside = urlsplit(redis.url).password
    if redis.password.get_secret_value() and inside is not None and unquote(inside) != redis.password.get_secret_value():
        text = "CRYPTOVIZ_REDIS__PASSWORD and CRYPTOVIZ_REDIS__URL contain different passwords (hidden): valid is one of them, or the same in both"
        raise _error(text, "CRYPTOVIZ_REDIS__PASSWORD", "CRYPTOVIZ_REDIS__URL")
    _check_tls(settings.control)


def _check_tls(control: ControlSettings) -> None:
    prefix = "CRYPTOVIZ_CONTROL__TLS"
    pairs = (  # a service's certificate without its key: settings of commands on another machine
        ("KEY", control.tls_key, "CERT", control.tls_cert),
        ("CLIENT_KEY", control.tls_client_key, "CLIENT_CERT", control.tls_client_cert),
        ("CLIENT_CERT", control.tls_client_cert, "CLIENT_KEY", control.tls_client_key),
    )
    for has, given, lacks, other in pairs:
        if given is not None and other is None:
            text = f"{prefix}_{has} is {str(given)!r} without {prefix}_{lacks}: valid are both, or neither"
            raise _error(text, f"{prefix}_{lacks}", f"{prefix}_{has}")
    needs = {
        "CLIENT_CA": (control.tls_client_ca, (("CERT", control.tls_cert), ("CLIENT_CERT", control.tls_client_cert))),
        "CLIENT_CERT": (control.tls_client_cert, (("CERT", control.tls_cert),)),
    }
    for has, (given, others) in needs.items():
        for lacks, other in others:
            if given is not None and other is None:
                why = "the service's own commands need a certificate" if lacks == "CLIENT_CERT" else "certificates of clients need TLS"
                raise _error(f"{prefix}_{has} is {str(given)!r} without {prefix}_{lacks}: {why}", f"{prefix}_{lacks}", f"{prefix}_{has}")


def _check_ports(settings: Settings) -> None:
    uses = pipeline_ports(settings)
    for second, use in enumerate(uses):
        for other in uses[:second]:
            if other.port == use.port and meet(other.host, use.host):
                both = f"{other.setting} ({other.name}) and {use.setting} ({use.name}) are both {use.port}"
                raise _error(f"{both}: each listener needs a port of its own", use.setting, other.setting)
    for setting, address in _external(settings):
        parts = urlsplit(address)
        own = next((use for use in uses if parts.port == use.port and _is_ours(parts.hostname or "", use)), None)
        if own is not None:
            text = f"{setting} names port {own.port} of this machine, where the pipeline's own {own.name} listens ({own.setting})"
            raise _error(f"{text}: valid is the address of your server", setting, own.setting)


def _external(settings: Settings) -> Iterable[tuple[str, str]]:
    """Addresses of external servers, with their settings."""
    if not settings.kafka.embedded:
        for server in settings.kafka.bootstrap_servers.split(","):
            yield "CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS", f"//{server}"
    if not settings.s3.embedded:
        yield "CRYPTOVIZ_S3__ENDPOINT", settings.s3.endpoint
    if not settings.redis.embedded:
        yield "CRYPTOVIZ_REDIS__URL", settings.redis.url
    if settings.network.proxy_url:
        yield "CRYPTOVIZ_NETWORK__PROXY_URL", settings.network.proxy_url


def _is_ours(host: str, use: PortUse) -> bool:
    return is_loopback(host) and (is_loopback(use.host) or is_wildcard(use.host))


def _pairs(names: Mapping[str, str]) -> list[tuple[str, str]]:
    listed = list(names)
    return [(first, second) for place, first in enumerate(listed) for second in listed[place + 1 :]]


def _error(text: str, setting: str, *others: str) -> SettingsError:
    return SettingsError(text, setting=setting, settings=(setting, *others))
