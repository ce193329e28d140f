"""Decisions of the installer that need no host; tests/systemd runs it in one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import marshal
import os
import shutil
import signal
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pi_cam_daemon.config.saved import both_files
from tests.kit.daemon import ROOT

sys.path.append(str(ROOT / "scripts"))

from installer import camera, commands, offer, releases, saved, server, service, soak
from installer.machine import Failed, Host


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the root of a host on which release 1.0 serves."""
    opt = tmp_path / "opt"
    places = {"ROOT": opt, "RELEASES": opt / "releases", "CURRENT": opt / "current", "HISTORY": opt / "history"}
    places |= {"CONFIG": tmp_path / "etc", "NEWER_KEYS": opt / "newer-keys"}
    for module in (commands, releases, service):
        for name, path in places.items():
            monkeypatch.setattr(module, name, path, raising=False)
    (opt / "releases/1.0").mkdir(parents=True)
    (opt / "current").symlink_to("releases/1.0")
    (opt / "history").write_text("1.0\n")
    return tmp_path


@pytest.mark.parametrize(
    ("downgrade", "told"),
    [(False, "^0.9-x is older than 1.0, which serves; nothing was changed$"), (True, " MB of space are needed, ")],
)
def test_an_older_version_is_refused_as_such_even_where_there_is_no_room(
    monkeypatch: pytest.MonkeyPatch, downgrade: bool, told: str
) -> None:
    def obtain(_source: object, _apt: bool, _folder: Path, admit: Callable[[Any], None]) -> None:
        admit(SimpleNamespace(release="0.9-x", size=10**15))

    monkeypatch.setattr(commands, "_obtain", obtain)
    monkeypatch.setattr(commands, "is_packaged", lambda: False)
    monkeypatch.setattr(commands, "is_pi", lambda: False)
    monkeypatch.setattr(service, "units", list)
    with pytest.raises(Failed, match=told):
        commands.install(None, False, downgrade, service.Health(1.0, 0.0))


