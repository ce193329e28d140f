"""The Debian package on real hosts without a network, made by tests/systemd/rig/package."""

from __future__ import annotations

import contextlib
import functools
import http.server
import random
import re
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Report
from tests.kit import apt
from tests.kit.daemon import ROOT
from tests.kit.documents import commands
from tests.kit.versions import later
from tests.kit.wait import until
from tests.systemd import hosts
from tests.systemd.conftest import SRV, STATE, UNIT, Camera, deliver
from tests.systemd.hosts import Host

CONFIG = "/etc/pi-cam-daemon/config.toml"
GARDEN = "pi-cam-daemon@garden.service"
SOAK = "pi-cam-daemon-soak.service"
SOURCES = "/etc/apt/sources.list.d/pi-cam-daemon.sources"
REPOSITORY = f"{SRV}/apt"
NEXT, BROKEN, SHORT = later(1), later(2), later(3)
# there the service of SHORT dies
POISON = "/run/pi-cam-daemon/poison"
# what a package of another version has behind the daemon's own code
CODE = {
    NEXT: "",
    BROKEN: "\n\ndef run(_load):\n    raise OSError('this release is broken')\n",
    SHORT: f"""

def _die():
    import os, pathlib, time
    while not pathlib.Path({POISON!r}).exists():
        time.sleep(0.1)
    os._exit(1)


def run(load, serves=run):
    import threading
    threading.Thread(target=_die, daemon=True).start()
    return serves(load)
""",
}


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The package of this checkout by its version, a later one, and one that does not serve."""
    made = Path(hosts.sh(ROOT / "tests/systemd/rig/package", timeout=600).splitlines()[-1])
    found = {hosts.sh("dpkg-deb", "-f", made, "Version").strip(): made}
    folder = tmp_path_factory.mktemp("packages")
    tree = folder / "tree"
    hosts.sh("dpkg-deb", "-R", made, tree)
    control, package = tree / "DEBIAN/control", tree / "usr/lib/pi-cam-daemon/pi_cam_daemon"
    text, daemon = control.read_text(), (package / "daemon.py").read_text()
    for version, code in CODE.items():
        (old,) = (line for line in text.splitlines() if line.startswith("Version: "))
        control.write_text(text.replace(old, f"Version: {version}"))
        (package / "__init__.py").write_text(f'__version__ = "{version}"\n')
        (package / "daemon.py").write_text(daemon + code)
        found[version] = folder / f"{version}.deb"
        hosts.sh("dpkg-deb", "-b", "-Znone", tree, found[version])
    shutil.rmtree(tree)
    return found


class Machine:
    """A host, and the actions of a person who has files of the package."""

    def __init__(self, host: Host, packages: dict[str, Path]) -> None:
        self.host = host
        self.camera = Camera(host)
        self.first = next(iter(packages))
        folder = host.disk / SRV[1:] / "packages"
        folder.mkdir(parents=True)
        for version, path in packages.items():
            shutil.copy2(path, folder / f"{version}.deb")
        shutil.copytree(hosts.CACHE / host.suite / "numpy", folder / "numpy")
        hosts.sh("sh", "-c", f"rm -f {host.disk}/etc/apt/sources.list {host.disk}/etc/apt/sources.list.d/*")

    def apt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        quiet = ("-y", "-q", "--allow-downgrades", "--no-install-recommends")
        return self.host.try_run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *quiet, *arguments, timeout=300)

    def installs(self, version: str) -> str:
        """Install the package of *version*, which has to succeed, and return what apt said."""
        files = [f"{SRV}/packages/{version}.deb"]
        if self.host.try_run("dpkg-query", "-W", "python3-numpy").returncode:
            files += sorted(f"{SRV}/packages/numpy/{path.name}" for path in (self.folder / "numpy").iterdir())
        done = self.apt("install", *files)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def publish(self, keys: Path, url: str, *versions: str) -> None:
        """Make a repository of *versions* on the host, signed by the key in *keys*."""
        for version in versions:
            shutil.copy2(self.folder / f"{version}.deb", self.repository)
        done = apt.make_repository(self.repository, keys, url)
        assert done.returncode == 0, done.stderr

    def changes_nothing(self, *arguments: str) -> str:
        """Return what apt says when it refuses and leaves the package as it is."""
        before = self.version()
        done = self.apt(*arguments)
        assert done.returncode != 0, done.stdout + done.stderr
        assert self.version() == before and self.camera.gives_pictures()
        return done.stdout + done.stderr

    @property
    def repository(self) -> Path:
        folder = self.host.disk / REPOSITORY[1:]
        folder.mkdir(exist_ok=True)
        return folder

    @property
    def folder(self) -> Path:
        return self.host.disk / SRV[1:] / "packages"

    def version(self) -> str:
        return self.host.run("dpkg-query", "-W", "-f", "${Version}", "pi-cam-daemon")

    def status(self) -> str:
        return self.host.try_run("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "pi-cam-daemon").stdout

    def cut_power_while_it_installs(self, version: str, stage: str, seconds: float) -> str:
        """Pull the plug when dpkg's log has *stage*, or else at a random moment in *seconds*; boot.

        Return what dpkg had begun.
        """
        log = self.host.disk / "var/log/dpkg.log"
        log.write_text("")
        file = f"{SRV}/packages/{version}.deb"
        command = ("apt-get", "-y", "-q", "--allow-downgrades", "--reinstall", "install", file)
        apt = subprocess.Popen(self.host.inside(*command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + (60 if stage else random.uniform(0, seconds))
        until("it", lambda: time.monotonic() > end or (stage and f" {stage} pi-cam-daemon:" in log.read_text()), 60)
        self.host.cut_power()
        apt.wait()
        self.host.boot()
        steps = re.findall(r" status (\S+) pi-cam-daemon:", log.read_text())
        assert not stage or stage in steps
        return steps[-1] if steps else "nothing"

    def ours(self) -> list[str]:
        """Return the files and folders of the project, except those that systemd itself and the journal keep."""
        but = [word for path in ("/proc", "/sys", "/run/systemd", SRV) for word in ("-path", path, "-prune", "-o")]
        return self.host.run("find", "/", *but, "-name", "*pi-cam-daemon*", "-print").splitlines()


@pytest.fixture(scope="module", params=hosts.SUITES)
def machine(
    request: pytest.FixtureRequest,
    lab: Path,
    artefact: Path,
    packages: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Machine]:
    """A running Debian that has had neither the package nor a release."""
    suite: str = request.param
    host = Host(suite, 31 + hosts.SUITES.index(suite), tmp_path_factory.mktemp(suite), lab)
    try:
        deliver(host, artefact)
        machine = Machine(host, packages)
        host.boot()
        yield machine
    finally:
        host.close()


@pytest.fixture(scope="session")
def keys() -> Iterator[Path]:
    with apt.keyring() as folder:
        yield folder


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[int]:
    """Serve *folder* to the hosts; yield the port."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def installed(machine: Machine) -> Iterator[Machine]:
    """A host on which the package serves a test picture, and which is purged afterwards."""
    machine.camera.configure({})
    machine.installs(machine.first)
    machine.camera.wait_for_pictures()
    yield machine
    machine.host.remove(REPOSITORY)
    machine.host.remove(SOURCES)
    # apt keeps what it has downloaded
    machine.apt("clean")
    done = machine.apt("purge", "pi-cam-daemon")
    assert done.returncode == 0, done.stdout + done.stderr


