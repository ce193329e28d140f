"""scripts/install on real hosts without a network, from the artefact that tests/systemd/rig/artefact builds."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import Report
from tests.kit.daemon import ROOT
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.server.test_update import Publisher
from tests.systemd import hosts
from tests.systemd.conftest import SRV, deliver
from tests.systemd.hosts import Host

sys.path.append(str(ROOT / "scripts"))

from installer import card

OPT = "/opt/pi-cam-daemon"
UNITS = "/usr/local/lib/systemd/system"
UNIT = "pi-cam-daemon.service"
GARDEN = "pi-cam-daemon@garden.service"
SOAK = "pi-cam-daemon-soak.service"
PYTHON = {"bookworm": "3.11", "trixie": "3.13"}
# how long a release has to serve here until it passes; the default is for machines on which starts take seconds
SETTLE = "--settle-seconds=0.3"
# tests that break a service do not wait for the soak of the one before
NO_SOAK = "--soak-seconds=0"

DIES = """
_run = run
def run(load):
    import os, threading
    threading.Timer(1, os._exit, [3]).start()
    _run(load)
"""
# it serves until this file is there
OMEN = "/etc/pi-cam-daemon/omen"
DIES_LATER = f"""
def _die():
    import os, time
    while not os.path.exists("{OMEN}"):
        time.sleep(0.2)
    os._exit(3)
_run = run
def run(load):
    import threading
    threading.Thread(target=_die, daemon=True).start()
    _run(load)
"""
HANGS = "def run(load):\n    import time\n    time.sleep(3600)\n"
DEAF = "import sdnotify, time\ndef run(load):\n    sdnotify.SystemdNotifier().notify('READY=1')\n    time.sleep(3600)\n"
# of two services, only the one with a configuration file of its own is broken
HANGS_IN_INSTANCES = """
_run = run
def run(load):
    import sys, time
    time.sleep(3600) if "--config" in sys.argv else _run(load)
