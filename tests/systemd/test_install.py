"""scripts/install on real hosts without a network, from the artefact that tests/systemd/rig/artefact builds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import subprocess
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.server.harness import ROOT, until
from tests.systemd import hosts
from tests.systemd.hosts import Host

ARTEFACT = hosts.CACHE / "artefact.tar.zst"
OPT = "/opt/pi-cam-daemon"
UNIT = "pi-cam-daemon.service"
PYTHON = {"bookworm": "3.11", "trixie": "3.13"}
# where the hosts find the artefact, and what the tests make of it
SRV = "/srv/releases"

ENDS = "def run(load):\n    raise SystemExit(3)\n"
HANGS = "def run(load):\n    import time\n    time.sleep(3600)\n"
DEAF = "import sdnotify, time\ndef run(load):\n    sdnotify.SystemdNotifier().notify('READY=1')\n    time.sleep(3600)\n"


class Machine:
    """A host without the daemon, and what a person at it would do."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.releases = host.disk / SRV[1:]

    def install(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return self.host.try_run(f"{SRV}/install", *arguments, timeout=timeout)

    def installs(self, *arguments: str) -> str:
        """What a successful installer says; its release is the last one."""
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
        return (self.host.disk / OPT[1:] / "history").read_text().split()

    def folders(self) -> set[str]:
        return {path.name for path in (self.host.disk / OPT[1:] / "releases").iterdir()}

    def journal(self) -> str:
        return self.host.try_run("journalctl", "-q", "-u", UNIT, "-n", "40", "-o", "cat", "--no-pager").stdout

    def main_pid(self) -> str:
        return self.host.show(UNIT, "MainPID")

    def running(self) -> str:
        """The release that the server process is of."""
        argv = self.host.run("cat", f"/proc/{self.main_pid()}/cmdline")
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

    def variant(self, name: str, code: str = "") -> str:
        """The artefact as a further release, unpacked; *code* is put behind daemon.py's own."""
        base, folder = self.releases / "base", self.releases / name
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "wheels").mkdir(parents=True)
        shutil.copy2(base / "install", folder)
        for path in [base / "systemd", *(base / "wheels").iterdir()]:
            (folder / path.relative_to(base)).symlink_to(f"{SRV}/base/{path.relative_to(base)}")
        (wheel,) = (base / "wheels").glob("pi_cam_daemon-*.whl")
        (folder / "wheels" / wheel.name).unlink()
        with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(folder / "wheels" / wheel.name, "w") as new:
            for entry in old.namelist():
                text = old.read(entry)
                if entry == "pi_cam_daemon/daemon.py":
                    text += f"\n\n# {name}\n{code}".encode()
                new.writestr(entry, text)
        manifest = json.loads((base / "manifest.json").read_text())
        manifest["version"] = name
        for target in manifest["targets"].values():
            target["wheels"][wheel.name] = hashlib.sha256((folder / "wheels" / wheel.name).read_bytes()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return f"{SRV}/{name}"

    @contextlib.contextmanager
    def begun(self, *arguments: str) -> Iterator[Future[int]]:
        """The installer at work, until it ends; its exit status comes out of the future."""
        self.host.remove("/root/installer")
        script = f'echo $$ >/run/installer; exec {SRV}/install "$@" >/root/installer 2>&1'
        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(lambda: self.host.try_run("sh", "-c", script, "sh", *arguments, timeout=120).returncode)

    def said(self) -> str:
        """What the installer that was begun has said so far."""
        log = self.host.disk / "root/installer"
        return log.read_text() if log.exists() else ""

    def signal(self, name: str) -> None:
        """To the installer that was begun; it may have ended."""
        self.host.run("sh", "-c", f"kill -{name} $(cat /run/installer) 2>/dev/null || true")

    def paths(self) -> set[str]:
        """Every file and folder but those of a running system's own, which come and go by themselves."""
        own = f"/proc /sys /dev /tmp /var/tmp /run/systemd /run/log /var/log /var/lib/systemd {SRV}".split()
        but = [word for path in own for word in ("-path", path, "-prune", "-o")]
        found = self.host.run("find", "/", *but, "-print").splitlines()
        # /etc/passwd- and the like are what useradd and userdel keep of the file before
        return {path for path in found if "__pycache__" not in path and not path.endswith("-")}


@pytest.fixture(scope="module", params=hosts.SUITES)
def bare(request: pytest.FixtureRequest, lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A running Debian, shared by the tests of this file."""
    suite: str = request.param
    assert ARTEFACT.exists(), "tests/systemd/rig/artefact makes it"
    host = Host(suite, 11 + hosts.SUITES.index(suite), tmp_path_factory.mktemp(suite), lab)
    machine = Machine(host)
    machine.releases.mkdir(parents=True)
    shutil.copy2(ARTEFACT, machine.releases / "artefact.tar.zst")
    shutil.copy2(ROOT / "scripts/install", machine.releases / "install")
    base = machine.releases / "base"
    base.mkdir()
    hosts.sh("tar", "--zstd", "-xf", ARTEFACT, "-C", base)
    host.write("/etc/pi-cam-daemon/config.toml", '[source]\nkind = "pattern"\n[video]\nwidth = 320\nheight = 240\n')
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
    """The host with one release, "1", that serves; the test before may have left it."""
    if not (bare.current().startswith("1-") and bare.history() == [bare.current()] and bare.serves()):
        bare.installs("--uninstall")
        done = bare.host.try_run(f"{bare.variant('1')}/install", timeout=120)
        assert done.returncode == 0, done.stderr
        bare.wait_for_pictures()
    yield bare
    print(bare.journal())


def test_an_artefact_installs_without_a_network(machine: Machine) -> None:
    machine.installs("--from", f"{SRV}/artefact.tar.zst")
    machine.wait_for_pictures()
    assert machine.running() == machine.current()
    assert machine.host.run("systemctl", "is-enabled", UNIT) == "enabled"
    status = machine.install("--status")
    assert status.returncode == 0
    assert machine.current() in status.stdout
    assert "health    ok" in status.stdout
    assert machine.host.run("pi-cam-daemon", "--version").startswith("pi-cam-daemon ")
    release = f"{OPT}/releases/{machine.current()}"
    assert not machine.host.run("find", release, "-not", "-user", "root"), "the service could change its own code"
    package = f"{release}/lib/python{PYTHON[machine.host.suite]}/site-packages/pi_cam_daemon"
    assert machine.host.run("find", f"{package}/__pycache__", "-name", "daemon.*.pyc"), "no bytecode"


def test_installing_what_serves_already_restarts_nothing(serving: Machine) -> None:
    pid = serving.main_pid()
    serving.installs("--from", f"{SRV}/1")
    assert serving.main_pid() == pid
    assert len(serving.history()) == 1


def test_an_upgrade_serves_and_can_be_rolled_back(serving: Machine) -> None:
    first = serving.current()
    serving.installs("--from", serving.variant("2"))
    assert serving.running() == serving.current() != first
    serving.wait_for_pictures()
    serving.installs("--rollback")
    assert serving.running() == serving.current() == first
    serving.wait_for_pictures()
    assert "no release before" in serving.fails("--rollback")


def test_the_last_three_releases_are_kept(serving: Machine) -> None:
    for name in "234":
        serving.installs("--from", serving.variant(name))
    assert [release[0] for release in serving.history()] == ["2", "3", "4"]
    assert serving.folders() == set(serving.history())


@pytest.mark.parametrize(
    ("code", "reason"),
    [(ENDS, "ended by itself"), (HANGS, "does not serve"), (DEAF, "does not listen")],
    ids=["ends", "hangs", "deaf"],
)
def test_a_broken_release_is_taken_back(serving: Machine, code: str, reason: str) -> None:
    first = serving.current()
    said = serving.fails("--from", serving.variant("broken", code), "--health-seconds", "5")
    assert reason in said
    assert f"went back to {first}" in said
    assert serving.running() == serving.current() == first
    serving.wait_for_pictures()
    assert serving.history() == [first]


def test_a_release_that_fails_its_smoke_test_touches_nothing(serving: Machine) -> None:
    pid, first = serving.main_pid(), serving.folders()
    said = serving.fails("--from", serving.variant("broken", "import nothing_of_that_name\n"))
    assert "nothing was changed: " in said
    assert "No module named 'nothing_of_that_name'" in said
    assert (serving.main_pid(), serving.folders()) == (pid, first)


def test_a_first_release_that_is_broken_leaves_no_service_behind(machine: Machine) -> None:
    assert "no release before it" in machine.fails("--from", machine.variant("broken", ENDS))
    assert machine.host.show(UNIT, "LoadState") == "not-found"
    assert machine.install("--status").stdout == "not installed\n"


def test_a_configuration_that_the_release_refuses_is_told_before_anything_is_touched(serving: Machine) -> None:
    pid = serving.main_pid()
    serving.host.write("/etc/pi-cam-daemon/conf.d/wrong.toml", "[video]\nrotation = 45\n")
    try:
        said = serving.fails("--from", serving.variant("2"))
    finally:
        serving.host.remove("/etc/pi-cam-daemon/conf.d")
    assert "wrong.toml: video.rotation" in said
    assert serving.main_pid() == pid


def test_a_damaged_artefact_is_refused(serving: Machine) -> None:
    pid = serving.main_pid()
    packed = serving.releases / "damaged.tar.zst"
    data = bytearray(ARTEFACT.read_bytes())
    data[len(data) // 2] ^= 0xFF
    packed.write_bytes(data)
    assert "damaged" in serving.fails("--from", f"{SRV}/damaged.tar.zst")
    packed.write_bytes(data[: len(data) // 3])
    assert "damaged" in serving.fails("--from", f"{SRV}/damaged.tar.zst")
    packed.unlink()
    folder = serving.releases / "2"
    serving.variant("2")
    (wheel,) = (folder / "wheels").glob("pi_cam_daemon-*.whl")
    with wheel.open("ab") as file:
        file.write(b"x")
    assert "wrong sha256" in serving.fails("--from", f"{SRV}/2")
    assert serving.main_pid() == pid


def test_two_installations_at_once_do_not_meet(serving: Machine) -> None:
    with serving.begun("--from", serving.variant("2")) as first:
        until("its beginning", lambda: "preparing" in serving.said())
        assert "another installation is running" in serving.fails("--from", f"{SRV}/2")
    assert first.result() == 0, serving.said()
    assert serving.running() == serving.current() == serving.history()[-1]


def test_a_killed_installation_leaves_a_service_and_the_next_one_heals(serving: Machine, soak: bool) -> None:
    first = serving.current()
    begun = time.monotonic()
    serving.installs("--from", serving.variant("2"))
    whole = time.monotonic() - begun
    moments = 20 if soak else 4
    for moment in range(moments):
        name = f"kill{moment}"
        before = serving.current()
        with serving.begun("--from", serving.variant(name)) as killed:
            # not a wait for something to happen: the moment is what is being tried
            time.sleep(whole * (moment + 0.5) / moments)
            serving.signal("KILL")
        # the last one may have been quicker
        assert killed.result() != 0 or moment == moments - 1
        serving.wait_for_pictures()
        assert serving.running() in (before, serving.current())
        serving.installs("--from", f"{SRV}/{name}")
        assert serving.running() == serving.current() == serving.history()[-1] != first
        assert serving.current().startswith(name)
        assert serving.folders() == set(serving.history())
        serving.wait_for_pictures()


def test_an_interrupted_installation_goes_back(serving: Machine) -> None:
    first = serving.current()
    with serving.begun("--from", serving.variant("broken", HANGS)) as interrupted:
        until("the switch", lambda: serving.current() != first, 60)
        serving.signal("TERM")
    assert interrupted.result() == 1
    assert f"went back to {first}" in serving.said()
    assert serving.running() == serving.current() == first
    serving.wait_for_pictures()


def test_it_serves_again_after_a_power_cut(serving: Machine) -> None:
    release = serving.current()
    serving.host.cut_power()
    serving.host.boot()
    serving.wait_for_pictures()
    assert serving.running() == release


def test_uninstalling_leaves_the_configuration_and_nothing_else(machine: Machine) -> None:
    before = machine.paths()
    users = machine.host.run("getent", "passwd")
    machine.installs("--from", machine.variant("1"))
    machine.wait_for_pictures()
    machine.installs("--uninstall")
    assert machine.paths() == before
    assert machine.host.run("getent", "passwd") == users
    assert not machine.host.run("systemctl", "list-units", "--all", "--no-legend", "pi-cam-daemon*")
    config = (machine.host.disk / "etc/pi-cam-daemon/config.toml").read_text()
    machine.installs("--uninstall", "--purge")
    assert not (machine.host.disk / "etc/pi-cam-daemon").exists()
    machine.host.write("/etc/pi-cam-daemon/config.toml", config)


def package(folder: Path, name: str, fields: str, files: dict[str, Path | str]) -> None:
    """A Debian package of *files*, by their places, in the repository *folder*."""
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
    deb = folder / f"{name}.deb"
    hosts.sh("dpkg-deb", "--build", "--root-owner-group", "-Znone", tree, deb)
    shutil.rmtree(tree)
    with (folder / "Packages").open("a") as index:
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        index.write(f"{control}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n")
        index.write("Description: for tests\n\n")


def test_on_a_pi_picamera2_comes_by_apt_and_numpy_stays_apts(machine: Machine, tmp_path: Path) -> None:
    host = machine.host
    repository = machine.releases / "apt"
    repository.mkdir()
    # the numpy of this Python, as a Debian package
    tag = f"cp{PYTHON[host.suite].replace('.', '')}"
    (wheel,) = (machine.releases / "base/wheels").glob(f"numpy-*-{tag}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    packages = "usr/lib/python3/dist-packages"
    numpy = {f"{packages}/{name}": tmp_path / name for name in ("numpy", "numpy.libs")}
    package(repository, "python3-numpy", "", dict(numpy))
    package(
        repository,
        "python3-picamera2",
        "Depends: python3-numpy\nRecommends: python3-pyqt5\n",
        {f"{packages}/picamera2.py": ""},
    )
    package(repository, "python3-pyqt5", "", {f"{packages}/PyQt5.py": ""})
    host.write("/etc/rpi-issue", "Raspberry Pi reference\n")
    sources = [path for path in (host.disk / "etc/apt").rglob("*") if path.suffix in (".list", ".sources")]
    for path in sources:
        path.unlink()
    installed = ("dpkg-query", "-W", "-f", "${db:Status-Status}")
    try:
        said = machine.fails("--from", machine.variant("1"))
        assert "install python3-picamera2 yourself, or go without: --no-apt" in said
        machine.installs("--from", f"{SRV}/1", "--no-apt")
        pips_numpy = f"{OPT}/current/lib/python{PYTHON[host.suite]}/site-packages/numpy"
        without = machine.current()
        assert host.try_run("test", "-d", pips_numpy).returncode == 0

        host.write("/etc/apt/sources.list", f"deb [trusted=yes] file:{SRV}/apt ./\n")
        said = machine.installs("--from", f"{SRV}/1")
        assert "installing python3-picamera2" in said
        assert host.run(*installed, "python3-picamera2") == "installed"
        assert host.try_run(*installed, "python3-pyqt5").stdout != "installed"
        assert machine.current() != without
        assert host.try_run("test", "-d", pips_numpy).returncode != 0
        machine.wait_for_pictures()
    finally:
        host.try_run("dpkg", "--purge", "python3-picamera2", "python3-numpy")
        host.remove("/etc/rpi-issue")
        host.remove("/etc/apt/sources.list")
