"""Names, types, units and help texts of the exported metrics, from those of `cryptoviz.components.Probe.metrics`.

The conventions are Prometheus': a prefix, base units (seconds, bytes) as suffix, and `_total` for counters.
See https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptoviz.components import DEAD_LETTERS_METRIC, FAILURES_METRIC, PER_INSTRUMENT, ComponentKind

__all__ = ["HELP", "PREFIX", "Exported", "exported"]

PREFIX = "cryptoviz_"
_TOTAL = "_total"
# Suffixes of probes: replaced by, and the factor of the value. The first that fits counts. A probe's MB is 2**20 bytes.
_UNITS = {"_per_s": ("_per_second", 1.0), "_ms": ("_seconds", 1e-3), "_s": ("_seconds", 1.0), "_mb": ("_bytes", float(2**20))}
_ENGINE = {
    "answer_ms": "Time of the last ping.",
    "rss_mb": "Resident memory of the server's process.",
    "brokers": "Brokers of the Kafka cluster.",
    "topics": "Topics of the Kafka cluster.",
    "buckets": "Buckets of the object store.",
    "used_memory_mb": "Memory that Redis uses for its data.",
}

HELP: dict[ComponentKind, dict[str, str]] = {
    ComponentKind.ENGINE: _ENGINE,
    ComponentKind.EXTERNAL: _ENGINE,
    ComponentKind.MARKET: {
        "requests_total": "Requests that the replay market has served.",
        "faults_active": "Faults that are injected now.",
        "last_request_age_s": "Time since the last request.",
    },
    ComponentKind.SCRAPER: {
        "polls_total": "Polls of the provider.",
        FAILURES_METRIC: "Polls without a price.",
        "consecutive_failures": "Failed polls since the last good one.",
        "held_ticks_total": "Ticks without a poll because the provider asked to wait or the plan is used up.",
        "broken_ticks_total": "Ticks without a poll because the circuit breaker was open.",
        "idle_ticks_total": "Ticks without a poll because the quota planner saves calls.",
        "missed_ticks_total": "Ticks whose poll began too late.",
        "latency_ms": "Time of the last poll.",
        "raw_published_total": "Raw exchanges written to Kafka.",
        "raw_dropped_total": "Raw exchanges lost because the queue was full.",
        "raw_refused_total": "Raw exchanges that the broker refused.",
        "raw_queue": "Raw exchanges that wait for the broker.",
        "results_delivered_total": "Poll results that reached the collector.",
        "results_undelivered_total": "Poll results that did not reach the collector.",
        "absent_scrapers": "Other scrapers of the provider that are away; their coins are polled by this one.",
        "unlisted_ids": "Coins that the provider does not list.",
        "shape_lost_fields": "Fields of the provider's responses that are missing or have another type.",
        "shape_gained_fields": "New fields of the provider's responses.",
        "shape_odd_values": "Fields with values outside their usual range.",
        "last_poll_age_s": "Time since the last poll.",
        "last_good_poll_age_s": "Time since the last poll with a price; before the first, since the start.",
        "turn_s": "Mean time between two polls by the provider's plan.",
    },
    ComponentKind.STREAM: {
        "connected": "Connections that are open and acknowledged.",
        "connections": "Connections that the instruments need.",
        "instruments": "Instruments whose trades are recorded.",
        "instruments_acked": "Instruments whose subscription the venue has acknowledged.",
        "trades_total": "Trades taken, each once.",
        "trades_per_s": "Trades taken a second, of the last 10 seconds.",
        "published_total": "Trades that Kafka has acknowledged.",
        "refilled_total": "Trades that the stream missed and a refill over HTTP brought.",
        "duplicates_dropped_total": "Trades that had been received before.",
        "gaps_open": "Gaps in the trade ids that are open.",
        "missing_trades": "Trades that are missing in open gaps.",
        "reconnects_total": "Connections that were replaced or lost.",
        "bad_frames_total": "Frames that are not as documented.",
        "pauses_total": "Times that the connections were closed because Kafka did not keep up.",
        "queue_trades": "Trades that wait for the broker.",
        "refill_calls_total": "HTTP requests for missing trades.",
        "refused_records_total": "Trades that the broker refused.",
        "publish_failures_total": "Failed transactions; each is repeated.",
        "publish_latency_ms": "Time from the arrival of the oldest trade of the last transaction to the broker's acknowledgement.",
        "data_age_s": "Time since the last trade of the instrument.",
        "spread_bps": "Spread of the instrument's newest quote, in hundredths of a percent.",
        "quotes_acked": "Instruments whose subscription to quotes the venue has acknowledged.",
        "quote_frames_total": "Quotes received.",
        "bad_quotes_total": "Quotes refused, because they are zero, crossed or not as documented.",
        "quotes_recorded_total": "Quotes that Kafka has acknowledged.",
        "quotes_skipped_total": "Changed quotes that were left out of a sample because Kafka did not keep up.",
        "quote_snapshot_failures_total": "Writes of quotes to Redis that failed; each is repeated.",
        "raw_frames_total": "Frames recorded as they arrived.",
        "raw_frames_lost_total": "Frames that were to be recorded as they arrived, and are not.",
    },
    ComponentKind.COLLECTOR: {
        "results_total": "Poll results received.",
        "late_results_total": "Poll results that came after their tick was published.",
        "ticks_published_total": "Ticks written to Kafka.",
        "records_published_total": "Records written to Kafka.",
        "fallback_assets": "Coins of the last tick whose price is not from the primary provider.",
        "disagreeing_assets": "Coins of the last tick whose providers disagree.",
        "gaps_total": "Coins and ticks without a price.",
        "empty_ticks_total": "Ticks without any price.",
        "skipped_ticks_total": "Ticks that were not due because the process was paused.",
        "unplanned_ticks_total": "Ticks without a price because the quota planner saves calls.",
        "outage_ticks": "Ticks that were missed before the start of the collector.",
        "queue_ticks": "Ticks that wait for the broker.",
        "dropped_ticks_total": "Ticks lost because the queue was full.",
        "publish_failures_total": "Failed transactions; each is repeated.",
        "repeated_ticks_total": "Ticks that were found to be published already.",
        "refused_records_total": "Records that the broker refused.",
        "snapshot_failures_total": "Failed writes of the newest prices to Redis.",
        "publish_latency_ms": "Time from the last response of the last tick to the broker's acknowledgement.",
        "last_publish_age_s": "Time since the last publication; before the first, since the start.",
        "tick_s": "Time from one tick to the next.",
        "last_tick_ts_age_s": "Time since the last published tick.",
    },
    ComponentKind.LAKE: {
        "rows_total": "Rows committed to the lake.",
        "files_total": "Data files committed to the lake.",
        "batches_total": "Batches of the streaming job.",
        "batch_ms": "Time of the last batch.",
        "lag_records": "Records in Kafka that are not in the lake.",
        "executors": "Spark executors.",
        "last_batch_age_s": "Time since the last sign of life of the streaming job.",
        "last_commit_age_s": "Time since the last commit; before the first, since the start.",
    },
    ComponentKind.MAINTENANCE: {
        "rounds_total": "Rounds of maintenance.",
        "last_round_age_s": "Time since the last round; before the first, since the start.",
        "interval_s": "Time from the end of a round to the next.",
        "round_ms": "Time of the last round.",
        "plain_window_ms": "Longest time in the last round in which a reader of the folder saw rows twice.",
        "round_peak_mb": "Peak memory of the last round.",
        "merges_total": "Merges of small files.",
        "files_before_total": "Files that merges have replaced.",
        "files_after_total": "Files that merges have written.",
        "bytes_before_total": "Bytes that merges have replaced.",
        "bytes_after_total": "Bytes that merges have written.",
        "rows_merged_total": "Rows that merges have written again.",
        "days_marked_total": "Days marked as complete.",
        "days_unmarked_total": "Days that are no longer complete because of late rows.",
        "candle_days_made_total": "Days whose candles were computed.",
        "candle_ticks_read_total": "Rows read for candles.",
        "trade_candle_days_made_total": "Days whose candles from trades were computed.",
        "trade_candle_trades_read_total": "Trades read for candles.",
        "checkpoints_total": "Checkpoints of Delta logs.",
        "files_expired_total": "Data files past their retention.",
        "leftovers_removed_total": "Objects of interrupted writes that were removed.",
        "gap_days_read_total": "Days read for the gap ledger.",
        "gap_days_changed_total": "Days whose gaps changed.",
    },
    ComponentKind.DASHBOARD: {"loop_lag_s": "Delay of the page server's event loop."},
}
"""Help texts by kind of component and metric of its probe."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A metric as Prometheus sees it. `factor`: from the probe's unit to the base unit. `counter`: its name has no `_total` yet."""

    name: str
    help: str
    counter: bool
    factor: float
    labels: dict[str, str] = field(default_factory=dict)