"""


CONFIG = '[source]\nkind = "pattern"\n[video]\nwidth = 320\nheight = 240\n'


def is_library(wheel: str) -> bool:
    return wheel.startswith(("numpy-", "opencv_"))


class Machine:
    """A host without the daemon, and the actions of a person at it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.releases = host.disk / SRV[1:]
        self._libraries = f"/usr/local/lib/python{PYTHON[host.suite]}/dist-packages/libraries.pth"
        self._names = (f"{number}" for number in itertools.count(1))

    def install(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.host.try_run(f"{SRV}/install", SETTLE, NO_SOAK, *arguments, timeout=120)

    def installs(self, *arguments: str) -> str:
        """Run the installer, which has to succeed, and return its output."""
        done = self.install(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def fails(self, *arguments: str) -> str:
        done = self.install(*arguments)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done.stderr

    def current(self) -> str:
        link = self.host.disk / OPT[1:] / "current"
        return link.readlink().name if link.is_symlink() else ""

    def history(self) -> list[str]:
        file = self.host.disk / OPT[1:] / "history"
        return file.read_text().split() if file.exists() else []

    def release(self) -> Path:
        """Return the folder of the current release."""
        return self.host.disk / OPT[1:] / "releases" / self.current()

    def package(self, release: Path) -> Path:
        return release / f"lib/python{PYTHON[self.host.suite]}/site-packages/pi_cam_daemon"

    def folders(self) -> set[str]:
        return {path.name for path in (self.host.disk / OPT[1:] / "releases").iterdir()}

    def enabled(self) -> set[str]:
        """Return the links by which units of this program start."""
        folder = self.host.disk / "etc/systemd/system"
        return {str(path.relative_to(folder)) for path in folder.glob("*.wants/pi-cam-daemon*")}

    def soak_said(self) -> str:
        """Return what the soak has logged since the boot."""
        return self.host.run("journalctl", "-q", "-b", "-u", SOAK, "-o", "cat")

    def is_watched_no_more(self) -> bool:
        folder = self.host.disk / OPT[1:] / "soak"
        return not folder.exists() and self.host.show(SOAK, "ActiveState") == "inactive"

    def journal(self) -> str:
        return self.host.try_run("journalctl", "-q", "-u", UNIT, "-n", "40", "-o", "cat", "--no-pager").stdout

    def main_pid(self, unit: str = UNIT) -> str:
        return self.host.show(unit, "MainPID")

    def running(self, unit: str = UNIT) -> str:
        """Return the release that the server process belongs to."""
        argv = self.host.run("cat", f"/proc/{self.main_pid(unit)}/cmdline")
        match = re.search(rf"{OPT}/releases/([^/]+)/", argv)
        assert match, argv
        return match[1]

    def serves(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.host.address}:8000/snapshot", timeout=2) as answer:
                return bool(answer.read(2) == b"\xff\xd8")
        except OSError:
            return False

    def wait_for_pictures(self) -> None:
        until("pictures", self.serves, 20)

    def variant(
        self,
        code: str = "",
        units: dict[str, str] | None = None,
        libraries: bool = False,
        more: dict[str, str] | None = None,
        knows: str = "",
    ) -> str:
        """Unpack a further release of the artefact; *code* is appended to daemon.py, *units* to its units.

        *more* are modules that lie beside the daemon's package. *knows* is a new key of [video], a number.

        Without *libraries*, numpy and OpenCV are the host's, so that an installation takes a second and not five.
        """
        name = next(self._names)
        base, folder = self.releases / "base", self.releases / name
        (folder / "wheels").mkdir(parents=True)
        shutil.copy2(base / "install", folder)
        for part in ("installer", "systemd"):
            shutil.copytree(base / part, folder / part)
        for wheel in (base / "wheels").iterdir():
            (folder / "wheels" / wheel.name).symlink_to(f"{SRV}/base/wheels/{wheel.name}")
        (wheel,) = (base / "wheels").glob("pi_cam_daemon-*.whl")
        (folder / "wheels" / wheel.name).unlink()
        with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(folder / "wheels" / wheel.name, "w") as new:
            for entry in old.namelist():
                text = old.read(entry)
                if entry == "pi_cam_daemon/daemon.py":
                    text += f"\n\n# {name}\n{code}".encode()
                if knows and entry == "pi_cam_daemon/config/default.toml":
                    text = text.replace(b"\n[video]\n", f"\n[video]\n{knows} = 1\n".encode())
                if knows and entry == "pi_cam_daemon/config/schema.py":
                    text = text.replace(
                        b"    width: ", f"    {knows}: Annotated[int, converters.integer(0, 9)]\n    width: ".encode()
                    )
                new.writestr(entry, text)
            for entry, source in (more or {}).items():
                new.writestr(entry, source)
        manifest = json.loads((base / "manifest.json").read_text())
        manifest["version"] = name
        for unit, text in (units or {}).items():
            (folder / "systemd" / unit).write_text(text)
            manifest["files"][f"systemd/{unit}"] = hashlib.sha256(text.encode()).hexdigest()
        for target in manifest["targets"].values():
            if not libraries:
                target["wheels"] = {name: wanted for name, wanted in target["wheels"].items() if not is_library(name)}
            target["wheels"][wheel.name] = hashlib.sha256((folder / "wheels" / wheel.name).read_bytes()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return f"{SRV}/{name}"

    def pack(self, variant: str, artefact: Path) -> None:
        """Pack a variant without libraries into one file."""
        folder = self.folder(variant)
        targets = json.loads((folder / "manifest.json").read_text())["targets"].values()
        wheels = sorted({f"wheels/{name}" for target in targets for name in target["wheels"]})
        members = ["manifest.json", "install", "installer", "systemd", *wheels]
        # the links of the wheels lead where the host has them
        tar = f"chroot {self.host.disk} tar -C {variant} -chf - {' '.join(members)}"
        hosts.sh("sh", "-c", f"{tar} | zstd -qf -1 -o {artefact}")

    def update(self) -> dict[str, object]:
        """Return what /state tells of updates; nothing while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self.host.address}:8000/state", timeout=2) as answer:
                return json.load(answer)["update"] or {}
        except OSError:
            return {}

    @contextlib.contextmanager
    def without_libraries(self) -> Iterator[None]:
        """The host as Debian comes, without numpy and OpenCV."""
        self.host.remove(self._libraries)
        try:
            yield
        finally:
            self.give_libraries()

    def give_libraries(self) -> None:
        self.host.write(self._libraries, f"{SRV}/libraries\n")

    def folder(self, variant: str) -> Path:
        """Return the test's path of *variant* on the host."""
        return self.host.disk / variant[1:]

    @contextlib.contextmanager
    def instance(self) -> Iterator[None]:
        """Enable and run a second camera, garden, for as long as the block lasts."""
        self.host.write("/etc/pi-cam-daemon/cameras/garden.toml", CONFIG + "[http]\nport = 8001\n")
        self.host.run("systemctl", "enable", "--now", GARDEN)
        try:
            yield
        finally:
            self.host.try_run("systemctl", "disable", "--now", GARDEN)
            self.host.remove("/etc/pi-cam-daemon/cameras")

    @contextlib.contextmanager
    def begun(self, *arguments: str, terminal: int | None = None) -> Iterator[Future[int]]:
        """Run the installer until it ends; the future gives its exit status. Its output goes to *terminal*."""
        script = f'echo $$ >/run/installer; exec {SRV}/install {SETTLE} {NO_SOAK} "$@"'
        with (self.host.disk / "root/installer").open("w") as log, ThreadPoolExecutor(1) as pool:
            output = log if terminal is None else terminal
            process = subprocess.Popen(
                self.host.inside("sh", "-c", script, "sh", *arguments), stdout=output, stderr=output
            )
            yield pool.submit(process.wait, patience(120))

    def said(self) -> str:
        """Return the output so far of the installer that `begun` started."""
        log = self.host.disk / "root/installer"
        return log.read_text() if log.exists() else ""

    def signal(self, name: str) -> None:
        """Send a signal to the installer that `begun` started; it may have ended."""
        self.host.run("sh", "-c", f"kill -{name} $(cat /run/installer) 2>/dev/null || true")

    def paths(self) -> set[str]:
        """Return every file and folder, except those that a running system makes and removes by itself."""
        own = f"/proc /sys /dev /tmp /var/tmp /run/systemd /run/log /var/log /var/lib/systemd {SRV}".split()
        but = [word for path in own for word in ("-path", path, "-prune", "-o")]
        found = self.host.run("find", "/", *but, "-print").splitlines()
        # /etc/passwd- and the like are what useradd and userdel keep of the file before
        return {path for path in found if "__pycache__" not in path and not path.endswith("-")}


@pytest.fixture(scope="module", params=hosts.SUITES)
def bare(
    request: pytest.FixtureRequest, lab: Path, artefact: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """A running Debian, shared by the tests of this file."""
    suite: str = request.param
    host = Host(suite, 11 + hosts.SUITES.index(suite), tmp_path_factory.mktemp(suite), lab)
    machine = Machine(host)
    deliver(host, artefact)
    base = machine.releases / "base"
    base.mkdir()
    hosts.sh("tar", "--zstd", "-xf", artefact, "-C", base)
    host.write("/etc/pi-cam-daemon/config.toml", CONFIG)
    targets = json.loads((base / "manifest.json").read_text())["targets"]
    (wheels,) = (target["wheels"] for target in targets.values() if target["python"] == PYTHON[suite])
    for wheel in filter(is_library, wheels):
        with zipfile.ZipFile(base / "wheels" / wheel) as archive:
            archive.extractall(machine.releases / "libraries")
    machine.give_libraries()
    for path in (host.disk / "etc/apt").rglob("*"):
        if path.suffix in (".list", ".sources"):
            path.unlink()
    try:
        host.boot()
        yield machine
    finally:
        host.close()


@pytest.fixture
def machine(bare: Machine) -> Iterator[Machine]:
    """The host with nothing installed."""
    bare.installs("--uninstall")
    yield bare
    print(bare.journal())


@pytest.fixture
def serving(bare: Machine) -> Iterator[Machine]:
    """The host with a release that serves; the test before may have left it."""
    if not (bare.current() and bare.history()[-1:] == [bare.current()] and bare.serves()):
        bare.installs("--uninstall")
        bare.installs("--from", bare.variant())
    bare.wait_for_pictures()
    yield bare
    print(bare.journal())


@pytest.mark.every_debian
def test_an_artefact_installs_without_a_network(machine: Machine) -> None:
    with machine.without_libraries():
        done = machine.host.try_run("sh", "-c", f"umask 077; {SRV}/install --from {SRV}/artefact.tar.zst", timeout=120)
    assert done.returncode == 0, done.stderr
    machine.wait_for_pictures()
    assert machine.running() == machine.current()
    assert machine.host.run("systemctl", "is-enabled", UNIT) == "enabled"
    assert machine.host.run("pi-cam-daemon", "--version").startswith("pi-cam-daemon ")
    release = f"{OPT}/releases/{machine.current()}"
    assert not machine.host.run("find", release, "-not", "-user", "root"), "the service could change its own code"
    bytecode = machine.package(machine.release()) / "__pycache__"
    assert list(bytecode.glob("daemon.*.pyc")), "no bytecode"


def test_the_installed_installer_shows_the_status_to_ordinary_users(serving: Machine) -> None:
    install = f"{OPT}/current/install"
    for who in ("0", "65534"):
        status = serving.host.try_run("setpriv", f"--reuid={who}", install, "--status")
        assert status.returncode == 0, status.stdout + status.stderr
        assert serving.current() in status.stdout
        assert "camera    " in status.stdout and "Streaming 320x240" in status.stdout
        assert "health    ok" in status.stdout
    refused = serving.host.try_run("setpriv", "--reuid=65534", install, "--rollback")
    assert (refused.returncode, refused.stderr) == (1, f"install: run it as root: sudo {install} --rollback\n")
    nothing_named = serving.host.try_run(install)
    assert (nothing_named.returncode, nothing_named.stderr) == (1, "install: name what to install: --from ARTEFACT\n")


def test_installing_the_current_release_restarts_nothing(serving: Machine) -> None:
    serving.installs("--from", serving.variant())
    # a crash of long ago says nothing about the release
    serving.host.run("kill", "-KILL", serving.main_pid())
    until("the restart", lambda: serving.host.show(UNIT, "NRestarts") == "1" and serving.serves())
    pid, releases = serving.main_pid(), serving.history()
    serving.installs("--from", f"{SRV}/{serving.current().split('-')[0]}")
    assert (serving.main_pid(), serving.history()) == (pid, releases)


@contextlib.contextmanager
def offering(machine: Machine, folder: Path) -> Iterator[str]:
    """Serve *folder* by HTTP, and let the machine's timer ask there at once. Yield the address."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    timer = "pi-cam-daemon-update.timer"
    changed = (f"/etc/systemd/system/{timer}.d", "/etc/pi-cam-daemon/allowed_signers")
    with ThreadingHTTPServer(("", 0), handler) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever, 0.05)
        machine.host.write(f"{changed[0]}/now.conf", "[Timer]\nOnActiveSec=0\nRandomizedDelaySec=0\nAccuracySec=1us\n")
        machine.host.run("systemctl", "daemon-reload")
        try:
            yield f"http://{machine.host.address.removesuffix('2')}1:{server.server_port}"
        finally:
            server.shutdown()
            machine.host.run("systemctl", "stop", timer)
            for path in changed:
                machine.host.remove(path)
            machine.host.write("/etc/pi-cam-daemon/config.toml", CONFIG)


def test_the_timer_installs_a_newer_release_and_refuses_an_older_one(serving: Machine, tmp_path: Path) -> None:
    # the variants' names are their versions, each higher than the one before
    older, newer = serving.variant(), serving.variant()
    publisher, release = Publisher(tmp_path, "publisher"), tmp_path / "release.tar.zst"
    service = "pi-cam-daemon-update.service"
    with offering(serving, tmp_path) as url:
        serving.host.write("/etc/pi-cam-daemon/allowed_signers", publisher.line)
        serving.host.write("/etc/pi-cam-daemon/config.toml", f'{CONFIG}[update]\nurl = "{url}/{release.name}"\n')

        def offer(variant: str) -> dict[str, object]:
            serving.pack(variant, release)
            publisher.sign(release)
            ran = serving.host.show(service, "ExecMainExitTimestampMonotonic")
            serving.host.run("systemctl", "restart", "pi-cam-daemon-update.timer")
            until("the run", lambda: serving.host.show(service, "ExecMainExitTimestampMonotonic") not in (ran, "0"), 60)
            until("its end", lambda: serving.host.show(service, "ActiveState") in ("inactive", "failed"))
            return until("the report", serving.update)

        installed = offer(newer)
        serves = serving.current()
        assert serves.startswith(newer.removeprefix(f"{SRV}/"))
        assert (installed["result"], installed["offered"], serving.running()) == ("installed", serves, serves)
        refused = offer(older)
        assert refused["result"] == "refused" and f"is older than {serves}, which serves" in str(refused["detail"])
        assert serving.running() == serves
        with urllib.request.urlopen(f"http://{serving.host.address}:8000/metrics", timeout=5) as answer:
            assert b"\npi_cam_update_ok 0.0\n" in answer.read()
    # by hand an older one is taken
    serving.installs("--from", older)
    assert serving.running() == serving.current() != serves


@pytest.mark.every_debian
def test_an_upgrade_serves_and_can_be_rolled_back(machine: Machine) -> None:
    unit = (ROOT / "systemd" / UNIT).read_text()
    machine.installs("--from", machine.variant())
    first = machine.current()
    # with units of its own
    other = {UNIT: unit + "# of another release\n", "pi-cam-daemon-more.service": "[Service]\nExecStart=/bin/true\n"}
    machine.installs("--from", machine.variant(units=other, knows="sharpen"))
    assert machine.running() == machine.current() != first
    assert "# of another release" in machine.host.run("systemctl", "cat", UNIT)
    assert machine.host.show("pi-cam-daemon-more.service", "LoadState") == "loaded"
    machine.wait_for_pictures()
    # with a setting that the release before does not know
    config = "/etc/pi-cam-daemon/conf.d/newer.toml"
    machine.host.write(config, "[video]\nsharpen = 2\n")
    machine.installs("--rollback")
    assert f"{config}: video.sharpen: ignored; a newer release has this key" in machine.journal()
    machine.host.write(config, "[video]\nsharpem = 2\n")
    assert "video.sharpem: unknown key" in machine.host.try_run("pi-cam-daemon", "check-config").stderr
    machine.host.remove(config)
    assert machine.running() == machine.current() == first
    assert "# of another release" not in machine.host.run("systemctl", "cat", UNIT)
    assert machine.host.show("pi-cam-daemon-more.service", "LoadState") == "not-found"
    assert machine.host.show(UNIT, "NeedDaemonReload") == "no"
    machine.wait_for_pictures()
    assert "no release before" in machine.fails("--rollback")


def test_a_rollback_to_a_broken_release_is_undone(serving: Machine) -> None:
    earlier = serving.package(serving.release()) / "daemon.py"
    # a release is never changed, so its bytecode is not compared with it
    for compiled in earlier.parent.glob("__pycache__/daemon.*"):
        compiled.unlink()
    serving.installs("--from", serving.variant())
    release, pid = serving.current(), serving.main_pid()
    with earlier.open("a") as file:
        file.write(HANGS)
    said = serving.fails("--rollback", "--health-seconds", "2")
    assert f"went back to {release}" in said
    assert serving.running() == serving.current() == serving.history()[-1] == release
    serving.wait_for_pictures()
    pid = serving.main_pid()
    earlier.write_text("import nothing_of_that_name\n")
    assert "nothing was changed" in serving.fails("--rollback")
    assert serving.main_pid() == pid
    serving.installs("--uninstall")


def test_the_last_three_releases_are_kept(serving: Machine) -> None:
    named = []
    for _ in range(3):
        serving.installs("--from", serving.variant())
        named.append(serving.current())
    assert serving.history() == named
    assert serving.folders() == set(named)


@pytest.mark.parametrize(
    ("code", "reason"),
    [(DIES, "ended by itself"), (HANGS, "does not serve"), (DEAF, "does not listen")],
    ids=["dies", "hangs", "deaf"],
)
def test_a_broken_release_is_rolled_back(serving: Machine, code: str, reason: str) -> None:
    first, releases = serving.current(), serving.history()
    said = serving.fails("--from", serving.variant(code), "--health-seconds", "5", "--settle-seconds", "3")
    assert reason in said
    assert f"went back to {first}" in said
    assert serving.running() == serving.current() == first
    serving.wait_for_pictures()
    assert serving.history() == releases
    assert serving.folders() == set(releases), "the broken release takes room"


def test_a_release_that_ends_later_is_taken_back_in_the_background(serving: Machine, soak: bool) -> None:
    host = serving.host
    for cut in (True, False) if soak else (True,):
        first, releases = serving.current(), serving.history()
        said = serving.installs("--from", serving.variant(DIES_LATER), "--soak-seconds=60")
        second = serving.current()
        assert f"it is watched for 60 s more; if it does not last, {first} comes back" in said
        assert f"soak      {second} is new and watched" in serving.install("--status").stdout
        if cut:
            host.cut_power()
            host.boot()
        until("the soak", lambda second=second: f"watching {second}" in serving.soak_said(), 30)
        host.write(OMEN, "")
        until("the end of the soak", serving.is_watched_no_more, 60)
        host.remove(OMEN)
        assert serving.running() == serving.current() == first
        serving.wait_for_pictures()
        assert serving.history() == releases and serving.folders() == set(releases)
        assert f"soak      {second} was taken back: {UNIT} ended by itself\n" in serving.install("--status").stdout
        told = serving.soak_said()
        assert f"{UNIT} ended by itself" in told and f"went back to {first}, which serves" in told
    serving.installs("--from", serving.variant(), "--soak-seconds=1")
    until("the end of the soak", serving.is_watched_no_more, 60)
    assert "soak " not in serving.install("--status").stdout
    assert serving.history() == [*releases, serving.current()][-3:]


def test_an_instance_that_was_sick_before_stops_no_upgrade(serving: Machine) -> None:
    first = serving.current()
    # one whose port is taken, so that it starts again and again, and one that has failed by its file
    for name, text in (("garden", CONFIG), ("yard", "[video]\nrotation = 45\n")):
        serving.host.write(f"/etc/pi-cam-daemon/cameras/{name}.toml", text)
        serving.host.try_run("systemctl", "enable", "--now", f"pi-cam-daemon@{name}.service")
    try:
        said = serving.installs("--from", serving.variant())
        assert f"{GARDEN} did not serve before, and still does not" in said
        assert "cameras/yard.toml, as the release that serves does: " in said
        assert serving.running() == serving.current() != first
    finally:
        for name in ("garden", "yard"):
            serving.host.try_run("systemctl", "disable", "--now", f"pi-cam-daemon@{name}.service")
        serving.host.remove("/etc/pi-cam-daemon/cameras")


def test_a_release_whose_files_cannot_be_placed_is_rolled_back(serving: Machine) -> None:
    first = serving.current()
    unit = serving.host.run("systemctl", "cat", UNIT)
    serving.host.run("mount", "--bind", "-o", "ro", UNITS, UNITS)
    try:
        said = serving.fails("--from", serving.variant(units={UNIT: unit + "\n# another\n"}))
    finally:
        serving.host.run("umount", UNITS)
    assert "Read-only file system" in said
    assert f"went back to {first}" in said
    assert serving.running() == serving.current() == first
    serving.wait_for_pictures()


def test_a_release_that_fails_its_smoke_test_touches_nothing(serving: Machine) -> None:
    pid, first = serving.main_pid(), serving.folders()
    said = serving.fails("--from", serving.variant("import nothing_of_that_name\n"))
    assert "nothing was changed: " in said
    assert "No module named 'nothing_of_that_name'" in said
    assert (serving.main_pid(), serving.folders()) == (pid, first)


def test_the_smoke_test_ignores_the_installers_environment(serving: Machine) -> None:
    serving.host.write("/opt/elsewhere/pi_cam_daemon/__init__.py", "raise SystemExit('not this one')\n")
    install = ("env", "PYTHONPATH=/opt/elsewhere", f"{SRV}/install", SETTLE, NO_SOAK, "--from", serving.variant())
    try:
        done = serving.host.try_run(*install, timeout=120)
    finally:
        serving.host.remove("/opt/elsewhere")
    assert done.returncode == 0, done.stderr


def test_a_first_release_that_is_broken_leaves_no_service_behind(machine: Machine) -> None:
    said = machine.fails("--from", machine.variant(HANGS), "--health-seconds", "2")
    assert "no release before it" in said
    assert machine.host.show(UNIT, "LoadState") == "not-found"
    assert machine.install("--status").stdout == "not installed\n"
    assert machine.folders() == set()


def test_a_release_that_served_stays_if_the_machine_prevents_it_now(machine: Machine) -> None:
    release = machine.variant()
    machine.installs("--from", release)
    machine.host.run("systemctl", "stop", UNIT)
    # Type=notify: it has the port when systemd-run returns
    take = (
        "import socket, sdnotify, time; s = socket.create_server(('', 8000)); "
        "sdnotify.SystemdNotifier().notify('READY=1'); time.sleep(600)"
    )
    machine.host.run("systemd-run", "--unit=taken", "-p", "Type=notify", f"{OPT}/current/bin/python", "-c", take)
    try:
        assert "taken by another program" in machine.fails("--from", release, "--health-seconds", "10")
    finally:
        machine.host.run("systemctl", "stop", "taken.service")
    assert machine.history() == [machine.current()]
    machine.wait_for_pictures()


def test_a_release_that_is_damaged_on_the_disk_is_unpacked_again(serving: Machine) -> None:
    source = serving.variant()
    serving.installs("--from", source)
    (serving.package(serving.release()) / "cli.py").unlink()
    assert "does not work" in serving.installs("--from", source)
    assert (serving.package(serving.release()) / "cli.py").exists()
    assert serving.running() == serving.current() == serving.history()[-1]
    serving.wait_for_pictures()


def test_a_release_for_another_python_tells_the_command_that_makes_it_fit(machine: Machine) -> None:
    python = PYTHON[machine.host.suite]
    machine.installs("--from", machine.variant())
    old = machine.current()
    # as if Debian had come with another Python since
    library = machine.release() / "lib"
    (library / f"python{python}").rename(library / "python3.10")
    program = machine.release() / "bin/pi-cam-daemon"
    program.write_text(program.read_text().replace(python, "3.10"))
    machine.host.try_run("systemctl", "restart", UNIT)
    told = machine.host.try_run("pi-cam-daemon", "--version")
    assert told.returncode == 1 and "made for Python 3.10" in told.stderr and "Traceback" not in told.stderr
    assert told.stderr.strip() in machine.journal()
    bundle = machine.host.run("sh", "-c", "pi-cam-daemon support-bundle - 2>/run/errors | tar -xzO; cat /run/errors")
    assert f"python: {python}." in bundle and "made for Python 3.10" in bundle and "Traceback" not in bundle
    command = told.stderr.strip().rpartition("sudo ")[2]
    assert (
        f"the release was made for another Python; run: sudo {command}"
        in machine.host.try_run(command, "--status").stdout
    )
    done = machine.host.try_run(command, SETTLE, NO_SOAK)
    assert done.returncode == 0 and f"{old} was made for Python 3.10" in done.stderr, done.stderr
    machine.wait_for_pictures()
    assert machine.running() == machine.current() == machine.history()[-1] != old
    machine.installs("--uninstall")


def test_a_damaged_release_is_told_in_words(serving: Machine) -> None:
    (serving.package(serving.release()) / "cli.py").rename(serving.release() / "cli.py")
    told = serving.host.try_run("pi-cam-daemon", "support-bundle")
    assert told.returncode == 1 and "No module named 'pi_cam_daemon.cli'" in told.stderr
    assert "install --rollback" in told.stderr and "Traceback" not in told.stderr
    (serving.release() / "cli.py").rename(serving.package(serving.release()) / "cli.py")


def test_a_configuration_that_the_release_refuses_stops_the_installer(serving: Machine) -> None:
    pid = serving.main_pid()
    serving.host.write("/etc/pi-cam-daemon/conf.d/wrong.toml", "[video]\nrotation = 45\n")
    try:
        said = serving.fails("--from", serving.variant())
    finally:
        serving.host.remove("/etc/pi-cam-daemon/conf.d")
    assert "wrong.toml: video.rotation" in said
    assert serving.main_pid() == pid


def test_a_damaged_artefact_is_refused(serving: Machine, artefact: Path) -> None:
    pid = serving.main_pid()
    packed = serving.releases / "damaged.tar.zst"
    data = bytearray(artefact.read_bytes())
    data[len(data) // 2] ^= 0xFF
    for damaged in (data, data[: len(data) // 3], data[:5], b"", b"no artefact at all"):
        packed.write_bytes(damaged)
        assert "damaged" in serving.fails("--from", f"{SRV}/damaged.tar.zst")
    packed.unlink()
    variant = serving.variant()
    (wheel,) = serving.folder(variant).glob("wheels/pi_cam_daemon-*.whl")
    with wheel.open("ab") as file:
        file.write(b"x")
    assert "wrong sha256" in serving.fails("--from", variant)
    assert serving.main_pid() == pid


def test_an_artefact_writes_nothing_outside_its_release(serving: Machine) -> None:
    pid = serving.main_pid()
    variant = serving.variant()
    manifest = serving.folder(variant) / "manifest.json"
    whole = json.loads(manifest.read_text())
    name, digest = next(iter(whole["files"].items()))
    for path in ("../../../../etc/hostile", "/etc/hostile", "systemd/../../hostile", "lib/hostile", "bin/python"):
        manifest.write_text(json.dumps({**whole, "files": {path: digest}}))
        assert "does not belong in an artefact" in serving.fails("--from", variant)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for member, content in (("manifest.json", manifest.read_bytes()), (path, b"hostile")):
                entry = tarfile.TarInfo(member)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        subprocess.run(["zstd", "-q", "-f", "-o", serving.releases / "hostile"], input=packed.getvalue(), check=True)
        assert "does not belong in an artefact" in serving.fails("--from", f"{SRV}/hostile")
    for version in ("../x", "", ".", "a/b", 7):
        manifest.write_text(json.dumps({**whole, "version": version}))
        serving.fails("--from", variant)
    for nonsense in ("[]", "{}", "7", '{"targets": []}', "{"):
        manifest.write_text(nonsense)
        assert "not an artefact" in serving.fails("--from", variant)
    assert name
    assert not (serving.host.disk / "etc/hostile").exists()
    assert serving.main_pid() == pid


def test_without_disk_space_the_missing_amount_is_shown_and_nothing_left(machine: Machine) -> None:
    machine.host.run("mkdir", "-p", OPT)
    machine.host.run("mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", OPT)
    try:
        said = machine.fails("--from", f"{SRV}/artefact.tar.zst")
        assert re.search(r"releases: \d+ MB of space are needed, \d+ MB are free", said), said
        # an artefact that needs more than it knows of
        variant = machine.variant(libraries=True)
        manifest = machine.folder(variant) / "manifest.json"
        manifest.write_text(re.sub(r'"bytes": \d+', '"bytes": 0', manifest.read_text()))
        said = machine.fails("--from", variant)
        assert "No space left on device; make room, and install again" in said
        assert machine.host.run("find", OPT, "-mindepth", "1") == f"{OPT}/releases"
    finally:
        machine.host.run("umount", OPT)


def test_two_installations_at_once_exclude_each_other(serving: Machine) -> None:
    variant = serving.variant()
    with serving.begun("--from", variant) as first:
        until("its beginning", lambda: "preparing" in serving.said())
        assert "another installation is running" in serving.fails("--from", variant)
    assert first.result() == 0, serving.said()
    assert serving.running() == serving.current() == serving.history()[-1]


def test_a_killed_installation_keeps_the_service_and_the_next_one_repairs(
    serving: Machine, soak: bool, report: Report
) -> None:
    begun = time.monotonic()
    serving.installs("--from", serving.variant())
    whole = time.monotonic() - begun
    moments = 20 if soak else 4
    stages: list[str] = []
    for moment in range(moments):
        before, variant = serving.current(), serving.variant()
        with serving.begun("--from", variant) as killed:
            # one half before the switch and one from it on, which is the shorter part
            if moment % 2:
                until("the switch", lambda before=before: serving.current() != before, 60)
            else:
                until("its beginning", lambda: "preparing" in serving.said(), 60)
            # not a wait for something to happen: the moment is what is being tried
            time.sleep(whole / 2 * (moment // 2) / (moments / 2))
            serving.signal("KILL")
        # the last ones may have been quicker
        assert killed.result() != 0 or moment % 2
        stages.append("finished" if killed.result() == 0 else "before" if serving.current() == before else "after")
        serving.wait_for_pictures()
        assert serving.running() in (before, serving.current())
        serving.installs("--from", variant)
        assert serving.running() == serving.current() == serving.history()[-1] != before
        assert serving.folders() == set(serving.history())
        serving.wait_for_pictures()
    counts = ", ".join(f"{stages.count(stage)} {stage}" for stage in ("before", "after", "finished"))
    report(f"killed at {moments} moments of {whole:.1f} s, of the switch: {counts}")
    assert {"before", "after"} <= set(stages)


def test_units_that_a_killed_installation_placed_are_loaded_by_the_next(serving: Machine) -> None:
    unit = (ROOT / "systemd" / UNIT).read_text().replace("Description=", "Description=Another ")
    variant = serving.variant(units={UNIT: unit})
    # as one killed between placing and telling systemd leaves it
    serving.host.write(f"{UNITS}/{UNIT}", unit)
    serving.installs("--from", variant)
    assert serving.host.show(UNIT, "Description").startswith("Another ")


def test_a_service_left_running_by_a_killed_rollback_is_restarted(serving: Machine) -> None:
    first = serving.variant()
    serving.installs("--from", first)
    proven = serving.current()
    serving.installs("--from", serving.variant())
    # as one leaves it that was killed when it had switched back and restarted nothing yet
    serving.host.run("ln", "-sfn", f"releases/{proven}", f"{OPT}/current")
    history = serving.host.disk / OPT[1:] / "history"
    history.write_text(f"{proven}\n")
    assert f"runs {serving.running()}" in serving.install("--status").stdout
    serving.installs("--from", first)
    assert serving.running() == serving.current() == proven


def test_an_interrupted_installation_is_rolled_back(serving: Machine) -> None:
    first = serving.current()
    with serving.begun("--from", serving.variant(HANGS)) as interrupted:
        until("the switch", lambda: serving.current() != first, 60)
        serving.signal("HUP")
        until("the way back", lambda: "going back" in serving.said(), 60)
        # a terminal that is closed sends more than one
        serving.signal("TERM")
        serving.signal("INT")
    assert interrupted.result() == 1
    assert f"went back to {first}" in serving.said()
    assert serving.running() == serving.current() == first
    serving.wait_for_pictures()


def test_an_installation_that_loses_its_terminal_is_rolled_back(serving: Machine) -> None:
    first = serving.current()
    terminal, line = os.openpty()
    with serving.begun("--from", serving.variant(HANGS), terminal=line) as interrupted:
        os.close(line)
        until("the switch", lambda: serving.current() != first, 60)
        os.close(terminal)
        serving.signal("HUP")
    assert interrupted.result() == 1
    assert serving.running() == serving.current() == first
    serving.wait_for_pictures()


@pytest.mark.every_debian
def test_the_first_boot_of_a_copy_enables_what_was_enabled(serving: Machine) -> None:
    """A copy of a disk has no machine-id, and systemd enables at its first boot what no preset disables."""
    release = serving.current()
    enabled = serving.enabled()
    serving.host.cut_power()
    serving.host.remove("/etc/machine-id")
    serving.host.boot()
    assert serving.enabled() == enabled == {f"multi-user.target.wants/{UNIT}"}
    serving.wait_for_pictures()
    assert serving.running() == release
    assert not (serving.host.disk / UNITS[1:] / "pi-cam-daemon-boot.service").exists(), "a card's"
    with serving.instance():
        serving.host.run("systemctl", "disable", "--now", UNIT)
        serving.installs("--from", serving.variant())
        enabled = serving.enabled()
        serving.host.run("systemctl", "preset-all")
        assert serving.enabled() == enabled == {f"multi-user.target.wants/{GARDEN}"}
    serving.installs("--uninstall")


def test_instances_are_upgraded_and_rolled_back_together(serving: Machine) -> None:
    with serving.instance():
        serving.installs("--from", serving.variant())
        first = serving.current()
        assert serving.running() == serving.running(GARDEN) == first
        said = serving.fails("--from", serving.variant(HANGS_IN_INSTANCES), "--health-seconds", "3")
        assert f"{GARDEN} does not serve" in said
        assert serving.running() == serving.running(GARDEN) == first
        serving.installs("--from", serving.variant())
        assert serving.running() == serving.running(GARDEN) == serving.current() != first
        serving.installs("--rollback")
        assert serving.running() == serving.running(GARDEN) == first
        assert GARDEN in serving.install("--status").stdout
        serving.installs("--uninstall")
        assert not serving.host.run("systemctl", "list-units", "--all", "--no-legend", "pi-cam-daemon*")
        assert not list((serving.host.disk / "etc/systemd/system").glob("*.wants/pi-cam-daemon*"))


def test_a_disabled_service_stays_off(serving: Machine) -> None:
    with serving.instance():
        serving.host.run("systemctl", "disable", "--now", UNIT)
        serving.installs("--from", serving.variant())
        assert serving.running(GARDEN) == serving.current()
        assert serving.host.show(UNIT, "ActiveState") == "inactive"
        assert serving.host.try_run("systemctl", "is-enabled", UNIT).stdout == "disabled\n"
    serving.installs("--uninstall")


def test_a_command_of_the_same_name_is_left_alone(machine: Machine) -> None:
    command = "/usr/local/bin/pi-cam-daemon"
    machine.host.write(command, "somebody's\n")
    try:
        assert f"{command} is not this program's" in machine.installs("--from", machine.variant())
        machine.installs("--uninstall")
        assert (machine.host.disk / command[1:]).read_text() == "somebody's\n"
    finally:
        machine.host.remove(command)


def test_a_unit_file_that_overrides_the_releases_is_named(serving: Machine) -> None:
    copy = f"/etc/systemd/system/{UNIT}"
    serving.host.write(copy, (ROOT / "systemd" / UNIT).read_text())
    try:
        assert f"{copy} overrides the release" in serving.installs("--from", serving.variant())
    finally:
        serving.host.remove(copy)
        serving.host.run("systemctl", "daemon-reload")


@pytest.mark.every_debian
def test_in_a_chroot_the_service_is_installed_for_the_next_boot(
    bare: Machine, lab: Path, artefact: Path, tmp_path: Path
) -> None:
    host = Host(bare.host.suite, 21 + hosts.SUITES.index(bare.host.suite), tmp_path, lab)
    try:
        deliver(host, artefact)
        host.write("/etc/pi-cam-daemon/config.toml", CONFIG)
        for _ in range(2):
            hosts.sh("chroot", host.disk, f"{SRV}/install", "--from", f"{SRV}/artefact.tar.zst", timeout=120)
        host.boot()
        Machine(host).wait_for_pictures()
    finally:
        host.close()


@pytest.mark.every_debian
def test_uninstalling_leaves_the_configuration_and_nothing_else(machine: Machine) -> None:
    config = "/etc/pi-cam-daemon/config.toml"
    machine.installs("--uninstall", "--purge")
    users = machine.host.run("getent", "passwd"), machine.host.run("getent", "group")
    machine.host.write(config, CONFIG)
    # it is a card
    for path in (*card.SETTINGS, *card.WRITTEN, *card.NETWORK):
        machine.host.write(str(path), "")
    preset = (ROOT / "scripts/image/files/root" / str(card.PRESET)[1:]).read_text()
    machine.host.write(str(card.PRESET), preset)
    before = machine.paths() - set(map(str, card.WRITTEN))
    machine.installs("--from", machine.variant())
    enabled = {name.partition("/")[2] for name in machine.enabled()}
    assert {f"enable {unit}" for unit in enabled} == set(re.findall("^enable .*", preset, re.MULTILINE))
    machine.wait_for_pictures()
    machine.host.run("chgrp", "pi-cam-daemon", config)
    machine.host.run("chmod", "640", config)
    machine.installs("--uninstall")
    assert machine.paths() == before
    assert not machine.host.run("systemctl", "list-units", "--all", "--no-legend", "pi-cam-daemon*")
    # the next user of some package gets the lowest number that is free
    machine.host.run("useradd", "--system", "next")
    assert "Permission denied" in machine.host.try_run("runuser", "-u", "next", "--", "cat", config).stderr
    machine.host.run("userdel", "next")
    said = machine.installs("--uninstall", "--purge")
    # by which it may be reached
    left = {str(path) for path in card.NETWORK}
    assert {path for path in machine.paths() if "pi-cam" in path} == left
    assert all(path in said for path in left)
    assert (machine.host.run("getent", "passwd"), machine.host.run("getent", "group")) == users
    for path in left:
        machine.host.remove(path)
    machine.host.write(config, CONFIG)


def test_the_installed_copy_continues_an_interrupted_uninstallation(machine: Machine) -> None:
    before = machine.paths()
    machine.installs("--from", machine.variant())
    library = f"{OPT}/releases/{machine.current()}/lib"
    # what cannot be removed stops it wherever it comes to it
    machine.host.run("mount", "-t", "tmpfs", "none", library)
    try:
        assert "Device or resource busy" in machine.fails("--uninstall")
    finally:
        machine.host.run("umount", library)
    machine.host.run(f"{OPT}/current/install", "--uninstall")
    assert machine.paths() == before


def package(folder: Path, name: str, fields: str, files: dict[str, Path | str]) -> None:
    """Make a Debian package in *folder*; *files* maps paths to contents or to folders to copy."""
    tree = folder / "tree"
    for place, content in files.items():
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            (tree / place).write_text(content)
        else:
            shutil.copytree(content, tree / place)
    control = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: tests <tests@localhost>\n{fields}"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(f"{control}Description: for tests\n")
    hosts.sh("dpkg-deb", "--build", "--root-owner-group", "-Znone", tree, folder / f"{name}.deb")
    shutil.rmtree(tree)


@contextlib.contextmanager
def repository(machine: Machine, folder: str) -> Iterator[None]:
    """Let the host's apt know the packages in *folder* of its disk, and no others."""
    index = ""
    for deb in sorted((machine.host.disk / folder[1:]).glob("*.deb")):
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        fields = f"Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n"
        index += f"{hosts.sh('dpkg-deb', '-f', deb)}{fields}\n"
    machine.host.write(f"{folder}/Packages", index)
    machine.host.write("/etc/apt/sources.list", f"deb [trusted=yes] file:{folder} ./\n")
    before = set(machine.host.run("dpkg-query", "-W", "-f", "${Package}\n").splitlines())
    try:
        yield
    finally:
        now = set(machine.host.run("dpkg-query", "-W", "-f", "${Package}\n").splitlines())
        if now - before:
            machine.host.run("dpkg", "--purge", *sorted(now - before))
        machine.host.remove("/etc/apt/sources.list")
        machine.host.run("apt-get", "update", "-qq")


@pytest.mark.every_debian
def test_on_a_pi_picamera2_comes_by_apt_and_apts_numpy_stays(machine: Machine, tmp_path: Path) -> None:
    host = machine.host
    folder = machine.releases / "apt"
    folder.mkdir()
    # the numpy of this Python, as a Debian package
    tag = f"cp{PYTHON[host.suite].replace('.', '')}"
    (wheel,) = (machine.releases / "base/wheels").glob(f"numpy-*-{tag}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    packages = "usr/lib/python3/dist-packages"
    numpy = {f"{packages}/{name}": tmp_path / name for name in ("numpy", "numpy.libs")}
    package(folder, "python3-numpy", "", dict(numpy))
    recommends = "Depends: python3-numpy\nRecommends: python3-pyqt5\n"
    package(folder, "python3-picamera2", recommends, {f"{packages}/picamera2.py": ""})
    package(folder, "python3-pyqt5", "", {f"{packages}/PyQt5.py": ""})
    host.write("/etc/rpi-issue", "Raspberry Pi reference\n")
    installed = ("dpkg-query", "-W", "-f", "${db:Status-Status}")
    variant = machine.variant(libraries=True)
    with contextlib.ExitStack() as stack:
        stack.callback(host.remove, "/etc/rpi-issue")
        stack.enter_context(machine.without_libraries())
        said = machine.fails("--from", variant)
        assert "install python3-picamera2 yourself, or go without: --no-apt" in said
        said = machine.installs("--from", variant, "--no-apt")
        assert "python3-picamera2 is missing, which a CSI camera needs" in said
        pips_numpy = machine.package(machine.release()).parent / "numpy"
        without = machine.current()
        assert pips_numpy.is_dir()

        with repository(machine, f"{SRV}/apt"):
            # as unattended-upgrades would; the first try of the installer has no lists yet
            for number, (lock, seconds) in enumerate({"dpkg/lock-frontend": 1.0, "apt/lists/lock": 2.5}.items()):
                hold = f"file = open('/var/lib/{lock}', 'w'); fcntl.lockf(file, fcntl.LOCK_EX); time.sleep({seconds})"
                machine.host.run(
                    "systemd-run", f"--unit=other-apt-{number}", "python3", "-c", f"import fcntl, time; {hold}"
                )
            said = machine.installs("--from", variant)
            assert "installing python3-picamera2" in said
            assert host.run(*installed, "python3-picamera2") == "installed"
            assert host.try_run(*installed, "python3-pyqt5").stdout != "installed"
            assert machine.current() != without
            assert not (machine.package(machine.release()).parent / "numpy").exists()
            machine.wait_for_pictures()


@pytest.mark.parametrize("source", ["wheel", pytest.param("checkout", marks=pytest.mark.every_debian)])
def test_a_wheel_and_a_checkout_install_where_pip_finds_what_they_need(machine: Machine, source: str) -> None:
    host, checkout = machine.host, machine.releases / f"for-{source}"
    listed = hosts.sh("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in (name for name in listed if name and (ROOT / name).exists()):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, checkout / name, follow_symlinks=False)
    debs = f"{SRV}/debs-{source}"
    shutil.copytree(hosts.CACHE / host.suite / "debs", host.disk / debs[1:])
    for wheel in hosts.CACHE.glob("setuptools-*.whl"):
        shutil.copy2(wheel, machine.releases / "base/wheels")
    pip = ("env", "PIP_NO_INDEX=1", f"PIP_FIND_LINKS={SRV}/base/wheels")
    here = f"{SRV}/for-{source}"
    with repository(machine, debs):
        arguments = []
        if source == "wheel":
            # by pip itself, from another checkout than the installer's
            host.run("apt-get", "update", "-qq")
            host.run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "python3-venv")
            host.run("python3", "-m", "venv", "/tmp/venv")
            host.run(*pip, "/tmp/venv/bin/pip", "wheel", "-q", "--no-deps", "-w", f"{SRV}/wheel", here)
            arguments = ["--from", host.run("sh", "-c", f"ls {SRV}/wheel/*.whl")]
        done = host.try_run(*pip, f"{here}/scripts/install", SETTLE, NO_SOAK, *arguments, timeout=120)
        assert done.returncode == 0, done.stderr
        machine.wait_for_pictures()
        assert machine.running() == machine.current()
        left = [path for path in checkout.rglob("*") if path.name in ("__pycache__", "build")]
        assert source == "wheel" or not left, "root's files in the checkout of somebody else"
