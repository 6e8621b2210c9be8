"""Every file in examples/ runs: the scripts against a control server on fakes (test_control.py: on real engines), the notebook in another test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cryptoviz.components import ComponentState
from cryptoviz.settings import load_settings
from cryptoviz.telemetry.log_files import log_path
from tests.support.certificates import authority, certificate
from tests.support.control_fakes import small_table
from tests.support.control_server import Serving, serving, serving_settings
from tests.support.ports import free_port
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
ELSEWHERE = {"lake.ipynb": "tests/integration/test_examples_lake.py"}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path) as here, here.client() as client:
        client.start_pipeline()
        client.wait(20, lambda now: now.state is ComponentState.RUNNING)
        yield here


@pytest.fixture
def run(served: Serving) -> Run:
    def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(EXAMPLES / name), *arguments, "--address", served.address, "--token-file", str(served.settings.token_file)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    return script


def start_stop(run: Run, served: Serving) -> None:
    done = run("start_stop.py", "page")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(";")[0] for line in done.stdout.splitlines()] == ["page is STOPPED", "page is RUNNING"]
    assert served.runtime.count("start", "page") == 2
    unknown = run("start_stop.py", "zookeeper")
    assert (unknown.returncode, unknown.stderr) == (1, "no component 'zookeeper'; valid: engine, worker, reader/one, page\n")


def watch(run: Run, served: Serving) -> None:
    done = run("watch.py", "--count", "1")
    assert (done.returncode, done.stderr) == (0, "")
    _, _, rest = done.stdout.partition(" ")
    assert rest == "RUNNING (all components run)  engine=RUNNING  worker=RUNNING  reader/one=RUNNING  page=RUNNING\n"


def async_logs(run: Run, served: Serving) -> None:
    for name in ("engine", "page"):
        path = log_path(served.settings, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"older\nthe last of {name}\n")
    done = run("async_logs.py", "--no-follow")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == ["engine               the last of engine", "page                 the last of page"]
    unknown = run("async_logs.py", "zookeeper")
    assert (unknown.returncode, unknown.stdout) == (1, "")


def plain_grpc(run: Run, served: Serving) -> None:
    done = run("plain_grpc.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()] == [[name, "RUNNING"] for name in ("engine", "worker", "reader/one", "page")]


SCRIPTS = {f"{check.__name__}.py": check for check in (start_stop, watch, async_logs, plain_grpc)}


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_example_runs(name: str, run: Run, served: Serving) -> None:
    SCRIPTS[name](run, served)


def test_every_example_has_its_test() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == set(SCRIPTS) | set(ELSEWHERE)
    for name, test in ELSEWHERE.items():
        assert f'"{name}"' in (ROOT / test).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_says_why_it_failed(name: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x")
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, str(EXAMPLES / name), "--address", address, "--token-file", str(tmp_path / "token")]
    done = subprocess.run([*command, *(["--reconnect", "0"] if name == "watch.py" else [])], capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert address in done.stderr
    assert "Traceback" not in done.stderr


def test_the_examples_call_a_service_with_tls(tmp_path: Path) -> None:
    signer = authority(tmp_path, "authority")
    own, key = certificate(tmp_path, "service", signer)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(own.read_bytes() + signer.read_bytes())
    arguments = {
        "start_stop.py": ["page"],
        "watch.py": ["--count", "1"],
        "async_logs.py": ["--no-follow"],
        "plain_grpc.py": ["--tls-cert", str(chain)],
    }
    assert arguments.keys() == SCRIPTS.keys()
    with serving(tmp_path / "home", tls_cert=chain, tls_key=key) as here:
        for name, own_arguments in arguments.items():
            command = [sys.executable, str(EXAMPLES / name), "--address", here.address, "--token-file", str(here.settings.token_file), *own_arguments]
            environment = os.environ | {"CRYPTOVIZ_CONTROL__TLS_CERT": str(chain)}
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
            assert (name, done.returncode, done.stderr) == (name, 0, "")


def test_a_missing_token_file_is_named(tmp_path: Path) -> None:
    for name in SCRIPTS:
        command = [sys.executable, str(EXAMPLES / name), "--token-file", str(tmp_path / "none")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert str(tmp_path / "none") in done.stderr
        assert "Traceback" not in done.stderr


def test_the_watch_continues_over_a_restart_of_the_service(tmp_path: Path) -> None:
    settings = load_settings("live", home=tmp_path, control={"port": free_port()})
    out = tmp_path / "out"
    command = [sys.executable, str(EXAMPLES / "watch.py"), "--count", "2", "--address", settings.control.address]
    with serving_settings(settings, small_table(), 20), out.open("wb") as sink:
        # The library in C logs refused connections, depending on timing.
        quiet = os.environ | {"GRPC_VERBOSITY": "NONE"}
        process = subprocess.Popen([*command, "--token-file", str(settings.token_file)], stdout=sink, stderr=subprocess.PIPE, env=quiet)
        eventually(lambda: out.read_text().count("\n") == 1)
    with serving_settings(settings, small_table(), 20):
        _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, b"")
    first, second = (int(line.split()[0]) for line in out.read_text().splitlines())
    assert first < second
