"""Model of maintenance rounds: one sweeps while another merges, each paused, killed or superseded between any two steps.

Like the model of the lake job it has no time: any round may begin at any moment, independent of a lease. A file is a name and its rows;
the name of a merged file is derived from its inputs and, in the new design, from the attempt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Round", "Rounds", "Table", "begin", "fault", "moves"]

File = tuple[str, frozenset[str]]
Files = frozenset[File]


@dataclass(frozen=True)
class Rounds:
    """The explored design.

    Attributes:
        own_names: the name of a merged file is never used by another attempt.
        epoch: a sweep lists first, then raises the table's epoch in the log, then reads the log, and deletes what was listed and is not in it; a
            merge is committed only at the epoch at which it began.
        ensure: a merge checks before and after its commit that its file exists, and uploads it again.
    """

    own_names: bool = True
    epoch: bool = True
    ensure: bool = False


class Round(NamedTuple):
    """Position and knowledge of a round."""

    at: str = "off"
    listed: Files = frozenset()
    doomed: tuple[File, ...] = ()
    epoch: int = 0
    inputs: Files = frozenset()
    made: File | None = None


class Table(NamedTuple):
    """The log's files and epoch, the store, uploads of parts that may still arrive, and the rounds."""

    committed: Files
    epoch: int
    store: Files
    late: tuple[File, ...]
    kills: int
    rounds: tuple[Round, ...]


def part(name: str) -> File:
    """A file of the lake job."""
    return name, frozenset(name)


def begin(rounds: int, kills: int, *, leftover: bool = False, late: bool = False, rules: Rounds | None = None) -> Table:
    """Two parts; with `leftover` the file of a merge interrupted before its commit, with `late` a pending upload of a part."""
    parts = frozenset((part("a"), part("b")))
    left = {_merged(rules or Rounds(), parts, 9)} if leftover else set()
    return Table(parts, 0, parts | left, (part("a"),) if late else (), kills, (Round(),) * rounds)


def fault(rules: Rounds, table: Table) -> str:
    """The fault; empty if there is none."""
    lost = table.committed - table.store
    if lost:
        return f"lost: the log names {sorted(name for name, _ in lost)}, and the store has no such file"
    if sorted(row for _, rows in table.committed for row in rows) != ["a", "b"]:
        return f"wrong: the log's files are {sorted(table.committed)}"
    if all(one.at == "over" for one in table.rounds) and not table.late:
        number = len(table.rounds)
        after = table._replace(rounds=(*table.rounds, Round()), kills=0)
        while after.rounds[number].at != "over":
            *_, (_, after) = _step(rules, after, number, after.rounds[number])
        return "" if after.store == after.committed and len(after.store) == 1 else f"not cleared away: {sorted(after.store - after.committed)}"
    return ""


def _merged(rules: Rounds, inputs: Files, attempt: int) -> File:
    return f"c{attempt if rules.own_names else ''}-{'-'.join(sorted(name for name, _ in inputs))}", frozenset().union(*(rows for _, rows in inputs))


def moves(rules: Rounds, table: Table) -> Iterator[tuple[str, Table]]:
    """All possible next steps."""
    if table.late:
        yield f"late upload of {table.late[0][0]}", table._replace(store=table.store | {table.late[0]}, late=table.late[1:])
    for number, one in enumerate(table.rounds):
        if one.at == "over" or (one.at == "off" and any(other.at == "off" for other in table.rounds[:number])):
            continue
        for what, to in _step(rules, table, number, one):
            yield f"round {number} {what}", to
        if table.kills and one.at != "off":
            yield f"round {number} is killed", _set(table._replace(kills=table.kills - 1), number, one._replace(at="over"))


def _step(rules: Rounds, table: Table, number: int, one: Round) -> Iterator[tuple[str, Table]]:  # noqa: C901 (one branch a step)
    match one.at:
        case "off":
            yield "lists the store", _set(table, number, one._replace(at="raise" if rules.epoch else "read", listed=table.store))
        case "raise" if one.listed <= table.committed:
            yield "finds nothing to sweep", _set(table, number, one._replace(at="open", listed=frozenset()))
        case "raise":
            yield "raises the epoch", _set(table._replace(epoch=table.epoch + 1), number, one._replace(at="read"))
        case "read":
            yield "reads the log", _set(
                table, number, one._replace(at="sweep", doomed=tuple(sorted(one.listed - table.committed)), listed=frozenset())
            )  # fmt: skip
        case "sweep" if one.doomed:
            file, *rest = one.doomed
            yield f"deletes {file[0]}", _set(table._replace(store=table.store - {file}), number, one._replace(doomed=tuple(rest)))
        case "sweep" | "open":
            at = "put" if len(table.committed) > 1 else "over"
            yield "opens the table", _set(table, number, one._replace(at=at, doomed=(), epoch=table.epoch, inputs=table.committed))
        case "put":
            made = _merged(rules, one.inputs, number)
            at = "ensure" if rules.ensure else "commit"
            yield f"puts {made[0]}", _set(table._replace(store=table.store | {made}), number, one._replace(at=at, made=made))
        case "ensure" if one.made:
            yield f"looks for {one.made[0]}", _set(table._replace(store=table.store | {one.made}), number, one._replace(at="commit"))
        case "commit" if one.made and (not one.inputs <= table.committed or (rules.epoch and table.epoch != one.epoch)):
            yield "is refused", _set(table, number, one._replace(at="over"))
        case "commit" if one.made:
            with_made = table._replace(committed=table.committed - one.inputs | {one.made})
            at = "ensure again" if rules.ensure else "remove"
            yield f"commits {one.made[0]}", _set(with_made, number, one._replace(at=at, doomed=tuple(sorted(one.inputs))))
        case "ensure again" if one.made:
            yield f"looks for {one.made[0]} again", _set(table._replace(store=table.store | {one.made}), number, one._replace(at="remove"))
        case "remove" if one.doomed:
            file, *rest = one.doomed
            yield f"deletes {file[0]}", _set(table._replace(store=table.store - {file}), number, one._replace(doomed=tuple(rest)))
        case _:
            yield "ends", _set(table, number, one._replace(at="over"))


def _set(table: Table, number: int, one: Round) -> Table:
    one = Round("over") if one.at == "over" else one
    return table._replace(rounds=(*table.rounds[:number], one, *table.rounds[number + 1 :]))
