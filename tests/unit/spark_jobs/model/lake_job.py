"""Model of the lake job: between any two steps it may be paused, killed or superseded, and its requests may arrive late.

The model has no time. Any run may start at any moment, as if every lease had expired, and each step of a run may follow the previous step at any
moment: a pause, a step of a clock and a slow store are equivalent. A run may be killed between any two steps, and a request that it had sent may
arrive at any later moment. A lost response is a step after which the run retries or is killed: the job looks a commit up before it repeats it
(`TableLog._was_made`), and also the batch plan (`BatchPlan`).

One topic-partition of `records` offsets, whose batches go to `tables` tables, committed in sequence, each with its own fence. A file is
(table, start, end), end exclusive, and its bytes are a function of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Rules", "Run", "State", "begin", "doubled", "fault", "moves"]

File = tuple[int, int, int]
Files = frozenset[File]


@dataclass(frozen=True)
class Rules:
    """The explored design.

    Attributes:
        sweep: files that a start deletes. `known_at_start`: all that were not in the log when the run began. `checked`: all that are not in the log,
            checked again before each deletion. `below`: those below the progress of a version of the log that does not contain them.
        plan: a batch's range is written to the batch plan before its first file, and a new run takes the batch plan over and first repeats its range.
        look_again: after it has taken the batch plan over, a run checks that the logs are still its own.
        avoid: names of files above progress that are not in the batch plan are recorded there as never to be used again, then the files are deleted.
        records: offsets in Kafka.
        tables: number of tables of a batch.
    """

    sweep: str = "below"
    plan: bool = True
    look_again: bool = True
    avoid: bool = True
    records: int = 3
    tables: int = 1


class Run(NamedTuple):
    """One run of the job: its position and its knowledge, which may be outdated."""

    at: str = "off"
    fenced: int = 0
    position: int = 0
    ends: tuple[int, ...] = ()
    known: Files = frozenset()
    tag: int = 0
    redo: int = 0
    avoid: Files = frozenset()
    listed: Files = frozenset()
    doomed: tuple[File, ...] = ()
    todo: tuple[File, ...] = ()
    made: tuple[File, ...] = ()


class State(NamedTuple):
    """The logs (last fence, files), the batch plan (tag, end of its range, names to avoid), the store, late requests, the runs."""

    owners: tuple[int, ...]
    committed: Files
    plan: tuple[int, int, Files]
    store: Files
    late: frozenset[tuple[str, File]]
    kills: int
    runs: tuple[Run, ...]

    def progress(self, table: int) -> int:
        """Progress by the table's log."""
        return max((end for of, _, end in self.committed if of == table), default=0)


def begin(rules: Rules, runs: int, kills: int, leftover: File | None = None, *, planned: bool = False) -> State:
    """`leftover`: a file of an earlier interrupted batch; `planned`: of a run with a batch plan."""
    store = frozenset({leftover} if leftover else ())
    plan = (0, leftover[2] if leftover and planned else 0, frozenset[File]())
    return State((-1,) * rules.tables, frozenset(), plan, store, frozenset(), kills, (Run(),) * runs)


def fault(rules: Rules, state: State) -> str:
    """The fault of a state for a reader of the log, or a permanent fault for a reader of the folder; empty if there is none."""
    lost = state.committed - state.store
    if lost:
        return f"lost: the log names {sorted(lost)}, and the store has no such file"
    for table in range(rules.tables):
        spans = sorted(file[1:] for file in state.committed if file[0] == table)
        if [start for start, _ in spans] != [0, *(end for _, end in spans)][: len(spans)]:
            return f"wrong: the log's ranges {spans} overlap or leave something out"
    if all(run.at == "over" for run in state.runs) and not state.late:
        return _recovered(rules, state)
    return ""


