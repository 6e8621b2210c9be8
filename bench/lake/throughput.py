"""Throughput of a backlog of millions in the lake job and in alternative pipelines: same broker, same records, same store."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.lake.contenders import CONTENDERS, contend
from bench.lake.drain import LOOK_S, seconds_of
from bench.lake.environment import engines, lake_host
from bench.lake.feed import backlog
from bench.lake.figures import Figure, Part
from bench.lake.position import wait_for
from bench.lake.records import Shape, records
from bench.lake.stages import decoded_per_s
from bench.lake.usage import Family
from bench.lake.variants import variant
from bench.lake.verify_summary import verdict

__all__ = ["Sizes", "throughput"]

AIM_PER_S = 150_000
_AIM_OF_LIMIT = 0.85
_AIM_OF_BEST = 1.5
_CORES = 2
_DRAIN_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Records to read; fewer for quixstreams, because it is much slower."""

    records: int = 3_000_000
    warm_records: int = 800_000
    quix_records: int = 200_000
    shape: Shape = "short"
    variant: str = "in-use"
    per_trigger: int = 400_000
    executors: int = 1
    executor_cores: int = _CORES


def throughput(sizes: Sizes, contenders: Sequence[str] = tuple(CONTENDERS)) -> Part:
    """The lake job, then each contender, one at a time."""
    lake = {"max_offsets_per_trigger": sizes.per_trigger, "executors": sizes.executors, "executor_cores": sizes.executor_cores}
    with engines(lake=lake) as settings, tempfile.TemporaryDirectory(prefix="cv-contend-") as folder:
        with lake_host(settings, variant(sizes.variant)) as host:
            host.start()
            warm = backlog(settings, records(sizes.warm_records, sizes.shape, seed=1), "bench-warm")
            wait_for(settings, warm.ends, _DRAIN_TIMEOUT_S)
            main = backlog(settings, records(sizes.records, sizes.shape, seed=2))
            family = Family()
            before = family.usage()
            wait_for(settings, main.ends, _DRAIN_TIMEOUT_S, LOOK_S)
            used = family.usage().since(before)
        took = seconds_of(settings, main)
        proof = verdict(settings)
        per_s = main.records / took
        cores = sum(used.values()) / took
        limit_per_s = decoded_per_s(sizes.shape, _CORES)
        figures = [
            Figure(
                "**lake job**" if sizes.variant == "in-use" else f"lake job, {sizes.variant}",
                round(per_s),
                "records/s",
                f">= {AIM_PER_S} records/s",
                per_s >= AIM_PER_S,
                _effort(main.records, took, sum(used.values())),
                proof,
            ),
            Figure(
                "of what two cores could decode",
                round(per_s / limit_per_s, 2),
                "",
                f">= {_AIM_OF_LIMIT}",
                per_s >= _AIM_OF_LIMIT * limit_per_s,
                f"{limit_per_s:.0f} records/s by `stages`; all processes used {cores:.2f} cores, with {_CORES} of them it would be "
                f"{per_s * _CORES / cores / limit_per_s:.2f}",
            ),
        ]
        _say(figures[0], used)
        _say(figures[1])
        best_per_s = 0.0
        for name in contenders:
            result = contend(settings, name, warm.ends, main.ends, Path(folder) / name, sizes.quix_records if name == "quix" else None)
            effort = _effort(result.records, result.seconds, result.cpu_s)
            figures.append(Figure(CONTENDERS[name], round(result.records / result.seconds), "records/s", note=effort, check=result.check))
            best_per_s = max(best_per_s, figures[-1].value)
            _say(figures[-1])
        if best_per_s:
            figures.insert(
                2, Figure("of the best contender", round(per_s / best_per_s, 2), "x", f">= {_AIM_OF_BEST}", per_s >= _AIM_OF_BEST * best_per_s)
            )
    load_text = f"{main.records} records of {main.value_bytes / main.records:.0f} bytes in 2 partitions, after {warm.records} to warm up"
    return Part(
        name="throughput",
        title="Throughput of a backlog",
        sizes=f"{load_text}, at most {sizes.per_trigger} a trigger, {sizes.executors} executor(s) of {sizes.executor_cores} core(s)",
        figures=tuple(figures),
        verifier=proof,
        notes=("the lake job's CPU seconds: " + ", ".join(f"{kind} {seconds:.1f}" for kind, seconds in used.items()),),
        detail={"lake_cpu_s": used},
    )


def _say(figure: Figure, used: Mapping[str, float] | None = None) -> None:
    """Partial result of a run of minutes."""
    sys.stderr.write(f"{figure.name}: {figure.value:g} {figure.unit}; {figure.note}; {figure.check} {dict(used or {})}\n")


def _effort(count: int, took_s: float, cpu_s: float) -> str:
    return f"{cpu_s / count * 1e6:.1f} CPU s per million; {count} in {took_s:.1f} s"
