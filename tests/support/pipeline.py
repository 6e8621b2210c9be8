"""A separate demo for tests: temporary home, free ports, started and stopped by the command line."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pyarrow as pa
from pyarrow import fs

from cryptoviz.client import ControlClient
from cryptoviz.lake.objects import S3Access
from cryptoviz.lake.topic_reader import read_topic, topic_ends
from cryptoviz.records import Kind, UnifiedRecord
from cryptoviz.settings import Settings, load_settings, load_settings_file
from tests.support import engines
from tests.support.external_engines import as_environment, control_settings, external_settings, running_servers
from tests.support.lake_readers import by_delta, by_folder
from tests.support.ports import free_ports
from tests.support.processes import kill_all
from tests.support.waiting import eventually

CRYPTOVIZ = str(Path(sys.executable).with_name("cryptoviz"))
PORT_SETTINGS = (
    "KAFKA__PORT", "KAFKA__CONTROLLER_PORT", "S3__PORT", "S3__CONSOLE_PORT", "REDIS__PORT", "RAY__GCS_PORT", "RAY__CLIENT_PORT",
    "RAY__DASHBOARD_PORT",
    "CONTROL__PORT", "CONTROL__METRICS_PORT", "MARKET__PORT", "DASHBOARD__PORT", "LAKE__UI_PORT",
)  # fmt: skip


EXTRA_ENVIRONMENT: dict[str, str] = {}
"""What a test adds to the environment of its demo."""


def environment(home: Path, tick_s: float) -> dict[str, str]:
    """Environment of an isolated demo."""
    names = [f"CRYPTOVIZ_{name}" for name in PORT_SETTINGS]
    own = dict(zip(names, map(str, free_ports(len(names))), strict=True))
    own |= {"CRYPTOVIZ_HOME": str(home), "CRYPTOVIZ_COLLECT__TICK_S": str(tick_s)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CRYPTOVIZ_", "RAY_"))}
    return kept | own | EXTRA_ENVIRONMENT


_RECENT = 4000
"""Offsets of each partition: minutes of a demo with two ticks a second."""


@dataclass(frozen=True)
class Demo:
    """A running demo. `env`: environment of its commands."""

    settings: Settings
    env: dict[str, str]

    @property
    def market(self) -> str:
        """Base URL of the replay market."""
        return f"http://127.0.0.1:{self.settings.market.port}"

    @property
    def page(self) -> str:
        """URL of the dashboard."""
        return f"http://127.0.0.1:{self.settings.dashboard.port}/"

    def control(self) -> ControlClient:
        """A new client; close it."""
        return ControlClient.from_settings(self.settings, timeout_s=60)

    def cli(self, *arguments: str, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
        """Run `cryptoviz` as a command."""
        return subprocess.run([CRYPTOVIZ, *arguments], env=self.env, capture_output=True, text=True, timeout=timeout_s, check=False)

    def states(self) -> dict[str, str]:
        """State of each component by name."""
        with self.control() as client:
            return {component.name: str(component.state) for component in client.list().components}

    def await_states(self, timeout_s: float = 120.0, **wanted: str) -> None:
        """Wait until the named components (`lake="RUNNING"`, `scraper__coingecko="STOPPED"`) are in these states."""
        expected = {name.replace("__", "/"): state for name, state in wanted.items()}

        def arrived() -> bool:
            now = self.states()
            assert {name: now[name] for name in expected} == expected
            return True

        eventually(arrived, timeout_s, 0.2)

    def metric(self, component: str, name: str) -> float:
        """A metric of a component; -1 if it is not reported."""
        with self.control() as client:
            return client.get(component).metrics.get(name, -1.0)

    def await_rows(self, timeout_s: float = 180.0) -> None:
        """Wait until every component runs and the lake has rows of this start."""

        def collecting() -> bool:
            with self.control() as client:
                pipeline = client.list()
                assert str(pipeline.state) == "RUNNING", pipeline.reason
            return self.metric("lake", "rows_total") > 0

        eventually(collecting, timeout_s, 0.1)

    @contextmanager
    def fault(self, **spec: Any) -> Iterator[None]:
        """Inject a fault into the market within the context."""
        httpx.post(f"{self.market}/_market/faults", json=spec, timeout=60).raise_for_status()
        try:
            yield
        finally:
            httpx.delete(f"{self.market}/_market/faults", timeout=60).raise_for_status()

    def request_log(self) -> list[dict[str, Any]]:
        """The market's request log."""
        entries: list[dict[str, Any]] = []
        since = 0
        while True:
            page = httpx.get(f"{self.market}/_market/ledger", params={"since": since, "limit": 1000}, timeout=60).json()
            entries += page["entries"]
            if not page["entries"]:
                return entries
            since = page["next_since"]

    def kafka(self, topic: str) -> list[tuple[int, int, bytes | None]]:
        """(partition, offset, value) of every committed record of a topic, in this order: two reads get the partitions' records differently mixed."""
        found = ((one.partition(), one.offset(), one.value()) for one in read_topic(self.settings.kafka, topic))
        return sorted(found, key=lambda record: record[:2])

    def stream(self) -> dict[tuple[int, int], UnifiedRecord]:
        """Every committed unified record by (partition, offset), without the invalid records of tests."""
        found = {}
        for partition, offset, value in self.kafka(self.settings.kafka.stream_topic):
            try:
                found[partition, offset] = UnifiedRecord.from_json(value or b"")
            except ValueError:
                continue
        return found

    def recent(self) -> list[UnifiedRecord]:
        """The committed unified records of the last minutes: waiting for a tick by `stream` would read the whole topic again and again."""
        topic = self.settings.kafka.stream_topic
        spans = {partition: (max(start, end - _RECENT), end) for partition, (start, end) in topic_ends(self.settings.kafka, topic)[1].items()}
        found = []
        for message in read_topic(self.settings.kafka, topic, spans):
            with contextlib.suppress(ValueError):
                found.append(UnifiedRecord.from_json(message.value() or b""))
        return found

    def newest_tick(self) -> int:
        """The newest tick of a poll with a record, UTC epoch ms."""
        return max(record.tick_ts for record in self.recent() if record.kind == Kind.LIVE)

    def exchanges(self) -> list[dict[str, Any]]:
        """Every committed raw exchange, without the invalid records of tests."""
        found = []
        for _, _, value in self.kafka(self.settings.kafka.raw_topic):
            with contextlib.suppress(orjson.JSONDecodeError):
                exchange = orjson.loads(value or b"")
                if isinstance(exchange, dict) and "endpoint" in exchange:
                    found.append(exchange)
        return found

    def lake_rows_by_delta(self) -> list[dict[str, Any]]:
        """The prices table by its Delta log."""
        return read_again(lambda: by_delta(self.settings, "prices"))

    def s3(self) -> fs.S3FileSystem:
        """The object store."""
        return S3Access.of(self.settings.s3).filesystem()

    def lake_rows_by_folder(self) -> list[dict[str, Any]]:
        """The prices table for a plain Parquet reader, without the Delta log."""
        return read_again(lambda: by_folder(self.settings, "prices"))


