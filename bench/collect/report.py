"""The figures as Markdown."""

from __future__ import annotations

from typing import Any

__all__ = ["report"]

GOAL_TICK_S = 2.0


GOAL_ACK_MS = 50.0


def report(figures: dict[str, Any]) -> None:
    """Markdown."""
    tick, ack = figures["tick"], figures["ack_ms"]
    print(f"Machine: {figures['machine']}; this process on one core. Load: {figures['load']}.\n")
    print("| 10 000 assets, two providers, median | s |\n|---|---|")
    names = {
        "parse": "parse 140 bodies", "collect": "choose, compare, encode", "publish": "one Kafka transaction", "tick": "**whole tick**",
        "cpu": "of which this process' CPU", "slowest": f"slowest of {tick['rounds']}",
    }  # fmt: skip
    for key, name in names.items():
        print(f"| {name} | {tick[key]:.3f} |")
    print(f"\nGoal: below {GOAL_TICK_S:g} s: {'met' if tick['tick'] < GOAL_TICK_S else 'MISSED'}.\n")
    print("| 17 assets, response to Kafka's acknowledgement | samples | p50 | p95 | p99 | max |\n|---|---|---|---|---|---|")
    hop = figures["ack_through_ray_ms"]
    for name, row in (("in one process, ms", ack), ("through Ray, ms", hop)):
        print(f"| {name} | {row['n']} | {row['p50']:.1f} | {row['p95']:.1f} | {row['p99']:.1f} | {row['max']:.1f} |")
    print(f"\nGoal: p95 through Ray below {GOAL_ACK_MS:g} ms: {'met' if hop['p95'] < GOAL_ACK_MS else 'MISSED'}.\n")
    print("| one transaction, median, ms | records only | with the progress | and the topic's id | one after another, mean |\n|---|---|---|---|---|")
    for count, row in figures["transaction_ms"].items():
        print(f"| records: {count} | {row['records']:.1f} | {row['progress']:.1f} | {row['topic_id']:.1f} | {row['in_a_row']:.1f} |")
    print()
    print("| parser, 10 000 coins, ms of CPU | ours | pydantic | ccxt |\n|---|---|---|---|")
    for provider, row in figures["parsers"].items():
        print(f"| {provider} | {' | '.join('-' if row[name] is None else format(row[name], '.0f') for name in ('ours', 'pydantic', 'ccxt'))} |")
