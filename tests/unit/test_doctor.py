"""The doctor's findings on fake machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cryptoviz.doctor import Finding, Level, examine, require_fit
from cryptoviz.engines.jars import Jar, JarSet, locked_jars
from cryptoviz.engines.machine import ThisMachine
from cryptoviz.engines.ports import Holder, PortUse
from cryptoviz.errors import PreflightError
from cryptoviz.local.ownership import Fault
from cryptoviz.settings import Settings, load_settings

GB = 1024**3
TLS = Path(__file__).parents[1] / "data" / "tls"


@dataclass
class MadeUp:
    """A machine without problems, except those set by a field."""

    python: tuple[int, int] = (3, 11)
    uname: str = "Linux x86_64"
    java_problem: str = ""
    lacking: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    has_minio: bool = True
    has_valkey: bool = True
    taken: dict[int, Holder] = field(default_factory=dict)
    our_pids: set[int] = field(default_factory=set)
    disk: int = 100 * GB
    read_only: set[Path] = field(default_factory=set)
    folder_problem: str = ""
    faults: dict[str, Fault] = field(default_factory=dict)
    memory: int = 16 * GB
    shm: int = 8 * GB
    unreachable: dict[str, str] = field(default_factory=dict)

    def python_version(self) -> tuple[int, int]:
        return self.python

    def system(self) -> str:
        return self.uname

    def java(self) -> Path:
        if self.java_problem:
            raise PreflightError(self.java_problem)
        return Path("/opt/java")

    def missing(self, settings: Settings, which: JarSet) -> tuple[Jar, ...]:
        return locked_jars(which)[:2] if which in self.lacking else ()

    def damaged(self, settings: Settings, which: JarSet) -> tuple[Jar, ...]:
        return locked_jars(which)[:1] if which in self.broken else ()

    def minio(self, settings: Settings) -> Path | None:
        return Path("/cache/minio") if self.has_minio else None

    def valkey(self) -> Path | None:
        return Path("/wheel/valkey-server") if self.has_valkey else None

    def port_is_free(self, use: PortUse) -> bool:
        return use.port not in self.taken

    def port_holder(self, port: int) -> Holder | None:
        return self.taken.get(port)

    def is_ours(self, settings: Settings, holder: Holder) -> bool:
        return holder.pid in self.our_pids

    def free_disk(self, path: Path) -> int:
        return self.disk

    def can_write(self, path: Path) -> bool:
        return path not in self.read_only

    def shared_folder_problem(self) -> str:
        return self.folder_problem

    def untrusted(self, settings: Settings) -> dict[str, Fault]:
        return self.faults

    def available_memory(self) -> int:
        return self.memory

    def free_shm(self) -> int:
        return self.shm

    def reach(self, host: str, port: int) -> str:
        return self.unreachable.get(f"{host}:{port}", "")


def bad(machine: MadeUp, settings: Settings | None = None) -> list[Finding]:
    return [finding for finding in examine(settings or load_settings(), machine) if finding.level is not Level.OK]


def only(machine: MadeUp, settings: Settings | None = None) -> Finding:
    found = bad(machine, settings)
    assert len(found) == 1, found
    assert found[0].remedy
    return found[0]


def test_a_good_machine_has_no_complaint() -> None:
    findings = examine(load_settings("demo"), MadeUp())
    assert {finding.level for finding in findings} == {Level.OK}
    assert {"Python", "Java", "Kafka jars", "Spark jars", "MinIO", "Valkey", "Ports", "Home", "Cache", "Memory"} <= {each.name for each in findings}
    require_fit(findings)


@pytest.mark.parametrize(
    ("machine", "name", "level", "words"),
    [
        (MadeUp(python=(3, 12)), "Python", Level.FAIL, "3.12"),
        (MadeUp(uname="Darwin arm64"), "System", Level.WARN, "Darwin arm64"),
        (MadeUp(java_problem="Java 17 is needed (on PATH: version 21)"), "Java", Level.FAIL, "version 21"),
        (MadeUp(lacking={"kafka"}), "Kafka jars", Level.FAIL, "2 of 46 are missing"),
        (MadeUp(lacking={"spark"}), "Spark jars", Level.FAIL, "2 of 4 are missing"),
        (MadeUp(broken={"kafka"}), "Kafka jars", Level.FAIL, locked_jars("kafka")[0].name),
        (MadeUp(has_minio=False), "MinIO", Level.FAIL, "not built"),
        (MadeUp(has_valkey=False), "Valkey", Level.FAIL, "Linux x86_64"),
        (MadeUp(memory=3 * GB), "Memory", Level.WARN, "3.0 GB available"),
        (MadeUp(folder_problem="/tmp has no sticky bit"), "Ray folder", Level.FAIL, "no sticky bit"),
        (MadeUp(memory=GB), "Memory", Level.FAIL, "1.0 GB available"),
        (MadeUp(shm=64 * 1024**2), "Shared memory", Level.WARN, "0.1 GB free"),
    ],
)
def test_each_problem_is_reported(machine: MadeUp, name: str, level: Level, words: str) -> None:
    finding = only(machine)
    assert (finding.name, finding.level) == (name, level)
    assert words in finding.detail


@pytest.mark.parametrize("machine", [MadeUp(lacking={"kafka"}), MadeUp(broken={"spark"}), MadeUp(has_minio=False)])
def test_what_fetching_mends_says_so(machine: MadeUp) -> None:
    finding = only(machine)
    assert finding.fixable
    assert "cryptoviz doctor --fix" in finding.remedy


def test_a_small_disk_is_reported_for_home_and_cache() -> None:
    assert [(finding.name, finding.setting) for finding in bad(MadeUp(disk=2 * GB))] == [("Home", "CRYPTOVIZ_HOME"), ("Cache", "CRYPTOVIZ_CACHE")]


def test_a_read_only_home_is_reported(tmp_path: Path) -> None:
    finding = only(MadeUp(read_only={tmp_path}), load_settings(home=tmp_path))
    assert str(tmp_path) in finding.detail
    assert finding.setting == "CRYPTOVIZ_HOME"


@pytest.mark.parametrize(("name", "setting"), [("Home", "CRYPTOVIZ_HOME"), ("Cache", "CRYPTOVIZ_CACHE")])
def test_a_folder_that_others_could_have_changed_is_reported(name: str, setting: str) -> None:
    finding = only(MadeUp(faults={name: Fault(Path("/x/minio"), "belongs to user 7", "remove it")}))
    assert (finding.name, finding.level, finding.setting) == (name, Level.FAIL, setting)
    assert finding.detail == "/x/minio belongs to user 7"


def test_a_read_only_cache_will_do_when_nothing_is_missing(tmp_path: Path) -> None:
    """Like a folder of root that users share."""
    settings = load_settings(cache=tmp_path)
    assert bad(MadeUp(read_only={tmp_path}), settings) == []
    assert [finding.name for finding in bad(MadeUp(read_only={tmp_path}, has_minio=False), settings)] == ["MinIO", "Cache"]


def test_a_taken_port_names_holder_and_setting() -> None:
    finding = only(MadeUp(taken={9002: Holder(4711, "portainer")}))
    assert finding.level is Level.FAIL
    assert finding.setting == "CRYPTOVIZ_S3__PORT"
    assert "portainer (pid 4711)" in finding.detail
    assert "CRYPTOVIZ_S3__PORT" in finding.remedy


def test_ports_of_our_own_running_pipeline_are_fine_and_so_is_the_memory_it_uses() -> None:
    machine = MadeUp(taken={9002: Holder(1, "minio"), 50051: Holder(2, "ray::controller")}, our_pids={1, 2}, memory=GB)
    assert bad(machine) == []
    assert "2 used by this running pipeline" in next(finding.detail for finding in examine(load_settings(), machine) if finding.name == "Ports")


def test_one_port_given_twice_is_reported() -> None:
    settings = load_settings()
    finding = only(MadeUp(), settings.model_copy(update={"redis": settings.redis.model_copy(update={"port": 9002})}))
    assert "9002" in finding.detail
    assert finding.setting in ("CRYPTOVIZ_REDIS__PORT", "CRYPTOVIZ_S3__PORT")


def test_the_predecessors_broker_address_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDPANDA_BROKERS", "redpanda:9092")
    finding = only(MadeUp(unreachable={"redpanda:9092": "cannot resolve the host name 'redpanda'"}), load_settings())
    assert finding.level is Level.FAIL
    assert "redpanda:9092" in finding.detail
    assert "REDPANDA_BROKERS" in finding.remedy
    assert "embedded Kafka" in finding.remedy
    assert finding.setting == "CRYPTOVIZ_KAFKA__BOOTSTRAP_SERVERS"


def test_one_broker_that_answers_is_enough() -> None:
    settings = load_settings(kafka={"bootstrap_servers": "a:1, b:2"})
    assert bad(MadeUp(unreachable={"a:1": "refused"}), settings) == []
    assert len(bad(MadeUp(unreachable={"a:1": "refused", "b:2": "refused"}), settings)) == 2


def test_external_engines_need_no_embedded_files_and_must_be_reachable() -> None:
    settings = load_settings(
        kafka={"bootstrap_servers": "k:9092"}, s3={"endpoint": "https://s3.example"}, redis={"url": "redis://:canary-password@r:6380/0"}
    )
    machine = MadeUp(lacking={"kafka"}, has_minio=False, has_valkey=False)
    assert bad(machine, settings) == []
    machine.unreachable = {"s3.example:443": "timed out", "r:6380": "refused"}
    found = bad(machine, settings)
    assert [finding.setting for finding in found] == ["CRYPTOVIZ_S3__ENDPOINT", "CRYPTOVIZ_REDIS__URL"]
    assert "canary-password" not in str(found)


def test_only_a_start_needs_the_key_of_the_control_service() -> None:
    settings = load_settings(control={"host": "127.0.0.2", "tls_cert": TLS / "good.pem"})
    (found,) = bad(MadeUp(), settings)
    assert (found.level, found.setting) == (Level.FAIL, "CRYPTOVIZ_CONTROL__TLS_KEY")
    assert "good.pem' without the private key" in found.detail
    assert bad(MadeUp(), load_settings(control={"host": "127.0.0.2", "tls_cert": TLS / "good.pem", "tls_key": TLS / "good.pem"})) == []


def test_a_start_waits_for_an_external_engine_that_is_late_but_not_for_one_whose_name_is_wrong() -> None:
    """At boot the engines' host may start later. `doctor` reports both as failed."""
    settings = load_settings(kafka={"bootstrap_servers": "k:9092"}, redis={"url": "redis://r:6380/0"})
    late = examine(settings, MadeUp(unreachable={"k:9092": "refused", "r:6380": "timed out"}))
    assert len([finding for finding in late if finding.level is Level.FAIL]) == 2
    require_fit(late)
    with pytest.raises(PreflightError, match="cannot resolve the host name 'r'") as caught:
        require_fit(examine(settings, MadeUp(unreachable={"k:9092": "refused", "r:6380": "cannot resolve the host name 'r'"})))
    assert len(caught.value.problems) == 1
    two = load_settings(kafka={"bootstrap_servers": "a:1, b:2"})
    require_fit(examine(two, MadeUp(unreachable={"a:1": "cannot resolve the host name 'a'", "b:2": "refused"})))


