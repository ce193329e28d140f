"""Decisions of the installer that need no host; tests/systemd runs it in one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.harness import ROOT

sys.path.append(str(ROOT / "scripts"))

from installer import commands, releases, service
from installer.machine import Failed


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
    monkeypatch.setattr(commands, "is_pi", lambda: False)
    monkeypatch.setattr(service, "units", list)
    with pytest.raises(Failed, match=told):
        commands.install(None, False, downgrade, service.Health(1.0, 0.0))


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
