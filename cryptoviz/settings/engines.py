"""Where the embedded engines listen: on loopback, or, with TLS, on an address that the other nodes of a cluster reach."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, model_validator

from cryptoviz.addresses import LOOPBACK, Address, Host, host_port, is_loopback, is_wildcard
from cryptoviz.settings.file_type import File
from cryptoviz.settings.secret_types import SecretUrl

if TYPE_CHECKING:
    from cryptoviz.settings.sections import KafkaSettings, RedisSettings, S3Settings

__all__ = ["EnginesSettings", "reached_kafka", "reached_redis", "reached_s3"]


class EnginesSettings(BaseModel):
    """Addresses and certificates of the embedded engines. Beyond loopback all clients use TLS and a password."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bind: Host = LOOPBACK
    """Address that the engines listen on. Beyond loopback they use TLS; Kafka's connections to itself and MinIO's console stay on loopback."""
    advertised: Address | None = None
    """Address by which all clients connect, on every node. None: `bind`. Required if `bind` is a wildcard (`0.0.0.0`, `::`)."""
    tls_cert: File | None = None
    """PEM file of the engines' certificate and its intermediates, valid for `advertised`. None: signed by an authority made at the first start."""
    tls_key: File | None = None
    """PEM file of its private key, without a password."""
    ca_file: File | None = None
    """PEM file of the authorities of `tls_cert`. None: those of the system."""

    @property
    def exposed(self) -> bool:
        """Whether the engines listen beyond loopback."""
        return not is_loopback(self.bind)

    @property
    def reached_at(self) -> str:
        """Host by which clients connect."""
        return self.advertised or self.bind

    @model_validator(mode="after")
    def _consistent(self) -> EnginesSettings:
        if is_wildcard(self.bind) and self.advertised is None:
            what = f"CRYPTOVIZ_ENGINES__BIND is {self.bind!r}, all addresses of this machine"
            raise ValueError(f"{what}: set CRYPTOVIZ_ENGINES__ADVERTISED to the address by which the other nodes reach it")
        if self.advertised is not None and not self.exposed:
            what = f"CRYPTOVIZ_ENGINES__ADVERTISED is {self.advertised!r}, and the engines listen on {self.bind} only"
            raise ValueError(f"{what}: set CRYPTOVIZ_ENGINES__BIND too, to an address of this machine or 0.0.0.0")
        for given, other, has, lacks in ((self.tls_cert, self.tls_key, "CERT", "KEY"), (self.tls_key, self.tls_cert, "KEY", "CERT")):
            if given is not None and other is None:
                what = f"CRYPTOVIZ_ENGINES__TLS_{has} is {str(given)!r} without CRYPTOVIZ_ENGINES__TLS_{lacks}"
                raise ValueError(f"{what}: valid are both, or neither")
        if self.ca_file is not None and self.tls_cert is None:
            what = f"CRYPTOVIZ_ENGINES__CA_FILE is {str(self.ca_file)!r} without CRYPTOVIZ_ENGINES__TLS_CERT"
            raise ValueError(f"{what}: valid are both, with CRYPTOVIZ_ENGINES__TLS_KEY, or none of them")
        return self


def reached_kafka(kafka: KafkaSettings, engines: EnginesSettings) -> KafkaSettings:
    """The settings of an embedded broker, with the address and protocol of its clients. Raises ValueError."""
    servers = _reached("KAFKA", "bootstrap_servers", kafka.bootstrap_servers, f"{{}}:{kafka.port}", kafka.port, engines)
    protocol = kafka.security_protocol
    if engines.exposed and protocol == "PLAINTEXT":
        what = f"CRYPTOVIZ_KAFKA__SECURITY_PROTOCOL is PLAINTEXT, and CRYPTOVIZ_ENGINES__BIND is {engines.bind!r}, which others can reach"
        raise ValueError(f"{what}: leave CRYPTOVIZ_KAFKA__SECURITY_PROTOCOL unset, for SASL_SSL, or CRYPTOVIZ_ENGINES__BIND, for loopback")
    if kafka.sasl_mechanism != "PLAIN" or protocol == "SSL" or (protocol == "SASL_SSL" and not engines.exposed):
        what = f"CRYPTOVIZ_KAFKA__SECURITY_PROTOCOL is {protocol} and CRYPTOVIZ_KAFKA__SASL_MECHANISM is {kafka.sasl_mechanism}"
        raise ValueError(f"{what}: the embedded broker supports SASL_PLAINTEXT and PLAINTEXT, with mechanism PLAIN")
    if engines.exposed:
        protocol = "SASL_SSL"
    return kafka.model_copy(update={"bootstrap_servers": servers, "security_protocol": protocol})


def reached_s3(s3: S3Settings, engines: EnginesSettings) -> S3Settings:
    """The settings of an embedded store, with the address of its clients. Raises ValueError."""
    scheme = "https" if engines.exposed else "http"
    return s3.model_copy(update={"endpoint": SecretUrl(_reached("S3", "endpoint", s3.endpoint, f"{scheme}://{{}}:{s3.port}", s3.port, engines))})


def reached_redis(redis: RedisSettings, engines: EnginesSettings) -> RedisSettings:
    """The settings of an embedded server, with the address of its clients. Raises ValueError."""
    scheme = "rediss" if engines.exposed else "redis"
    url = _reached("REDIS", "url", redis.url, f"{scheme}://{{}}:{redis.port}/0", redis.port, engines)
    return redis.model_copy(update={"url": SecretUrl(url)})


def _reached(section: str, key: str, given: str, template: str, port: int, engines: EnginesSettings) -> str:
    """The address by which clients reach the engine. An address that the user gave keeps its user, path and options."""
    ours = template.format(f"[{engines.reached_at}]" if ":" in engines.reached_at else engines.reached_at)
    theirs, own = (urlsplit(one if "://" in one else f"//{one}") for one in (given, ours))
    try:
        same = theirs.port == port and (is_loopback(theirs.hostname or "") or theirs.hostname == own.hostname)
    except ValueError:
        same = False
    if not same:
        embedded, address = f"CRYPTOVIZ_{section}__EMBEDDED", f"CRYPTOVIZ_{section}__{key.upper()}"
        raise ValueError(
            f"{embedded} is true, and {address} names another server: leave {address} unset for the embedded server, or unset {embedded}"
        )
    if not engines.exposed and is_loopback(theirs.hostname or "") and engines.bind == LOOPBACK:
        return given
    user = f"{theirs.netloc.rpartition('@')[0]}@" if "@" in theirs.netloc else ""
    url: str = theirs._replace(scheme=own.scheme, netloc=f"{user}{host_port(engines.reached_at, port)}").geturl()
    return url.removeprefix("//")
