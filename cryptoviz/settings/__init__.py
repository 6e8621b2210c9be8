"""Frozen tree of settings, read once at the entry points (CLI, actor factory) and passed down.

Sources in order of precedence: arguments, environment, `.env`, defaults. Names are `CRYPTOVIZ_<SECTION>__<FIELD>`; the names of the Docker Compose
predecessor (`COINMARKETCAP_API_KEY`, `MINIO_ROOT_USER`, `MINIO_ROOT_PASSWORD`, `REDPANDA_BROKERS`, `CRYPTO_LIST`) are accepted too.
"""

from __future__ import annotations

from cryptoviz.addresses import LOOPBACK, host_port
from cryptoviz.settings.check_collection import TICK_DEADLINE_SHARE
from cryptoviz.settings.check_engines import SEGMENT_BYTES, check_topics
from cryptoviz.settings.credentials import claim_home, credentials_file
from cryptoviz.settings.engines import EnginesSettings
from cryptoviz.settings.handover import SPARK_SECRET_VARIABLE, child_environment, dump_settings_file, load_settings_file, settings_from_environment
from cryptoviz.settings.listeners import PortUse, pipeline_ports
from cryptoviz.settings.names import CLUSTER_VARIABLE, LAKE_RUN_VARIABLE, SETTINGS_FILE_VARIABLE
from cryptoviz.settings.network import DownloadSettings, NetworkSettings
from cryptoviz.settings.placement import PlacementSettings, loopback_engines, streams_from_loopback, uses_own_loopback
from cryptoviz.settings.protection import BreakerSettings, QuotaSettings
from cryptoviz.settings.sections import (
    NO_KEY,
    CollectSettings,
    ControlSettings,
    DashboardSettings,
    KafkaSettings,
    LakeSettings,
    MarketLimits,
    MarketSettings,
    ProviderSettings,
    RaySettings,
    RedisSettings,
    S3Settings,
)
from cryptoviz.settings.seed_names import SEED_NAMES
from cryptoviz.settings.tracing import TracingSettings
from cryptoviz.settings.tree import Settings, check_settings, load_settings

__all__ = [
    "CLUSTER_VARIABLE",
    "LAKE_RUN_VARIABLE",
    "LOOPBACK",
    "NO_KEY",
    "SEED_NAMES",
    "SEGMENT_BYTES",
    "SETTINGS_FILE_VARIABLE",
    "SPARK_SECRET_VARIABLE",
    "TICK_DEADLINE_SHARE",
    "BreakerSettings",
    "CollectSettings",
    "ControlSettings",
    "DashboardSettings",
    "DownloadSettings",
    "EnginesSettings",
    "KafkaSettings",
    "LakeSettings",
    "MarketLimits",
    "MarketSettings",
    "NetworkSettings",
    "PlacementSettings",
    "PortUse",
    "ProviderSettings",
    "QuotaSettings",
    "RaySettings",
    "RedisSettings",
    "S3Settings",
    "Settings",
    "TracingSettings",
    "check_settings",
    "check_topics",
    "child_environment",
    "claim_home",
    "credentials_file",
    "dump_settings_file",
    "host_port",
    "load_settings",
    "load_settings_file",
    "loopback_engines",
    "pipeline_ports",
    "settings_from_environment",
    "streams_from_loopback",
    "uses_own_loopback",
]
