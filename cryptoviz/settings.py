"""One frozen tree of settings, read once at the edge (CLI, actor factory) and passed down.

Sources, strongest first: arguments, environment, `.env`, defaults. Names are `CRYPTOVIZ_<SECTION>__<FIELD>`; the names of the Docker Compose
predecessor (`COINMARKETCAP_API_KEY`, `MINIO_ROOT_USER`, `MINIO_ROOT_PASSWORD`, `REDPANDA_BROKERS`, `CRYPTO_LIST`) work too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from cryptoviz.assets import Asset, resolve_assets
from cryptoviz.errors import SettingsError

__all__ = [
    "CollectSettings",
    "ControlSettings",
    "DashboardSettings",
    "DownloadSettings",
    "KafkaSettings",
    "LakeSettings",
    "MarketSettings",
    "ProviderSettings",
    "RaySettings",
    "RedisSettings",
    "S3Settings",
    "Settings",
    "dump_settings_file",
    "load_settings",
    "load_settings_file",
    "settings_from_environment",
]

Port = Annotated[int, Field(ge=1, le=65535)]
LOOPBACK = "127.0.0.1"
SETTINGS_FILE_VARIABLE = "CRYPTOVIZ_SETTINGS_FILE"
"""Names a file of `dump_settings_file`: how a parent hands the whole tree to a child process without secrets in its arguments."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(_Section):
    """Kafka. Embedded on `port` unless `bootstrap_servers` names a broker of yours."""

    port: Port = 19092
    controller_port: Port = 19093
    bootstrap_servers: str = ""
    embedded: bool = True
    heap_mb: int = 384
    raw_topic: str = "crypto-raw-data"
    stream_topic: str = "crypto-streaming"
    stream_partitions: int = Field(default=2, ge=1)
    raw_partitions: int = Field(default=1, ge=1)
    max_record_bytes: int = 2 * 1024 * 1024
    """Above the 1 MiB body limit of a raw exchange and its JSON escapes."""
    retention_hours: int = Field(default=168, ge=1)
    """How long an embedded broker keeps records; the lake must catch up within it."""
    retention_bytes: int = Field(default=2 * 1024**3, ge=64 * 1024**2)
    """The most that an embedded broker keeps of one partition."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        return _fill_address(data, "bootstrap_servers", f"{LOOPBACK}:{{port}}", 19092)


class S3Settings(_Section):
    """Object store. Embedded MinIO on `port` unless `endpoint` names one of yours (`http://host:port`)."""

    port: Port = 9002
    console_port: Port = 9003
    endpoint: str = ""
    embedded: bool = True
    region: str = "us-east-1"
    access_key: str = "cryptoviz"
    secret_key: SecretStr = SecretStr("cryptoviz2024")
    prices_bucket: str = "crypto-data-partitioned"
    lake_bucket: str = "crypto-lake"

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        return _fill_address(data, "endpoint", f"http://{LOOPBACK}:{{port}}", 9002)

    def storage_options(self) -> dict[str, str]:
        """delta-rs object store options. Holds the secret: never log it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key.get_secret_value(),
            "AWS_ALLOW_HTTP": "true" if self.endpoint.startswith("http://") else "false",
            "conditional_put": "etag",
        }


class RedisSettings(_Section):
    """Redis protocol server. Embedded Valkey on `port` unless `url` names one of yours."""

    port: Port = 6379
    url: str = ""
    embedded: bool = True

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        return _fill_address(data, "url", f"redis://{LOOPBACK}:{{port}}/0", 6379)


class RaySettings(_Section):
    """The Ray cluster that `up` and `demo` start for themselves."""

    gcs_port: Port = 6380
    dashboard_port: Port = 8265
    client_port: Port = 10001
    """Ray's client server; must lie outside 10002-19999, which Ray gives to its workers."""
    object_store_bytes: int = 256 * 1024 * 1024
    """No Ray object carries data here."""
    num_cpus: int = Field(default=0, ge=0)
    """Logical CPUs; 0 means max(2, the machine's)."""
    namespace: str = "cryptoviz"
    node_ip: str = "127.0.0.2"
    """Loopback, so that a laptop may change networks and nobody else can reach the node; Ray itself replaces 127.0.0.1 by a public address."""
    address: str = ""
    """Join this cluster instead of starting one (`auto` on a node of `ray up cluster.yaml`)."""


