"""A commit whose response is lost is made once; a refused commit is made when the store accepts it; a commit on top of another job's is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from cryptoviz.engines.build import build_engine
from cryptoviz.errors import EngineUnavailable, LakeError
from cryptoviz.lake.objects import TableAddress, table_address
from cryptoviz.lake.parts import Part
from cryptoviz.lake.schema import PRICES
from cryptoviz.settings import Settings
from spark_jobs.tables.parquet import WrittenPart
from spark_jobs.tables.table_log import TableLog
from tests.support.engines import lake_settings
from tests.support.ports import free_port
from tests.support.s3_proxy import Fault, S3Proxy

pytestmark = pytest.mark.integration

COMMIT = re.compile(r"/_delta_log/\d{20}\.json")
PUT = frozenset({"PUT"})


@dataclass
class Rig:
    direct: Settings
    options: dict[str, str]
    address: TableAddress
    proxy: S3Proxy

    def log(self, run: str) -> TableLog:
        return TableLog(self.address, PRICES, self.options, run)

    def paths(self) -> list[str]:
        """Every file in the log, with repetitions, without the proxy."""
        table = DeltaTable(self.address.uri, storage_options=self.direct.s3.storage_options())
        found: list[str] = pa.table(table.get_add_actions()).column("path").to_pylist()
        return found


@pytest.fixture
def rig(whole: Rig) -> Iterator[Rig]:
    """Remove faults at the beginning and at the end of each test."""
    yield whole
    whole.proxy.clear()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    direct = lake_settings(Path(tmp_path_factory.mktemp("commits")))
    engine, port = build_engine("object-store", direct), free_port()
    try:
        engine.start()
        with S3Proxy(port, direct.s3.port) as proxy:
            options = direct.s3.storage_options() | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
            yield Rig(direct, options, table_address(direct.s3, "prices"), proxy)
    finally:
        engine.stop()


def part(first: int) -> WrittenPart:
    return WrittenPart(Part("0a1b2c3d", 0, first, first + 9, date(2026, 1, 2)).path, 100, 10, "{}")


@pytest.mark.parametrize(
    "fault",
    [
        Fault("lost", lose_answer=True, methods=PUT, path=COMMIT),
        Fault("slow down", status=503, code="SlowDown", methods=PUT, path=COMMIT),
        Fault("full", status=507, code="XMinioStorageFull", methods=PUT, path=COMMIT),
        Fault("cut", cut_after=100, methods=PUT, path=COMMIT),
        Fault("all lost", lose_answer=True),
    ],
    ids=lambda fault: fault.name,
)
def test_a_commit_is_made_once_whatever_the_store_answers(rig: Rig, fault: Fault) -> None:
    log = rig.log(f"run-{fault.name}")
    log.open()
    before, first = len(rig.paths()), 10_000 * (1 + len(rig.paths()))
    written, offsets = [part(first)], {("topic", 0): first + 10}
    rig.proxy.set(fault)
    try:
        log.commit(written, offsets)
    except EngineUnavailable:
        rig.proxy.clear()
        log.commit(written, offsets)
    rig.proxy.clear()
    log.commit([part(first + 10)], {("topic", 0): first + 20})
    paths = rig.paths()
    assert len(paths) == len(set(paths)) == before + 2
    again = rig.log("again")
    again.open()
    assert again.progress.offsets["topic", 0] == first + 20


def test_a_commit_in_doubt_is_not_taken_for_ours_when_another_job_took_over(rig: Rig) -> None:
    log = rig.log("first")
    log.open()
    rig.proxy.set(Fault("slow down", status=503, code="SlowDown", methods=PUT, path=COMMIT))
    written = [part(900_000)]
    with pytest.raises(EngineUnavailable):
        log.commit(written, {("topic", 0): 900_010})
    rig.proxy.clear()
    rig.log("second").open()
    with pytest.raises(LakeError, match="run second"):
        log.commit(written, {("topic", 0): 900_010})
    assert written[0].path not in rig.paths()
