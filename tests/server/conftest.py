from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.kit.daemon import Daemon, running

# how long an example may take says more about the machine than about the code
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with a test picture of 320x240 at 25 frames/s, streaming."""
    with running(tmp_path / "daemon", {"video.width": 320, "video.height": 240}) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon
