"""Debian hosts that run real systemd as PID 1: systemd-nspawn on an overlay of a cached root.

They live in the lab: a mount, network and pid namespace that scripts/test makes around pytest. When pytest ends, for
any reason, the namespaces end and take everything with them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from tests.kit.lateness import patience

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pi-cam-daemon" / "systemd"
SUITES = ("bookworm", "trixie")
_CGROUPS = Path("/sys/fs/cgroup")
# nspawn withholds what IPAddressDeny= and DevicePolicy= are made of
_CAPABILITIES = "CAP_NET_ADMIN,CAP_BPF,CAP_PERFMON"
_SYSTEM_CALLS = "bpf perf_event_open"
_BOOT_SECONDS = 60.0


def sh(*argv: str | Path, timeout: float = 60.0) -> str:
    """Return the output of a command that has to succeed."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=patience(timeout), check=False)
    assert done.returncode == 0, f"{argv} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def lab() -> Iterator[Path]:
    """Set up a private /run and a unified cgroup hierarchy; yield the cgroup of the hosts."""
    sh("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    sh("ip", "link", "set", "lo", "up")
    # where the machine has the old hierarchies, this covers them
    sh("mount", "-t", "cgroup2", "cgroup2", _CGROUPS)
    for other in _CGROUPS.glob("pi-cam-daemon-tests-*"):
        if not (other / "cgroup.procs").read_text():  # left by a run that was killed: pytest itself is in its own
            _remove_cgroups(other)
    group = _CGROUPS / f"pi-cam-daemon-tests-{os.urandom(4).hex()}"
    group.mkdir()
    (group / "cgroup.procs").write_text("0")
    try:
        yield group
    finally:
        (_CGROUPS / "cgroup.procs").write_text("0")
        _remove_cgroups(group)


def _remove_cgroups(group: Path) -> None:
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)  # noqa: PTH106  # no files are in it to be removed first: they are the kernel's


class Host:
    """One machine; its disk outlives a power cut. *address* is its address in the lab, *namespace* its network's."""

    def __init__(self, suite: str, number: int, folder: Path, group: Path) -> None:
        self.suite = suite
        self.address = f"10.77.{number}.2"
        self.disk = folder / "disk"
        self._name = self.namespace = f"host{number}"
        self._router = f"10.77.{number}.1"
        self._console = folder / "console"
        self._group = group / self._name
        self._leader = 0
        self._nspawn: subprocess.Popen[bytes] | None = None
        for name in ("disk", "upper", "work"):
            (folder / name).mkdir(parents=True)
        layers = f"lowerdir={CACHE / suite / 'root'},upperdir={folder / 'upper'},workdir={folder / 'work'}"
        sh("mount", "-t", "overlay", "-o", layers, "overlay", self.disk)
        (self.disk / "etc/hostname").write_text(f"{self._name}\n")

    def boot(self, connected: bool = True) -> float:
        """Power on and wait until systemd reports that it is done; return the seconds that took."""
        begun = time.monotonic()
        self._lay_cable()
        if connected:
            self.connect()
        self._group.mkdir()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, self._console.open("ab") as console:
            path = Path("/run") / f"{self._name}.notify"
            path.unlink(missing_ok=True)
            notify.bind(str(path))
            notify.settimeout(0.5)
            nspawn = [
                "systemd-nspawn", "--quiet", f"--directory={self.disk}", f"--machine={self._name}", "--boot",
                "--register=no", "--keep-unit", "--notify-ready=yes",
                f"--network-namespace-path=/run/netns/{self._name}",
                "--console=pipe", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
                f"--capability={_CAPABILITIES}", f"--system-call-filter={_SYSTEM_CALLS}",
            ]  # fmt: skip
            self._nspawn = subprocess.Popen(
                # a cgroup of its own: two hosts in one would share their units' groups
                ["sh", "-c", f'echo $$ >{self._group}/cgroup.procs; exec "$@"', "sh", *nspawn],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
                env={**os.environ, "NOTIFY_SOCKET": str(path), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )  # fmt: skip
            fields: dict[str, str] = {}
            while not {"READY", "X_NSPAWN_LEADER_PID"} <= fields.keys():
                assert self._nspawn.poll() is None and time.monotonic() - begun < patience(_BOOT_SECONDS), (
                    f"{self.suite} does not boot: {self._console.read_text(errors='replace')[-3000:]}"
                )
                with contextlib.suppress(TimeoutError):
                    fields |= dict(line.split("=", 1) for line in notify.recv(4096).decode().splitlines())
        self._leader = int(fields["X_NSPAWN_LEADER_PID"])
        return time.monotonic() - begun

    def _lay_cable(self) -> None:
        cable = f"v-{self._name}"
        sh("ip", "netns", "add", self._name)
        sh("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", self._name)
        sh("ip", "addr", "add", f"{self._router}/24", "dev", cable)
        sh("ip", "link", "set", cable, "up")
        sh("ip", "-n", self._name, "link", "set", "lo", "up")

    def connect(self) -> None:
        """Connect the host to the lab and set its address from outside; the host needs no network setup."""
        sh("ip", "-n", self._name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        sh("ip", "-n", self._name, "link", "set", "eth0", "up")

    def cut_power(self) -> None:
        """Power the host off at once; its disk keeps the written data."""
        assert self._nspawn
        os.kill(self._leader, signal.SIGKILL)
        self._nspawn.wait(patience(60))
        self._nspawn = None
        _remove_cgroups(self._group)
        sh("ip", "netns", "del", self._name)
        # the kernel takes namespaces apart in its own time, and the cable with them; /sys is of another namespace
        begun = time.monotonic()
        show = ["ip", "link", "show", f"v-{self._name}"]
        while subprocess.run(show, capture_output=True, check=False).returncode == 0:
            assert time.monotonic() < begun + patience(10), "the cable is still there"
            time.sleep(0.05)

    def close(self) -> None:
        if self._nspawn:
            self.cut_power()
        sh("umount", self.disk)

    def inside(self, *argv: str) -> list[str]:
        """Return the command that runs *argv* as root in the host."""
        return ["nsenter", "-t", str(self._leader), "-a", "--", *argv]

    def try_run(
        self, *argv: str, timeout: float = 60.0, pass_fds: Collection[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root in the host; it may fail."""
        inside = self.inside(*argv)
        return subprocess.run(
            inside, capture_output=True, text=True, timeout=patience(timeout), check=False, pass_fds=pass_fds
        )

    def run(self, *argv: str, timeout: float = 60.0, pass_fds: Collection[int] = ()) -> str:
        """Return the output of a command as root in the host, which has to succeed."""
        done = self.try_run(*argv, timeout=timeout, pass_fds=pass_fds)
        assert done.returncode == 0, f"{argv} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit)

    def write(self, path: str, text: str) -> None:
        file = self.disk / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def remove(self, path: str) -> None:
        file = self.disk / path.lstrip("/")
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)

    def pids(self, unit: str) -> dict[int, int]:
        """Return the processes of a unit: their numbers in the host, mapped to the lab's numbers."""
        (procs,) = self._group.rglob(f"{unit}/cgroup.procs")
        return {_innermost(int(line)): int(line) for line in procs.read_text().split()}


def _innermost(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("NSpid:")]
    return int(line.split()[-1])