def test_a_dry_run_tells_the_release_and_writes_nothing(
    host: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(offer, "this_host", lambda: Host("3.11", "arm64", has_numpy=True))
    artefact = host / "artefact"
    artefact.mkdir()
    target = {"python": "3.11", "architecture": "arm64", "wheels": {}, "bytes": 0}
    for version in ("1.1", "0.9"):
        manifest = {"version": version, "files": {}, "targets": {"bookworm-arm64": target}}
        (artefact / "manifest.json").write_text(json.dumps(manifest))
        offer.show(artefact, downgrade=True)
        assert capsys.readouterr().out.startswith(f"{version}-")
    with pytest.raises(Failed, match=r"^0\.9-.* is older than 1\.0, which serves; nothing was changed$"):
        offer.show(artefact, downgrade=False)
    assert [path.name for path in releases.RELEASES.iterdir()] == ["1.0"]


@pytest.fixture
def cameras(host: Path) -> Path:
    """Return the folder of the files of two cameras, front and yard."""
    folder = host / "etc/cameras"
    folder.mkdir(parents=True)
    for name in ("front", "yard"):
        (folder / f"{name}.toml").touch()
    return folder


def refuse(*refused: object) -> Callable[..., None]:
    """Return a `run` for which a command fails that has one of *refused* as an argument."""

    def run(*argv: object, **_: object) -> None:
        if found := [word for word in refused if word in argv]:
            raise Failed(f"{found[0]}: video.zoom: unknown key")

    return run


def test_a_release_that_refuses_the_file_of_a_camera_changes_nothing(
    cameras: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "run", refuse(cameras / "yard.toml"))
    with pytest.raises(Failed, match=r"^1.0 does not work here, nothing was changed: .*/yard.toml: video.zoom"):
        releases.smoke(releases.RELEASES / "1.0", lambda path: path == cameras / "front.toml")


def test_a_file_that_was_refused_before_is_told_and_stops_no_release(
    cameras: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(releases, "say", said.append)
    monkeypatch.setattr(releases, "run", refuse("config", cameras / "yard.toml"))
    main = cameras.parent / "config.toml"
    releases.smoke(releases.RELEASES / "1.0", lambda path: path in (main, cameras / "yard.toml"))
    assert said == [
        f"1.0 refuses {path}, as the release that serves does: {named}: video.zoom: unknown key"
        for path, named in ((main, "config"), (cameras / "yard.toml", cameras / "yard.toml"))
    ]


@pytest.mark.parametrize(
    ("active", "refuses_reload", "current_refuses", "excused"),
    [
        ("failed", False, True, True),
        ("activating", False, True, True),
        ("inactive", False, True, True),
        ("failed", False, False, False),  # only the new release refuses it
        ("active", False, True, False),  # it was changed after the start, by whoever installs
        ("active", True, True, True),  # it runs with its last good configuration
        ("active", True, False, False),
    ],
)
@pytest.mark.parametrize("name", ["config.toml", "cameras/yard.toml"])
def test_a_file_is_excused_if_no_camera_runs_by_it_and_it_was_refused_before(
    host: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    active: str,
    refuses_reload: bool,
    current_refuses: bool,
    excused: bool,
) -> None:
    unit = {"config.toml": "pi-cam-daemon.service", "cameras/yard.toml": "pi-cam-daemon@yard.service"}[name]
    asked: list[object] = []

    def run(*argv: object, check: bool) -> SimpleNamespace:
        assert not check
        asked.append(argv)
        return SimpleNamespace(returncode=int(current_refuses))

    refused = ("video.zoom: unknown key",) if refuses_reload else ()
    running = camera.Camera("streaming", True, "", "csi", False, True, refused) if active == "active" else None
    monkeypatch.setattr(service, "has_systemd", lambda: True)
    monkeypatch.setattr(service, "run", run)
    monkeypatch.setattr(camera, "look", {unit: running}.__getitem__)
    monkeypatch.setattr(server, "show", {unit: {"ActiveState": active}}.__getitem__)
    file = host / "etc" / name
    assert service.refused_before(file) is excused
    check = (host / "opt/current/bin/pi-cam-daemon", "check-config")
    wanted = check if name == "config.toml" else (*check, file)
    assert asked == ([] if active == "active" and not refuses_reload else [wanted])
    monkeypatch.setattr(service, "has_systemd", lambda: False)
    assert not service.refused_before(file), "in a chroot nothing runs"


# -- how the units were before


MAIN, YARD = "pi-cam-daemon.service", "pi-cam-daemon@yard.service"


class Units:
    """The units of a host: *states* by their names, and *broken* ones, which do not pass the health check."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.states: dict[str, dict[str, str]] = {}
        self.broken: dict[str, str] = {}
        self.cameras: dict[str, camera.Camera] = {}
        self.checked: list[str] = []
        self.ran: list[tuple[object, ...]] = []
        self.set(MAIN)
        monkeypatch.setattr(server, "show", self.show)
        monkeypatch.setattr(service, "check_health", self.check_health)
        monkeypatch.setattr(service, "problem_of", lambda unit, *_: self.broken.get(unit, ""))
        monkeypatch.setattr(service, "last_log_lines", lambda _: "")
        monkeypatch.setattr(service, "_integrate", lambda: False)
        monkeypatch.setattr(camera, "look", self.cameras.get)
        for module in (service, soak, camera, commands):
            monkeypatch.setattr(module, "has_systemd", lambda: True)
        for module in (service, soak):
            monkeypatch.setattr(module, "run", lambda *argv, **_: self.ran.append(argv))

    def set(self, unit: str, state: str = "active", restarts: int = 0) -> None:
        self.states[unit] = {"ActiveState": state, "NRestarts": str(restarts), "MainPID": "0"}

    def show(self, unit: str) -> dict[str, str]:
        return self.states.get(unit, {"ActiveState": "inactive", "NRestarts": "0", "MainPID": "0"})

    def check_health(self, unit: str, _health: object, *_folder: object) -> None:
        self.checked.append(unit)
        if unit in self.broken:
            raise Failed(self.broken[unit])


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch) -> Units:
    return Units(monkeypatch)


HEALTH = service.Health(1.0, 0.0, 60.0)
STREAMING = camera.Camera("streaming", True, "", "csi", False, True)
HEALTHY = service.Before({}, {}, [])


def test_units_that_do_not_serve_or_end_again_and_again_are_known_before(
    host: Path, monkeypatch: pytest.MonkeyPatch, units: Units
) -> None:
    monkeypatch.setattr(service, "_RUN", host)

    def failures(unit: str, number: int, seconds: float = 0.0) -> None:
        file = host / unit.removesuffix(".service") / "failures"
        file.parent.mkdir()
        file.write_text("exit-code\n" * number)
        os.utime(file, (time.time() - seconds,) * 2)

    once, often, long_ago, stopped = (f"pi-cam-daemon@{name}.service" for name in ("a", "b", "c", "d"))
    for unit in (once, often, long_ago):
        units.set(unit)
    units.set(YARD, "activating")
    units.set(stopped, "inactive")
    units.broken = {YARD: "port 8000 is taken", often: "it has ended", stopped: "it is inactive"}
    failures(once, 1)
    failures(often, 2, 500)
    failures(long_ago, 9, 700)
    services = [MAIN, YARD, once, often, long_ago, stopped]
    before = service.look(services, HEALTH, proven=True)
    assert before == service.Before({}, {YARD: "port 8000 is taken", often: "it has ended"}, [often])
    assert units.checked == [YARD, once, often], "the others are not waited for"
    assert service.look(services, HEALTH, proven=False) == HEALTHY, "an unproven release may be the reason"


def test_a_unit_that_did_not_serve_before_is_told_and_blames_no_release(
    monkeypatch: pytest.MonkeyPatch, units: Units
) -> None:
    said: list[str] = []
    monkeypatch.setattr(service, "say", said.append)
    units.broken = {YARD: "port 8000 is taken"}
    with pytest.raises(Failed, match=r"^port 8000 is taken$"):
        service.activate("1.0", [YARD, MAIN], HEALTH, HEALTHY, force=True)
    assert not said and units.checked == [YARD]
    service.activate("1.0", [YARD, MAIN], HEALTH, service.Before({}, {YARD: "it hung"}, []), force=True)
    told = "did not serve before, and still does not; that is not the release's fault: port 8000 is taken"
    assert said == [f"{YARD} {told}"]
    assert units.checked == [YARD, YARD, MAIN]
    assert ("systemctl", "--no-block", "restart", YARD) in units.ran, "the release may have mended it"


# -- releases


def release(name: str) -> Path:
    """Make the folder of a release."""
    made = releases.RELEASES / name
    made.mkdir()
    return made


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return the current release and the history at each os.sync()."""
    states: list[tuple[str, str]] = []
    monkeypatch.setattr(os, "sync", lambda: states.append((releases.current(), releases.HISTORY.read_text())))
    return states


def test_one_installation_runs_at_a_time() -> None:
    for _ in range(2):  # the end of the first lets the second one in
        with releases.lock(), pytest.raises(Failed, match=r"^another installation is running"), releases.lock():
            pass
    shutil.rmtree(releases.ROOT)
    with releases.lock():
        assert releases.ROOT.is_dir()


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_is_removed_while_it_is_locked_is_no_lock(monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    def flock(_folder: int, _how: int) -> None:
        releases.ROOT.rename(releases.ROOT.with_name("removed"))
        if again:
            releases.ROOT.mkdir()

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(Failed, match=r"^another installation is running"), releases.lock():
        pass


def test_the_history_has_the_last_three_releases_that_are_still_there(synced: list[tuple[str, str]]) -> None:
    for name in ("1.1", "1.2", "1.3"):
        release(name)
    releases.write_history(["1.0", "1.1", "1.2", "1.3"])
    assert releases.HISTORY.read_text() == "1.1\n1.2\n1.3\n"
    assert synced == [("1.0", "1.0\n")], "it is on the disk before it takes the place of the old one"
    releases.HISTORY.write_bytes(b"\xff\n1.0\n0.9\n1.3\n")
    assert releases.history() == ["1.0", "1.3"]
    releases.HISTORY.unlink()
    assert releases.history() == []


def test_a_switch_is_one_step_and_outlives_a_killed_one(synced: list[tuple[str, str]]) -> None:
    (releases.ROOT / "current.new").symlink_to("nowhere")
    releases.switch("1.1")
    assert releases.CURRENT.readlink() == Path("releases/1.1")
    assert synced == [("1.0", "1.0\n")], "the release is on the disk before it is current"
    assert releases.current() == "1.1"
    releases.CURRENT.unlink()
    assert releases.current() == ""


@pytest.mark.parametrize(
    ("name", "than", "older"),
    [
        ("1.0", "1.1", True),
        ("1.1", "1.0", False),
        ("1.0", "1.0", False),
        ("1.9", "1.10", True),
        ("1", "1.0.0-abc", False),
        ("1.0.0-abc", "1", False),
        ("1.0-zzz", "1.0.1-aaa", True),
        ("1.1rc1", "1.1", False),
        ("2..0", "2.0.1", True),
        ("unknown", "0.1", True),
        ("0", "unknown", False),
    ],
)
def test_the_leading_numbers_say_which_release_is_older(name: str, than: str, older: bool) -> None:
    assert releases.is_older(name, than) is older


def test_a_sweep_leaves_the_current_release_and_those_of_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("1.1", "1.2", "1.3", ".scratch-1", ".old-0.8", ".held"):
        release(name)
    releases.write_history(["1.0", "1.1"])
    releases.switch("1.2")
    release("1.4")
    parts = ["current.new", "history.new", "newer-keys.new"]
    for name in parts:
        (releases.ROOT / name).touch()
    removed = []

    def remove(path: Path) -> None:
        removed.append(path.name)
        if path.name == ".held":
            raise OSError
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    monkeypatch.setattr(releases, "remove", remove)
    releases.sweep(["1.4"])
    assert sorted(removed) == [".held", ".old-0.8", ".old-1.3", ".scratch-1", *parts]
    assert sorted(path.name for path in releases.RELEASES.iterdir()) == [".held", "1.0", "1.1", "1.2", "1.4"]


def test_a_scratch_folder_is_swept_if_it_could_not_be_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError

    with monkeypatch.context() as patched, releases.scratch() as folder:
        assert folder.parent == releases.RELEASES and folder.name.startswith(".scratch-")
        (folder / "file").touch()
        patched.setattr(os, "unlink", refuse)
        patched.setattr(os, "rmdir", refuse)
    assert folder.exists()


def test_the_wheels_need_their_room_unpacked_with_their_bytecode_and_some_more(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert releases.room(1_000_001) == 52_500_002
    free = 52_500_002
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: SimpleNamespace(free=free if path == host / "opt/releases" else 0)
    )
    releases.check_room(1_000_001)
    free = 51_400_000
    with pytest.raises(Failed, match=r"/opt/releases: 53 MB of space are needed, 51 MB are free$"):
        releases.check_room(1_000_001)


class FakeArtefact:
    """An artefact with a wheel, of release 1.1 for this Python."""

    release = "1.1"

    def __init__(self, folder: Path, python: str) -> None:
        self.folder = folder
        self.host = SimpleNamespace(python=python)
        self.files = ["install", "systemd/deep/one.service", "systemd/deep/two.service"]
        self.checked = False
        for name in self.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
        self.wheels = [folder / "one.whl"]
        with zipfile.ZipFile(folder / "one.whl", "w") as wheel:
            for name, text in {"__init__": "", "tests/data": "", "broken": "if"}.items():
                wheel.writestr(f"package/{name}.py", text)

    def check(self) -> None:
        self.checked = True


THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.mark.parametrize("python", [THIS_PYTHON, "2.7"])
def test_a_release_is_a_virtual_environment_that_may_be_renamed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], python: str
) -> None:
    new, final = tmp_path / "new", Path("/opt/pi-cam-daemon/releases/1.1")
    releases.fill(new, FakeArtefact(tmp_path / "artefact", python), final)  # type: ignore[arg-type]
    assert (new / "pyvenv.cfg").read_text() == "home = /usr/bin\ninclude-system-site-packages = true\n"
    assert (new / "bin/python").readlink() == Path("/usr/bin/python3")
    command = new / "bin/pi-cam-daemon"
    assert command.read_text().startswith(f"#!{final}/bin/python -sP\n")
    assert [path.stat().st_mode & 0o777 for path in (command, new / "install")] == [0o755, 0o755]
    assert (new / "systemd/deep/two.service").read_text() == "systemd/deep/two.service"
    packages = new / f"lib/python{python}/site-packages"
    compiled = list(packages.rglob("*.pyc"))
    assert len(compiled) == (python == THIS_PYTHON), "the tests and what is broken are left out"
    for path in compiled:
        head = path.read_bytes()
        assert head[4] == 0b01, "it is never checked (PEP 552)"
        assert marshal.loads(head[16:]).co_filename == f"{final}/lib/python{python}/site-packages/package/__init__.py"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("there", "works", "told"),
    [
        (False, True, ["preparing 1.1"]),
        (True, True, []),
        (True, False, ["1.1 is here, but does not work: it is broken", "preparing 1.1"]),
    ],
)
def test_a_release_is_staged_unless_it_is_there_and_works(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    synced: list[tuple[str, str]],
    there: bool,
    works: bool,
    told: list[str],
) -> None:
    artefact = FakeArtefact(tmp_path / "artefact", THIS_PYTHON)
    final = releases.RELEASES / "1.1"
    said: list[str] = []
    smoked: list[Path] = []

    def smoke(path: Path, excused: object) -> None:
        assert excused is service.refused_before
        smoked.append(path)
        if path == final and not works:
            raise Failed("it is broken")

    def fill(new: Path, filled: object, at: Path) -> None:
        assert (filled, at, artefact.checked) == (artefact, final, True)
        new.mkdir()
        (new / "fresh").touch()

    if there:
        (final / "old").mkdir(parents=True)
    monkeypatch.setattr(releases, "say", said.append)
    monkeypatch.setattr(releases, "smoke", smoke)
    monkeypatch.setattr(releases, "fill", fill)
    releases.stage(artefact, service.refused_before)  # type: ignore[arg-type]
    assert said == told
    made = bool(told)
    assert (final / "fresh").exists() is made
    assert (len(smoked) - there, len(synced)) == (made, made), "the new one is tested, and on the disk"
    assert sorted(path.name for path in releases.RELEASES.iterdir()) == ["1.0", "1.1"]


