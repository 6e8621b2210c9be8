"""The collector's own records in the raw topic: what each tick was made of, under which rules. Replay and gaps read them."""

from __future__ import annotations

__all__ = ["RECORDER", "RULES", "RULES_WHOLE", "TICK"]

RECORDER = "collector"
"""Their `provider`; no provider can have this name."""
TICK = "tick"
"""Endpoint of the record of one tick."""
RULES = "rules"
"""Endpoint of the rules, before `?part=N&of=M`."""
RULES_WHOLE = f"{RULES}?part=0&of=1"
"""Endpoint of rules that fit into one record, as those of up to a thousand assets do."""
