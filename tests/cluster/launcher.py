"""The machine from which a user starts a cluster: a checkout with its virtualenv, `cluster.yaml` and Ray's launcher."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.hosts import HOME, ROOT, Host, HostNetwork

__all__ = ["DEMO_SETTINGS", "LIVE_SETTINGS", "PROJECT", "Launcher", "add_with_project", "installed_image"]

PROJECT = "~/cryptoviz"
LIVE_SETTINGS = "~/.local/share/cryptoviz/run/settings.json"
DEMO_SETTINGS = "~/.local/share/cryptoviz-demo/run/settings.json"
"""On the head."""
_UP_S = 900.0
_INSTALL_S = 600.0
_CERTIFICATE = (
    "umask 077 && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=head -addext subjectAltName=IP:{ip} -keyout tls.key -out tls.crt"
)


def copy_project(host: Host) -> Path:
    """Put the project's files into the home of a host. Returns their folder."""
    files = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True).stdout
    folder = host.home / "cryptoviz"
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["rsync", "-a", "--from0", "--files-from=-", "--ignore-missing-args", f"{ROOT}/", str(folder)], input=files, check=True)
    return folder


def add_with_project(network: HostNetwork, name: str) -> Host:
    """A host, not yet booted, with the project and the virtualenv of this process, read-only."""
    binds = {Path("cryptoviz/.venv"): Path(sys.prefix)}
    if ROOT.is_relative_to(HOME):  # the virtualenv's scripts name it
        binds[ROOT.relative_to(HOME)] = ROOT
    host = network.add(name, binds)
    copy_project(host)
    return host


def installed_image(network: HostNetwork) -> Host:
    """A host that has installed everything and does not run any more, for the disks of others."""
    host = network.add("image")
    copy_project(host)
    host.boot().run(f". ~/.bashrc; cd {PROJECT} && scripts/setup", _INSTALL_S)
    host.kill()
    return host


class Launcher:
    """A booted host with the project. With `demo`, the demo replaces the live pipeline, because hosts have no internet."""

    def __init__(self, network: HostNetwork, settings: Mapping[str, str], *, demo: bool = True) -> None:
        self._demo = demo
        self.host: Host = add_with_project(network, "launcher")
        self._project = self.host.home / "cryptoviz"
        self.configure(settings)
        self.host.boot()
        self.run("umask 077 && .venv/bin/ray get-auth-token --generate >/dev/null")

    def configure(self, settings: Mapping[str, str]) -> None:
        """Write `.env`, which is copied to the nodes."""
        (self._project / ".env").write_text("".join(f"CRYPTOVIZ_{name}={value}\n" for name, value in settings.items()))

    def make_certificate(self, head: Host) -> None:
        """A certificate of the control service and its key, `tls.crt` and `tls.key` in the checkout."""
        self.run(_CERTIFICATE.format(ip=head.ip))

    def write_yaml(self, head: Host, workers: Sequence[str] = ()) -> None:
        """The project's `cluster.yaml`, with this head and the addresses of workers."""
        cluster: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
        cluster["provider"] |= {"head_ip": head.ip, "worker_ips": list(workers)}
        cluster["auth"]["ssh_user"] = "root"
        if self._demo:
            given = cluster["head_start_ray_commands"]
            cluster["head_start_ray_commands"] = [command.replace("cryptoviz up --detach", "cryptoviz demo --detach") for command in given]
            assert cluster["head_start_ray_commands"] != given
        (self._project / "cluster.yaml").write_text(yaml.safe_dump(cluster, width=1000))

    def run(self, command: str, timeout_s: float = 120.0, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout."""
        return self.host.run(f"cd {PROJECT} && {command}", timeout_s, check=check)

    def up(self, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`ray up`, as `cluster.yaml` says."""
        return self.run(".venv/bin/ray up -y --no-config-cache cluster.yaml", _UP_S, check=check)

    def down(self) -> subprocess.CompletedProcess[str]:
        """`ray down`."""
        return self.run(".venv/bin/ray down -y cluster.yaml", 300.0)

    def exec(self, command: str, timeout_s: float = 120.0, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`ray exec`: run a command on the head."""
        return self.run(f".venv/bin/ray exec --no-config-cache cluster.yaml '{command}'", timeout_s, check=check)

    def all_run(self) -> bool:
        """Whether all components run; raises AssertionError with the others."""
        others = {each["name"]: each["state"] for each in self.status()["components"] if each["state"] != "RUNNING"}
        assert not others, others
        return True

    @staticmethod
    def timed(action: Callable[[], object]) -> str:
        """Do it; the duration as text."""
        begun = time.monotonic()
        action()
        return f"{time.monotonic() - begun:.1f} s"

    def status(self) -> dict[str, Any]:
        """`cryptoviz status --json` by `ray exec`."""
        text = self.exec(f"cd {PROJECT} && .venv/bin/cryptoviz status --json").stdout
        found: dict[str, Any] = json.loads(text[text.index("{") : text.rindex("}") + 1])
        return found
