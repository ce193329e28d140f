from __future__ import annotations

from pathlib import Path

import pytest

from tests.usb.machine import Machine, draw_frames, fake_v4l2


@pytest.fixture(scope="session")
def library() -> Path:
    return fake_v4l2()


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_frames(tmp_path_factory.mktemp("camera") / "frames", 320, 240)


@pytest.fixture
def machine(tmp_path: Path, library: Path, frames: Path) -> Machine:
    """A machine without a camera."""
    return Machine(tmp_path / "machine", library, frames)
