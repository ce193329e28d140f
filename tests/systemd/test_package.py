"""The Debian package on real hosts without a network, made by tests/systemd/rig/package."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.daemon import ROOT
from tests.systemd import hosts
from tests.systemd.conftest import SRV, UNIT, Camera, deliver
from tests.systemd.hosts import Host

CONFIG = "/etc/pi-cam-daemon/config.toml"
GARDEN = "pi-cam-daemon@garden.service"
# what a package of another version has in place of the daemon
CODE = {"0.2.0": "", "0.3.0": "\n\ndef run(_load):\n    raise OSError('this release is broken')\n"}


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The package of this checkout by its version, a later one, and one that does not serve."""
    made = Path(hosts.sh(ROOT / "tests/systemd/rig/package", timeout=600).splitlines()[-1])
    found = {hosts.sh("dpkg-deb", "-f", made, "Version").strip(): made}
    folder = tmp_path_factory.mktemp("packages")
    tree = folder / "tree"
    hosts.sh("dpkg-deb", "-R", made, tree)
    control, package = tree / "DEBIAN/control", tree / "usr/lib/pi-cam-daemon/pi_cam_daemon"
    text = control.read_text()
    for version, code in CODE.items():
        (old,) = (line for line in text.splitlines() if line.startswith("Version: "))
        control.write_text(text.replace(old, f"Version: {version}"))
        (package / "__init__.py").write_text(f'__version__ = "{version}"\n')
        with (package / "daemon.py").open("a") as file:
            file.write(code)
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

    @property
    def folder(self) -> Path:
        return self.host.disk / SRV[1:] / "packages"

    def version(self) -> str:
        return self.host.run("dpkg-query", "-W", "-f", "${Version}", "pi-cam-daemon")

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


@pytest.fixture
def installed(machine: Machine) -> Iterator[Machine]:
    """A host on which the package serves a test picture, and which is purged afterwards."""
    machine.camera.configure({})
    machine.installs(machine.first)
    machine.camera.wait_for_pictures()
    yield machine
    done = machine.apt("purge", "pi-cam-daemon")
    assert done.returncode == 0, done.stdout + done.stderr


def test_lintian_finds_no_error_in_the_package(packages: dict[str, Path]) -> None:
    if not shutil.which("lintian"):
        pytest.skip("needs lintian")
    # not packed, so that the tests take less time
    own = "uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball"
    made = next(iter(packages.values()))
    hosts.sh("lintian", "--allow-root", "--tag-display-limit=0", "--fail-on=error", "--suppress-tags", own, made)


@pytest.mark.every_debian
def test_the_package_serves_at_once_and_enables_nothing_but_the_service(installed: Machine) -> None:
    host = installed.host
    assert host.run("systemctl", "is-enabled", UNIT) == "enabled"
    for unit in ("pi-cam-daemon.socket", "pi-cam-daemon-announce.service", "pi-cam-daemon-reboot.path"):
        assert host.try_run("systemctl", "is-enabled", unit).stdout == "disabled\n"
    # dpkg leaves documents out on these hosts
    changed = host.try_run("dpkg", "-V", "pi-cam-daemon").stdout.splitlines()
    assert [line for line in changed if "/usr/share/doc/" not in line] == []
    assert host.run("pi-cam-daemon", "--version") == f"pi-cam-daemon {installed.first}"
    # numpy is apt's, and the bytecode is made, which the service cannot
    assert host.try_run("test", "-e", "/usr/lib/pi-cam-daemon/numpy").returncode == 1
    assert list((host.disk / "usr/lib/pi-cam-daemon/pi_cam_daemon/__pycache__").glob("daemon.*.pyc"))
    done = host.try_run("pi-cam-daemon", "update", "release.tar.zst")
    assert "a Debian package is apt's" in done.stderr


@pytest.mark.every_debian
def test_an_upgrade_restarts_the_service_and_the_instances(installed: Machine) -> None:
    host = installed.host
    installed.camera.configure({"http.port": 8001}, "/etc/pi-cam-daemon/cameras/garden.toml")
    host.run("systemctl", "enable", "--now", GARDEN)
    before = {unit: host.show(unit, "MainPID") for unit in (UNIT, GARDEN)}
    said = installed.installs("0.2.0")
    assert "does not serve" not in said
    installed.camera.wait_for_pictures()
    Camera(host, GARDEN, 8001).wait_for_pictures()
    assert all(host.show(unit, "MainPID") not in ("0", pid) for unit, pid in before.items())
    assert host.run("pi-cam-daemon", "--version") == "pi-cam-daemon 0.2.0"


def test_what_its_owner_has_switched_off_stays_off(installed: Machine) -> None:
    installed.host.run("systemctl", "disable", "--now", UNIT)
    installed.installs("0.2.0")
    assert installed.host.show(UNIT, "ActiveState") == "inactive"


def test_a_version_that_does_not_serve_says_so_and_how_to_go_back(installed: Machine) -> None:
    said = installed.installs("0.3.0")
    assert f"{UNIT} does not serve with version 0.3.0. Its log ends with:" in said
    assert "this release is broken" in said
    assert f"To go back: sudo apt install --allow-downgrades pi-cam-daemon={installed.first}" in said
    installed.installs(installed.first)
    installed.camera.wait_for_pictures()


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
    assert "not empty so not removed" not in done.stdout + done.stderr
    assert machine.ours() == []
    assert host.try_run("pgrep", "-u", "pi-cam-daemon").returncode == 1


def test_the_installer_refuses_a_host_that_has_the_package(installed: Machine) -> None:
    done = installed.host.try_run(f"{SRV}/install", "--from", f"{SRV}/artefact.tar.zst", timeout=120)
    assert done.returncode == 1
    assert "apt has installed pi-cam-daemon as a package on this host" in done.stderr
    assert not (installed.host.disk / "opt/pi-cam-daemon").exists()
    assert installed.camera.gives_pictures()


def test_the_package_refuses_a_host_that_has_a_release_and_leaves_it_alone(machine: Machine) -> None:
    host, install = machine.host, "/opt/pi-cam-daemon/current/install"
    machine.camera.configure({})
    # removed, and not purged: what it may still remove is the installer's now
    machine.installs(machine.first)
    assert machine.apt("remove", "pi-cam-daemon").returncode == 0
    host.run(f"{SRV}/install", "--from", f"{SRV}/artefact.tar.zst", "--settle-seconds", "0", timeout=120)
    try:
        machine.camera.wait_for_pictures()
        done = machine.apt("install", f"{SRV}/packages/{machine.first}.deb")
        assert done.returncode != 0
        assert f"first run: sudo {install} --uninstall" in done.stdout + done.stderr
        done = machine.apt("purge", "pi-cam-daemon")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "scripts/install owns this host now" in done.stdout + done.stderr
        assert machine.camera.gives_pictures()
        assert host.run("systemctl", "is-enabled", UNIT) == "enabled"
        assert (host.disk / CONFIG[1:]).exists()
    finally:
        host.run(install, "--uninstall", "--purge")