class ControlSettings(_Section):
    """The gRPC control service."""

    host: str = LOOPBACK
    port: Port = 50051
    reconcile_ms: int = 500
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def address(self) -> str:
        """host:port as clients dial it."""
        return f"{self.host}:{self.port}"

    @model_validator(mode="after")
    def _tls_off_loopback(self) -> ControlSettings:
        if self.host not in (LOOPBACK, "localhost", "::1") and (self.tls_cert is None or self.tls_key is None):
            raise ValueError(f"control.host is {self.host!r}, which others can reach: set control.tls_cert and control.tls_key, or use {LOOPBACK}")
        return self


class ProviderSettings(_Section):
    """One provider. `base_url` and `plan` decide which of its hosts and headers are used."""

    enabled: bool = True
    base_url: str = ""
    """Empty: the provider's own."""
    api_key: SecretStr | None = None
    plan: str = ""
    """Provider specific: coingecko `keyless|demo|pro`, coinmarketcap `keyless|keyed`. Empty: keyless without a key, else the keyed one."""
    timeout_s: float = Field(default=10.0, gt=0)
    """Total deadline of one attempt; never longer than three quarters of a tick."""
    max_body_bytes: int = Field(default=8 * 1024 * 1024, gt=0)
    min_interval_s: float | None = Field(default=None, ge=0)
    """Shortest time between two calls; None: what the provider's plan allows, and no limit at another `base_url`."""
    rate_limit_wait_s: float = Field(default=60.0, ge=0)
    """No calls for this long after a refusal (429, key, plan) that names no time of its own."""
    max_wait_s: float = Field(default=3600.0, ge=0)
    """Longest wait that a provider can impose; after it one call looks again."""


class CollectSettings(_Section):
    """Collection. `providers` is the order of preference: the first that has a coin's price is primary."""

    tick_s: float = Field(default=60.0, ge=0.5)
    providers: tuple[str, ...] = ("coingecko", "coinmarketcap")
    consensus_wait_ms: int = 250
    """How long a complete primary answer waits for the others before the tick is published."""
    disagree_bps: float = 100.0
    stale_after_s: float = 900.0
    """A source stamp older than this makes the primary fall back (aggregators refresh about every 60 s)."""
    queue_ticks: int = Field(default=120, ge=1)
    """Ticks that wait while the broker is away; past it the oldest is dropped, counted and logged as a gap."""

    @property
    def tick_ms(self) -> int:
        """Tick interval in ms."""
        return round(self.tick_s * 1000)


class LakeSettings(_Section):
    """The Spark job on RayDP and the tables that it writes."""

    trigger_ms: int = Field(default=250, ge=0, le=60_000)
    max_offsets_per_trigger: int = Field(default=400_000, ge=1)
    executor_cores: int = Field(default=2, ge=1)
    executor_memory_mb: int = Field(default=640, ge=512)
    driver_memory_mb: int = Field(default=512, ge=384)
    ui_port: Port = 8082
    accept_lost_offsets: bool = False
    """Go on at Kafka's earliest offset where it has dropped records that the lake never took. Off: the job stops and names the range."""
    maintenance_s: float = Field(default=60.0, ge=1.0)
    """How often maintenance looks at the tables."""


class MarketSettings(_Section):
    """The replay market of the demo."""

    port: Port = 8999
    seed: int = 20221108
    speed: float = 1.0
    """Market seconds per wall second."""


class DashboardSettings(_Section):
    """The Panel application. `allow_origins` are the exact host:port pairs that browsers may connect from."""

    host: str = LOOPBACK
    port: Port = 5006
    allow_origins: tuple[str, ...] = ()


class DownloadSettings(_Section):
    """Where setup fetches engines from; point it at a mirror where the public repository is out of reach."""

    maven_url: str = "https://repo1.maven.org/maven2"
    parallel: int = Field(default=4, ge=1, le=16)


def _data_dir() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "cryptoviz"


def _cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cryptoviz"