def test_lintian_finds_no_error_in_the_package(packages: dict[str, Path]) -> None:
    if not shutil.which("lintian"):
        pytest.skip("needs lintian")
    # not packed, so that the tests take less time
    own = "uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball"
    made = next(iter(packages.values()))
    hosts.sh("lintian", "--allow-root", "--tag-display-limit=0", "--fail-on=error", "--suppress-tags", own, made)


def test_a_repository_that_cannot_be_made_is_left_as_it_is(keys: Path, tmp_path: Path) -> None:
    def refused(folder: Path, owner: str = apt.OWNER, url: str = "http://pi/apt") -> str:
        before = sorted(folder.iterdir())
        done = apt.make_repository(folder, keys, url, owner)
        assert done.returncode == 1 and sorted(folder.iterdir()) == before
        return done.stderr

    assert f"{tmp_path}: no .deb file is there" in refused(tmp_path)
    apt.make_deb(tmp_path / "one.deb", "1.0")
    assert "nobody: no such secret key in your keyring" in refused(tmp_path, owner="nobody")
    assert "ftp://pi/apt: not a URL; accepted: http://…" in refused(tmp_path, url="ftp://pi/apt")


def enabled(host: Host) -> list[str]:
    """Return the enabled units of the package."""
    lines = host.run("systemctl", "list-unit-files", "--no-legend", "--state=enabled", "pi-cam-daemon*").splitlines()
    return [line.split()[0] for line in lines]


