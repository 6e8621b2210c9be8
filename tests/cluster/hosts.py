"""Hosts on one machine, made of namespaces: network, PIDs, mounts, name and IPC, with an own sshd, home, /tmp, /dev/shm and /run each.

A host sees its own processes only, and the machine's file system read-only. All namespaces are anonymous and held by processes that the kernel ends
with this one, however it ends: nothing is added to the machine but a folder with the hosts' disks, which the next run removes if this one could not.

Needs root, and util-linux, iproute2, openssh-server and rsync (`scripts/setup --cluster`).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from cryptoviz.engines.process import bound_to_parent
from cryptoviz.local.process_identity import ProcessIdentity, wait_ended
from cryptoviz.settings import load_settings
from tests.support.waiting import eventually

__all__ = ["HOME", "Host", "HostNetwork"]

ROOT = Path(__file__).parents[2]
HOME = Path.home()
_PREFIX = "cryptoviz-hosts-"
_SUBNET = "10.77.0"
_BOOT_S = 60.0
_COMMAND_S = 120.0
_PROGRAMS = ("unshare", "nsenter", "ip", "ssh", "sshd", "ssh-keygen", "rsync")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_SSHD = """\
Port 22
HostKey /run/hostkey
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
PidFile none
"""

# The first process of a host. The disk's folders replace those of the machine, which is read-only apart from them. Names come from a file alone: with
# a name server out of reach, each look-up takes seconds.
_INIT = """\
set -eu
hostname {name}
mount --make-rprivate /
cd {disk}
{mounts}
mount --rbind home {home}
mount --bind bin /usr/local/bin
mount --bind {hosts} /etc/hosts
mount --bind nsswitch.conf /etc/nsswitch.conf
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount --bind run /run
mount --bind tmp /tmp
cd /
mount -o remount,bind,ro /
{sshd} -D -e -f /run/sshd_config &
while :; do wait -n || sleep 1; done
"""


@dataclass
class Host:
    """A host. Its disk stays when it is killed and booted again, apart from /tmp and /run."""

    network: HostNetwork
    name: str
    ip: str
    binds: Mapping[Path, Path] = field(default_factory=dict)
    """Further folders of the machine, read-only, by their place in the host's home."""
    image: Host | None = None
    """A host that does not run any more, whose home and caches this host has below its own."""
    _outer: subprocess.Popen[bytes] | None = None
    _init: int = 0

    @property
    def disk(self) -> Path:
        """Folder with the host's home, /tmp and /run."""
        return self.network.folder / self.name

    @property
    def home(self) -> Path:
        """The host's home, as this process sees it."""
        return self.disk / "home"

    @property
    def console(self) -> str:
        """Output of the host's first process and its sshd."""
        return (self.disk / "console").read_text()

    def boot(self) -> Self:
        """Start the host and wait for its sshd."""
        self._prepare_disk()
        namespaces = ["--net", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--uts", "--ipc"]
        command = ["env", "-i", f"PATH={_PATH}", "unshare", *namespaces, "bash", str(self.disk / "init")]
        with (self.disk / "console").open("wb") as console:
            self._outer = subprocess.Popen(bound_to_parent(command), stdout=console, stderr=console, stdin=subprocess.DEVNULL)
        outer = self._outer.pid
        self._init = eventually(lambda: next((child.pid for child in psutil.Process(outer).children() if child.name() == "bash"), 0), _BOOT_S)
        self.network.plug_in(self, outer)
        for command in (["addr", "add", f"{self.ip}/24", "dev", "eth0"], ["link", "set", "lo", "up"]):
            _run(["nsenter", "-t", str(outer), "-n", "ip", *command])
        self.cable(connected=True)
        listening = f":{22:04X} 00000000:0000 0A"
        try:
            eventually(lambda: listening in Path(f"/proc/{outer}/net/tcp").read_text(), _BOOT_S)
        except (AssertionError, OSError) as error:
            raise AssertionError(f"{self.name} did not boot: {self.console}") from error
        return self

    def cable(self, *, connected: bool) -> None:
        """Connect the host to the others, or cut it off: neither side hears of the other's end."""
        _run(["nsenter", "-t", str(self._pid), "-n", "ip", "link", "set", "eth0", "up" if connected else "down"])
        if connected:  # the kernel removes the route with the link; from it Ray learns the host's address
            _run(["nsenter", "-t", str(self._pid), "-n", "ip", "route", "replace", "default", "via", f"{_SUBNET}.1"])

    def run(self, command: str, timeout_s: float = _COMMAND_S, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the host's home, with the environment of a login."""
        clean = ["env", "-i", f"HOME={HOME}", "USER=root", "TERM=dumb", "LANG=C.UTF-8", f"PATH={_PATH}"]
        inside = [*self._entry(), *clean, "timeout", "-k", "5", str(timeout_s), "bash", "-c", f"cd; {command}"]
        done = subprocess.run(inside, capture_output=True, text=True, timeout=timeout_s + 30, check=False, stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise AssertionError(f"{self.name}: {command!r} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done

    def processes(self) -> list[str]:
        """Command lines of all processes, without the host's own."""
        return sorted(self.identities().values())

    def identities(self) -> dict[tuple[int, float], str]:
        """Command lines of all processes by process id, as seen here, and start time, without the host's own: its first process and sshd."""
        found = {}
        for process in psutil.Process(self._init).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                command = " ".join(process.cmdline()).strip()
                if command and not command.startswith(("sleep 1", "sshd: ", f"{shutil.which('sshd')} ")):
                    found[process.pid, process.create_time()] = command
        return found

    def kill(self) -> None:
        """Cut the cable, then end the host at once, with all of its processes."""
        if self._outer is not None:
            self.cable(connected=False)
            os.kill(self._init, signal.SIGKILL)
            self._outer.wait(_BOOT_S)
            self._outer = None
            self.network.unplug(self)

    @property
    def _pid(self) -> int:
        if self._outer is None or self._outer.poll() is not None:
            raise AssertionError(f"{self.name} does not run: {self.console}")
        return self._outer.pid

    def _entry(self) -> list[str]:
        assert self._pid
        return ["nsenter", "-t", str(self._init), "--mount", "--uts", "--ipc", "--net", "--pid", "--"]

    def _prepare_disk(self) -> None:
        for folder in ("home/.ssh", "home/.cache/uv", "home/.cache/cryptoviz", "bin", "run/sshd", "tmp", "upper", "work"):
            (self.disk / folder).mkdir(parents=True, exist_ok=True)
        for emptied in ("tmp", "run"):
            shutil.rmtree(self.disk / emptied)
            (self.disk / emptied).mkdir()
        (self.disk / "run" / "sshd").mkdir()
        (self.disk / "tmp").chmod(0o1777)
        for private in (self.home, self.home / ".ssh"):
            private.chmod(0o700)
        self.network.give_key(self.home / ".ssh")
        _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.disk / "run" / "hostkey")])
        (self.disk / "run" / "sshd_config").write_text(_SSHD)
        (self.disk / "nsswitch.conf").write_text("hosts: files\npasswd: files\ngroup: files\n")
        if not (self.home / ".bashrc").exists():
            (self.home / ".bashrc").write_text("export UV_OFFLINE=1  # there is no internet, and packages are in the cache\n")
        self._link_programs()
        script = _INIT.format(
            name=self.name, disk=self.disk, home=HOME, hosts=self.network.hosts_file, mounts="\n".join(self._mounts()), sshd=shutil.which("sshd")
        )
        (self.disk / "init").write_text(script)

    def _link_programs(self) -> None:
        """The only programs beside those of the system: Python, and Java if this machine has it (else `scripts/setup` brings it)."""
        python = self.disk / "bin" / "python3.11"  # a link would make Python look for its library beside the link
        python.write_text(f'#!/bin/sh\nexec {Path(sys.base_prefix)}/bin/python3.11 "$@"\n')
        python.chmod(0o755)
        java = shutil.which("java")
        if java is not None and shutil.which("java", path=_PATH) is None and not (self.disk / "bin" / "java").is_symlink():
            (self.disk / "bin" / "java").symlink_to(java)

    def _mounts(self) -> list[str]:
        """Commands that fill the home: the machine's caches of packages and engines below a layer of the host's own, and folders of the machine."""
        caches = {"uv": Path(os.environ.get("UV_CACHE_DIR", HOME / ".cache" / "uv")), "cryptoviz": load_settings().cache}
        binds = dict(self.binds)
        if (python := Path(sys.base_prefix)).is_relative_to(HOME):
            binds[python.relative_to(HOME)] = python
        lines = []
        if self.image is not None:
            lines.append(self._layers("home", "home", str(self.image.home)))
        for name, lower in caches.items():
            (self.disk / "upper" / name).mkdir(exist_ok=True)
            lines.append(
                self._layers(f"home/.cache/{name}", f"upper/{name}", f"{self.image.disk / 'upper' / name}:{lower}" if self.image else str(lower))
            )
        for inside, outside in binds.items():
            (self.home / inside).mkdir(parents=True, exist_ok=True)
            lines.append(f"mount --bind -o ro {shlex.quote(str(outside))} {shlex.quote(f'home/{inside}')}")
        return lines

    def _layers(self, place: str, own: str, lower: str) -> str:
        """Command that shows folders below the host's own, which gets all changes."""
        work = self.disk / "work" / own.rpartition("/")[2]
        work.mkdir(exist_ok=True)
        return f"mount -t overlay overlay -o {shlex.quote(f'lowerdir={lower},upperdir={own},workdir={work}')} {place}"


class HostNetwork:
    """A bridge, to which hosts are plugged in, and the folder of their disks. Ends all of its hosts on exit."""

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        self.folder = Path()
        self._switch: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        missing = [name for name in _PROGRAMS if shutil.which(name) is None]
        if missing or os.geteuid() != 0:
            raise AssertionError(f"hosts need root, and of its programs these are missing: {missing} (scripts/setup --cluster)")
        _remove_disks_of_ended_runs()
        me = ProcessIdentity.own()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{me.pid}-{me.start_ticks}-"))
        _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "key")])
        self.hosts_file.write_text("127.0.0.1 localhost\n")
        self._switch = subprocess.Popen(bound_to_parent(["unshare", "--net", "sleep", "infinity"]))
        own = Path("/proc/self/ns/net").readlink()
        eventually(lambda: Path(f"/proc/{self._switch_pid}/ns/net").readlink() != own, _BOOT_S)
        self._ip("link", "add", "br0", "type", "bridge")
        self._ip("addr", "add", f"{_SUBNET}.1/24", "dev", "br0")
        self._ip("link", "set", "br0", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts.values():
            host.kill()
        if self._switch is not None:
            self._switch.kill()
            self._switch.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def hosts_file(self) -> Path:
        """Addresses by name, for all hosts."""
        return self.folder / "hosts"

    def add(self, name: str, binds: Mapping[Path, Path] | None = None, image: Host | None = None) -> Host:
        """A new host, not yet booted."""
        ip = f"{_SUBNET}.{10 + len(self.hosts)}"
        self.hosts[name] = Host(self, name, ip, binds or {}, image)
        with self.hosts_file.open("a") as names:
            names.write(f"{ip} {name}\n")
        return self.hosts[name]

    def give_key(self, folder: Path) -> None:
        """Let the owner of the folder log in everywhere, and everyone of this network there."""
        for name, source in (("id_ed25519", "key"), ("authorized_keys", "key.pub")):
            shutil.copy(self.folder / source, folder / name)
            (folder / name).chmod(0o600)

    def plug_in(self, host: Host, pid: int) -> None:
        """Connect the network namespace of a process to the bridge, with the same card each time: else others would look for the old one."""
        card = "02:00:" + ":".join(f"{int(part):02x}" for part in host.ip.split("."))
        self._ip("link", "add", f"to-{host.name}", "type", "veth", "peer", "name", "eth0", "address", card, "netns", str(pid))
        self._ip("link", "set", f"to-{host.name}", "master", "br0", "up")

    def unplug(self, host: Host) -> None:
        """Remove the host's cable, which would stay as long as the kernel has a connection of the ended host."""
        self._ip("link", "del", f"to-{host.name}", check=False)

    @property
    def _switch_pid(self) -> int:
        assert self._switch is not None
        return self._switch.pid

    def _ip(self, *command: str, check: bool = True) -> None:
        _run(["nsenter", "-t", str(self._switch_pid), "-n", "ip", *command], check=check)


def _remove_disks_of_ended_runs() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid, ticks = map(int, folder.name.removeprefix(_PREFIX).split("-")[:2])
        me = ProcessIdentity.own()
        if not wait_ended([ProcessIdentity(me.boot, me.namespaces, pid, ticks)], 0):
            shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str], *, check: bool = True) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0 or not check, f"{shlex.join(command)}: {done.stderr.strip()}"
