"""Unit tests start no process: a test that needs one belongs to another tier."""

from __future__ import annotations

import os
import pwd
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

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


@pytest.fixture
def somebody(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that makes this process a user without rights, who is called as it says."""
    us, look_up = os.geteuid(), pwd.getpwuid

    def become(name: str) -> None:
        if us == 0:
            os.seteuid(65534)
        entry = pwd.struct_passwd((name, *look_up(os.geteuid())[1:]))
        monkeypatch.setattr(pwd, "getpwuid", lambda uid: entry if uid == os.geteuid() else look_up(uid))

    yield become
    os.seteuid(us)


@pytest.fixture
def public() -> Iterator[Path]:
    """Return a folder that everybody may enter; `tmp_path` is for its owner only."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
