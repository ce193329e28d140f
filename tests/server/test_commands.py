"""The commands of docs/http.md and docs/commands.md, typed into a shell as they stand there.

tests/unit/test_commands.py lists which test runs each command of the documents.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.kit.daemon import ROOT, running
from tests.kit.documents import commands
from tests.kit.lateness import patience

# curl says nothing about a refusal by itself
CURL = 'curl() { command curl --silent --show-error --fail-with-body "$@"; }\n'
# what a person puts in the place of a word in capitals, and an answer to what he is asked
OWN = {"FILE": "config.toml", "NAME": """alice --set "http.users_file='$PWD/users'" <password"""}
# where somebody else runs them: a server that does not end, and commands that need avahi or a signature
ELSEWHERE = ("pi-cam-daemon run", "pi-cam-daemon announce", "pi-cam-daemon update FILE|URL")


def shell(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in bash, in *folder*, with the program of this checkout on the PATH."""
    program = folder / "bin" / "pi-cam-daemon"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pi_cam_daemon "$@"\n')
    program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "STATE_DIRECTORY": str(folder / "none"),
    }
    return subprocess.run(
        ["bash", "-ec", CURL + command], cwd=folder, env=environment, capture_output=True, text=True, check=False,
        timeout=patience(60),
    )  # fmt: skip


def test_the_requests_of_the_document_do_what_it_says(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {"source.kind": "csi"}) as daemon:
        daemon.wait_for_state("streaming")
        clip = daemon.state_folder / "recordings/2026-11-29_18-05-31_motion.mkv"
        clip.parent.mkdir()
        clip.touch()
        for command in commands(ROOT / "docs/http.md"):
            assert "camera.local:8000" in command
            done = shell(tmp_path, command.replace("camera.local:8000", f"127.0.0.1:{daemon.port}"))
            assert done.returncode == 0 and done.stdout.startswith("{"), (command, done.stdout, done.stderr)
        assert not clip.exists()
        saved = tomllib.loads((daemon.state_folder / "settings.toml").read_text())
        assert (saved["page"]["name"], saved["video"]["rotation"]) == ("Garden", 90)
        assert not (daemon.state_folder / "controls.toml").exists()  # what was kept was taken back


def test_the_commands_of_the_document_work(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('source.kind = "pattern"\n')
    (tmp_path / "password").write_text("correct horse battery\n")
    listed = [command for command in commands(ROOT / "docs/commands.md") if command.startswith("pi-cam-daemon")]
    assert set(ELSEWHERE) < set(listed)
    for command in listed:
        if command in ELSEWHERE:
            continue
        typed = command
        for word, own in OWN.items():
            typed = typed.replace(word, own)
        if "snapshot" in command or "support-bundle" in command:
            typed += " --config config.toml"
        done = shell(tmp_path, typed)
        assert done.returncode == 0, (typed, done.stdout, done.stderr)
    assert (tmp_path / "OUT.jpg").read_bytes().startswith(b"\xff\xd8")
    assert "alice" not in (tmp_path / "users").read_text()  # added, then removed


def test_the_two_lines_of_the_readme_ask_for_a_password(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "password").write_text("correct horse battery\n")
    add, run = [command for command in commands(ROOT / "README.md") if "users_file" in command]
    assert shell(tmp_path, add.replace(".venv/bin/", "") + " <password").returncode == 0
    users = tmp_path / "state/users"
    assert users.read_text().count("alice") == 1
    in_force = shell(tmp_path, run.replace("scripts/run", "pi-cam-daemon config"))
    assert tomllib.loads(in_force.stdout)["http"]["users_file"] == str(users)