@pytest.mark.every_debian
def test_the_package_serves_at_once_and_enables_nothing_but_the_service(installed: Machine) -> None:
    host = installed.host
    assert enabled(host) == [UNIT]
    # dpkg leaves documents out on these hosts
    changed = host.try_run("dpkg", "-V", "pi-cam-daemon").stdout.splitlines()
    assert [line for line in changed if "/usr/share/doc/" not in line] == []
    assert host.run("pi-cam-daemon", "--version") == f"pi-cam-daemon {installed.first}"
    # numpy is apt's, and the bytecode is made, which the service cannot
    assert host.try_run("test", "-e", "/usr/lib/pi-cam-daemon/numpy").returncode == 1
    assert list((host.disk / "usr/lib/pi-cam-daemon/pi_cam_daemon/__pycache__").glob("daemon.*.pyc"))
    done = host.try_run("pi-cam-daemon", "update", "release.tar.zst")
    assert "a Debian package is apt's" in done.stderr
    # as the copy of a card that was made to be copied
    host.cut_power()
    host.remove("/etc/machine-id")
    host.boot()
    assert enabled(host) == [UNIT]
    installed.camera.wait_for_pictures()


@pytest.mark.every_debian
def test_an_upgrade_from_a_signed_repository_restarts_service_and_instances(installed: Machine, keys: Path) -> None:
    host = installed.host
    installed.camera.configure({"http.port": 8001}, "/etc/pi-cam-daemon/cameras/garden.toml")
    host.run("systemctl", "enable", "--now", GARDEN)
    before = {unit: host.show(unit, "MainPID") for unit in (UNIT, GARDEN)}
    with web_server(installed.repository) as port, apt.keyring() as stranger:
        url = f"http://{host.address.rpartition('.')[0]}.1:{port}"
        installed.publish(keys, url, installed.first, NEXT)
        shutil.copy2(installed.repository / "pi-cam-daemon.sources", host.disk / SOURCES[1:])
        # somebody else's signature
        installed.publish(stranger, url)
        assert "signature" in installed.changes_nothing("update", "--error-on=any")
        assert "0 upgraded" in installed.apt("upgrade").stdout
        installed.publish(keys, url)
        assert installed.apt("update", "--error-on=any").returncode == 0
        # another package than the one that was signed
        package = installed.repository / f"{NEXT}.deb"
        good = package.read_bytes()
        package.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        assert "Hash Sum mismatch" in installed.changes_nothing("upgrade")
        package.write_bytes(good)
        done = installed.apt("upgrade")
    assert done.returncode == 0 and "does not serve" not in done.stdout + done.stderr, done.stdout + done.stderr
    installed.camera.wait_for_pictures()
    Camera(host, GARDEN, 8001).wait_for_pictures()
    assert all(host.show(unit, "MainPID") not in ("0", pid) for unit, pid in before.items())
    assert host.run("pi-cam-daemon", "--version") == f"pi-cam-daemon {NEXT}"


def test_what_its_owner_has_switched_off_stays_off(installed: Machine) -> None:
    installed.host.run("systemctl", "disable", "--now", UNIT)
    installed.installs(NEXT)
    assert installed.host.show(UNIT, "ActiveState") == "inactive"


@pytest.mark.every_debian
def test_a_version_that_does_not_serve_says_so_and_how_to_go_back(installed: Machine, keys: Path) -> None:
    installed.publish(keys, f"file:{REPOSITORY}", installed.first, BROKEN)
    shutil.copy2(installed.repository / "pi-cam-daemon.sources", installed.host.disk / SOURCES[1:])
    assert installed.apt("update", "--error-on=any").returncode == 0
    done = installed.apt("install", "pi-cam-daemon")
    said = done.stdout + done.stderr
    assert f"{UNIT} does not serve with version {BROKEN}. Its log ends with:" in said
    assert "this release is broken" in said
    # what it says is done to the letter
    (back,) = re.findall("^To go back: sudo (.*), or ./FILE.deb of that version$", said, re.MULTILINE)
    installed.host.run("env", "DEBIAN_FRONTEND=noninteractive", *shlex.split(back), "-y", timeout=300)
    assert installed.version() == installed.first
    installed.camera.wait_for_pictures()


