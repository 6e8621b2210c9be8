"""The client with a real server on fakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cryptoviz.client import ControlClient
from cryptoviz.components import ComponentKind, ComponentState, ComponentStatus, DesiredState, Trigger
from cryptoviz.errors import ControlRefused, EngineUnavailable, SettingsError, UnknownComponent
from cryptoviz.rpc.convert import component_from_proto, component_to_proto, pipeline_from_proto, pipeline_to_proto
from cryptoviz.rpc.pipeline_status import PipelineStatus, overall
from cryptoviz.settings import load_settings
from cryptoviz.telemetry.log_files import log_path
from tests.support.control_server import Serving, serving
from tests.support.ports import free_port
from tests.support.waiting import eventually

LAKE = ComponentStatus(
    name="lake",
    kind=ComponentKind.LAKE,
    desired=DesiredState.RUNNING,
    state=ComponentState.DEGRADED,
    trigger=Trigger.STALE,
    message="no batch for 31 s",
    since_ms=1_700_000_000_123,
    restarts=2,
    metrics={"lag_records": 12.0},
    depends_on=("kafka", "object-store"),
    pid=42,
    url="http://127.0.0.1:8082",
    nodes=("192.0.2.1", "192.0.2.2"),
)
BARE = ComponentStatus("kafka", ComponentKind.EXTERNAL, DesiredState.STOPPED, ComponentState.STOPPED, Trigger.NONE, "", 0, 0, {}, ())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("home")) as here:
        yield here


@pytest.fixture
def client(served: Serving) -> Iterator[ControlClient]:
    with served.client() as client:
        yield client


def test_the_verbs(client: ControlClient) -> None:
    assert [component.name for component in client.list().components] == ["engine", "worker", "reader/one", "page"]
    assert client.start("reader/one").desired is DesiredState.RUNNING
    pipeline = client.wait(10, lambda now: (one := now.component("reader/one")) is not None and one.state is ComponentState.RUNNING)
    assert pipeline.state is ComponentState.RUNNING
    assert pipeline.reason == "all 3 enabled components run (1 disabled)"
    assert client.restart("reader/one").state is ComponentState.STOPPING
    eventually(lambda: client.get("reader/one").restarts == 1)
    assert client.stop("reader/one").desired is DesiredState.STOPPED
    client.start_pipeline()
    client.wait(10, lambda now: now.reason == "all components run")
    client.stop("page")
    desired = {each.name: each.desired for each in client.start_pipeline(keep_stopped=True).components}
    assert {name for name, state in desired.items() if state is DesiredState.STOPPED} == {"page"}
    client.stop_pipeline()
    assert client.wait_stopped(120).state is ComponentState.STOPPED


def test_metrics_arrive(client: ControlClient) -> None:
    client.start("page")
    status = eventually(lambda: (now := client.get("page")).metrics and now)
    assert isinstance(status, ComponentStatus)
    assert (status.metrics, status.pid) == ({"rows_total": 1.0}, 7)


def test_logs(client: ControlClient, served: Serving) -> None:
    assert list(client.tail_logs("worker")) == []
    path = log_path(served.settings, "reader/one")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"line {number}\n" for number in range(5000)))
    assert list(client.tail_logs("reader/one", 2)) == ["line 4998", "line 4999"]
    assert len(list(client.tail_logs("reader/one", 5000))) == 5000
    assert len(list(client.tail_logs("reader/one"))) == 100
    following = client.tail_logs("reader/one", 1, follow=True, timeout_s=120)
    assert next(following) == "line 4999"
    with path.open("a") as file:
        file.write("\x1b[31mnew\n")
    assert next(following) == "\\x1b[31mnew"
    with pytest.raises(ControlRefused, match="lines: is 10001"):
        list(client.tail_logs("reader/one", 10_001))


def test_typed_errors(client: ControlClient, served: Serving) -> None:
    with pytest.raises(UnknownComponent, match="valid: engine") as unknown:
        client.get("zookeeper")
    assert unknown.value.component == "zookeeper"
    with pytest.raises(ControlRefused, match="INVALID_ARGUMENT: name: must look like") as malformed:
        client.stop("../x")
    assert malformed.value.code == "INVALID_ARGUMENT"
    with ControlClient(served.address, token="wrong") as wrong, pytest.raises(ControlRefused, match="UNAUTHENTICATED") as refused:
        wrong.list()
    assert refused.value.code == "UNAUTHENTICATED"
    with pytest.raises(EngineUnavailable, match="DEADLINE_EXCEEDED"):
        for _ in client.watch(timeout_s=0.3):
            pass


def test_no_service(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with ControlClient(address, token="x") as client, pytest.raises(EngineUnavailable, match="start the pipeline") as away:
        client.list()
    assert away.value.address == address
    with ControlClient(address, token_file=tmp_path / "none") as client, pytest.raises(EngineUnavailable, match="cryptoviz up"):
        client.list()
    with ControlClient(address) as client, pytest.raises(SettingsError, match="pass token or token_file"):
        client.list()
    (tmp_path / "folder").mkdir()
    with ControlClient(address, token_file=tmp_path / "folder") as client, pytest.raises(SettingsError, match="cannot read"):
        client.list()


def test_making_a_client_touches_nothing(tmp_path: Path) -> None:
    client = ControlClient.from_settings(load_settings("live", home=tmp_path))
    assert client.address == "127.0.0.1:50051"
    client.close()


def test_messages_keep_everything() -> None:
    for status in (LAKE, BARE):
        assert component_from_proto(component_to_proto(status)) == status
    pipeline = PipelineStatus(ComponentState.DEGRADED, "lake is DEGRADED", (BARE, LAKE), replayed=True, version=2**60)
    assert pipeline_from_proto(pipeline_to_proto(pipeline)) == pipeline


def test_a_trigger_of_a_later_version_is_none() -> None:
    message = component_to_proto(LAKE)
    message.trigger = "eclipse"
    assert component_from_proto(message).trigger is Trigger.NONE


def test_json_form() -> None:
    tree = PipelineStatus(ComponentState.DEGRADED, "why", (LAKE, BARE)).to_json_dict()
    assert json.loads(json.dumps(tree)) == tree
    assert list(tree) == ["state", "reason", "components"]
    assert tree["components"][0] == {
        "name": "lake",
        "kind": "lake",
        "desired": "RUNNING",
        "state": "DEGRADED",
        "trigger": "stale",
        "message": "no batch for 31 s",
        "since": "2023-11-14T22:13:20.123Z",
        "restarts": 2,
        "metrics": {"lag_records": 12.0},
        "depends_on": ["kafka", "object-store"],
        "pid": 42,
        "url": "http://127.0.0.1:8082",
        "nodes": ["192.0.2.1", "192.0.2.2"],
    }


def _status(name: str, desired: DesiredState, state: ComponentState, message: str = "") -> ComponentStatus:
    return ComponentStatus(name, ComponentKind.ENGINE, desired, state, Trigger.NONE, message, 0, 0, {}, ())


@pytest.mark.parametrize(
    ("components", "state", "reason"),
    [
        ([], ComponentState.STOPPED, "no component is enabled"),
        ([_status("a", DesiredState.STOPPED, ComponentState.STOPPED)], ComponentState.STOPPED, "no component is enabled"),
        ([_status("a", DesiredState.STOPPED, ComponentState.STOPPING)], ComponentState.STOPPING, "stopping a"),
        ([_status("a", DesiredState.RUNNING, ComponentState.RUNNING)], ComponentState.RUNNING, "all components run"),
        (
            [
                _status("a", DesiredState.RUNNING, ComponentState.DEGRADED, "slow"),
                _status("b", DesiredState.RUNNING, ComponentState.FAILED, "no Java"),
            ],
            ComponentState.FAILED,
            "b is FAILED: no Java",
        ),
        (
            [_status("a", DesiredState.RUNNING, ComponentState.RUNNING), _status("b", DesiredState.STOPPED, ComponentState.STOPPED)],
            ComponentState.RUNNING,
            "all 1 enabled components run (1 disabled)",
        ),
    ],
)
def test_overall_state(components: list[ComponentStatus], state: ComponentState, reason: str) -> None:
    assert overall(components) == (state, reason)


def test_a_pipeline_whose_providers_were_never_reached_says_what_to_do() -> None:
    def scraper(name: str, state: ComponentState, failures: float) -> ComponentStatus:
        message = "cannot be reached: no such host"
        return replace(LAKE, name=name, kind=ComponentKind.SCRAPER, state=state, message=message, metrics={"failures_total": failures})

    one, two = scraper("scraper/one", ComponentState.STARTING, 1), scraper("scraper/two", ComponentState.STARTING, 3)
    state, reason = overall([one, two])
    assert state is ComponentState.STARTING
    assert reason.startswith("no provider has answered yet: check the network, DNS and proxy (`cryptoviz doctor`, `cryptoviz providers`); ")
    assert reason.endswith("scraper/two is STARTING: cannot be reached: no such host")
    # A provider that was reached, or not polled, is a different case.
    for other in (scraper("scraper/two", ComponentState.RUNNING, 3), scraper("scraper/two", ComponentState.STARTING, 0)):
        assert overall([one, other])[1].startswith("scraper/one is STARTING")


def test_one_provider_that_never_answers_leaves_a_pipeline_with_prices_degraded() -> None:
    blocked = replace(LAKE, name="scraper/one", kind=ComponentKind.SCRAPER, state=ComponentState.STARTING, metrics={"failures_total": 3.0})
    well = replace(LAKE, name="scraper/two", kind=ComponentKind.SCRAPER, state=ComponentState.RUNNING, metrics={})
    collector = replace(LAKE, name="collector", kind=ComponentKind.COLLECTOR, state=ComponentState.RUNNING, metrics={})
    state, reason = overall([collector, blocked, well])
    assert state is ComponentState.DEGRADED
    assert reason.startswith("scraper/one is STARTING")
    assert overall([replace(collector, state=ComponentState.STARTING), blocked, well])[0] is ComponentState.STARTING
