"""Sections of the settings tree. Each field is documented below it; names in the environment are `CRYPTOVIZ_<SECTION>__<FIELD>`."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from cryptoviz.addresses import LOOPBACK, Address, Host, RayAddress, Servers, host_port, is_loopback, origin
from cryptoviz.placement import check_labels
from cryptoviz.settings.file_type import File
from cryptoviz.settings.network import NetworkSettings
from cryptoviz.settings.protection import MAX_COUNT, BreakerSettings, Duration, QuotaSettings
from cryptoviz.settings.secret_types import AccessKey, EndpointUrl, HttpUrl, RedisUrl, Secret, SecretUrl, secrets_in
from cryptoviz.settings.server_address import fill_address, with_password
from cryptoviz.times import DAY_MS

__all__ = [
    "LOOPBACK",
    "NO_KEY",
    "CollectSettings",
    "ControlSettings",
    "DashboardSettings",
    "KafkaSettings",
    "LakeSettings",
    "MarketLimits",
    "MarketSettings",
    "ProviderSettings",
    "RaySettings",
    "RedisSettings",
    "S3Settings",
]

Port = Annotated[int, Field(ge=1, le=65535)]
MAX_BYTES = 1024**5
MAX_DAYS = 36_500
"""A century; some readers do not support earlier dates."""
_NO_PROXY = f"http://{LOOPBACK}:9"
NO_KEY = "no-key-is-set"
"""Placeholder for a key that is not set; not valid anywhere."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


