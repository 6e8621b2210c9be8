"""Transactional ids of the producers of the stream topic. Each names the group in which Kafka stores the producer's progress."""

from __future__ import annotations

__all__ = ["BACKFILL", "COLLECTOR"]

COLLECTOR = "cryptoviz-collector"
BACKFILL = "cryptoviz-backfill"
"""Shared by all backfills: the next one fences a backfill that was thought dead."""
