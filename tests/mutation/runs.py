"""Run the tests of a module in a copy of the checkout, each time in a new process that has loaded the libraries."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import multiprocessing
import os
import queue
import shutil
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.mutation.faults import Fault

_WORKERS = 2
# A run with a fault may take so many times as long as one without, and so many seconds to start.
_TIMES, _START_SECONDS = 5.0, 10.0
# with a fault there may be no test of that name: its parameters are another
_NOTHING_FAILED = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
_OPTIONS = "-q -x -p no:cacheprovider -p no:xdist --hypothesis-seed=0"
_NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".hypothesis", ".*_cache", "__pycache__", "*.egg-info")
_SPAWN = multiprocessing.get_context("forkserver")


class Copies:
    """Copies of the checkout in *folder*, one for each of two workers."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        _SPAWN.set_forkserver_preload(["pytest", "hypothesis", "numpy", "cv2"])
        self._free: queue.SimpleQueue[Path] = queue.SimpleQueue()
        # Python takes compiled code for current if the source has the same second and size
        self._seconds = itertools.count(1)
        for number in range(_WORKERS):
            shutil.copytree(checkout, folder / str(number), ignore=_NOT_COPIED, symlinks=True)
            self._free.put(folder / str(number))

    def unnoticed(self, module: Path, tests: Sequence[str], found: Sequence[Fault]) -> Iterator[tuple[Fault, bool]]:
        """Yield the faults of *module* that none of the *tests* notices, and whether a test reaches their statement."""
        with self._one() as copy:
            report = copy / "reached.json"
            if _run(copy, tests, 600.0, None, (report, module)) != 0:
                raise SystemExit(f"{module}: its tests fail without a fault: {' '.join(tests)}")
            reached, seconds = json.loads(report.read_text())
        in_process = reached.keys() - {""}

        def notices(fault: Fault) -> tuple[Fault, bool, bool]:
            by = {test for test, lines in reached.items() if any(line in fault.lines for line in lines)}
            if "" in by or not in_process:  # at import, or the tests run it in processes of their own
                by = set(seconds)
            with self._one() as copy:
                sound = (copy / module).read_text()
                self._write(copy / module, fault.text)
                # the quickest first
                chosen = sorted(by, key=seconds.__getitem__)
                limit = _START_SECONDS + _TIMES * sum(map(seconds.__getitem__, by))
                noticed = bool(by) and _run(copy, tests, limit, chosen) not in _NOTHING_FAILED
                self._write(copy / module, sound)
            return fault, noticed, bool(by)

        with ThreadPoolExecutor(_WORKERS) as pool:
            for fault, noticed, by in pool.map(notices, found):
                if not noticed:
                    yield fault, by

    @contextlib.contextmanager
    def _one(self) -> Iterator[Path]:
        copy = self._free.get()
        yield copy
        self._free.put(copy)

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        second = next(self._seconds)
        os.utime(path, (second, second))


def _run(
    copy: Path,
    tests: Sequence[str],
    seconds: float,
    chosen: Sequence[str] | None,
    trace: tuple[Path, Path] | None = None,
) -> int | None:
    """Return the exit status of pytest; None if it took longer than *seconds*."""
    process = _SPAWN.Process(target=_pytest, args=(copy, tests, chosen, trace))
    process.start()
    process.join(seconds)
    process.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
    return process.exitcode


def _pytest(copy: Path, tests: Sequence[str], chosen: Sequence[str] | None, trace: tuple[Path, Path] | None) -> None:
    os.setsid()
    checkout = str(Path.cwd())
    os.chdir(copy)
    sys.path[:] = [str(copy), str(copy / "scripts"), *(path for path in sys.path if path not in ("", checkout))]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    plugin = _Trace(*trace) if trace else _Choice(chosen or ())
    status = pytest.main([*_OPTIONS.split(), *tests], plugins=[plugin])
    if isinstance(plugin, _Trace):
        plugin.write()
    os._exit(status)


class _Choice:
    """Lets pytest run the *chosen* tests in their order."""

    def __init__(self, chosen: Sequence[str]) -> None:
        self._chosen = {test: number for number, test in enumerate(chosen)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._chosen), key=lambda item: self._chosen[item.nodeid]
        )


class _Trace:
    """Writes down which test runs which lines of *module*, "" for its import, and how long each test takes."""

    def __init__(self, report: Path, module: Path) -> None:
        self._report = report
        self._file = str(Path.cwd() / module)
        self._test = ""
        self._lines: defaultdict[str, set[int]] = defaultdict(set)
        self._seconds: dict[str, float] = {}
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        importlib.import_module(".".join(module.with_suffix("").parts).removeprefix("scripts."))

    def _trace(self, frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename != self._file:
            return None
        if event == "line":
            self._lines[self._test].add(frame.f_lineno)
        return self._trace

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        sys.settrace(self._trace)  # Hypothesis ends it
        self._test, begun = item.nodeid, time.monotonic()
        result = yield
        self._seconds[item.nodeid] = time.monotonic() - begun
        return result

    def write(self) -> None:
        lines = {test: sorted(found) for test, found in self._lines.items()}
        self._report.write_text(json.dumps([lines, self._seconds]))