def test_a_version_that_ends_soon_after_it_served_is_told(installed: Machine) -> None:
    host = installed.host
    said = installed.installs(SHORT)
    assert "does not serve" not in said and f"this will tell: systemctl status {SOAK}" in said
    host.run("touch", POISON)
    until("it is told", lambda: host.show(SOAK, "ActiveState") == "failed", 30)
    told = host.run("journalctl", "-q", "-u", SOAK, "-o", "cat")
    assert f"{UNIT} does not serve with version {SHORT}" in told
    assert f"pi-cam-daemon={installed.first}" in told
    assert f"{UNIT} does not serve" not in installed.installs(installed.first)
    assert host.show(SOAK, "ActiveState") == "active"


def test_a_removal_keeps_settings_and_state(installed: Machine) -> None:
    done = installed.apt("remove", "pi-cam-daemon")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not installed.camera.gives_pictures()
    assert (installed.host.disk / CONFIG[1:]).exists()
    assert (installed.host.disk / "var/lib/pi-cam-daemon").exists()
    installed.installs(installed.first)
    installed.camera.wait_for_pictures()


@pytest.mark.every_debian
def test_a_purge_leaves_nothing_but_the_user(machine: Machine) -> None:
    host = machine.host
    machine.camera.configure({})
    machine.installs(machine.first)
    machine.camera.configure({"http.port": 8001}, "/etc/pi-cam-daemon/cameras/garden.toml")
    host.write(f"/etc/systemd/system/{UNIT}.d/mine.conf", "[Service]\nNice=1\n")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "enable", "--now", GARDEN)
    done = machine.apt("purge", "pi-cam-daemon")
    assert done.returncode == 0, done.stdout + done.stderr
    # bookworm's systemd has these folders by the path /lib, so dpkg tells that they are not ours alone
    left = re.findall("directory '(.*)' not empty so not removed", done.stdout + done.stderr)
    assert set(left) <= {"/usr/lib/systemd/system-preset", "/usr/lib/systemd/system/multi-user.target.wants"}
    assert machine.ours() == []
    assert host.try_run("pgrep", "-u", "pi-cam-daemon").returncode == 1


def test_the_installer_refuses_a_host_that_has_the_package(installed: Machine) -> None:
    done = installed.host.try_run(f"{SRV}/install", "--from", f"{SRV}/artefact.tar.zst", timeout=120)
    assert done.returncode == 1
    assert "apt has installed pi-cam-daemon as a package on this host" in done.stderr
    assert not (installed.host.disk / "opt/pi-cam-daemon").exists()
    assert installed.camera.gives_pictures()


def test_one_host_has_the_package_or_releases_and_keeps_its_settings(machine: Machine) -> None:
    host, install = machine.host, "/opt/pi-cam-daemon/current/install"
    package = f"{SRV}/packages/{machine.first}.deb"
    machine.camera.configure({})
    # removed, and not purged: what it may still remove is the installer's now
    machine.installs(machine.first)
    host.run("systemctl", "stop", UNIT)
    host.run("sh", "-c", f"echo 'page.name = \"Gate\"' >{STATE}/settings.toml")
    assert machine.apt("remove", "pi-cam-daemon").returncode == 0
    # an installation that was killed
    host.write("/opt/pi-cam-daemon/releases/.scratch-1/file", "")
    done = machine.apt("install", package)
    assert done.returncode != 0 and "has not ended" in done.stdout, done.stdout + done.stderr
    (command,) = re.findall("or run: sudo (.*)$", done.stdout, re.MULTILINE)
    host.run(*shlex.split(command))
    host.run(f"{SRV}/install", "--from", f"{SRV}/artefact.tar.zst", "--settle-seconds", "0", timeout=120)
    try:
        machine.camera.wait_for_pictures()
        assert machine.camera.state()["name"] == "Gate"
        done = machine.apt("install", package)
        assert done.returncode != 0
        assert f"first run: sudo {install} --uninstall" in done.stdout + done.stderr
        done = machine.apt("purge", "pi-cam-daemon")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "scripts/install owns this host now" in done.stdout + done.stderr
        assert machine.camera.gives_pictures()
        assert host.run("systemctl", "is-enabled", UNIT) == "enabled"
        assert (host.disk / CONFIG[1:]).exists()
    except BaseException:
        host.run(install, "--uninstall", "--purge")
        raise
    # what was saved on the page goes with it
    host.run(install, "--uninstall")
    machine.installs(machine.first)
    machine.camera.wait_for_pictures()
    assert machine.camera.state()["name"] == "Gate"
    assert machine.apt("purge", "pi-cam-daemon").returncode == 0


