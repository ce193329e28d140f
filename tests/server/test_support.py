"""The support bundle of a running daemon, with secrets planted everywhere."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.kit.daemon import ROOT, running
from tests.kit.lateness import patience

PLANTED = ("192.168.7.77", "2001:db8:1234::77", "fe80::dead:beef", "hunter2", "dc:a6:32:01:02:03")
PARTS = {
    "versions.txt", "config.toml", "state.json", "unit.txt", "journal.txt",
    "cameras.txt", "devices.txt", "power.txt", "kernel.txt",
}  # fmt: skip


def command(folder: Path, name: str, script: str) -> None:
    """Put a program into the folder that precedes the machine's programs on the PATH."""
    file = folder / "bin" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def support_bundle(
    folder: Path, *options: str, env: Mapping[str, str] | None = None
) -> tuple[subprocess.CompletedProcess[bytes], dict[str, str]]:
    """Run the command; return its result and the parts of its archive."""
    argv = [sys.executable, "-m", "pi_cam_daemon", "support-bundle", "-", *options]
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **(env or {})}
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, timeout=90, check=False)
    parts = {}
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        for entry in tar:
            file = tar.extractfile(entry)
            assert file and entry.name.startswith("pi-cam-daemon-support/")
            parts[entry.name.partition("/")[2]] = file.read().decode()
    return done, parts


def test_the_bundle_has_everything_but_secrets(tmp_path: Path) -> None:
    planted = "; ".join(PLANTED[:3]) + f"; password = {PLANTED[3]}"
    command(tmp_path, "journalctl", f"echo 'viewer {PLANTED[0]} left'; echo '{planted}'; echo \"$@\"")
    command(tmp_path, "dmesg", f"echo 'hwmon hwmon1: Undervoltage detected!'; echo 'usb 1-1: {PLANTED[4]}'; echo lo")
    command(tmp_path, "vcgencmd", "echo throttled=0x50005")
    command(tmp_path, "systemctl", "echo 'Active: active (running)'; exit 3")
    networks = ["local", PLANTED[0], f"{PLANTED[1]}/128"]
    with running(tmp_path / "daemon", {"http.allowed_networks": networks}) as daemon:
        daemon.wait_for_state("streaming")
        # the daemon took a free port; the command is told it as if it were set
        options = ["--config", str(daemon.config_file), "--set", f"http.port={daemon.port}"]
        done, parts = support_bundle(tmp_path, *options)
    assert (done.returncode, done.stderr) == (0, b"")
    assert set(parts) == PARTS
    everything = "".join(parts.values())
    assert not [word for word in PLANTED if word in everything.lower()]
    assert json.loads(parts["state.json"])["state"] == "streaming"
    assert "[http]" in parts["config.toml"] and "# default" in parts["config.toml"]
    assert '["local", "[address 2]", "[address 1]/128"]' in parts["config.toml"]
    assert "viewer [address 2] left" in parts["journal.txt"], "who is who stays readable"
    assert "--unit=pi-cam-daemon*" in parts["journal.txt"]
    assert parts["kernel.txt"].splitlines()[0] == "hwmon hwmon1: Undervoltage detected!"
    assert "\nlo\n" not in parts["kernel.txt"]
    assert "throttled=0x50005" in parts["power.txt"]
    assert parts["unit.txt"] == "Active: active (running)\n(exit status 3)\n"
    assert "a moving test picture" in parts["cameras.txt"]
    assert "uid=" in parts["devices.txt"]
    for name in ("pi-cam-daemon", "python", "picamera2", "libcamera", "opencv-python-headless", "kernel", "model"):
        assert f"{name}: " in parts["versions.txt"]


def test_a_missing_part_says_why_and_the_others_are_there(tmp_path: Path) -> None:
    command(tmp_path, "journalctl", "exec sleep 60")
    command(tmp_path, "dmesg", "echo 'dmesg: read kernel buffer failed: Operation not permitted'; exit 1")
    bad = tmp_path / "bad.toml"
    bad.write_text("[video]\nrotation = 45\n")
    begin = time.monotonic()
    done, parts = support_bundle(tmp_path, "--config", str(bad), env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"})
    assert time.monotonic() - begin < patience(60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert set(parts) == PARTS
    assert parts["journal.txt"] == "not available: journalctl took over 10 s\n"
    assert "Operation not permitted" in parts["kernel.txt"]
    assert parts["config.toml"].startswith("not available: ") and "video.rotation" in parts["config.toml"]
    assert parts["state.json"] == parts["config.toml"]
    assert "vcgencmd get_throttled: not available: " in parts["power.txt"]


def test_without_a_daemon_only_the_state_is_missing(tmp_path: Path) -> None:
    command(tmp_path, "journalctl", "true")
    _, parts = support_bundle(tmp_path, "--set", "http.port=1")
    assert parts["state.json"].startswith("not available: ") and "refused" in parts["state.json"]


@pytest.mark.parametrize("options", [[], ["named.tar.gz"]])
def test_the_sender_is_asked_to_check_the_archive(tmp_path: Path, options: list[str]) -> None:
    name = options[0] if options else "pi-cam-daemon-support.tar.gz"
    argv = [sys.executable, "-m", "pi_cam_daemon", "support-bundle", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stdout) == (0, f"{name}: please read it before you send it to somebody\n")
    assert tarfile.is_tarfile(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_library_that_cannot_be_loaded_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "videodev2.py").write_text("raise ImportError('videodev2 is for another Python')\n")
    done, parts = support_bundle(tmp_path, env={"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    assert (done.returncode, done.stderr) == (0, b"") and parts.keys() == PARTS
    assert parts["cameras.txt"] == "not available: ImportError: videodev2 is for another Python\n"
