from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.image import machine
from tests.image.machine import BOOT_SECONDS, CACHE, SETTINGS, Machine
from tests.kit.daemon import ROOT
from tests.kit.lateness import patience
from tests.kit.wait import until

BASE = CACHE / "base.img"
ARTEFACT = CACHE / "artefact.tar.zst"
# where the image will be published
SITE = "https://example.org/cards/"
# until then its first picture is there, on a machine that does nothing else
FIRST_BOOT_SECONDS = 30.0


# minutes each
SOAK = ("test_apt.py", "test_packages.py", "test_soak.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--soak"):
        # left out and not skipped: a judge takes a skip for a failure
        items[:] = [item for item in items if item.path.name not in SOAK]


def pytest_report_collectionfinish(config: pytest.Config) -> str:
    return "" if config.getoption("--soak") else f"tests/image: left to --soak: {', '.join(SOAK)}"


def build_image(
    out: Path, *options: str | Path, base: Path = BASE, before: tuple[str | Path, ...] = (), checkout: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run scripts/build-image with fast compression; *before* is a command that runs it."""
    argv = [*before, checkout / "scripts/build-image", "--packages", "first-boot", "--artefact", ARTEFACT]
    return subprocess.run(
        [*argv, *options, base, out], env={**os.environ, "XZ_OPT": "-0"}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A copy of the stand-in for the base image, which a test may change."""
    return machine.copy(BASE, tmp_path / "base.img")


def make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key whose updates the image accepts."""
    key = tmp_path_factory.mktemp("signer") / "key"
    make_key(key)
    key.with_name("allowed_signers").write_text(f"publisher {key.with_suffix('.pub').read_text()}")
    return key


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, signer: Path) -> Path:
    """An image of this checkout, built by scripts/build-image from the base as it is downloaded."""
    out = tmp_path_factory.mktemp("image") / "pi-cam.img"
    options = ("--signers", signer.with_name("allowed_signers"), "--url", SITE)
    done = build_image(out, *options, base=BASE.with_suffix(".img.xz"))
    assert done.returncode == 0, done.stderr
    return out


class Running:
    """A card in a running machine, shared by tests. A test that switches it off may switch it on again."""

    def __init__(self, card: Path, **how: Any) -> None:
        self.card = card
        self._how = how
        # from the switch on
        self.seconds_to_picture = 0.0
        # the file system as the last power cut left it
        self.root = Path()
        # when the plug was pulled during the first boot, in words
        self.cut_after = ""
        self.switch_on()

    def switch_on(self) -> None:
        self.machine = Machine(self.card, self.card.parent, **self._how)

    def cut_power(self) -> float:
        """Pull the plug; the file system has to be in order. Return the seconds from the switch on until then."""
        moment = time.monotonic() - self.machine.began
        self.machine.cut_power()
        self.root = machine.root(self.card, self.card.parent)
        assert machine.check(self.root) == "", f"cut at {moment:.1f} s"
        return moment

    def cut_power_of_the_boot(self) -> str:
        """Pull the plug at a random time of the first boot, or at its end; return when that was, in words."""
        moment = random.uniform(1.0, patience(FIRST_BOOT_SECONDS))
        pi = self.machine
        until("the moment", lambda: pi.has_booted() or time.monotonic() - pi.began > moment, BOOT_SECONDS)
        when = "at the end of the boot" if pi.has_booted() else "during the boot"
        return f"{self.cut_power():.1f} s, {when}"

    def wait_for_pictures(self) -> None:
        """Wait for pictures and for the root shell."""
        self.seconds_to_picture = self.machine.wait_for_pictures()
        self.machine.wait_for_shell()


@contextlib.contextmanager
def running(card: Path, **how: Any) -> Iterator[Running]:
    pi = Running(card, **how)
    try:
        yield pi
    finally:
        pi.machine.close()
        (card.parent / "root.ext4").unlink(missing_ok=True)
        print(f"--- the serial line of {card.parent.name}\n{pi.machine.said()[-3000:]}")


@pytest.fixture(scope="session")
def booted(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    card = machine.flash(image, tmp_path_factory.mktemp("first-boot") / "card.img")
    with running(card) as pi:
        pi.wait_for_pictures()
        pi.machine.stand_still()
        yield pi


@pytest.fixture
def first_boot(booted: Running) -> Iterator[Running]:
    """A card on its first boot, shared by tests that do not change it."""
    booted.machine.go_on()
    yield booted
    booted.machine.stand_still()


@pytest.fixture(scope="session")
def other(image: Path, update: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A second card with updates, whose power failed during its first boot; the tests leave it serving."""
    card = machine.flash(image, tmp_path_factory.mktemp("other") / "card.img")
    with running(card, spare=update) as pi:
        pi.cut_after = pi.cut_power_of_the_boot()
        pi.switch_on()
        pi.wait_for_pictures()
        yield pi


@pytest.fixture(scope="module")
def offline(debs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A card with packages and with settings as an editor of Windows saves them.

    It boots without a network, which comes later, and with a wrong clock.
    """
    folder = tmp_path_factory.mktemp("offline")
    card = folder / "card.img"
    # nobody unpacks this one: to pack it would take half a minute
    xz = folder / "bin/xz"
    xz.parent.mkdir()
    xz.write_text("#!/bin/sh\n")
    xz.chmod(0o755)
    done = build_image(card, "--packages", debs, before=("env", f"PATH={xz.parent}:{os.environ['PATH']}"))
    assert done.returncode == 0, done.stderr
    settings = f"\ufeff# 카메라\n{SETTINGS}rotation = 90\n[http]\nallowed_networks = [“192.0.2.0/24”]\n"
    machine.put_boot_file(card, "pi-cam.toml.txt", settings.replace("\n", "\r\n").encode())
    with running(card, mac="52:54:00:ab:cd:ef", linked=False, clock="2001-01-01") as pi:
        until("the boot without a network", pi.machine.has_booted, BOOT_SECONDS)
        pi.machine.link(True)
        pi.machine.wait_for_shell()
        yield pi


@pytest.fixture(scope="session")
def debs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a package that replaces picamera2."""
    folder = tmp_path_factory.mktemp("debs")
    make_deb(folder)
    return folder


def make_deb(folder: Path, more: str = "") -> Path:
    """Make a package python3-picamera2 in *folder* that reports its import; *more*: lines of its control file."""
    package = folder.with_name(f"{folder.name}-package")
    module = package / "usr/lib/python3/dist-packages/picamera2.py"
    module.parent.mkdir(parents=True)
    module.write_text("raise ImportError('this one is a test')\n")
    control = package / "DEBIAN/control"
    control.parent.mkdir()
    fields = {"Package": "python3-picamera2", "Version": "1", "Architecture": "all", "Maintainer": "nobody"}
    control.write_text("".join(f"{name}: {value}\n" for name, value in fields.items()) + f"{more}Description: a test\n")
    argv = ["dpkg-deb", "--build", "--root-owner-group", package, folder]
    subprocess.run(argv, check=True, capture_output=True)
    (deb,) = folder.glob("*.deb")
    return deb


@pytest.fixture(scope="session")
def update(signer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with releases: a newer one, an older one, and one with an unknown signature."""
    folder = tmp_path_factory.mktemp("update")
    content, release, stranger = folder / "content", folder / "release", folder / "stranger"
    content.mkdir()
    release.mkdir()
    subprocess.run(["tar", "--zstd", "-xf", ARTEFACT, "-C", release], check=True)
    manifest = release / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": "', '"version": "9.', 1))
    members = ["manifest.json", "install", "installer", "systemd", "wheels"]
    newer = content / "newer.tar.zst"
    subprocess.run(["tar", "-C", release, "-I", "zstd -1", "-cf", newer, *members], check=True)
    make_key(stranger)
    for source, name, key in (
        (newer, "newer", signer),
        (ARTEFACT, "older", signer),
        (newer, "stranger", stranger),
    ):
        file = content / f"{name}.tar.zst"
        if file != source:
            shutil.copy(source, file)
        argv = ["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", "pi-cam-daemon", file]
        subprocess.run(argv, check=True, capture_output=True)
    disk = folder / "update.img"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", content, disk, "200M"], check=True)
    return disk


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    """The pictures of the USB camera: JPEGs that only this run has."""
    noise = np.random.default_rng()
    found = []
    for number in range(8):
        picture = np.full((480, 640, 3), 40 + 20 * number, np.uint8)
        picture[:64, :64] = noise.integers(0, 255, (64, 64, 3))
        found.append(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes())
    return found