@pytest.mark.parametrize("machine", ["bookworm"], indirect=True)
def test_power_may_fail_while_apt_installs_or_upgrades(machine: Machine, soak: bool, report: Report) -> None:
    numpy = sorted(f"{SRV}/packages/numpy/{path.name}" for path in (machine.folder / "numpy").iterdir())
    assert machine.apt("install", *numpy).returncode == 0
    machine.camera.configure({})
    try:
        # unpacked, and not configured: Debian leaves it so
        cut_and_serve(machine, machine.first, "half-configured", 0, report)
        assert machine.status() == f"installed {machine.first}"
        if soak:
            began = time.monotonic()
            machine.installs(NEXT)
            seconds = time.monotonic() - began
            for version in (machine.first, NEXT) * 10:
                cut_and_serve(machine, version, "", seconds, report)
    finally:
        # what was cut while it was unpacked has to be whole before it can go
        if machine.status().startswith("half-installed"):
            machine.apt("install", "--reinstall", f"{SRV}/packages/{NEXT}.deb")
        assert machine.apt("purge", "pi-cam-daemon").returncode == 0


def cut_and_serve(machine: Machine, version: str, stage: str, seconds: float, report: Report) -> None:
    begun = machine.cut_power_while_it_installs(version, stage, seconds)
    machine.camera.wait_for_pictures(60)
    until("an end of it", lambda: machine.status().startswith(("installed", "half-installed")), 60)
    report(f"cut while {begun}: {machine.status()}, and it serves")


# -- the ways to install, as docs/install.md has them


@pytest.mark.parametrize("machine", ["bookworm"], indirect=True)
def test_the_ways_to_install_work_as_the_document_says(machine: Machine) -> None:
    host, desk = machine.host, "/root/pi_cam_daemon"
    folder = host.disk / desk[1:]
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name, path in {
        f"pi-cam-daemon_{machine.first}_arm64.deb": machine.folder / f"{machine.first}.deb",
        "pi-cam-daemon.tar.zst": host.disk / SRV[1:] / "artefact.tar.zst",
    }.items():
        (folder / name).symlink_to("/" + str(path.relative_to(host.disk)))
    numpy = sorted(f"{SRV}/packages/numpy/{path.name}" for path in (machine.folder / "numpy").iterdir())
    assert machine.apt("install", *numpy).returncode == 0
    machine.camera.configure({})
    typed = commands(ROOT / "docs/install.md")

    def types(command: str, said: str = "") -> None:
        """Type a command of the document with the version that there is, say yes to what it asks, and read *said*."""
        assert command in typed
        done = host.try_run("sh", "-c", f"cd {desk}; yes | {command.replace('VERSION', machine.first)}", timeout=300)
        assert said in done.stdout + done.stderr, (command, done)
        assert bool(said) or done.returncode == 0, (command, done)

    types("sudo apt install ./pi-cam-daemon_VERSION_arm64.deb")
    machine.camera.wait_for_pictures()
    types("systemctl status pi-cam-daemon-soak", "pi-cam-daemon-soak.service")
    types("sudo apt remove pi-cam-daemon")
    assert (host.disk / CONFIG[1:]).exists()
    types("sudo scripts/install --from pi-cam-daemon.tar.zst", "serves")
    machine.camera.wait_for_pictures()
    types("sudo scripts/install --status", "health    ok")
    types("systemctl status pi-cam-daemon", "Streaming 320x240")
    types("journalctl -u pi-cam-daemon", "state: streaming")
    types("sudo scripts/install --rollback", "there is no release before this one to go back to")
    types("sudo scripts/install --uninstall", "left: /etc/pi-cam-daemon")
    types("sudo apt install ./pi-cam-daemon_VERSION_arm64.deb")
    types("sudo apt purge pi-cam-daemon")
    assert not (host.disk / CONFIG[1:]).exists()
