"""The controller in a real Ray cluster with real engines: calls, kills, takeover, credentials, shutdown."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from control.reconcile.desired_state import DesiredDocument, RedisStore
from cryptoviz.cli.cluster import stop_ray
from cryptoviz.client import ControlClient
from cryptoviz.cluster_record import read_record
from cryptoviz.components import ComponentState, ComponentStatus, DesiredState, Probe
from cryptoviz.control.v1 import control_pb2 as pb
from cryptoviz.control.v1.control_pb2_grpc import ControlServiceStub
from cryptoviz.engines.build import build_engine
from cryptoviz.errors import ControlRefused, EngineUnavailable, UnknownComponent
from cryptoviz.settings import Settings, claim_home, load_settings
from tests.support.files import contents
from tests.support.ports import free_ports
from tests.support.processes import arguments_of, line_of
from tests.support.ray_cluster import launch_controller, start_cluster
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration]

ENGINES = ("kafka", "object-store", "redis")
CANARY = "canary-7c1d5e90"
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    kafka, controller, s3, console, redis, control, gcs, page, dashboard = free_ports(9)
    return claim_home(
        load_settings(
            "live",
            home=tmp_path_factory.mktemp("home"),
            kafka={"port": kafka, "controller_port": controller},
            s3={"port": s3, "console_port": console, "secret_key": CANARY},
            redis={"port": redis},
            control={"port": control},
            ray={"gcs_port": gcs, "dashboard_port": page},
            dashboard={"port": dashboard},
            collect={"providers": ["coingecko", "coinmarketcap"]},
            providers={"coingecko": {"api_key": CANARY}},
        )
    )


@pytest.fixture(scope="module")
def control(settings: Settings) -> Iterator[ControlClient]:
    start_cluster(settings)
    try:
        launch_controller(settings)
        with ControlClient.from_settings(settings, timeout_s=60) as client:
            for name in ENGINES:
                client.start(name)
            yield client
    finally:
        stop_ray(settings)


@pytest.fixture(autouse=True)
def engines_run(control: ControlClient) -> None:
    """Each test begins with the three engines running."""
    for name in ENGINES:
        control.start(name)
        reach(control, name, ComponentState.RUNNING)


def reach(control: ControlClient, name: str, state: ComponentState, timeout_s: float = 180.0) -> ComponentStatus:
    def there() -> ComponentStatus:
        status = control.get(name)
        # An engine's process id comes with its first probe.
        assert status.state is state, status
        assert status.pid or state is not ComponentState.RUNNING, status
        return status

    return eventually(there, timeout_s, 0.2)


def family(settings: Settings) -> list[psutil.Process]:
    record = read_record(settings.home)
    assert record is not None
    return psutil.Process(record.pid).children(recursive=True)


def worker(settings: Settings, title: str) -> psutil.Process:
    """The Ray worker process whose title has this prefix."""

    def find() -> psutil.Process | None:
        return next((process for process in family(settings) if line_of(process).startswith(title)), None)

    found = eventually(find)
    assert found is not None
    return found


def test_stop_and_start_follow_at_once(control: ControlClient, settings: Settings) -> None:
    stopping = control.stop("redis")
    assert (stopping.desired, stopping.state) == (DesiredState.STOPPED, ComponentState.STOPPING)
    reach(control, "redis", ComponentState.STOPPED)
    assert not _answers(settings, "redis")
    assert control.start("redis").state is ComponentState.STARTING
    reach(control, "redis", ComponentState.RUNNING)
    eventually(lambda: _answers(settings, "redis"))
    assert control.get("kafka").restarts == 0


def test_restart(control: ControlClient) -> None:
    before = control.get("redis")
    control.restart("redis")

    def restarted() -> bool:
        now = control.get("redis")
        return now.state is ComponentState.RUNNING and now.restarts == before.restarts + 1 and now.pid not in (None, before.pid)

    eventually(restarted, 120)


@pytest.mark.parametrize("name", ["redis", "object-store", "kafka"])
def test_a_killed_engine_process_comes_back(control: ControlClient, settings: Settings, name: str) -> None:
    before = control.get(name)
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    _comes_back(control, before)
    eventually(lambda: _answers(settings, name))


def test_a_killed_supervisor_takes_the_engines_along_and_all_come_back(control: ControlClient, settings: Settings) -> None:
    before = [control.get(name) for name in ENGINES]
    (host,) = {psutil.Process(engine.pid).parent() for engine in before}
    assert host is not None
    assert " ".join(host.cmdline()).startswith("ray::Supervisor")
    host.kill()
    eventually(lambda: not any(psutil.pid_exists(engine.pid or 0) for engine in before))
    for engine in before:
        _comes_back(control, engine)
        eventually(partial(_answers, settings, engine.name))


def test_a_killed_controller_takes_over_what_runs(control: ControlClient, settings: Settings) -> None:
    control.stop("redis")
    reach(control, "redis", ComponentState.STOPPED)
    before = {name: control.get(name) for name in ("kafka", "object-store")}
    token = settings.token_file.read_text()
    watch = control.watch(timeout_s=300)
    version = next(watch).version
    worker(settings, "ray::Controller").kill()

    def answers() -> bool:
        try:
            return control.list().version > version
        except EngineUnavailable:
            return False

    eventually(answers, 120, 0.2)
    current = control.list().version
    assert any(pipeline.version >= current for pipeline in watch)
    watch.close()
    assert settings.token_file.read_text() == token
    for name, status in before.items():
        now = reach(control, name, ComponentState.RUNNING)
        # Each controller counts restarts from its own start.
        assert (now.pid, now.restarts) == (status.pid, 0)
    assert reach(control, "redis", ComponentState.STOPPED).desired is DesiredState.STOPPED


def test_a_second_controller_gives_way(control: ControlClient, settings: Settings) -> None:
    first = worker(settings, "ray::Controller").pid
    launch_controller(settings)
    assert worker(settings, "ray::Controller").pid == first
    elsewhere = settings.model_copy(update={"ray": settings.ray.model_copy(update={"namespace": "another"}), "home": settings.home / "another"})
    elsewhere = elsewhere.model_copy(update={"ray": elsewhere.ray.model_copy(update={"address": f"{settings.ray.node_ip}:{settings.ray.gcs_port}"})})
    with pytest.raises(EngineUnavailable, match=f"{settings.control.address} is in use"):
        _launch_with_token_of(settings, elsewhere)
    assert worker(settings, "ray::Controller").pid == first


def test_wrong_token_and_wrong_names(control: ControlClient, settings: Settings) -> None:
    with ControlClient(settings.control.address, token="wrong", timeout_s=60) as stranger, pytest.raises(ControlRefused, match="UNAUTHENTICATED"):
        stranger.stop_pipeline()
    for name in ("../x", "redis\nlevel=error", "x" * 1000):
        with pytest.raises(ControlRefused, match="INVALID_ARGUMENT"):
            control.stop(name)
    with pytest.raises(UnknownComponent, match="valid: kafka, object-store, redis"):
        control.start("zookeeper")
    assert control.get("redis").state is ComponentState.RUNNING


def test_a_missing_engine_is_waited_for(control: ControlClient) -> None:
    control.stop("kafka")
    reach(control, "kafka", ComponentState.STOPPED)
    with pytest.raises(EngineUnavailable, match="DEADLINE"):
        control.wait(1.0, lambda now: (one := now.component("collector")) is not None and one.desired is DesiredState.RUNNING)
    control.start("collector")  # enables kafka too
    control.stop("kafka")

    def waits() -> bool:
        waiting = control.get("collector")
        assert (waiting.state, waiting.desired) == (ComponentState.STARTING, DesiredState.RUNNING)
        assert waiting.message.startswith("waiting for kafka (")
        return True

    eventually(waits)
    control.stop("collector")


def test_the_dashboard_is_a_component(control: ControlClient, settings: Settings) -> None:
    control.start("dashboard")
    up = reach(control, "dashboard", ComponentState.RUNNING)
    assert up.pid is not None
    assert up.url == f"http://127.0.0.1:{settings.dashboard.port}"
    assert httpx.get(f"{up.url}/healthz", timeout=60, trust_env=False).status_code == httpx.codes.OK
    psutil.Process(up.pid).kill()
    _comes_back(control, up)
    control.stop("dashboard")
    reach(control, "dashboard", ComponentState.STOPPED)


async def test_a_redis_holds_a_copy_of_what_is_wanted(control: ControlClient, settings: Settings) -> None:
    store = RedisStore(settings.redis, "cryptoviz:control:test:desired")
    assert await store.load() == DesiredDocument()
    document = DesiredDocument(5, {"kafka": DesiredState.STOPPED})
    await store.save(document)
    assert await store.load() == document


def test_logs_of_an_engine(control: ControlClient) -> None:
    lines = list(control.tail_logs("kafka", 400))
    assert any("KafkaRaftServer" in line or "Kafka Server started" in line or "process_started" in line for line in lines), lines[-5:]


def test_secrets_are_nowhere(control: ControlClient, settings: Settings) -> None:
    token = settings.token_file.read_text().strip()
    arguments = ["\0".join(arguments_of(process)) for process in family(settings)]
    logs = [content.decode(errors="replace") for _, content in contents(settings.log_dir)]
    state = [str(control.list().to_json_dict())]
    for secret in (token, CANARY):
        assert not [text[:200] for text in (*arguments, *logs, *state) if secret in text]


def test_the_examples_run(control: ControlClient, settings: Settings) -> None:
    where = ["--address", settings.control.address, "--token-file", str(settings.token_file)]

    def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, str(EXAMPLES / script), *arguments, *where], capture_output=True, text=True, timeout=300, check=False)

    done = run("start_stop.py", "redis")
    assert done.returncode == 0, done.stderr
    assert [line.split(";")[0] for line in done.stdout.splitlines()] == ["redis is STOPPED", "redis is RUNNING"]
    done = run("start_stop.py", "zookeeper")
    assert done.returncode == 1
    assert "no component 'zookeeper'" in done.stderr
    done = run("watch.py", "--count", "2")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert "redis=RUNNING" in done.stdout
    done = run("async_logs.py", "redis", "--no-follow")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["redis"]
    done = run("plain_grpc.py")
    assert done.returncode == 0, done.stderr
    assert {"kafka", "object-store", "redis"} <= {line.split()[0] for line in done.stdout.splitlines() if "RUNNING" in line}


def test_the_end_leaves_nothing_and_keeps_what_was_wanted(control: ControlClient, settings: Settings) -> None:
    controller = worker(settings, "ray::Controller")
    pids = [control.get(name).pid for name in ENGINES]
    metadata = (("authorization", f"Bearer {settings.token_file.read_text().strip()}"),)
    with grpc.insecure_channel(settings.control.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=300)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        named = pb.StartPipelineRequest(pipeline_id=control.list().id)
        control.shutdown()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError) as refused:
            ControlServiceStub(channel).StartPipeline(named, timeout=60, metadata=metadata)
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        watch.cancel()
    control.wait_stopped(240)
    psutil.wait_procs([controller], timeout=120)
    assert not controller.is_running()
    assert [pid for pid in pids if pid and psutil.pid_exists(pid)] == []
    # The next `up` finds a controller with the same desired state.
    launch_controller(settings)
    for name in ENGINES:
        assert control.get(name).desired is DesiredState.RUNNING
        reach(control, name, ComponentState.RUNNING)


def test_rays_client_server_does_not_run(settings: Settings) -> None:
    commands = [line_of(process) for process in family(settings)]
    assert any("gcs_server" in command for command in commands)
    assert [command for command in commands if "ray.util.client.server" in command] == []


def test_rays_dashboard_serves_at_a_lower_priority(settings: Settings, control: ControlClient) -> None:
    def served() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{settings.ray.dashboard_port}/", timeout=60).status_code < 500
        except httpx.TransportError:
            return False

    eventually(served, 120, 0.2)
    record = read_record(settings.home)
    assert record is not None
    root = psutil.Process(record.pid)
    heads = [one for one in root.children(recursive=True) if f"--port={settings.ray.dashboard_port}" in arguments_of(one)]
    assert [one.nice() - root.nice() for one in heads] == [10]


def _answers(settings: Settings, name: str) -> bool:
    probe: Probe = build_engine(name, settings.model_copy(update=_external(settings))).probe()
    return probe.healthy


def _external(settings: Settings) -> dict[str, object]:
    """The engines as external engines, so that probing them needs no child process."""
    return {section: getattr(settings, section).model_copy(update={"embedded": False}) for section in ("kafka", "s3", "redis")}


def _comes_back(control: ControlClient, before: ComponentStatus) -> None:
    def back() -> bool:
        now = control.get(before.name)
        return now.state is ComponentState.RUNNING and now.restarts > before.restarts and now.pid not in (None, before.pid)

    eventually(back, 120, 0.1)


def _launch_with_token_of(settings: Settings, other: Settings) -> None:
    """Launch in the same cluster with other settings: Ray requires the cluster's token."""
    other.home.mkdir(exist_ok=True)
    other.ray_token_file.write_bytes(settings.ray_token_file.read_bytes())
    other.ray_token_file.chmod(0o600)
    launch_controller(other)
