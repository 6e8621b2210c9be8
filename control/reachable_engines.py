"""Refuses a start in which workers would need engines that only the head's machine reaches."""

from __future__ import annotations

from collections.abc import Sequence

from cryptoviz.errors import PreflightError
from cryptoviz.placement import ClusterNode, Place, candidates, other_machines
from cryptoviz.settings import Settings, loopback_engines, uses_own_loopback

__all__ = ["require_reachable_engines"]


def require_reachable_engines(settings: Settings, nodes: Sequence[ClusterNode], head_id: str) -> None:
    """Raises PreflightError if components would run on other machines than the engines on loopback; the text names the settings."""
    engines = loopback_engines(settings)
    head = next(node for node in nodes if node.id == head_id)
    elsewhere = {node.address for node in other_machines(nodes, head)}
    if not engines or not elsewhere:
        return
    placement, collect = settings.placement, settings.collect
    users = {"CRYPTOVIZ_PLACEMENT__EXECUTORS": placement.executors}
    if any(settings.provider(name).enabled and not uses_own_loopback(settings, name) for name in collect.providers):
        users["CRYPTOVIZ_PLACEMENT__SCRAPERS"] = placement.scrapers
    far = {
        setting: text
        for setting, text in sorted(users.items())
        if any(node.address in elsewhere for node in candidates(Place.parse(text), nodes, head_id))
    }
    if not far:
        return
    users_text = " and ".join(f"{setting} is {text}" for setting, text in far.items())
    engines_text = " and ".join(f"{address} ({setting})" for setting, address in engines.items())
    raise PreflightError(
        f"the cluster has nodes on other machines ({', '.join(sorted(elsewhere))}), and {users_text}, which would use them, but only this machine "
        f"reaches {engines_text}: set CRYPTOVIZ_ENGINES__BIND to an address of this machine that they reach, or the addresses to servers of your "
        f"own, or {' and '.join(far)} to head",
        problems=[*far, *engines],
    )
