"""The settings tree, and its loading and validation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSetting

from cryptoviz.assets import Asset, resolve_assets
from cryptoviz.errors import SettingsError
from cryptoviz.local.default_folders import DOTENV_FILE, cache_dir, data_dir, demo_dir
from cryptoviz.log import LogFormat
from cryptoviz.masking import hide
from cryptoviz.providers.registry import BUILT_IN_PROVIDERS, find_spec
from cryptoviz.providers.spec import ProviderSpec
from cryptoviz.settings.alerts import AlertsSettings
from cryptoviz.settings.check_assets import check_assets
from cryptoviz.settings.check_collection import TICK_DEADLINE_SHARE, check_collection
from cryptoviz.settings.check_engines import check_engines
from cryptoviz.settings.credentials import read_credentials, with_credentials
from cryptoviz.settings.engine_tls import with_authorities
from cryptoviz.settings.engines import EnginesSettings, reached_kafka, reached_redis, reached_s3
from cryptoviz.settings.env_values import DotenvValues, EnvValues
from cryptoviz.settings.file_type import Folder
from cryptoviz.settings.files import check_files
from cryptoviz.settings.names import check_names, check_overrides
from cryptoviz.settings.network import DownloadSettings, NetworkSettings
from cryptoviz.settings.placement import PlacementSettings
from cryptoviz.settings.places import Places
from cryptoviz.settings.refusal import refusal
from cryptoviz.settings.secret_types import secrets_in
from cryptoviz.settings.sections import (
    LOOPBACK,
    CollectSettings,
    ControlSettings,
    DashboardSettings,
    KafkaSettings,
    LakeSettings,
    MarketSettings,
    ProviderSettings,
    RaySettings,
    RedisSettings,
    S3Settings,
)
from cryptoviz.settings.seed_names import DOTENV_ENCODING, SeedNames, ShellNames, dotenv_lines, read_dotenv, require_text
from cryptoviz.settings.streams import StreamsSettings, check_streams, stream_addresses
from cryptoviz.settings.tracing import TracingSettings

__all__ = ["Settings", "check_settings", "load_settings"]


class Settings(BaseSettings):
    """All settings. `profile` is `live` for `up` and `demo` for the replay market."""

    model_config = SettingsConfigDict(
        env_prefix="CRYPTOVIZ_",
        env_nested_delimiter="__",
        env_file=DOTENV_FILE,
        env_file_encoding=DOTENV_ENCODING,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    profile: Literal["live", "demo"] = "live"
    home: Folder = Field(default_factory=data_dir)
    cache: Folder = Field(default_factory=cache_dir)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """DEBUG: also a line for each poll, HTTP exchange, tick, transaction and batch."""
    log_format: LogFormat = "logfmt"
    """Of the components' logs. `json`: an object per line. Engines write their logs in their own formats."""
    crypto_list: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), validation_alias=AliasChoices("crypto_list", "CRYPTOVIZ_CRYPTO_LIST", "CRYPTO_LIST")
    )
    extra_assets: tuple[Asset, ...] = ()
    """JSON list: `[{"asset_id": "dogecoin", "symbol": "DOGE", "name": "Dogecoin", "provider_ids": {"coingecko": "dogecoin"}}]`."""
    engines: EnginesSettings = Field(default_factory=EnginesSettings)
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    ray: RaySettings = Field(default_factory=RaySettings)
    control: ControlSettings = Field(default_factory=ControlSettings)
    collect: CollectSettings = Field(default_factory=CollectSettings)
    providers: dict[str, ProviderSettings] = Field(default_factory=dict)
    streams: StreamsSettings = Field(default_factory=StreamsSettings)
    lake: LakeSettings = Field(default_factory=LakeSettings)
    placement: PlacementSettings = Field(default_factory=PlacementSettings)
    market: MarketSettings = Field(default_factory=MarketSettings)
    dashboard: DashboardSettings = Field(default_factory=DashboardSettings)
    downloads: DownloadSettings = Field(default_factory=DownloadSettings)
    network: NetworkSettings = Field(default_factory=NetworkSettings)
    tracing: TracingSettings = Field(default_factory=TracingSettings)
    alerts: AlertsSettings = Field(default_factory=AlertsSettings)

    @field_validator("crypto_list", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """Accept comma-separated text or a JSON list, as the predecessor did."""
        if not isinstance(value, str):
            return value
        text = value.strip()
        if not text.startswith("["):
            return tuple(part for part in text.split(",") if part.strip())
        try:
            return json.loads(text)
        except ValueError:
            raise ValueError("valid are names with commas between them, or a JSON list of texts") from None

    @field_validator("cache")
    @classmethod
    def _in_class_path(cls, value: Path) -> Path:
        if ":" in str(value):
            raise ValueError("a colon separates folders in Java's class path: choose a folder without one")
        return value

    @model_validator(mode="after")
    def _engines_reached(self) -> Settings:
        """Give the sections of embedded engines the address by which clients reach them."""
        reached = {
            "kafka": reached_kafka(self.kafka, self.engines) if self.kafka.embedded else self.kafka,
            "s3": reached_s3(self.s3, self.engines) if self.s3.embedded else self.s3,
            "redis": reached_redis(self.redis, self.engines) if self.redis.embedded else self.redis,
        }
        self.__dict__.update(reached)  # not by attribute: the tree is frozen
        return self

    @property
    def assets(self) -> tuple[Asset, ...]:
        """The assets to collect, in table order, with their ids at all providers that are in use. Raises UnknownAsset."""
        return self.find_assets(self.crypto_list)

    def find_assets(self, names: Iterable[str]) -> tuple[Asset, ...]:
        """The assets that `names` mean, as `assets`; all known ones when it is empty. Raises UnknownAsset."""
        return resolve_assets(names, self.extra_assets, self.brought_specs)

    @property
    def brought_specs(self) -> tuple[ProviderSpec, ...]:
        """Of the providers in use that other packages bring, as far as they can be loaded (`doctor` names the others)."""
        in_use = dict.fromkeys((*self.collect.providers, *self.collect.history_providers))
        return tuple(spec for name in in_use if name not in BUILT_IN_PROVIDERS and (spec := find_spec(name)) is not None)

    @property
    def stream_topics(self) -> dict[str, int]:
        """Partitions of the topics of trade streams, by name; empty while streams are off."""
        kafka = self.kafka
        if not self.streams.on:
            return {}
        quotes = {kafka.quotes_topic: 1} if self.streams.quotes else {}
        frames = {kafka.frames_topic: 1} if self.streams.raw_frames else {}
        return {kafka.trades_topic: kafka.trades_partitions, kafka.trade_gaps_topic: 1, kafka.venue_candles_topic: 1} | quotes | frames

    @property
    def topic_limits(self) -> dict[str, dict[str, str]]:
        """Kafka's configuration of topics that differ from the others, by name."""
        return {self.kafka.frames_topic: {"retention.ms": str(self.streams.raw_keep_hours * 3_600_000)}}

    @property
    def token_file(self) -> Path:
        """File with the bearer token of the control service, mode 0600."""
        return self.home / "control.token"

    @property
    def ray_token_file(self) -> Path:
        """File with the token of the Ray cluster started by `up`, mode 0600. Ray's dashboard requires it."""
        return self.home / "ray.token"

    @property
    def run_dir(self) -> Path:
        """Folder for pid files, state files and the record of the running cluster."""
        return self.home / "run"

    @property
    def log_dir(self) -> Path:
        """Folder for logs, one file per component."""
        return self.home / "logs"

    @property
    def secrets(self) -> frozenset[str]:
        """All keys and passwords in the settings, including those in URLs, for masking."""
        return frozenset(secrets_in(self))

    def provider(self, name: str) -> ProviderSettings:
        """Settings of a provider; defaults if none are set."""
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
        del settings_cls, env_settings, dotenv_settings, file_secret_settings  # replaced; secret files are not used
        return (init_settings, *cls.outer_sources())

    @classmethod
    def outer_sources(cls) -> tuple[PydanticBaseSettingsSource, ...]:
        """Sources beside the arguments, which accept comma-separated lists. Within one source, the predecessor's names have lower precedence; the
        shell's proxy variables have the lowest.
        """
        sources = (EnvValues(cls), SeedNames(cls, os.environ), DotenvValues(cls), SeedNames(cls, read_dotenv(cls)))
        return (*sources, ShellNames(cls, os.environ))


# Two providers suffice to show a fallback, and limit the load of the demo.
_DEMO_COLLECT: dict[str, Any] = {"tick_s": 2.0, "providers": ("coingecko", "coinmarketcap")}
# Proportional to the demo's tick, so that a refused provider recovers within a minute.
_DEMO_WAITS: dict[str, Any] = {
    "rate_limit_wait_s": 5.0,
    "max_wait_s": 30.0,
    "breaker": {"open_s": 4.0, "max_open_s": 20.0},
    "quota": {"max_wait_s": 30.0},
}


def load_settings(profile: Literal["live", "demo"] = "live", **overrides: Any) -> Settings:
    """Load the settings. The demo differs only in defaults: a tick of 2 s, a separate home, providers at the replay market.

    Passwords of embedded engines that are not set are read from `home`, where the first start generates them.

    Raises:
        SettingsError: contains the setting, the value and what is valid.
    """
    require_text(os.environ)
    dotenv = read_dotenv(Settings)  # before pydantic-settings reads it, for a better error
    try:
        check_names(Settings, os.environ, dotenv)
        check_overrides(Settings, overrides)
        settings = _read(profile, overrides)
        hide(settings.secrets)  # before code of other packages runs, whose errors could quote them
        check_settings(settings)
        check_files(settings)
    except SettingsError as error:
        raise Places(os.environ, Path(DOTENV_FILE), dotenv_lines(Settings)).added_to(error) from None
    settings = with_authorities(with_credentials(settings, read_credentials(settings)))
    hide(settings.secrets)
    return settings


def check_settings(settings: Settings) -> None:
    """Check settings that are valid each, but contradict each other. Files are not read (see `check_files`).

    Raises:
        SettingsError: names the settings, the values that contradict each other, and what is valid.
    """
    if settings.home == settings.cache:
        text = f"CRYPTOVIZ_HOME and CRYPTOVIZ_CACHE are both {str(settings.home)!r}: the home has to be a folder for the pipeline alone"
        raise SettingsError(text, setting="CRYPTOVIZ_CACHE", settings=("CRYPTOVIZ_CACHE", "CRYPTOVIZ_HOME"))
    check_assets(settings.crypto_list, settings.extra_assets, settings.collect.providers, settings.brought_specs)
    check_collection(settings)
    check_streams(settings)
    check_engines(settings)


def _read(profile: Literal["live", "demo"], overrides: dict[str, Any]) -> Settings:
    try:
        settings = Settings(profile=profile, **overrides)
        if profile == "demo":
            settings = Settings(profile=profile, **_merge(_demo_overrides(settings), overrides))
    except UnreadableSetting as error:
        raise SettingsError(f"a CRYPTOVIZ_ variable cannot be read: {error}", setting="CRYPTOVIZ_") from None
    except ValidationError as error:
        raise refusal(Settings, error) from None
    return settings


def _demo_overrides(given: Settings) -> dict[str, Any]:
    market = f"http://{LOOPBACK}:{given.market.port}"
    overrides: dict[str, Any] = {"providers": {}}
    collect = {name: value for name, value in _DEMO_COLLECT.items() if name not in given.collect.model_fields_set}
    if "providers" in collect:
        # Settings for the live pipeline must not prevent the demo.
        collect["providers"] = [name for name in collect["providers"] if given.provider(name).enabled] or given.collect.providers
    overrides["collect"] = given.collect.model_dump() | collect
    if "tick_s" in collect:
        longest_ms = round(TICK_DEADLINE_SHARE * 1000 * collect["tick_s"])
        overrides["collect"]["consensus_wait_ms"] = min(given.collect.consensus_wait_ms, longest_ms)
    if "home" not in given.model_fields_set:
        overrides["home"] = demo_dir()
    if given.streams.on:
        overrides["streams"] = given.streams.model_dump() | {"venue": {name: stream_addresses(name, given) for name in given.streams.venues}}
    for name in dict.fromkeys((*overrides["collect"]["providers"], *given.collect.history_providers)):
        # Keys and the plans that require them are not sent to the replay market.
        own = given.provider(name)
        waits = {key: value for key, value in _DEMO_WAITS.items() if key not in own.model_fields_set}
        if "max_wait_s" in waits:
            waits["max_wait_s"] = max(waits["max_wait_s"], waits.get("rate_limit_wait_s", own.rate_limit_wait_s))
        elif "rate_limit_wait_s" in waits:
            waits["rate_limit_wait_s"] = min(waits["rate_limit_wait_s"], own.max_wait_s)
        overrides["providers"][name] = own.model_dump() | waits | {"base_url": f"{market}/{name}", "api_key": None, "plan": ""}
    return overrides


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged
