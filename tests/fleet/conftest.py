"""A fleet in the lab of tests/systemd: hosts with ssh, and a controller with an inventory and ansible-playbook."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.clients.picture import alike, corners, turned
from tests.fleet.releases import Releases
from tests.kit.daemon import ROOT
from tests.kit.documents import commands
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.systemd import hosts
from tests.systemd.conftest import artefact, lab
from tests.systemd.hosts import Host

__all__ = ["artefact", "lab"]

ANSIBLE = hosts.CACHE.parent / "ansible"
# what a person types
TYPED = {
    command for page in ("README.md", "roles/pi_cam_daemon/README.md") for command in commands(ROOT / "ansible" / page)
}
# the oldest is Debian bookworm's, the newest what this Python can run
VERSIONS = ("oldest", "newest")
UNIT = "pi-cam-daemon.service"
OPT = "/opt/pi-cam-daemon"
ETC = "/etc/pi-cam-daemon"
ANNOUNCEMENT = "/etc/avahi/services/pi-cam-daemon.service"
# an address of the lab that is in no network of the hosts
OUTSIDE = "198.51.100.9"
_FIRST = 21

# a test picture, small and slow: what is measured is the deployment, on a machine with few cores
SMALL = {"video": {"width": 320, "height": 240, "framerate": 5}}


class Pi(Host):
    """A host that can be reached by ssh, and also from addresses outside its network."""

    def __init__(self, suite: str, number: int, folder: Path, group: Path, key: str) -> None:
        super().__init__(suite, _FIRST + number, folder, group)
        self.name = f"pi{number}"
        for unit in ("ssh.service", "ssh.socket"):
            self.remove(f"/etc/systemd/system/{unit}")
        self.write("/root/.ssh/authorized_keys", key)
        # the owner of a fresh Raspberry Pi OS: sudo asks for a password
        home = "/home/pi"
        hosts.sh("chroot", self.disk, "useradd", "--create-home", "--shell", "/bin/bash", "--groups", "sudo", "pi")
        hosts.sh("chroot", self.disk, "sh", "-c", "echo pi:raspberry | chpasswd")
        self.write(f"{home}/.ssh/authorized_keys", key)
        hosts.sh("chroot", self.disk, "chown", "-R", "pi:pi", home)

    def boot(self) -> float:
        seconds = super().boot()
        number = self.address.split(".")[2]
        hosts.sh("ip", "-n", f"host{number}", "route", "add", "default", "via", f"10.77.{number}.1")
        return seconds

    def configuration(self) -> dict[str, bytes]:
        """Return the configuration files by path."""
        folder = self.disk / ETC[1:]
        return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    def is_off(self) -> bool:
        return self._nspawn is None

    # -- a viewer

    def get(self, path: str, port: int = 8000, source: str = "", timeout: float = 5.0) -> tuple[int, bytes]:
        """Return status and body, requested from the address *source*. Raise OSError if that is not plain HTTP."""
        with socket.create_connection((self.address, port), patience(timeout), source_address=(source, 0)) as sock:
            sock.settimeout(patience(timeout))
            sock.sendall(f"GET {path} HTTP/1.0\r\nHost: {self.address}\r\n\r\n".encode())
            answer = b""
            while data := sock.recv(1 << 16):
                answer += data
        if not answer.startswith(b"HTTP/"):
            raise ConnectionError(f"no HTTP: {answer[:20]!r}")
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body

    def picture(self, port: int = 8000) -> np.ndarray[Any, Any] | None:
        """Return a decoded snapshot, or None if there is none now."""
        try:
            status, body = self.get("/snapshot", port)
        except OSError:
            return None
        return cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR) if status == 200 else None

    def serves(self, port: int = 8000) -> bool:
        return self.picture(port) is not None

    def shows(self, rotation: int, port: int = 8000) -> bool:
        """Return whether the picture is turned by *rotation* degrees."""
        picture = self.picture(port)
        return picture is not None and alike(corners(picture), turned(rotation, False, False))

    def health(self, port: int = 8000) -> dict[str, Any]:
        table: dict[str, Any] = json.loads(self.get("/healthz", port)[1])
        return table

    def release(self) -> str:
        """Return the installed release; the running one may differ."""
        link = self.disk / OPT[1:] / "current"
        return link.readlink().name if link.is_symlink() else ""

    def pid(self, unit: str = UNIT) -> str:
        return self.show(unit, "MainPID")

    def trace(self) -> dict[str, Any]:
        """Return the values that must not change on a host that a run leaves alone."""
        return {"release": self.release(), "pid": self.pid(), "files": self.configuration()}


@dataclass(frozen=True)
class Play:
    """A finished run of ansible-playbook."""

    status: int
    said: str
    seconds: float

    def counts(self, host: str) -> dict[str, int]:
        """Return the numbers of the host's line in the recap."""
        (line,) = re.findall(rf"^{host} +: (.*)$", self.said, re.MULTILINE)
        return {key: int(value) for key, value in (field.split("=") for field in line.split())}

    def changed(self) -> dict[str, int]:
        lines = re.findall(r"^(\S+) +: ok=.*?changed=(\d+)", self.said, re.MULTILINE)
        return {host: int(number) for host, number in lines}

    def report(self, camera: str) -> str:
        """Return the camera's line at the end."""
        lines = self.said.partition("CAMERAS *")[2].splitlines()
        (line,) = [line for line in lines if line.split()[:1] == [camera]]
        return line