class Settings(BaseSettings):
    """The whole tree. `profile` is `live` for `up` and `demo` for the replay market."""

    model_config = SettingsConfigDict(
        env_prefix="CRYPTOVIZ_", env_nested_delimiter="__", env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True
    )

    profile: Literal["live", "demo"] = "live"
    home: Path = Field(default_factory=_data_dir)
    cache: Path = Field(default_factory=_cache_dir)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    crypto_list: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), validation_alias=AliasChoices("crypto_list", "CRYPTOVIZ_CRYPTO_LIST", "CRYPTO_LIST")
    )
    extra_assets: tuple[Asset, ...] = ()
    """JSON list: `[{"asset_id": "dogecoin", "symbol": "DOGE", "name": "Dogecoin", "provider_ids": {"coingecko": "dogecoin"}}]`."""
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    ray: RaySettings = Field(default_factory=RaySettings)
    control: ControlSettings = Field(default_factory=ControlSettings)
    collect: CollectSettings = Field(default_factory=CollectSettings)
    providers: dict[str, ProviderSettings] = Field(default_factory=dict)
    lake: LakeSettings = Field(default_factory=LakeSettings)
    market: MarketSettings = Field(default_factory=MarketSettings)
    dashboard: DashboardSettings = Field(default_factory=DashboardSettings)
    downloads: DownloadSettings = Field(default_factory=DownloadSettings)

    @field_validator("crypto_list", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """A comma separated string or a JSON list, as the predecessor's users wrote either."""
        if not isinstance(value, str):
            return value
        text = value.strip()
        return tuple(json.loads(text)) if text.startswith("[") else tuple(part for part in text.split(",") if part.strip())

    @field_validator("home", "cache")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def assets(self) -> tuple[Asset, ...]:
        """The assets to collect, in table order. Raises UnknownAsset."""
        return resolve_assets(self.crypto_list, self.extra_assets)

    @property
    def token_file(self) -> Path:
        """The bearer token of the control service, mode 0600."""
        return self.home / "control.token"

    @property
    def ray_token_file(self) -> Path:
        """The token of the Ray cluster that `up` starts, mode 0600; Ray's dashboard asks for it."""
        return self.home / "ray.token"

    @property
    def run_dir(self) -> Path:
        """Pid files and the record of the running cluster."""
        return self.home / "run"

    @property
    def log_dir(self) -> Path:
        """Logs of the engines, one file a component."""
        return self.home / "logs"

    @property
    def ray_temp_dir(self) -> Path:
        """Short whatever `home` is, because Ray's socket paths break past 107 characters."""
        return Path("/tmp") / f"cv-{hashlib.sha256(str(self.home).encode()).hexdigest()[:10]}"  # noqa: S108

    def provider(self, name: str) -> ProviderSettings:
        """Settings of one provider, defaults when none are given."""
        return self.providers.get(name, ProviderSettings())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The predecessor's names are weaker than ours from the same place."""
        del file_secret_settings  # no such files here
        seed_env, seed_dotenv = _SeedNames(settings_cls, os.environ), _SeedNames(settings_cls, _dotenv(settings_cls))
        return (init_settings, env_settings, seed_env, dotenv_settings, seed_dotenv)


SEED_NAMES: dict[str, tuple[str, ...]] = {
    "COINMARKETCAP_API_KEY": ("providers", "coinmarketcap", "api_key"),
    "COINGECKO_API_KEY": ("providers", "coingecko", "api_key"),
    "MINIO_ROOT_USER": ("s3", "access_key"),
    "MINIO_ROOT_PASSWORD": ("s3", "secret_key"),
    "REDPANDA_BROKERS": ("kafka", "bootstrap_servers"),
}
"""The predecessor's names, and the path of the setting that each means."""


class _SeedNames(PydanticBaseSettingsSource):
    """Maps the predecessor's flat names onto the tree."""

    # What the predecessor's .env template holds until a user fills it in: no key at all.
    _PLACEHOLDERS = frozenset({"", "your-api-key-here"})

    def __init__(self, settings_cls: type[BaseSettings], values: Any) -> None:
        super().__init__(settings_cls)
        self._values = values

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 (the base class's signature)
        """Unused: `__call__` answers for all fields at once."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for name, path in SEED_NAMES.items():
            value = self._values.get(name)
            if value is None or value in self._PLACEHOLDERS:
                continue
            node = tree
            for part in path[:-1]:
                node = node.setdefault(part, {})
            node[path[-1]] = value
        return tree


def _dotenv(settings_cls: type[BaseSettings]) -> dict[str, str | None]:
    from dotenv import dotenv_values

    path = Path(str(settings_cls.model_config.get("env_file") or ""))
    return dict(dotenv_values(path)) if path.is_file() else {}


def dotenv_names() -> frozenset[str]:
    """Names that the `.env` file in the working directory sets."""
    return frozenset(_dotenv(Settings))


# What a program needs to run at all; an engine gets no more, so that it never holds a provider's key.
_PLAIN_NAMES = ("HOME", "HTTPS_PROXY", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "NO_PROXY", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ")


def child_environment(extra: Mapping[str, str] | None = None, *, minimal: bool = True) -> dict[str, str]:
    """The environment for a child process: ours (only the plain names when `minimal`), with `extra` on top."""
    ours = {name: value for name, value in os.environ.items() if not minimal or name in _PLAIN_NAMES}
    return ours | dict(extra or {})


def _fill_address(data: Any, key: str, template: str, default_port: int) -> Any:
    if not isinstance(data, dict):
        return data
    filled = dict(data)
    if not filled.get(key):
        filled[key] = template.format(port=filled.get("port", default_port))
        filled["embedded"] = True
    else:
        filled.setdefault("embedded", False)
    return filled


_DEMO_DEFAULTS: dict[str, Any] = {"collect": {"tick_s": 2.0}}
# In proportion to the demo's tick, so that a look at a refused provider and its return fits a minute.
_DEMO_WAITS: dict[str, float] = {"rate_limit_wait_s": 5.0, "max_wait_s": 30.0}


def load_settings(profile: Literal["live", "demo"] = "live", **overrides: Any) -> Settings:
    """Read the tree once. The demo differs in its defaults only: a 2 s tick, a home beside the live one, providers at the replay market.

    Raises:
        SettingsError: names the setting, the value and what is valid.
    """
    try:
        settings = Settings(profile=profile, **overrides)
        if profile == "live":
            return settings
        return Settings(profile=profile, **_merge(_demo_overrides(settings), overrides))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = "CRYPTOVIZ_" + "__".join(str(part).upper() for part in first["loc"])
        secret = any(word in name.lower() for word in ("secret", "password", "key"))
        shown = "(hidden)" if secret or isinstance(first.get("input"), dict) else repr(first.get("input"))
        raise SettingsError(f"{name} is {shown}: {first['msg']}", setting=name) from None


def settings_from_environment() -> Settings:
    """The tree that a parent process handed down (`CRYPTOVIZ_SETTINGS_FILE`), else `load_settings()`. Raises SettingsError."""
    path = os.environ.get(SETTINGS_FILE_VARIABLE)
    return load_settings_file(Path(path)) if path else load_settings()


def dump_settings_file(settings: Settings, path: Path) -> None:
    """Write the whole tree, secrets revealed, as JSON that `load_settings_file` reads. Atomic; mode 0600."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(settings.model_dump(mode="python"), file, default=_reveal)
    scratch.replace(path)


def load_settings_file(path: Path) -> Settings:
    """Read what `dump_settings_file` wrote; environment and `.env` count for nothing. Raises SettingsError."""
    try:
        return _FileSettings(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        # The text of a ValidationError would show values: secrets among them.
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise SettingsError(f"the settings file {path} cannot be used: {reason}", setting=SETTINGS_FILE_VARIABLE) from None


class _FileSettings(Settings):
    """The tree from one file alone."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the file says."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def _reveal(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"settings hold a {type(value).__name__}, which has no JSON form")


def _demo_overrides(given: Settings) -> dict[str, Any]:
    market = f"http://{LOOPBACK}:{given.market.port}"
    overrides: dict[str, Any] = {"providers": {}}
    if "tick_s" not in given.collect.model_fields_set:
        overrides["collect"] = given.collect.model_dump() | _DEMO_DEFAULTS["collect"]
    if "home" not in given.model_fields_set:
        overrides["home"] = given.home.with_name(given.home.name + "-demo")
    for name in given.collect.providers:
        # A real key never goes to the replay market, nor the plan that needs it.
        own = given.provider(name)
        waits = {key: value for key, value in _DEMO_WAITS.items() if key not in own.model_fields_set}
        overrides["providers"][name] = own.model_dump() | waits | {"base_url": f"{market}/{name}", "api_key": None, "plan": ""}
    return overrides


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged
