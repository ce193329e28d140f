"""The rig's Pi as fixtures: an encoder node of each test's own, and cameras without faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("virtual_pi", reason="runs in the root that tests/picamera/rig/setup makes")

from pi_memory import memory
from virtual_pi import PiCamera, cameras

from tests.picamera.pi import IMX219, IMX708, EncoderNode


@pytest.fixture(autouse=True)
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EncoderNode:
    """Return the hardware encoder; its node is there."""
    node = EncoderNode(tmp_path / "dev")
    monkeypatch.setenv("FAKEM2M_DEV", str(node.folder))
    return node


@pytest.fixture(autouse=True)
def _all_is_well() -> Iterator[None]:
    yield
    for camera in cameras.values():
        camera.reset()
    memory.reset()


@pytest.fixture
def imx219() -> PiCamera:
    return cameras[IMX219]


@pytest.fixture
def imx708() -> PiCamera:
    return cameras[IMX708]