def test_bad_names_are_reported() -> None:
    settings = load_settings()
    topic = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"raw_topic": "no spaces"})})
    assert only(MadeUp(), topic).setting == "CRYPTOVIZ_KAFKA__RAW_TOPIC"
    assert "nosuch" in only(MadeUp(), settings.model_copy(update={"crypto_list": ("BTC", "NOSUCH")})).detail


def test_require_fit_lists_every_failure_and_no_warning() -> None:
    findings = examine(load_settings(), MadeUp(python=(3, 12), has_minio=False, shm=0))
    with pytest.raises(PreflightError) as caught:
        require_fit(findings)
    assert len(caught.value.problems) == 2
    assert "make setup" in str(caught.value)


def test_this_machine_answers_every_question(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "deep" / "home", cache=tmp_path / "cache")
    findings = {finding.name: finding for finding in examine(settings, ThisMachine())}
    assert findings["Python"].level is Level.OK
    assert findings["Kafka jars"].fixable
    assert findings["MinIO"].fixable
    assert findings["Home"].level is Level.OK
    assert not (tmp_path / "deep").exists()


def test_keys_of_two_free_plans_do_not_pay_for_every_tick() -> None:
    assert bad(MadeUp()) == []
    keyed: dict[str, Any] = {"coingecko": {"api_key": "a"}, "coinmarketcap": {"api_key": "b"}}
    two = {"providers": ["coingecko", "coinmarketcap"]}
    assert bad(MadeUp(), load_settings(providers=keyed)) == []
    finding = only(MadeUp(), load_settings(providers=keyed, collect=two))
    assert (finding.name, finding.level, finding.setting) == ("Cadence", Level.WARN, "CRYPTOVIZ_COLLECT__PROVIDERS")
    # 2 x 9 500 of a month's 40 320 to 44 640 minutes.
    share = float(finding.detail.partition("cover ")[2].partition("%")[0])
    assert 42 <= share <= 48
    slower = float(finding.remedy.partition("TICK_S=")[2].partition(")")[0])
    assert bad(MadeUp(), load_settings(providers=keyed, collect=two | {"tick_s": slower})) == []
    assert bad(MadeUp(), load_settings(providers=keyed, collect={"providers": ["coingecko", "coinmarketcap", "binance"]})) == []
    larger = {name: own | {"quota": {"per_month": 50_000}} for name, own in keyed.items()}
    assert bad(MadeUp(), load_settings(providers=larger, collect=two)) == []
    spent = {name: own | {"quota": {"per_day": 0, "per_month": 1}} for name, own in keyed.items()}
    assert "TICK_S" in only(MadeUp(), load_settings(providers=spent, collect=two)).remedy
