"""Device nodes that a user without rights may not open, and the country of the radio."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pi_cam_daemon.boot import wifi
from pi_cam_daemon.system import machine


def as_an_ordinary_user(check: Callable[[], bool]) -> bool:
    """Return whether *check* holds for a user other than root; root may open everything."""
    if os.geteuid() != 0:
        return check()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os._exit(0 if check() else 1)
    return os.waitpid(child, 0)[1] == 0


def test_device_nodes_that_may_not_be_opened_are_found() -> None:
    with tempfile.TemporaryDirectory() as folder:
        dev = Path(folder)
        dev.chmod(0o755)
        (dev / "dma_heap").mkdir(mode=0o755)
        closed = [dev / "dma_heap/linux,cma", dev / "media0", dev / "video10"]
        for node in closed:
            node.touch()
            node.chmod(0o000)
        for name in ("media1", "null"):
            (dev / name).touch()
            (dev / name).chmod(0o666)
        assert as_an_ordinary_user(lambda: machine.forbidden_nodes(dev) == closed)


def test_the_country_of_a_running_radio_is_set_by_iw_where_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    wifi.set_country("KR")  # without it, the next boot does
    for status in (0, 1):
        program, told = tmp_path / "iw", tmp_path / "told"
        program.write_text(f'#!/bin/sh\necho "$*" >{told}\nexit {status}\n')
        program.chmod(0o755)
        wifi.set_country("KR")
        assert told.read_text() == "reg set KR\n"
        told.unlink()
