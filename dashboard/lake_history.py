"""History from the lake's prices table."""

from __future__ import annotations

from collections.abc import Sequence

from cryptoviz.errors import EngineUnavailable
from cryptoviz.settings import Settings
from dashboard.view_logic.candles import Candle
from dashboard.view_logic.statistics import PriceRow

__all__ = ["LakeHistory"]


class LakeHistory:
    """Reads the prices table anew at each call. Calls block; see `HistorySource`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def candles(self, asset_id: str, interval: str, since_ms: int) -> Sequence[Candle]:
        raise EngineUnavailable("no lake yet")

    def rows(self, asset_id: str, since_ms: int, limit: int) -> Sequence[PriceRow]:
        raise EngineUnavailable("no lake yet")

    def csv(self, asset_id: str, since_ms: int) -> bytes:
        raise EngineUnavailable("no lake yet")

    def parquet(self, asset_id: str, since_ms: int) -> bytes:
        raise EngineUnavailable("no lake yet")
