"""`scripts/try-on-a-pi` in its short form, on the virtual camera."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("picamera2", reason="runs in the root that tests/picamera/rig/setup makes")

from tests.kit.daemon import ROOT
from tests.kit.lateness import patience

RIG = Path(__file__).parent / "rig"
STEPS = ["start and stop", "recovery", "load", "quality", "controls", "stills"]
# on a busy machine these may take longer than on a Pi
MEASURES = [
    "start to the first picture", "stop of the whole daemon", "1 viewer", "CPU of 1 viewer",
    "the next picture after SIGKILL of the camera process, on the same connection",
    "the next picture after SIGSTOP of the camera process, on the same connection", "CPU while nobody watches",
    "1 viewer of small pictures", "CPU of 1 viewer of small pictures", "the camera meanwhile",
]  # fmt: skip
SUCCEEDS = [
    "Huffman tables in a picture", "stop without SIGKILL",
    "bytes by quality, asked for 640x480", "the camera process after these", "stills refused",
    "the camera process after the stills",
]  # fmt: skip


def test_the_short_form_runs_every_step_and_writes_a_report(tmp_path: Path) -> None:
    out = tmp_path / "report.txt"
    daemon = shlex.join([sys.executable, str(RIG / "daemon.py")])
    argv = [sys.executable, "-P", "-m", "tests.hardware", "--quick", "--out", out, "--daemon", daemon]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=patience(300))
    assert done.returncode in (0, 1), done.stderr  # 1: something failed
    text = out.read_text()
    print(text)

    headings = re.findall("^== (.*)$", text, re.MULTILINE)
    assert [heading for heading in headings if heading in STEPS] == STEPS
    assert headings[-1] == "end"
    results = re.findall("^(ok|FAILED|measured) (.+?): .+; expected .+$", text, re.MULTILINE)
    verdicts = {name: verdict for verdict, name in results}
    assert f"{len(results)} results, {[*verdicts.values()].count('FAILED')} FAILED" in text
    assert [name for name in MEASURES if name not in verdicts] == []
    assert {name: verdicts.get(name) for name in SUCCEEDS} == dict.fromkeys(SUCCEEDS, "ok")
    assert [name for name in STEPS if name in verdicts] == []  # the line of a step that an exception ended
    assert re.search(r"^libcamera: \d", text, re.MULTILINE) and re.search(r"^MemTotal: ", text, re.MULTILINE)
    modes = text.partition("== sensor modes")[2].partition("== start")[0]
    assert "'format':" in modes
