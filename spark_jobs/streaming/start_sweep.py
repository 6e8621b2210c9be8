"""Start sweep of the lake job: removes uncommitted files of earlier runs, whose rows a plain reader of the folder would see twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from minio import Minio

from cryptoviz.lake.parts import Part, parse_part, short_topic_id
from cryptoviz.log import get_logger
from spark_jobs.streaming.batch_plan import BatchPlan
from spark_jobs.tables.orphans import LogState, list_data_files, remove_objects
from spark_jobs.tables.table_log import TableLog

__all__ = ["StartSweep"]

log = get_logger("lake")


@dataclass(frozen=True)
class StartSweep:
    """Deletes files that can never be committed any more, and first makes that true for the others.

    A part above a table's progress might be written again and committed, so a late deletion would remove a committed file. Parts of the batch to be
    repeated stay, since they are overwritten. The names of all others are first stored in the batch plan as names to avoid; every later commit comes
    from a run that has read the batch plan. A part of a single offset cannot get another name: it stays until progress has passed it.
    """

    client: Minio
    plan: BatchPlan
    redo: Mapping[tuple[str, int], int]
    """(topic UUID, partition) to the end offset of the repeated batch."""
    check: Callable[[], None]
    """Raises when another run has taken over."""

    def run(self, logs: Mapping[str, TableLog]) -> int:
        """Run the sweep. Returns the number of deleted files.

        Raises:
            LakeError: another run has taken over; nothing was deleted.
            EngineUnavailable: the store does not answer.
        """
        ends = {(short_topic_id(topic_id), partition): end for (topic_id, partition), end in self.redo.items()}
        doomed: dict[str, list[str]] = {}
        avoid: dict[str, set[str]] = {}
        for table, table_log in logs.items():
            listed = list_data_files(self.client, table_log.address)
            log_state = table_log.log_state()
            unknown = {path: name for path, name in listed.items() if isinstance(name, Part) and path not in log_state.paths}
            avoid[table] = {path for path in self.plan.avoid.get(table, ()) if _above(path, log_state)}
            strange = {
                path
                for path, part in unknown.items()
                if not log_state.is_orphan(part) and part.end >= ends.get((part.topic, part.partition), 0) and part.end > part.start
            }
            avoid[table] |= strange
            doomed[table] = sorted(strange | {path for path, part in unknown.items() if log_state.is_orphan(part)})
        self.plan.avoid_names({table: paths for table, paths in avoid.items() if paths})
        for table, paths in doomed.items():
            self.check()
            remove_objects(self.client, logs[table].address, paths)
            if paths:
                log.info("leftover_files_removed", table=table, files=len(paths))
        return sum(map(len, doomed.values()))


def _above(path: str, log_state: LogState) -> bool:
    part = parse_part(path)
    return part is not None and part.end >= log_state.ends.get((part.topic, part.partition), 0)
