"""The rig's Pi as fixtures: an encoder node of each test's own, and cameras without faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("virtual_pi", reason="runs in the root that tests/picamera/rig/setup makes")

from pi_memory import memory
from virtual_pi import PiCamera, cameras

from pi_cam_daemon.camera import csi_encoders
from tests.picamera.pi import IMX219, IMX708, EncoderNode


@pytest.fixture(autouse=True)
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EncoderNode:
    """Return the hardware encoder; its node is there."""
    node = EncoderNode(tmp_path / "dev")
    monkeypatch.setenv("FAKEM2M_DEV", str(node.folder))
    csi_encoders._is_encoder.cache_clear()
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
