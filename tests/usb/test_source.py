"""Run the tests of the source in a process of its own: a preloaded library has to be there from the start."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.kit.daemon import ROOT

UNDER_FAKE = Path(__file__).parent / "rig" / "under_fake.py"


def test_the_source_passes_its_tests_on_fake_v4l2(library: Path) -> None:
    with tempfile.TemporaryDirectory() as dev:  # not pytest's, whose folders are closed to other users
        Path(dev).chmod(0o755)
        env = {**os.environ, "LD_PRELOAD": str(library), "FAKEV4L_DEV": dev}
        argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", UNDER_FAKE]
        done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert " passed" in done.stdout
