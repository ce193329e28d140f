"""`scripts/mutate` on a toy: a checkout with one module and its test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.daemon import ROOT

TOY = """
def fits(number):
    if number is None:
        return False
    return number <= 3
"""
TEST = """
from pi_cam_daemon.toy import fits

def test_it_fits():
    assert fits(2) and not fits(9)
"""
ARGUED = """
[[argued]]
module = "toy"
code = "return number <= 3"
changes = ["3 → 2"]
why = "a toy"
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    for name, text in {
        "pi_cam_daemon/__init__.py": "",
        "pi_cam_daemon/toy.py": TOY,
        "tests/unit/test_toy.py": TEST,
        "scripts/mutate.argued": ARGUED,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def mutate(toy: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tests.mutation", "toy"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(argv, cwd=toy, env=env, capture_output=True, text=True, timeout=300, check=False)


def test_the_faults_that_no_test_notices_are_named_and_counted(toy: Path) -> None:
    done = mutate(toy)
    assert done.stderr == ""
    *told, row = done.stdout.splitlines()
    assert told[:6] == [
        "pi_cam_daemon/toy.py:4: False → True (no test gets there)",
        "    return False",
        "pi_cam_daemon/toy.py:5: number <= 3 → number < 3",
        "    return number <= 3",
        "pi_cam_daemon/toy.py:5: 3 → 4",
        "    return number <= 3",
    ]
    assert row.startswith("| toy | 5 | 1 | 4 | 3 | 75 % |")
    assert (toy / "pi_cam_daemon/toy.py").read_text() == TOY


def test_an_argued_fault_that_is_not_there_is_an_error(toy: Path) -> None:
    (toy / "pi_cam_daemon/toy.py").write_text(TOY.replace("3", "4"))
    done = mutate(toy)
    assert done.returncode == 1
    assert done.stderr == "scripts/mutate.argued names what is not there:\ntoy: return number <= 3: 3 → 2\n"
