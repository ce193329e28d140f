"""Unit tests start no process: a test that needs one belongs to another tier."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import hypothesis
import pytest

# how long an example may take says more about the machine than about the code
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

_STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system")
_guarded = False
_tried: list[str] = []


def _refuse(event: str, _arguments: tuple[object, ...]) -> None:
    if _guarded and event in _STARTS:
        _tried.append(f"{event} in {os.environ.get('PYTEST_CURRENT_TEST')}")
        raise AssertionError(f"{event}: a unit test starts no process")


# Python calls it wherever it starts a process; it cannot be removed, so a flag switches it
sys.addaudithook(_refuse)


@pytest.fixture(autouse=True, scope="module")
def no_process() -> Iterator[None]:
    """Refuse to start a process, and fail even if the code under test catches the refusal."""
    global _guarded
    _guarded = True
    yield
    _guarded = False
    tried = _tried.copy()
    _tried.clear()
    assert not tried