def read_again(read: Callable[[], pa.Table]) -> list[dict[str, Any]]:
    """Retry if maintenance replaces a file between listing and reading."""
    for _ in range(3):
        with contextlib.suppress(OSError):
            return read().to_pylist()  # type: ignore[no-any-return]
    return read().to_pylist()  # type: ignore[no-any-return]


def secrets_of(settings: Settings) -> list[str]:
    """Every secret of a running pipeline, generated or configured."""
    given = (settings.s3.secret_key, settings.redis.password, settings.kafka.sasl_password)
    files = (settings.ray_token_file, settings.token_file)
    found = [each.get_secret_value() for each in given if each is not None] + [path.read_text().strip() for path in files]
    assert all(found)
    return found


def keys(rows: list[dict[str, Any]]) -> Counter[tuple[int, int]]:
    """Number of occurrences of each (partition, offset)."""
    return Counter((row["kafka_partition"], row["kafka_offset"]) for row in rows)


@contextmanager
def running_demo(home: Path, tick_s: float = 0.5) -> Iterator[Demo]:
    """A demo in which every component runs and rows are committed; leaves no process."""
    external = external_settings() if engines.EXTERNAL else {}
    env = environment(home, tick_s) | as_environment(external | (control_settings(home.parent) if external else {}))
    servers = running_servers(load_settings(home=home, **external)) if external else contextlib.nullcontext()
    with servers, detached_demo(home, env) as demo:
        demo.await_rows()
        yield demo


@contextmanager
def detached_demo(home: Path, env: dict[str, str], prefix: Sequence[str] = ()) -> Iterator[Demo]:
    """A demo that was started and may not run yet; leaves no process. `prefix`: a command that runs the command."""
    command = [*prefix, CRYPTOVIZ, "demo", "--detach", "--json"]
    started = subprocess.run(command, env=env, capture_output=True, text=True, timeout=420, check=False)
    try:
        assert started.returncode == 0, started.stderr + started.stdout
        assert {"Dashboard", "gRPC control"} <= set(json.loads(started.stdout)["addresses"])
        yield Demo(load_settings_file(home / "run" / "settings.json"), env)
    finally:
        subprocess.run([CRYPTOVIZ, "down", "--demo"], env=env, capture_output=True, timeout=300, check=False)
        assert kill_all(home) == []


def parse(done: subprocess.CompletedProcess[str]) -> Any:
    """JSON output of a command, which must succeed."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