class Controller:
    """A user's desk: an inventory, a key and the project's ansible folder.

    What is typed into its shell begins in a copy of the checkout; what is played uses the checkout.
    """

    def __init__(self, folder: Path, pis: Sequence[Pi], version: str) -> None:
        self.folder = folder
        self.pis = {pi.name: pi for pi in pis}
        self.ssh = folder / ".ssh"
        self.checkout = folder / "pi_cam_daemon"
        self.artefact = Path()
        self.user = "ansible"
        # tests that are about it set it
        self.pause = 0
        # the folder with the playbooks, and what Ansible's environment has besides
        self.playbooks = ROOT / "ansible"
        self.more: dict[str, str] = {}
        self.bin = ANSIBLE / version / "bin"
        self.inventory = folder / "hosts.json"
        # what was typed that holds for what follows
        self._typed: list[str] = []
        # what each host has in the inventory of its own
        self.own: dict[str, dict[str, Any]] = {pi.name: {} for pi in pis}
        # the hosts that nothing but a plain deployment was done to, as that left them
        self.plain: dict[str, Plain] = {}

    def with_ansible(self, version: str) -> Controller:
        """Return the same controller with another version of Ansible."""
        return Controller(self.folder, list(self.pis.values()), version)

    def trust_hosts(self) -> None:
        lines = []
        for pi in self.pis.values():
            public = (pi.disk / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2]
            lines.append(f"{pi.address} {' '.join(public)}\n")
        (self.ssh / "known_hosts").write_text("".join(lines))

    def command(self, playbook: str, *arguments: str) -> tuple[list[str], dict[str, str]]:
        ssh = f"-F /dev/null -o UserKnownHostsFile={self.ssh}/known_hosts -o HostKeyAlgorithms=ssh-ed25519"
        common = {
            "ansible_ssh_private_key_file": str(self.ssh / "id_ed25519"),
            "ansible_ssh_common_args": ssh,
            "ansible_user": self.user,
            "pi_cam_daemon_artefact": str(self.artefact),
            "pi_cam_daemon_allowed_networks": ["10.77.0.0/16"],
            "pi_cam_daemon_source": "pattern",
            "pi_cam_daemon_config": SMALL,
            "rollout_pause_seconds": self.pause,
            # tests end cameras themselves
            "pi_cam_daemon_soak_seconds": 0,
        }
        listed = {name: {"ansible_host": self.pis[name].address, **own} for name, own in self.own.items()}
        local = {"localhost": {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}}
        # a host of root's with a user of its own for Ansible, and the desk
        watchers = {**local, **{name: {} for name in list(listed)[:1]}}
        self.inventory.write_text(
            json.dumps({"cameras": {"hosts": listed, "vars": common}, "prometheus": {"hosts": watchers}})
        )
        environment = {
            **os.environ,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "ANSIBLE_HOME": str(self.folder / ".ansible"),
            "ANSIBLE_NOCOLOR": "1",
            **self.more,
            "ANSIBLE_SSH_CONTROL_PATH_DIR": "/run/ssh",
            "PYTHONDONTWRITEBYTECODE": "1",
            # a host without power is noticed in six seconds and not in a minute
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60s -o ServerAliveInterval=2 "
            "-o ServerAliveCountMax=3 -o ConnectTimeout=4",
        }
        return ["ansible-playbook", "-i", str(self.inventory), playbook, *arguments], environment

    def play(self, playbook: str = "site.yml", *arguments: str, timeout: float = 300.0) -> Play:
        argv, environment = self.command(playbook, *arguments)
        begun = time.monotonic()
        done = subprocess.run(
            argv, cwd=self.playbooks, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=patience(timeout), check=False,
        )  # fmt: skip
        play = Play(done.returncode, done.stdout, time.monotonic() - begun)
        print(play.said)
        return play

    def types(self, command: str, more: str = "", answer: str = "") -> Play:
        """Type a command of ansible/README.md or of the role's as it stands there, and *answer* to what it asks.

        *more* is what a person adds. The addresses of the document are those of the hosts.
        """
        assert command in TYPED
        _, environment = self.command("")
        addresses = " ".join(pi.address for pi in self.pis.values())
        typed = f"{command} {more}".replace("192.168.10.21 …", addresses).strip()
        begun = time.monotonic()
        # without a terminal a password is read from the standard input
        done = subprocess.run(
            ["bash", "-ec", "\n".join([*self._typed, typed])], cwd=self.checkout, env=environment, input=answer,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=patience(300), check=False,
            start_new_session=True,
        )  # fmt: skip
        play = Play(done.returncode, done.stdout, time.monotonic() - begun)
        print(f"$ {typed}\n{play.said}")
        assert play.status == 0, play.said[-6000:]
        if command.startswith(("cd ", "export ")):
            self._typed.append(typed)
        return play

    def deploys(self, *arguments: str) -> Play:
        play = self.play("site.yml", *arguments)
        assert play.status == 0, play.said[-6000:]
        return play

    @contextlib.contextmanager
    def begun(self, *arguments: str) -> Iterator[Running]:
        """Run site.yml while the block lasts; kill it at the end if it still runs."""
        argv, environment = self.command("site.yml", *arguments)
        log = self.folder / "log"
        with log.open("w") as out:
            process = subprocess.Popen(
                argv, cwd=self.playbooks, env=environment, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        running = Running(process, log)
        try:
            yield running
        finally:
            running.kill()
            print(log.read_text())


class Running:
    """A running ansible-playbook."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def wait_for_task(self, name: str, seconds: float = 90.0) -> None:
        def seen() -> bool:
            assert self._process.poll() is None or f"{name}]" in self.said(), f"it ended before {name}: {self.said()}"
            return f"{name}]" in self.said()

        until(name, seen, seconds)

    def wait_for_tasks(self, number: int, seconds: float = 180.0) -> str:
        """Return the name of the task of that number; empty if the run ends before."""

        def tasks() -> list[str]:
            return re.findall(r"^TASK \[(.*?)\]", self.said(), re.MULTILINE)

        until(f"task {number}", lambda: self._process.poll() is not None or len(tasks()) >= number, seconds)
        return tasks()[number - 1] if len(tasks()) >= number and self._process.poll() is None else ""

    def said(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        """Kill ansible-playbook and its workers; ssh's master processes have their own sessions and stay."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(patience(20))

    def end(self, seconds: float = 120.0) -> Play:
        begun = time.monotonic()
        status = self._process.wait(patience(seconds))
        return Play(status, self.said(), time.monotonic() - begun)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave long tests out instead of skipping them: in CI a skip is a failure."""
    if not config.getoption("--soak"):
        items[:] = [item for item in items if item.path.name != "test_soak.py"]


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the home of the controller, with a key and what the commands of the documents need of a checkout."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / ".ssh").mkdir()
    hosts.sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / ".ssh/id_ed25519")
    left_out = shutil.ignore_patterns("mine", "*.tar.zst")
    shutil.copytree(ROOT / "ansible", folder / "pi_cam_daemon/ansible", symlinks=True, ignore=left_out)
    return folder


@pytest.fixture(scope="session")
def pis(lab: Path, desk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Pi]]:
    """Four running hosts, two of each Debian, set up as Raspberry Pi Imager does."""
    hosts.sh("ip", "addr", "add", f"{OUTSIDE}/32", "dev", "lo")
    key = (desk / ".ssh/id_ed25519.pub").read_text()
    with contextlib.ExitStack() as stack:
        made = []
        for number in range(1, 5):
            suite = hosts.SUITES[number % 2 - 1]
            pi = Pi(suite, number, tmp_path_factory.mktemp(f"pi{number}"), lab, key)
            stack.callback(pi.close)
            made.append(pi)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(Pi.boot, made))
        yield made


@pytest.fixture(scope="session")
def bootstrapped(pis: list[Pi], desk: Path) -> Controller:
    """The controller with the newest Ansible, and hosts that know its user: the document, up to there."""
    controller = Controller(desk, pis, "newest")
    controller.types("cd ansible")
    controller.types("cp -r inventory/example inventory/mine")
    mine = controller.checkout / "ansible/inventory/mine"
    shutil.rmtree(mine / "group_vars")
    controller.inventory = mine / "hosts.yml"
    controller.types("export ANSIBLE_INVENTORY=inventory/mine")
    controller.types("ssh-keyscan -H 192.168.10.21 … >>~/.ssh/known_hosts")
    controller.types("ansible-playbook bootstrap.yml -e ansible_user=pi -K", answer="raspberry\n")
    return controller


@pytest.fixture(scope="session")
def releases(artefact: Path, tmp_path_factory: pytest.TempPathFactory) -> Releases:
    return Releases(artefact, tmp_path_factory.mktemp("releases"))


def make_plain(controller: Controller, releases: Releases) -> None:
    """Reset the inventory to four plain hosts that are switched on; installed releases are left as they are."""
    for pi in controller.pis.values():
        if pi.is_off():
            pi.boot()
    controller.own = {name: {} for name in controller.pis}
    controller.artefact = releases.artefact("1")


def deploy_plainly(controller: Controller, releases: Releases) -> None:
    """Deploy the daemon to all hosts, over anything that a test left."""
    make_plain(controller, releases)
    releases.give_libraries(controller.pis.values())
    for name, pi in controller.pis.items():
        if name in controller.plain:
            controller.plain[name].restore(pi)
    left = [name for name, pi in controller.pis.items() if controller.plain.get(name) != Plain.of(pi)]
    if left:
        controller.deploys("--limit", ",".join(left))
        controller.plain |= {name: Plain.of(controller.pis[name]) for name in left}


@pytest.fixture
def controller(bootstrapped: Controller, releases: Releases) -> Controller:
    make_plain(bootstrapped, releases)
    return bootstrapped


@pytest.fixture
def deployed(bootstrapped: Controller, releases: Releases) -> Controller:
    deploy_plainly(bootstrapped, releases)
    return bootstrapped


@dataclass(frozen=True)
class Plain:
    """The state of a plain host; a test may go on with a host in this state."""

    release: str
    files: dict[str, bytes]
    record: bytes
    serves: bool

    @classmethod
    def of(cls, pi: Pi) -> Plain:
        record = pi.disk / OPT[1:] / "deployed.json"
        return cls(pi.release(), pi.configuration(), record.read_bytes() if record.exists() else b"", pi.serves())

    def restore(self, pi: Pi) -> None:
        """Put changed files back; this takes one second instead of a playbook's ten."""
        now = Plain.of(pi)
        if now == self or now.release != self.release or set(now.files) != set(self.files):
            return
        for path, content in self.files.items():
            Path(path).write_bytes(content)
        (pi.disk / OPT[1:] / "deployed.json").write_bytes(self.record)
        pi.run("systemctl", "enable", UNIT)
        pi.run("systemctl", "restart", UNIT)
        until("pictures", pi.serves)
