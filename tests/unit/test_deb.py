from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.kit.daemon import ROOT

sys.path.insert(0, str(ROOT / "scripts"))

from deb import build
from deb.version import debian_version
from installer import build as artefacts
from installer.machine import Failed


@pytest.mark.parametrize(
    ("python", "debian"),
    [
        ("0.1.0", "0.1.0"),
        ("1.0.dev2", "1.0~~dev2"),
        ("1.0a1.dev3", "1.0~a1~~dev3"),
        ("1.0b1", "1.0~b1"),
        ("1.0rc1", "1.0~rc1"),
        ("1.0.post1", "1.0.post1"),
        ("1.0+pi", "1.0+pi"),
        ("1!0.1", "1:0.1"),
    ],
)
def test_what_comes_before_a_release_sorts_before_it_for_dpkg_too(python: str, debian: str) -> None:
    assert debian_version(python) == debian


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder debian/ of a package without wheels."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    build._lay_out(tmp_path / "tree", [], "0.1.0")
    return tmp_path / "tree/debian"


def test_the_units_of_the_package_start_its_own_program(debian: Path) -> None:
    texts = [(debian / name).read_text() for name in build._FILES.values()]
    assert not any("/opt/" in text for text in texts)
    programs = {line for text in texts for line in re.findall(r"^Exec\w+=(/\S+pi-cam-daemon) ", text, re.M)}
    assert programs == {"/usr/bin/pi-cam-daemon"}


def test_the_package_has_each_unit_that_is_not_of_a_card() -> None:
    every = {path.name for path in (ROOT / "systemd").iterdir() if path.is_file() and path.name != "README.md"}
    cards = {"pi-cam-daemon-boot.service", "pi-cam-daemon-first-boot.service"}
    # apt updates a package
    of_scripts_install = {"pi-cam-daemon-update.service", "pi-cam-daemon-update.timer"}
    assert every - cards - of_scripts_install == {name for name in build._FILES if "/" not in name}


def test_the_changelog_of_the_package_has_its_version_and_the_time_of_the_sources(debian: Path) -> None:
    text = (debian / "changelog").read_text()
    assert text.startswith("pi-cam-daemon (0.1.0) unstable; ")
    assert text.endswith("  Tue, 14 Nov 2023 22:13:20 -0000\n")


@pytest.mark.parametrize("name", ["a-1-cp311-cp311-manylinux_2_17_x86_64.whl", "a-1-cp311-none-linux_x86_64.whl"])
def test_a_wheel_for_one_python_is_refused(name: str) -> None:
    with pytest.raises(Failed, match="works with one version of Python, and the package serves several"):
        build._check(["b-1-cp37-abi3-manylinux2014_x86_64.whl", "c-1-py3-none-any.whl", name])


def test_the_package_is_made_for_what_the_oldest_debian_takes() -> None:
    for architecture in build.ARCHITECTURES:
        target = artefacts.TARGETS[f"{build._SUITE}-{architecture}"]
        oldest = min(artefacts.TARGETS.values(), key=lambda other: other.glibc)
        assert (target.architecture, target.glibc) == (architecture, oldest.glibc)