def exported(kind: ComponentKind, metric: str) -> Exported:
    """How a probe's metric is exported. A metric without a help text is exported too, with its own name as help."""
    owner = "engine" if kind is ComponentKind.EXTERNAL else str(kind)
    if kind is ComponentKind.LAKE and metric.startswith(DEAD_LETTERS_METRIC):
        reason = metric.removeprefix(DEAD_LETTERS_METRIC).removesuffix(_TOTAL)
        if reason == "total":
            return Exported(f"{PREFIX}{owner}_dead_letters", "Records that are no valid prices, over the whole table.", True, 1.0)
        return Exported(f"{PREFIX}{owner}_dead_letters_by_reason", "Dead letters by reason.", True, 1.0, {"reason": reason})
    labels: dict[str, str] = {}
    if kind is ComponentKind.STREAM and PER_INSTRUMENT in metric:
        metric, _, labels["instrument"] = metric.partition(PER_INSTRUMENT)
    counter = metric.endswith(_TOTAL)
    name, factor = metric.removesuffix(_TOTAL), 1.0
    for suffix, (unit, scale) in _UNITS.items():
        if name.endswith(suffix):
            name, factor = name.removesuffix(suffix) + unit, scale
            break
    return Exported(f"{PREFIX}{owner}_{name}", HELP[kind].get(metric, metric), counter, factor, labels)
