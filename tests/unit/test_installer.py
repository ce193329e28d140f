"""Decisions of the installer that need no host; tests/systemd runs it in one."""

from __future__ import annotations

import fcntl
import json
import marshal
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pi_cam_daemon.config.saved import both_files
from tests.kit.daemon import ROOT

sys.path.append(str(ROOT / "scripts"))

from installer import commands, offer, releases, saved, service
from installer.machine import Failed, Host


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the root of a host on which release 1.0 serves."""
    opt = tmp_path / "opt"
    places = {"ROOT": opt, "RELEASES": opt / "releases", "CURRENT": opt / "current", "HISTORY": opt / "history"}
    for module in (commands, releases):
        for name, path in {**places, "CONFIG": tmp_path / "etc"}.items():
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


def test_a_release_that_refuses_the_file_of_a_camera_changes_nothing(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cameras = host / "etc/cameras"
    cameras.mkdir(parents=True)
    for name in ("front", "yard"):
        (cameras / f"{name}.toml").touch()

    def run(*argv: object, **_: object) -> None:
        if argv[-2:] == ("check-config", cameras / "yard.toml"):
            raise Failed("yard.toml: video.zoom: unknown key")

    monkeypatch.setattr(releases, "run", run)
    with pytest.raises(Failed, match=r"^1.0 does not work here, nothing was changed: yard.toml: video.zoom"):
        releases.smoke(releases.RELEASES / "1.0")


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
    for name in ("current.new", "history.new"):
        (releases.ROOT / name).touch()
    removed = []

    def remove(path: Path) -> None:
        removed.append(path.name)
        if path.name == ".held":
            raise OSError
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    monkeypatch.setattr(releases, "remove", remove)
    releases.sweep()
    assert sorted(removed) == [".held", ".old-0.8", ".old-1.3", ".scratch-1", "current.new", "history.new"]
    assert sorted(path.name for path in releases.RELEASES.iterdir()) == [".held", "1.0", "1.1", "1.2"]


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

    def smoke(path: Path) -> None:
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
    releases.stage(artefact)  # type: ignore[arg-type]
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
    releases.smoke(releases.RELEASES / "1.0")
    daemon, settings = ("-m", "pi_cam_daemon"), ('source.kind="pattern"', "source.start_timeout_seconds=600")
    assert ran == [
        ("-c", "import pi_cam_daemon.daemon"),
        (*daemon, "config"),
        (*daemon, "snapshot", *(f"--set={setting}" for setting in settings), "scratch/picture.jpg"),
    ]


def test_uninstalling_leaves_what_was_saved_on_the_page_and_gives_it_to_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[Path, tuple[int, int]] = {}
    monkeypatch.setattr(os, "chown", lambda path, *owner: given.update({path: owner}))
    main, garden = tmp_path / "lib/pi-cam-daemon", tmp_path / "lib/pi-cam-daemon@garden"
    for path in (main / "settings.toml", main / "last-good.toml", garden / "last-good.toml"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert set(saved.leftovers(tmp_path / "lib", purge=False)) == {main / "last-good.toml", garden}
    assert given == {main: (0, 0), main / "settings.toml": (0, 0)}
    assert set(saved.leftovers(tmp_path / "lib", purge=True)) == {main, garden}


def test_the_names_of_what_is_saved_are_those_of_the_daemon() -> None:
    assert tuple(path.name for path in both_files()) == saved.NAMES