class KafkaSettings(_Section):
    """Kafka. Embedded on `port`, unless `bootstrap_servers` is set to an external cluster."""

    port: Port = 19092
    controller_port: Port = 19093
    broker_port: Port = 19094
    """Of the embedded broker's connections to itself, on loopback. Used only if its clients connect beyond loopback."""
    bootstrap_servers: Servers = ""
    embedded: bool = True
    heap_mb: int = Field(default=384, ge=64, le=1_048_576)
    raw_topic: str = "crypto-raw-data"
    stream_topic: str = "crypto-streaming"
    trades_topic: str = "crypto-trades"
    """Created when `streams.venues` is set."""
    trade_gaps_topic: str = "crypto-trade-gaps"
    """Changes of gaps in the ids of trades. Created with the topic of trades."""
    venue_candles_topic: str = "crypto-venue-candles"
    """Closed candles of exchanges, with which ours are compared. Created with the topic of trades."""
    quotes_topic: str = "crypto-quotes"
    """Best bid and ask of exchanges. Created when `streams.quote_s` is set."""
    frames_topic: str = "crypto-frames"
    """Frames of exchanges as they arrived. Created when `streams.raw` is not off."""
    ledger_topic: str = "crypto-dead-letters-replayed"
    """Compacted topic of dead letters that were published again. Created by the first replay."""
    stream_partitions: int = Field(default=2, ge=1, le=10_000)
    raw_partitions: int = Field(default=1, ge=1, le=10_000)
    trades_partitions: int = Field(default=1, ge=1, le=10_000)
    """Of new topics. If raised, topics of the embedded broker get the missing partitions at its next start; those of other brokers keep theirs."""
    max_record_bytes: int = Field(default=2 * 1024 * 1024, ge=512 * 1024, le=10**9)
    """Larger than the body limit of a raw exchange (1 MiB) with JSON escapes."""
    retention_hours: int = Field(default=168, ge=1, le=876_000)
    """Retention of the embedded broker. The lake job must read records within this time."""
    retention_bytes: int = Field(default=2 * 1024**3, ge=64 * 1024**2, le=MAX_BYTES)
    """Maximum size of a partition in the embedded broker."""
    transaction_timeout_ms: int = Field(default=5_000, ge=1_000, le=900_000)
    """Time after which the broker aborts the transaction of a dead producer. Until then, readers of committed records wait."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Default of the embedded broker: SASL_PLAINTEXT, so that clients on loopback must authenticate. Beyond loopback it uses SASL_SSL."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: AccessKey = ""
    sasl_password: Secret | None = None
    """For the embedded broker, generated at the first start."""
    ssl_ca_location: File | None = None
    """PEM file of the certificate authorities of the brokers. None: those of the system."""
    ca_pem: str = ""
    """Content of the file, or the authority of the embedded engines. Read at the start, because other nodes do not have the file."""

    def access(self) -> dict[str, Any]:
        """Connection settings of these brokers, for settings with other topics."""
        names = ("bootstrap_servers", "security_protocol", "sasl_mechanism", "sasl_username", "sasl_password", "ssl_ca_location", "ca_pem")
        return {name: getattr(self, name) for name in names}

    @property
    def authenticated(self) -> bool:
        return self.security_protocol.startswith("SASL_")

    @property
    def encrypted(self) -> bool:
        return self.security_protocol.endswith("SSL")

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        filled = fill_address(data, "KAFKA", "bootstrap_servers", f"{LOOPBACK}:{{port}}", 19092)
        if isinstance(filled, dict) and filled.get("embedded"):
            filled.setdefault("security_protocol", "SASL_PLAINTEXT")
            filled["sasl_username"] = filled.get("sasl_username") or "cryptoviz"
        return filled

    @model_validator(mode="after")
    def _credentials_with_sasl(self) -> KafkaSettings:
        # Credentials of the embedded broker are generated at the first start.
        has_password = self.sasl_password is not None and self.sasl_password.get_secret_value() != ""
        if self.authenticated and not self.embedded and not (self.sasl_username and has_password):
            what = f"CRYPTOVIZ_KAFKA__SECURITY_PROTOCOL is {self.security_protocol}"
            raise ValueError(f"{what}: set CRYPTOVIZ_KAFKA__SASL_USERNAME and CRYPTOVIZ_KAFKA__SASL_PASSWORD")
        return self


class S3Settings(_Section):
    """Object store. Embedded MinIO on `port`, unless `endpoint` is set to an external one (`http://host:port`)."""

    port: Port = 9002
    console_port: Port = 9003
    endpoint: EndpointUrl = SecretUrl("")
    embedded: bool = True
    region: str = Field(default="us-east-1", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")
    access_key: AccessKey = "cryptoviz"
    secret_key: Secret = SecretStr("")
    """For the embedded store, generated at the first start if empty."""
    prices_bucket: str = "crypto-data-partitioned"
    lake_bucket: str = "crypto-lake"
    ca_file: File | None = None
    """PEM file of the certificate authorities of the endpoint. None: those of the system."""
    ca_pem: str = ""
    """As `kafka.ca_pem`."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        return fill_address(data, "S3", "endpoint", f"http://{LOOPBACK}:{{port}}", 9002)

    def storage_options(self) -> dict[str, str]:
        """Object store options of delta-rs. Contains the secret key: never log it."""
        host = urlsplit(self.endpoint).hostname or ""
        # The library accepts an authority only for a proxy, and then trusts it in all connections. The proxy is used for no host.
        authority = {"proxy_url": _NO_PROXY, "proxy_excludes": host, "proxy_ca_certificate": self.ca_pem} if self.ca_pem else {}
        return authority | {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            # Never empty: the library would search for other credentials.
            "AWS_SECRET_ACCESS_KEY": self.secret_key.get_secret_value() or NO_KEY,
            "AWS_ALLOW_HTTP": "true" if self.endpoint.startswith("http://") else "false",
            "conditional_put": "etag",
            # Retries end after this time, so that the caller can report the outage and retry.
            "timeout": "20s",
            "connect_timeout": "3s",
            "max_retries": "4",
            "retry_timeout": "20s",
        }