def _recovered(rules: Rules, state: State) -> str:
    """State after an undisturbed run and the following sweep."""
    number = len(state.runs)
    state = state._replace(runs=(*state.runs, Run()), kills=0)
    while state.runs[number].at != "over":
        *_, (_, state) = _step(rules, state, number, state.runs[number])
    if any(state.progress(table) < rules.records for table in range(rules.tables)):
        return "stuck: a run that nothing disturbed did not come to the end"
    return "" if state.committed <= state.store else "lost: by a run that nothing disturbed"


def doubled(state: State) -> str:
    """Whether a reader of the folder currently sees a row twice."""
    store = sorted(state.store)
    return next((f"doubled: {one} and {other}" for one in store for other in store if one < other and _meet(one, other)), "")


def _meet(one: File, other: File) -> bool:
    return one[0] == other[0] and one[1] < other[2] and other[1] < one[2]


def moves(rules: Rules, state: State) -> Iterator[tuple[str, State]]:
    """All possible next steps."""
    for kind, file in sorted(state.late):
        landed = state._replace(late=state.late - {(kind, file)})
        yield f"late {kind} of {file}", _apply(landed, kind, file)
    for number, run in enumerate(state.runs):
        if run.at == "over" or (run.at == "off" and any(one.at == "off" for one in state.runs[:number])):
            continue
        for what, to in _step(rules, state, number, run):
            yield f"run {number} {what}", to
        if state.kills and run.at != "off":
            killed = _set(state._replace(kills=state.kills - 1), number, run._replace(at="over"))
            yield f"run {number} is killed", killed
            sent = ("delete", run.doomed[0]) if run.at == "delete" and run.doomed else ("put", run.todo[0]) if run.at == "put" else None
            if sent:
                yield f"run {number} is killed, its {sent[0]} on the way", killed._replace(late=killed.late | {sent})


def _step(rules: Rules, state: State, number: int, run: Run) -> Iterator[tuple[str, State]]:  # noqa: C901 (one branch a step)
    match run.at:
        case "off" | "fence":
            table = run.fenced
            owners = (*state.owners[:table], number, *state.owners[table + 1 :])
            known = run.known | {file for file in state.committed if file[0] == table}
            done = table + 1 == rules.tables
            at = "fence" if not done else "take" if rules.plan else "list"
            ends = (*run.ends, state.progress(table))
            yield f"fences table {table}", _set(
                state._replace(owners=owners), number, run._replace(at=at, fenced=table + 1, known=known, ends=ends, position=ends[-1])
            )  # fmt: skip
        case "take":
            yield "reads the plan", _set(state, number, run._replace(at="claim", tag=state.plan[0], redo=state.plan[1], avoid=state.plan[2]))
        case "claim":
            yield from _write_plan(state, number, run, run.redo, run.avoid, "look" if rules.look_again else "list")
        case "look":
            ours = all(owner == number for owner in state.owners)
            yield "looks at the logs again", _set(state, number, run._replace(at="list" if ours else "over"))
        case "list":
            yield "lists the store", _set(state, number, run._replace(at="read", listed=state.store))
        case "read":
            yield "reads the logs", _set(state, number, _sweep(rules, state, run))
        case "note":
            more = run.avoid | {file for file in run.doomed if file[2] > run.ends[file[0]]}
            yield from _write_plan(state, number, run, run.redo, more, "delete")
        case "delete" if not run.doomed:
            yield "has swept", _set(state, number, run._replace(at="batch"))
        case "delete":
            if rules.sweep == "checked" and run.doomed[0] in state.committed:
                yield f"leaves {run.doomed[0]}", _set(state, number, run._replace(doomed=run.doomed[1:]))
            else:
                yield f"is about to delete {run.doomed[0]}", _set(state, number, run._replace(at="deleting"))
        case "deleting":
            yield f"deletes {run.doomed[0]}", _set(
                _apply(state, "delete", run.doomed[0]), number, run._replace(at="delete", doomed=run.doomed[1:])
            )  # fmt: skip
        case "batch" if run.position >= rules.records:
            yield "has all", _set(state, number, run._replace(at="over"))
        case "batch":
            for end in [run.redo] if run.redo > run.position else range(run.position + 1, rules.records + 1):
                files = _files(run, end)
                planned = run._replace(at="put", todo=files, made=files)
                if rules.plan:
                    yield from _write_plan(state, number, planned, end, run.avoid, "put")
                else:
                    yield f"begins [{run.position}, {end})", _set(state, number, planned)
        case "put":
            rest = run.todo[1:]
            put = _apply(state, "put", run.todo[0])
            yield f"puts {run.todo[0]}", _set(put, number, run._replace(at="put" if rest else "commit", todo=rest))
        case "commit" if state.owners[run.made[0][0]] != number:
            yield "is refused", _set(state, number, run._replace(at="over"))
        case "commit":
            yield from _commit(state, number, run)


