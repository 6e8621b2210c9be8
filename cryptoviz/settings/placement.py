"""Where components run on a cluster of several nodes. On a single node only labels have an effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict

from cryptoviz.addresses import is_loopback
from cryptoviz.placement import Place
from cryptoviz.providers.registry import find_spec

if TYPE_CHECKING:
    from cryptoviz.settings.tree import Settings

__all__ = ["PlacementSettings", "loopback_engines", "streams_from_loopback", "uses_own_loopback"]


def _valid(text: str) -> str:
    return str(Place.parse(text))


PlaceName = Annotated[str, AfterValidator(_valid)]


def _valid_for_engines(text: str) -> str:
    if Place.parse(text).rule not in ("head", "label"):
        raise ValueError("valid are head, and label:KEY=VALUE with a label of one node: their data is on its disk")
    return text


class PlacementSettings(BaseModel):
    """Each is `spread`, `pack`, `head` or `label:KEY=VALUE` (`cryptoviz.placement.Place`). The head is used last by the first two."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    scrapers: PlaceName = "spread"
    streams: PlaceName = "spread"
    executors: PlaceName = "spread"
    """Of Spark, which write the lake. Their number is `lake.executors`."""
    engines: Annotated[PlaceName, AfterValidator(_valid_for_engines)] = "head"
    """Of embedded engines: `head` or the label of one node. Their address (`engines.bind`, `engines.advertised`) is then that of this node."""


def loopback_engines(settings: Settings) -> dict[str, str]:
    """Addresses of the engines that only this machine reaches, by the setting of each."""
    servers = [("CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS", f"//{server}") for server in settings.kafka.bootstrap_servers.split(",")]
    servers += [("CRYPTOVIZ_S3__ENDPOINT", str(settings.s3.endpoint)), ("CRYPTOVIZ_REDIS__URL", str(settings.redis.url))]
    return {setting: urlsplit(address).netloc.rpartition("@")[2] for setting, address in servers if _on_loopback(address)}


def uses_own_loopback(settings: Settings, provider: str) -> bool:
    """Whether a provider, or the proxy to it, is a server on this machine's loopback, as the replay market is."""
    spec = find_spec(provider)
    base_url = settings.provider(provider).base_url or (spec.base_url if spec else "")
    return _on_loopback(base_url) or _on_loopback(settings.network.proxy_for(base_url) or "")


def streams_from_loopback(settings: Settings, venue: str) -> bool:
    """Whether a venue of trade streams is a server on this machine's loopback, as the replay market is."""
    own = settings.streams.venue.get(venue)
    return own is not None and (_on_loopback(own.stream_url) or _on_loopback(own.refill_url))


def _on_loopback(url: str) -> bool:
    return is_loopback(urlsplit(url).hostname or "")
