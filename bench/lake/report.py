"""Formats parts as Markdown for docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable

from bench.lake.figures import Figure, Part

__all__ = ["markdown", "number"]

_THOUSANDS = 10_000


def markdown(parts: Iterable[Part]) -> str:
    """One section for each part."""
    return "\n\n".join(_section(part) for part in parts) + "\n"


def _section(part: Part) -> str:
    lines = [f"### {part.title}", f"`{part.command}`: {part.sizes}. Machine: {part.machine}; load before it: {part.load}.", ""]
    with_notes = any(figure.note for figure in part.figures)
    with_checks = any(figure.check for figure in part.figures)
    head = ["figure", "measured", "aim", *(["note"] if with_notes else []), *(["checked"] if with_checks else [])]
    lines += [_row(head), _row(["---"] * len(head))]
    for figure in part.figures:
        cells = [figure.name, f"{number(figure.value)} {figure.unit}".strip(), _aim(figure)]
        lines.append(_row([*cells, *([figure.note] if with_notes else []), *([figure.check] if with_checks else [])]))
    if part.verifier:
        lines += ["", f"Verifier: {part.verifier}"]
    if part.notes:
        lines += ["", *(f"- {note}" for note in part.notes)]
    return "\n".join(lines)


def number(value: float) -> str:
    """Three significant digits below 100, whole numbers with thin groups above."""
    if abs(value) >= _THOUSANDS:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _aim(figure: Figure) -> str:
    if figure.met is None:
        return figure.aim
    return f"{figure.aim}: {'met' if figure.met else '**missed**'}"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