def _commit(state: State, number: int, run: Run) -> Iterator[tuple[str, State]]:
    """The remaining files of the first table that has any."""
    table = run.made[0][0]
    own = tuple(file for file in run.made if file[0] == table)
    rest = run.made[len(own) :]
    end = own[-1][2]
    ends = tuple(end if of == table else before for of, before in enumerate(run.ends))
    moved = state._replace(committed=state.committed | set(own))
    after = run._replace(made=rest, ends=ends) if rest else run._replace(at="batch", made=(), ends=ends, position=end, redo=0)
    yield f"commits {list(own)}", _set(moved, number, after)


def _sweep(rules: Rules, state: State, run: Run) -> Run:
    """Files that the run will delete, by the listing and the current versions of the logs."""
    if rules.sweep != "below":
        doomed = run.listed - (run.known if rules.sweep == "known_at_start" else state.committed)
        return run._replace(at="delete", doomed=tuple(sorted(doomed)), listed=frozenset())
    unknown = run.listed - state.committed
    doomed = frozenset(file for file in unknown if file[2] <= state.progress(file[0]))
    # Files of a single offset cannot get another name: they stay until progress has passed them.
    strange = {
        file
        for file in unknown - doomed
        if file[2] > run.ends[file[0]] and not (run.redo > run.position and file[2] <= run.redo) and file[2] - file[1] > 1
    }
    if rules.plan and rules.avoid and strange:
        return run._replace(at="note", doomed=tuple(sorted(doomed | strange)), listed=frozenset())
    return run._replace(at="delete", doomed=tuple(sorted(doomed)), listed=frozenset())


def _files(run: Run, end: int) -> tuple[File, ...]:
    """Files of a batch up to `end`: for each table from its progress."""
    return tuple(
        file for table, progress in enumerate(run.ends) if progress < end for file in _named((table, max(progress, run.position), end), run.avoid)
    )


def _named(file: File, avoid: Files) -> tuple[File, ...]:
    """One file, or two if its name must not be used again."""
    table, start, end = file
    return (file,) if file not in avoid else (*_named((table, start, end - 1), avoid), (table, end - 1, end))


def _write_plan(state: State, number: int, run: Run, end: int, avoid: Files, at: str) -> Iterator[tuple[str, State]]:
    """The conditional put: succeeds only over the state that this run saw last."""
    if state.plan[0] != run.tag:
        again = run.at == "claim"  # it has changed nothing yet and reads it again
        yield "finds the plan changed", _set(state, number, run._replace(at="take" if again else "over"))
        return
    tag = max(state.plan[0], *(one.tag for one in state.runs)) + 1
    yield f"writes the plan up to {end}", _set(state._replace(plan=(tag, end, avoid)), number, run._replace(at=at, tag=tag, avoid=avoid))


def _apply(state: State, kind: str, file: File) -> State:
    return state._replace(store=state.store | {file} if kind == "put" else state.store - {file})


def _set(state: State, number: int, run: Run) -> State:
    """Remove the knowledge of an ended run, so that equivalent states are equal."""
    run = Run("over") if run.at == "over" else run
    return state._replace(runs=(*state.runs[:number], run, *state.runs[number + 1 :]))