class RedisSettings(_Section):
    """Redis. Embedded Valkey on `port`, unless `url` is set to an external server."""

    port: Port = 6379
    url: RedisUrl = SecretUrl("")
    """May contain user and password."""
    password: Secret = SecretStr("")
    """Added to `url`, unless that contains one. For the embedded server, generated at the first start if empty."""
    embedded: bool = True
    ca_file: File | None = None
    """PEM file of the certificate authorities of a `rediss://` server. None: those of the system."""
    ca_pem: str = ""
    """As `kafka.ca_pem`."""

    def connection(self, timeout_s: float) -> dict[str, Any]:
        """Arguments of redis-py's `from_url`, with the same time to connect and for each response. Contain the password: never log them."""
        trusted = {"ssl_ca_data": self.ca_pem} if self.ca_pem and self.url.startswith("rediss:") else {}
        return {"url": self.url, "socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, **trusted}

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        filled = fill_address(data, "REDIS", "url", f"redis://{LOOPBACK}:{{port}}/0", 6379)
        if not isinstance(filled, dict) or not filled.get("password") or not isinstance(filled["url"], str):
            return filled
        password = filled["password"]
        return filled | {"url": with_password(filled["url"], password.get_secret_value() if isinstance(password, SecretStr) else str(password))}

    def with_password(self, password: str) -> RedisSettings:
        """A copy with the password, also in `url`."""
        return self.model_copy(update={"password": SecretStr(password), "url": SecretUrl(with_password(self.url, password))})


class RaySettings(_Section):
    """The Ray cluster started by `up` and `demo`."""

    gcs_port: Port = 6380
    dashboard_port: Port = 8265
    client_port: Port | None = None
    """Port of the Ray Client server (`ray://`), 10001 by Ray's convention. Without it the server, 49 MB that nothing here uses, is not started."""
    object_store_bytes: int = Field(default=256 * 1024 * 1024, ge=75 * 1024 * 1024, le=MAX_BYTES)
    """Minimal, because no data are passed as Ray objects."""
    num_cpus: int = Field(default=0, ge=0, le=65_536)
    """Logical CPUs; 0: those of the machine, at least 2."""
    namespace: str = Field(default="cryptoviz", pattern=r"^[\x21-\x7e]{1,100}$")
    node_ip: Address = LOOPBACK
    """Loopback, so that other machines cannot connect and the network may change. With any other address Ray listens on all interfaces."""
    address: RayAddress = ""
    """Join this cluster instead of starting one (`auto` on a node of `ray up cluster.yaml`)."""
    labels: Annotated[str, AfterValidator(check_labels)] = ""
    """Labels of this node for `CRYPTOVIZ_PLACEMENT__`: `zone=a,disk=ssd`. A node of `ray up cluster.yaml` also has `host=<its host name>`."""
    start_timeout_s: Duration = Field(default=60.0, gt=0)
    """Maximum duration of the start of Ray on one machine."""
    workers_timeout_s: Duration = Field(default=600.0, gt=0)
    """Time that the workers of `ray up cluster.yaml` have to install everything and to join, before those that are missing are reported."""


class ControlSettings(_Section):
    """The gRPC control service."""

    host: Host = LOOPBACK
    port: Port = 50051
    reconcile_ms: int = Field(default=500, ge=10, le=60_000)
    metrics_port: Port | None = None
    """Port of `/metrics` for Prometheus, on `host`, with the token of the control service. Without it nothing is served."""
    tls_cert: File | None = None
    """Certificate of the service. Clients verify the service by it, so that it may be self-signed."""
    tls_key: File | None = None
    """Private key of the service. Needed where the pipeline starts; commands on other machines verify the service without it."""
    tls_client_ca: File | None = None
    """Certificate authorities of the clients: with it, the service accepts only clients with a certificate of theirs, in addition to the token."""
    tls_client_cert: File | None = None
    """Certificate that commands, the dashboard and `ControlClient.from_settings` present."""
    tls_client_key: File | None = None

    @property
    def address(self) -> str:
        """host:port for clients."""
        return host_port(self.host, self.port)

    @model_validator(mode="after")
    def _tls_off_loopback(self) -> ControlSettings:
        if not is_loopback(self.host) and self.tls_cert is None:
            what = f"CRYPTOVIZ_CONTROL__HOST is {self.host!r}, which others can reach"
            key = "where the pipeline starts, CRYPTOVIZ_CONTROL__TLS_KEY"
            raise ValueError(f"{what}: set CRYPTOVIZ_CONTROL__TLS_CERT and, {key}, or use {LOOPBACK}")
        return self


class ProviderSettings(_Section):
    """A provider. `base_url` and `plan` determine host and headers."""

    enabled: bool = True
    base_url: HttpUrl = SecretUrl("")
    """Empty: that of the provider. May contain user and password."""
    api_key: Secret | None = None
    plan: str = ""
    """Provider-specific: coingecko `keyless|demo|pro`, coinmarketcap `keyless|keyed`. Empty: depends on whether a key is set."""
    scrapers: int = Field(default=1, ge=1, le=999)
    """Number of scrapers that the coins are divided over, at most one for each coin. More need more calls of providers with many coins in a call."""
    timeout_s: Duration = Field(default=10.0, gt=0)
    """Timeout of an attempt; limited to three quarters of a tick."""
    max_body_bytes: int = Field(default=8 * 1024 * 1024, gt=0, le=MAX_BYTES)
    min_interval_s: Duration | None = None
    """Minimum interval between calls. None: as the provider's plan allows, or no limit with a different `base_url`."""
    rate_limit_wait_s: Duration = 60.0
    """Hold after a refusal (429, key, plan) that states no time."""
    max_wait_s: Duration = 3 * 86_400.0
    """Maximum hold that a provider can impose (Binance bans for up to three days); then a call is tried again."""
    quota: QuotaSettings = Field(default_factory=QuotaSettings)
    breaker: BreakerSettings = Field(default_factory=BreakerSettings)

    def secrets_sent(self, network: NetworkSettings) -> tuple[str, ...]:
        """Secrets sent to the provider, which a response may echo: the key, and the passwords in `base_url` and the proxy URL."""
        return tuple(sorted(secrets_in(self) | secrets_in(network)))


class CollectSettings(_Section):
    """Collection. `providers` is the order of preference; the first is the primary."""

    tick_s: float = Field(default=60.0, ge=0.5, le=86_400)
    providers: tuple[str, ...] = ("coingecko", "coinmarketcap", "coinpaprika", "kraken", "coinbase", "binance")
    """No default provider needs a key. Aggregators first, for their market caps; then USD pairs, then USDT pairs. The demo uses the first two."""
    history_providers: tuple[str, ...] = ("binance", "kraken", "coingecko")
    """Providers of a backfill in order of preference, the finest candles first. Independent of `providers`."""
    consensus_wait_ms: int = Field(default=250, ge=0, le=DAY_MS)
    """How long a tick with a complete primary result waits for other results before it is published."""
    disagree_bps: float = Field(default=100.0, ge=0)
    outlier_bps: float = Field(default=5_000.0, gt=0)
    """A selected price at this distance from the median of at least two agreeing others is an outlier, and flagged as disagreeing."""
    replace_outlier_by: Literal["none", "median", "next"] = "none"
    """Replacement of an outlier: none, the median price of the others, or the next provider's price."""
    usdt_is_usd: bool = True
    """Compare prices in dollar stablecoins (USDT, USDC, ..) with dollar prices; they differ by a few basis points. `quote_currency` is recorded."""
    stale_after_s: Duration = Field(default=900.0, gt=0)
    """Maximum age of the source stamp of a fresh price (aggregators update about every 60 s). A stale primary falls back."""
    clock_skew_s: float = Field(default=60.0, ge=0, le=86_400)
    """A source stamp further ahead of the local clock is invalid, and the price counts as stale because its age is unknown."""
    queue_ticks: int = Field(default=120, ge=1, le=1_000_000)
    """Maximum number of ticks queued while the broker is unavailable. Past it the oldest tick is dropped, which is a gap."""

    @property
    def tick_ms(self) -> int:
        return round(self.tick_s * 1000)


class LakeSettings(_Section):
    """The lake job (Spark on RayDP) and its tables."""

    trigger_ms: int = Field(default=250, ge=0, le=60_000)
    max_offsets_per_trigger: int = Field(default=400_000, ge=1, le=MAX_COUNT)
    bridge_records: int = Field(default=10_000, ge=0, le=1_000_000)
    """Maximum number of records of a batch that the lake's own process writes while Spark starts. More wait for Spark; 0: all do."""
    executors: int = Field(default=1, ge=1, le=1_024)
    """Number of Spark's executors. `placement.executors` says on which nodes."""
    executor_cores: int = Field(default=2, ge=1, le=1_024)
    """Logical CPUs of Ray that each executor takes."""
    executor_memory_mb: int = Field(default=640, ge=512, le=16_777_216)
    driver_memory_mb: int = Field(default=512, ge=384, le=16_777_216)
    ui_port: Port = 8082
    spark_timeout_s: Duration = Field(default=120.0, gt=0)
    """Maximum duration of Spark's start. It takes 6-14 s, and 50 s at a load of ten times the cores; on a cluster that is too small it would hang."""
    start_timeout_s: Duration = Field(default=180.0, gt=0)
    """Maximum duration of the lake job's start, with that of Spark."""
    accept_lost_offsets: bool = False
    """Continue at the earliest offset if Kafka has deleted records that are not in the lake. False: the job stops and reports the range."""
    maintenance_s: Duration = Field(default=120.0, ge=1.0)
    """Interval of maintenance rounds."""
    lease_s: float = Field(default=15.0, ge=3.0, le=600.0)
    """Validity of the lease on the lake. If the job does not renew it in time, another pipeline may take over."""
    compact_files: int = Field(default=240, ge=2, le=MAX_COUNT)
    """Number of files of the present day above which maintenance merges them."""
    close_after_s: Duration = 1800.0
    """A day is closed, sorted into one file and marked `_SUCCESS` this long after its end (UTC)."""
    quiet_s: Duration = 120.0
    """Late rows of a closed day are merged after this time without new ones."""
    prices_keep_days: int | None = Field(default=None, ge=1, le=MAX_DAYS)
    """Days of prices to keep. None: all. Candles are always kept."""
    raw_keep_days: int | None = Field(default=90, ge=1, le=MAX_DAYS)
    """Days of raw exchanges to keep. None: all."""
    dead_letters_keep_days: int | None = Field(default=365, ge=1, le=MAX_DAYS)
    """Days of dead letters to keep. None: all."""
    trades_keep_days: int | None = Field(default=None, ge=1, le=MAX_DAYS)
    """Days of trades, of gaps in their ids, and of quotes to keep. None: all."""


class MarketLimits(_Section):
    """Rate limits of the replay market per client and provider. Generous by default, because the demo polls every 2 s."""

    per_minute: int = Field(default=6_000, ge=0, le=MAX_COUNT)
    """Calls; for Binance, weight."""
    per_month: int = Field(default=10_000_000, ge=0, le=MAX_COUNT)
    """Credits."""
    per_second: int | None = Field(default=None, ge=1, le=MAX_COUNT)
    """Calls; None: no limit."""
    ban_after: int = Field(default=10, ge=1, le=MAX_COUNT)
    """Refused calls within a minute after which the simulated Binance bans the client."""


class MarketSettings(_Section):
    """The replay market of the demo."""

    port: Port = 8999
    seed: int = Field(default=20221108, ge=0, le=2**63 - 1)
    speed: float = Field(default=1.0, gt=0, le=1_000_000)
    """Market seconds per second of real time."""
    trades_per_s: float = Field(default=1.7, ge=1, le=1_000)
    """Trades per market second of each instrument of the streams."""
    limits: dict[str, MarketLimits] = Field(default_factory=dict)
    """Limits by provider: `{"coingecko": {"per_minute": 10, "per_month": 10000}}`."""


class DashboardSettings(_Section):
    """The Panel application. `allow_origins` are the exact host:port pairs that browsers may connect from."""

    host: Host = LOOPBACK
    port: Port = 5006
    allow_origins: tuple[str, ...] = ()

    @field_validator("allow_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(origin(one) for one in value)

    @property
    def address(self) -> str:
        """host:port for browsers."""
        return host_port(self.host, self.port)