def test_a_release_is_tested_as_the_service_starts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[Any, ...]] = []

    def run(*argv: object, cwd: Path, env: dict[str, str], timeout: float) -> None:
        assert cwd.parent == releases.RELEASES and timeout == 600.0
        assert "HOME" in env and "PYTHONPATH" not in env
        assert argv[:2] == (releases.RELEASES / "1.0/bin/python", "-sP")
        ran.append(tuple(str(word).replace(str(cwd), "scratch") for word in argv[2:]))

    monkeypatch.setenv("HOME", "/root")
    monkeypatch.setenv("PYTHONPATH", "/home/anna")
    monkeypatch.setattr(releases, "run", run)
    releases.smoke(releases.RELEASES / "1.0", lambda _: False)
    daemon, settings = ("-m", "pi_cam_daemon"), ('source.kind="pattern"', "source.start_timeout_seconds=600")
    assert ran == [
        ("-c", "import pi_cam_daemon.daemon"),
        (*daemon, "config"),
        (*daemon, "snapshot", *(f"--set={setting}" for setting in settings), "scratch/picture.jpg"),
    ]


def test_uninstalling_leaves_what_was_saved_and_recorded_and_gives_it_to_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[Path, tuple[int, int]] = {}
    monkeypatch.setattr(os, "chown", lambda path, *owner: given.update({path: owner}))
    main, garden = tmp_path / "lib/pi-cam-daemon", tmp_path / "lib/pi-cam-daemon@garden"
    clips = main / "recordings"
    for path in (main / "settings.toml", main / "last-good.toml", garden / "last-good.toml", clips / "a.mkv"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert set(saved.leftovers(tmp_path / "lib", purge=False)) == {main / "last-good.toml", garden}
    assert given == {main: (0, 0), main / "settings.toml": (0, 0), clips: (0, 0)}
    assert set(saved.leftovers(tmp_path / "lib", purge=True)) == {main, garden}


def test_the_names_of_what_is_saved_are_those_of_the_daemon() -> None:
    assert tuple(path.name for path in both_files()) == saved.NAMES


# -- the soak


@pytest.fixture
def change(host: Path, monkeypatch: pytest.MonkeyPatch, units: Units) -> soak.Change:  # noqa: ARG001
    """Return the change from release 1.0 to 1.1, which is current."""
    etc = host / "systemd"
    etc.mkdir()
    folder = host / "opt/soak"
    places = {
        "FOLDER": folder, "_RECORD": folder / "record.json", "TAKEN_BACK": host / "opt/taken-back",
        "_FILE": etc / soak.UNIT, "_LINK": etc / "multi-user.target.wants" / soak.UNIT, "current": releases.current,
    }  # fmt: skip
    for name, place in places.items():
        monkeypatch.setattr(soak, name, place)
    release("1.1")
    releases.switch("1.1")
    return soak.Change("1.1", ["1.0"], ["1.0", "1.1"], [MAIN], HEALTH, service.Before({MAIN: STREAMING}, {}, []))


class Clock:
    """The time of the soak, which passes only while it sleeps. *events* are called at their second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.events: dict[float, Callable[[], object]] = {}
        monkeypatch.setattr(soak, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for moment in [moment for moment in self.events if moment <= self.now]:
            self.events.pop(moment)()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, units: Units) -> Clock:
    units.cameras[MAIN] = STREAMING
    return Clock(monkeypatch)


def test_the_soak_is_recorded_with_a_copy_of_the_installer_and_a_unit_for_each_boot(
    host: Path, units: Units, change: soak.Change
) -> None:
    soak.begin(change)
    assert soak.recorded() == replace(
        change, before=replace(change.before, gave={MAIN: replace(STREAMING, refused=[])})
    )
    copied = {str(path.relative_to(soak.FOLDER)) for path in soak.FOLDER.rglob("*.py")}
    assert "installer/soak.py" in copied and (soak.FOLDER / "install").read_text().startswith("#!/usr/bin/python3")
    link = host / "systemd/multi-user.target.wants" / soak.UNIT
    unit = link.read_text()
    assert f"\nAfter={MAIN}\n" in unit
    assert f"\nExecStart=/usr/bin/python3 -B {soak.FOLDER}/install --soak\n" in unit
    assert soak.start() == "it is watched for 60 s more; if it does not last, 1.0 comes back"
    assert units.ran[-1] == ("systemctl", "--no-block", "start", soak.UNIT)
    assert soak.told() == "1.1 is new and watched; if it does not last, 1.0 comes back"
    soak.end()
    assert units.ran[-3:] == [
        ("systemctl", "stop", soak.UNIT), ("systemctl", "reset-failed", soak.UNIT), ("systemctl", "daemon-reload")
    ]  # fmt: skip
    assert not soak.FOLDER.exists() and not link.is_symlink() and not (host / "systemd" / soak.UNIT).exists()
    assert soak.start() == soak.told() == ""


@pytest.mark.parametrize("without", ["time", "release", "units", "systemd"])
def test_there_is_no_soak_without_time_a_way_back_units_and_systemd(
    monkeypatch: pytest.MonkeyPatch, change: soak.Change, without: str
) -> None:
    if without == "systemd":
        monkeypatch.setattr(soak, "has_systemd", lambda: False)
    lacking = {
        "time": replace(change, health=service.Health(1.0, 0.0)),
        "release": replace(change, back=[]),
        "units": replace(change, before=service.Before({}, {MAIN: "it hung"}, [])),
    }
    soak.begin(change)
    soak.begin(lacking.get(without, change))
    assert soak.recorded() is None and not soak.FOLDER.exists(), "also the one before is over"


def test_a_release_that_ends_or_loses_its_camera_does_not_last(
    monkeypatch: pytest.MonkeyPatch, units: Units, change: soak.Change, clock: Clock
) -> None:
    soak.watch(change)
    assert clock.now == 60.0
    for state, restarts in (("active", 1), ("failed", 0)):
        clock.events[clock.now + 20] = lambda state=state, restarts=restarts: units.set(MAIN, state, restarts)
        begun = clock.now
        with pytest.raises(Failed, match=f"^{MAIN} ended by itself$"):
            soak.watch(change)
        assert clock.now - begun == 20.0
        units.set(MAIN)
    asked: list[tuple[str, camera.Camera]] = []

    def check(unit: str, before: camera.Camera, seconds: float) -> None:
        assert seconds == HEALTH.seconds
        asked.append((unit, before))
        raise Failed("it gives no pictures")

    monkeypatch.setattr(camera, "check", check)
    for lost, lasts in ((replace(STREAMING, ok=False), False), (replace(STREAMING, state="idle", ok=False), True)):
        clock.events[clock.now + 20] = lambda lost=lost: units.cameras.update({MAIN: lost})
        units.cameras[MAIN] = STREAMING
        with contextlib.nullcontext() if lasts else pytest.raises(Failed, match=r"^it gives no pictures$"):
            soak.watch(change)
    assert asked == [(MAIN, STREAMING)]
    units.broken[MAIN] = "it does not answer"
    with pytest.raises(Failed, match=r"^it does not answer$"):
        soak.watch(change)


def test_what_its_owner_does_and_what_was_sick_before_ends_no_soak(
    units: Units, change: soak.Change, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    clock.events = {
        10: lambda: units.set(MAIN, restarts=0),  # by hand
        20: lambda: units.set(MAIN, "inactive"),
        30: lambda: units.set(YARD, "failed", 9),
    }
    units.broken = {MAIN: "it is inactive", YARD: "port 8000 is taken"}
    for before in (service.Before({}, {YARD: "port 8000 is taken"}, []), service.Before({}, {}, [YARD])):
        soak.watch(replace(change, services=[MAIN, YARD], before=before))
    assert units.checked == []
    soak.begin(replace(change, services=[MAIN, YARD], before=before))
    assert f"{YARD} ended by itself again and again before, so it is not watched" in capsys.readouterr().err


def test_a_boot_goes_on_with_the_soak_and_has_patience_with_the_start(
    monkeypatch: pytest.MonkeyPatch, units: Units, change: soak.Change, clock: Clock
) -> None:
    change = replace(change, boot="the one before")
    tries = iter(["its address is not there", "its address is not there", ""])

    def check_health(unit: str, _health: object) -> None:
        clock.now += 0.4
        units.set(unit, restarts=int(units.states[unit]["NRestarts"]) + 1)
        if problem := next(tries, ""):
            raise Failed(problem)

    monkeypatch.setattr(service, "check_health", check_health)
    soak.watch(change)
    assert clock.now > 60
    tries = iter(["it hangs"] * 9)
    with pytest.raises(Failed, match=r"^it hangs$"):
        soak.watch(change)
    releases.switch("1.0")
    with pytest.raises(Failed, match=r"^interrupted$"):
        soak.watch(change)


def test_the_end_of_a_soak_keeps_the_release_or_takes_it_back(
    monkeypatch: pytest.MonkeyPatch, change: soak.Change, capsys: pytest.CaptureFixture[str]
) -> None:
    activated: list[tuple[str, bool]] = []

    def activate(name: str, _services: object, _health: object, before: service.Before, force: bool) -> None:
        assert before.gave == {}
        activated.append((name, force))
        releases.switch(name)

    def fails(_change: object) -> None:
        raise Failed("it ended by itself\n    its last words")

    monkeypatch.setattr(service, "activate", activate)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(camera, "check", lambda *_: None)
    monkeypatch.setattr(soak, "watch", lambda _: None)
    soak.begin(change)
    assert releases.history() == ["1.0"], "as a power cut during the health check leaves it"
    commands.watch()
    assert releases.history() == ["1.0", "1.1"] and not activated
    assert "1.1 has lasted for 60 s" in capsys.readouterr().err
    soak.begin(change)
    monkeypatch.setattr(soak, "watch", fails)
    commands.watch()
    assert releases.history() == ["1.0"] and activated == [("1.0", True)]
    assert {path.name for path in releases.RELEASES.iterdir()} == {"1.0"}, "it is swept"
    assert soak.told() == "1.1 was taken back: it ended by itself"
    said = capsys.readouterr().err
    assert "its last words" in said and "went back to 1.0, which serves" in said
    # a power cut has broken off the way back when the link was changed
    soak.begin(change)
    commands.watch()
    assert activated[1:] == [("1.0", False)]
    assert not soak.FOLDER.exists()
    # another installation was faster
    soak.begin(change)
    monkeypatch.setattr(soak, "watch", lambda _: soak.end())
    commands.watch()
    assert len(activated) == 2


def test_the_settings_that_a_release_knows_are_kept_when_it_is_gone_back_from() -> None:
    def knows(name: str, toml: str) -> None:
        folder = releases.RELEASES / name / "lib/python3.11/site-packages/pi_cam_daemon/config"
        folder.mkdir(parents=True)
        (folder / "default.toml").write_text(toml)

    knows("1.0", "[video]\nwidth = 1\nzoom = 2\n[siren]\nloud = true\n")
    releases.remember_keys()
    assert releases.NEWER_KEYS.read_text().split() == ["siren.loud", "video.width", "video.zoom"]
    for name, toml in (("1.1", "video.height = 1\n"), ("1.2", "not TOML"), ("1.3", "")):
        knows(name, toml)
        releases.switch(name)
        releases.remember_keys()
    known = ["siren.loud", "video.height", "video.width", "video.zoom"]
    assert releases.NEWER_KEYS.read_text().split() == known, "those of several steps back"
