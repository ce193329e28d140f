"""Put each known fault into a copy of the project, and run the test that has to notice it.

`python -m tests.audit [WORD]`: with a WORD, only the faults whose file or test contains it. The exit status is 1 if a
fault passes unseen. It takes two minutes. Tests of picamera need root, and that `scripts/test picamera` ran before.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.audit.faults import FAULTS, Fault
from tests.kit.daemon import ROOT
from tests.usb.machine import CACHE

# a fault may make a test hang
_SECONDS = 300.0


def main(word: str) -> int:
    faults = [fault for fault in FAULTS if word in fault.file or word in fault.test]
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        copy = Path(folder)
        copy_project(copy)
        for tests in (
            {f.test for f in faults if is_picamera(f.test)},
            {f.test for f in faults if not is_picamera(f.test)},
        ):
            assert not tests or passes(tests, copy), "they have to pass without a fault"
        unseen = [fault for fault in faults if not notices(fault, copy)]
    print(f"{len(faults)} faults, {len(unseen)} passed unseen")
    return 1 if unseen else 0


def copy_project(to: Path) -> None:
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout.split(b"\0")
    there = [name for name in names if name and (ROOT / name.decode()).exists()]
    subprocess.run(["cp", "--parents", "-P", "-t", to, "--", *there], cwd=ROOT, check=True)


def notices(fault: Fault, copy: Path) -> bool:
    """Return whether the test of *fault* fails with it, in the project's *copy*."""
    file = copy / fault.file
    right = file.read_text("utf-8")
    file.write_text(right.replace(fault.text, fault.wrong), "utf-8")
    noticed = not passes([fault.test], copy)
    file.write_text(right, "utf-8")
    where = f"{fault.file}:{right[: right.index(fault.text)].count(chr(10)) + 1}"
    print(
        f"{'noticed' if noticed else 'UNSEEN'}: {where}: {fault.text.strip()!r} -> {fault.wrong.strip()!r}", flush=True
    )
    return noticed


def is_picamera(test: str) -> bool:
    return test.startswith("tests/picamera/")


def passes(tests: Iterable[str], copy: Path) -> bool:
    """Return whether all *tests*, of picamera or not, pass in *copy*."""
    tests = list(tests)
    python = [CACHE / "virtual-camera/vcam", "python3"] if is_picamera(tests[0]) else [sys.executable]
    argv = [*python, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(argv, cwd=copy, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    # 2: a fault may break an import
    assert done.returncode in (0, 1, 2), f"pytest ends with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main("".join(sys.argv[1:2])))
