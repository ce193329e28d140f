"""Imports do no work. On a Zero 2 W each heavy module takes a good part of a second."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pi_cam_daemon
from tests.kit.daemon import ROOT

HEAVY = {"numpy", "cv2", "PIL", "picamera2", "libcamera", "prometheus_client", "paho"}
DRAWING = (
    "pi_cam_daemon.imaging.no_signal",
    "pi_cam_daemon.imaging.lettering",
    "pi_cam_daemon.imaging.hangul",
    "pi_cam_daemon.imaging.overlay",
    "pi_cam_daemon.imaging.grey",
    "pi_cam_daemon.server.metrics",
    "pi_cam_daemon.mqtt.",
    "pi_cam_daemon.camera.",
)
# __main__ is left out: to import it is to run the program
MODULES = [
    module.name
    for module in pkgutil.walk_packages(pi_cam_daemon.__path__, "pi_cam_daemon.")
    if not module.name.endswith(".__main__")
]


def output(program: str) -> str:
    done = subprocess.run([sys.executable, "-sc", program], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(module: str) -> set[str]:
    """Return the full names of all modules that are loaded with *module*."""
    return set(output(f"import sys; own = set(sys.modules); import {module}; print(*set(sys.modules) - own)").split())


def test_an_import_starts_no_thread() -> None:
    one_by_one = f"""
import importlib, threading
for name in {MODULES}:
    importlib.import_module(name)
    if threading.active_count() > 1:
        raise SystemExit(name)
"""
    output(one_by_one)


def test_modules_that_serve_load_nothing_heavy() -> None:
    one_by_one = f"""
import importlib, sys
for name in {[name for name in MODULES if not name.startswith(DRAWING)]}:
    importlib.import_module(name)
    if found := {HEAVY} & set(sys.modules):
        raise SystemExit(f"{{name}} loads {{found}}")
"""
    output(one_by_one)


def test_the_server_loads_nothing_heavy_before_it_serves() -> None:
    names = loaded("pi_cam_daemon.cli, pi_cam_daemon.daemon")
    assert "pi_cam_daemon.core.supervisor" in names
    assert not names & {*HEAVY, "pi_cam_daemon.core.webhook", "asyncio", "tempfile", "multiprocessing"}
    assert not [name for name in names if name.startswith("pi_cam_daemon.mqtt")], "only who has a broker needs it"


def test_masks_are_loaded_only_where_there_are_some() -> None:
    names = loaded("pi_cam_daemon.daemon, pi_cam_daemon.imaging.orientation, pi_cam_daemon.camera.process")
    assert "pi_cam_daemon.imaging.orientation" in names
    assert not names & {"pi_cam_daemon.imaging.masks", "pi_cam_daemon.imaging.black_blocks"}


def test_the_configuration_loads_no_server() -> None:
    assert "http.server" not in loaded("pi_cam_daemon.config.loading")


def test_the_reader_of_other_servers_streams_is_cheap_to_import() -> None:
    assert not {"socket", "ssl", "email", "http"} & {
        name.partition(".")[0] for name in loaded("pi_cam_daemon.camera.jpeg_stream")
    }
