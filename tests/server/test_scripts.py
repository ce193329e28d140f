"""On a machine that has nothing yet, `scripts/run` sets everything up and streams."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import ROOT, ask, until
from tests.lateness import patience


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy this checkout as a git clone would have it: without virtual environment and caches."""
    folder = tmp_path_factory.mktemp("fresh") / "pi_cam_daemon"
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def lines_until_address(checkout: Path, elsewhere: Path) -> Iterator[str]:
    """Start `scripts/run` and yield the lines that it prints; request a picture, then stop it."""
    # as a person at a new machine has it: nothing of the test's own Python
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    process = subprocess.Popen(
        [checkout / "scripts" / "run", "--set", "http.port=0"],
        cwd=elsewhere,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    try:
        for line in process.stdout:
            yield line
            if match := re.search(r"http://localhost:(\d+)/", line):
                address = match[0]
                break
        else:
            raise AssertionError("no address was printed")
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert b"<html" in answer.read()
        until("a picture", lambda: ask(address + "snapshot")[2][:2] == b"\xff\xd8")
        process.send_signal(signal.SIGINT)  # Ctrl-C
        assert process.wait(patience(5)) == 0
    finally:
        process.kill()
        process.stdout.close()
        process.wait(patience(5))


def test_scripts_run_sets_everything_up_once_and_streams(checkout: Path, tmp_path: Path) -> None:
    first = "".join(lines_until_address(checkout, tmp_path))
    steps = ("(1 of 2)", "(2 of 2)", "Obtaining file:", "Installing collected packages", "http://localhost")
    assert re.search(".*".join(map(re.escape, steps)), first, re.DOTALL)
    second = "".join(lines_until_address(checkout, tmp_path))
    assert "of 2)" not in second
    assert "Obtaining" not in second


TESTS = """
from pathlib import Path

import pytest

def test_is_sound():
    pass

def test_fails_once():
    seen = Path(__file__).with_name("seen")
    if not seen.exists():
        seen.touch()
        raise AssertionError("the first time")

def test_fails_always():
    raise AssertionError("each time")

def test_is_left_out():
    pytest.skip("lacks a camera")
"""


def test_failed_tests_are_run_again_and_neither_flaky_nor_skipped_ones_are_hidden(checkout: Path) -> None:
    tier = checkout / "tests" / "unit"
    for file in filter(Path.is_file, tier.iterdir()):
        file.unlink()
    (tier / "test_ours.py").write_text(TESTS)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    argv = [checkout / "scripts" / "test", "unit"]
    done = subprocess.run(
        argv, env=environment | {"CI": "true"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    print(done.stdout)
    *told, last = done.stdout.splitlines()[-4:]
    assert set(told) == {
        "FLAKY tests/unit/test_ours.py::test_fails_once - AssertionError: the first time",
        "FAILED tests/unit/test_ours.py::test_fails_always - AssertionError: each time",
        "FAILED tests/unit/test_ours.py::test_is_left_out - Skipped: lacks a camera",
    }
    assert re.fullmatch(r"=+ 2 failed, 1 passed, 1 flaky in \d+\.\d\ds \(\d:\d\d:\d\d\) =+", last)
    assert done.returncode == 1
