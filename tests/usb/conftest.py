from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.usb.machine import Machine, draw_frames

SOURCE = Path(__file__).parent / "rig" / "fakev4l.c"
COMPILE = ["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]


@pytest.fixture(scope="session")
def library() -> Path:
    """rig/fakev4l.c, compiled once for each version of it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pi-cam-daemon"
    digest = hashlib.sha256(SOURCE.read_bytes() + repr(COMPILE).encode()).hexdigest()
    built = cache / f"fakev4l-{digest[:16]}" / "fakev4l.so"
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        new = built.with_suffix(f".{os.getpid()}")
        subprocess.run([*COMPILE, "-o", new, SOURCE, "-ldl", "-lpthread"], check=True, timeout=120)
        new.rename(built)
    return built


@pytest.fixture(scope="session")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_frames(tmp_path_factory.mktemp("camera") / "frames", 320, 240)


@pytest.fixture
def machine(tmp_path: Path, library: Path, frames: Path) -> Machine:
    """A machine without a camera."""
    return Machine(tmp_path / "machine", library, frames)
