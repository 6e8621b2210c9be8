"""The lake job writes while Spark starts, against a real Kafka and a real MinIO."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cryptoviz.errors import EngineUnavailable
from cryptoviz.settings import Settings
from spark_jobs.streaming import job as lake_job
from spark_jobs.streaming.job import LakeJob
from tests.support.engines import engines, lake_settings
from tests.support.lake_job import caught_up
from tests.support.records import TICK
from tests.support.topics import Feed

pytestmark = [pytest.mark.integration]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    found = lake_settings(tmp_path_factory.mktemp("bridge"))
    with engines(found):
        yield found


def test_records_are_in_the_lake_before_spark_has_started_and_once_after_runs_without_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Feed(settings)
    feed.tick(TICK)
    for later in range(1, 4):
        asked = threading.Event()

        def no_spark(*_: Any, end: threading.Event = asked) -> Any:
            assert end.wait(600)
            raise EngineUnavailable("no Spark", engine="spark")

        monkeypatch.setattr(lake_job, "start_session", no_spark)
        job = LakeJob(settings)
        with ThreadPoolExecutor(1) as pool:
            start = pool.submit(job.start)
            try:
                feed.tick(TICK + later * 1000)
                report = caught_up(settings)
                assert not start.done()
            finally:
                asked.set()
            with pytest.raises(EngineUnavailable, match="no Spark"):
                start.result(240)
            job.stop()
        rows = {(one.table, one.reader): one.rows for one in report.comparisons}
        assert report.ok, report.to_text()
        assert rows["prices", "delta"] == rows["prices", "plain"] == 17 * (later + 1)
