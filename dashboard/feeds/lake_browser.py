"""What the lake page shows: files by day, gaps by hour, dead letters, and the provenance of a price."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from cryptoviz.gaps import Gap, GapScope
from cryptoviz.lake import Lake
from cryptoviz.lake.dead_letter_log import ReasonCounts, preview
from cryptoviz.lake.gap_ledger import read_gaps
from cryptoviz.lake.provenance import Provenance, trace_price
from cryptoviz.lake.table_specs import TABLE_SPECS
from cryptoviz.settings import Settings
from cryptoviz.times import epoch_ms
from dashboard.views.lake_rows import DeadLetter, LakeDay

__all__ = ["LakeBrowser"]

_PREVIEW = 400
_DEAD = (
    "SELECT topic, kafka_partition, kafka_offset, kafka_ts, reason, key, value FROM dead_letters ORDER BY kafka_ts DESC, kafka_offset DESC LIMIT 100"
)


class LakeBrowser:
    """All calls block and raise EngineUnavailable if the object store does not answer. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lake = Lake(settings)
        self._reasons = ReasonCounts(settings)
        kafka = settings.kafka
        self._topics = {"prices": kafka.stream_topic, "raw": kafka.raw_topic}

    def days(self) -> list[LakeDay]:
        """Files of all tables by UTC day, newest first."""
        found = []
        for table in TABLE_SPECS:
            for day, files in self._lake.files(table).items():
                compacted = sum("part-compacted-" in file.path for file in files)
                first = min((file.first for file in files if file.first is not None), default=None)
                size, rows = sum(file.size for file in files), sum(file.rows for file in files)
                found.append(LakeDay(table, day, len(files), compacted, size, rows, None if first is None else epoch_ms(first)))
        return sorted(found, key=lambda one: (one.day, one.table), reverse=True)

    def gaps(self) -> list[Gap]:
        """Gaps of assets in the ledger."""
        return [gap for gap in read_gaps(self._settings) if gap.scope is GapScope.ASSET]

    def dead_letters(self) -> tuple[Mapping[str, int], list[DeadLetter]]:
        """Counts by reason, and the newest."""
        rows = self._lake.query(_DEAD).arrow().to_pylist()
        return self._reasons.look(), [
            DeadLetter(
                row["topic"], row["kafka_partition"], row["kafka_offset"], epoch_ms(row["kafka_ts"]), row["reason"],
                preview(row["key"], _PREVIEW), preview(row["value"], _PREVIEW), len(row["value"] or b""),
            )
            for row in rows
        ]  # fmt: skip

    def trace(self, asset_id: str, tick_ms: int) -> Provenance | None:
        """Where the price of a tick comes from; None if the lake does not have it yet."""
        return trace_price(self._lake, self._topics, asset_id, tick_ms)

    def newest_tick(self, asset_id: str) -> int | None:
        """The newest tick of an asset in the lake, UTC epoch ms."""
        rows = self._lake.query("SELECT max(tick_ts) AS tick FROM prices WHERE asset_id = $asset", parameters={"asset": asset_id}).arrow()
        newest: datetime | None = rows["tick"].to_pylist()[0]
        return None if newest is None else epoch_ms(newest.astimezone(UTC))
