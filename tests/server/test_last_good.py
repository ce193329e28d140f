"""A configuration that cannot be used: the daemon goes on with the last good one, and says so everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from tests.kit import certificates
from tests.kit.daemon import REFUSED, ROOT, Daemon, running
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.server.test_daemon import Systemd

GOOD = {"video.width": 320, "video.height": 240, "video.rotation": 180}
PROBLEM = "config.toml: video.rotation: 45 cannot be used; accepted: 0 or 90 or 180 or 270"


def refused(daemon: Daemon) -> dict[str, Any] | None:
    """Return what is reported about the files."""
    found = daemon.state()["config_refused"]
    assert isinstance(found, dict) or found is None
    return found


def is_reported_good(daemon: Daemon) -> bool:
    return b"\npi_cam_config_last_reload_successful 1.0\n" in daemon.get("/metrics")[2]


def serve_once(folder: Path, settings: dict[str, object]) -> None:
    """Start a daemon with *settings*, which have to be good, and stop it."""
    with running(folder, settings) as daemon:
        assert refused(daemon) is None and is_reported_good(daemon)
        assert daemon.stop() == 0


def start(folder: Path, settings: str, *more: str, config: str = "config.toml") -> subprocess.CompletedProcess[str]:
    """Start a daemon that has to end by itself, with the state directory of `running`."""
    (folder / config).write_text(settings)
    return subprocess.run(
        [sys.executable, "-m", "pi_cam_daemon", "run", "--config", str(folder / config), *more],
        cwd=ROOT, env={**os.environ, "STATE_DIRECTORY": str(folder / "state")},
        capture_output=True, text=True, timeout=patience(30), check=False,
    )  # fmt: skip


def test_a_refused_reload_is_reported_until_the_file_is_corrected(tmp_path: Path) -> None:
    systemd = Systemd(tmp_path / "notify")
    with running(tmp_path / "daemon", GOOD, env={"NOTIFY_SOCKET": str(systemd.path)}) as daemon:
        daemon.wait_for_state("streaming")
        assert refused(daemon) is None
        daemon.reload({**GOOD, "video.rotation": 45}, REFUSED)
        first = until("the refusal", lambda: refused(daemon))
        assert first["problems"] == [f"{daemon.folder}/{PROBLEM}"] and first["since_seconds"] >= 0
        status, _, body = daemon.get("/healthz")
        assert (status, json.loads(body)["config_refused"]["problems"]) == (200, first["problems"])
        assert daemon.state()["ok"], "a warning, no failure"
        assert not is_reported_good(daemon)
        line = f"; the configuration on disk is refused: {daemon.folder}/{PROBLEM}"
        until("the status", lambda: [message for message in systemd.heard() if message.endswith(line)])
        assert "refused" not in daemon.state()["detail"], "that is about the camera"
        # another mistake: since the first one
        until("a second", lambda: (refused(daemon) or {})["since_seconds"] > 1)
        daemon.reload({**GOOD, "video.rotation": 45, "video.widht": 3}, REFUSED)
        both = until("the other problem", lambda: len((refused(daemon) or {})["problems"]) == 2 and refused(daemon))
        assert both["since_seconds"] > 1
        daemon.reload(GOOD)
        until("it is in force", lambda: refused(daemon) is None)
        assert is_reported_good(daemon)
        until("the status", lambda: "refused" not in systemd.heard()[-1] and systemd.messages[-1].startswith("READY=1"))
    systemd.close()


def test_a_file_full_of_mistakes_does_not_fill_the_answer(daemon: Daemon) -> None:
    daemon.reload({f"video.key{number}": 1 for number in range(100)}, REFUSED)
    found = until("the refusal", lambda: refused(daemon))
    assert len(found["problems"]) == 21 and found["problems"][-1] == "and 80 more"


def test_a_daemon_with_a_wrong_file_starts_with_the_last_good_one(tmp_path: Path) -> None:
    folder = tmp_path / "daemon"
    serve_once(folder, GOOD)
    systemd = Systemd(tmp_path / "notify")
    wrong: dict[str, object] = {**GOOD, "video.rotation": 45}
    with running(folder, wrong, env={"NOTIFY_SOCKET": str(systemd.path)}) as daemon:
        daemon.wait_for_state("streaming")
        found = refused(daemon)
        assert found and found["problems"] == [f"{folder}/{PROBLEM}"]
        assert b"\npi_cam_rotation_degrees 180.0\n" in daemon.get("/metrics")[2] and not is_reported_good(daemon)
        assert daemon.get("/healthz")[0] == 200
        assert PROBLEM in daemon.log() and "the last good configuration is in force" in daemon.log()
        ready = next(message for message in systemd.heard() if message.startswith("READY=1"))
        assert ready.endswith(f"; the configuration on disk is refused: {folder}/{PROBLEM}")
        # still wrong: still since the start
        daemon.reload(said=REFUSED)
        assert (refused(daemon) or {})["since_seconds"] > found["since_seconds"]
        pid = daemon.process.pid
        daemon.reload({**GOOD, "video.rotation": 0})
        until("it is in force", lambda: refused(daemon) is None)
        assert b"\npi_cam_rotation_degrees 0.0\n" in daemon.get("/metrics")[2] and is_reported_good(daemon)
        assert daemon.process.pid == pid and daemon.process.poll() is None
    systemd.close()
    with running(folder, wrong) as daemon:
        assert b"\npi_cam_rotation_degrees 0.0\n" in daemon.get("/metrics")[2], "a reload is kept, too"


# puts a text into the configuration that the harness has written, and becomes the daemon
START_WITH = """
import sys
from pathlib import Path
from pi_cam_daemon import cli

text, config = sys.argv[1:]
Path(config).write_text(text)
sys.exit(cli.main(["run", "--config", config]))
"""


def test_any_mistake_in_a_file_and_a_missing_one_are_survived(tmp_path: Path) -> None:
    folder = tmp_path / "daemon"
    serve_once(folder, GOOD)
    for text in ("[video\n", "\x01", "http.tls_key = '/nonexistent'\n", "source = 1\n"):
        with running(folder, GOOD, argv=[sys.executable, "-c", START_WITH, text]) as daemon:
            assert refused(daemon), text
            assert b"\npi_cam_rotation_degrees 180.0\n" in daemon.get("/metrics")[2], text
    remove = START_WITH.replace("write_text(text)", "unlink()")
    with running(folder, GOOD, argv=[sys.executable, "-c", remove, ""]) as daemon:
        assert (refused(daemon) or {})["problems"] == [f"{folder}/config.toml: No such file or directory"]


def test_without_a_good_one_the_daemon_ends_with_78(tmp_path: Path) -> None:
    wrong = "video.rotation = 45\n"
    done = start(tmp_path, wrong)
    assert done.returncode == 78 and PROBLEM in done.stderr and "Traceback" not in done.stderr
    serve_once(tmp_path, GOOD)
    # another file's
    assert start(tmp_path, wrong, config="garden.toml").returncode == 78
    # another state directory's
    (tmp_path / "other").mkdir()
    assert start(tmp_path / "other", wrong).returncode == 78
    # of a release that knew other keys
    with (tmp_path / "state" / "last-good.toml").open("a") as copy:
        copy.write("video.unknown = 1\n")
    done = start(tmp_path, wrong)
    assert done.returncode == 78 and PROBLEM in done.stderr and "unknown" not in done.stderr


def test_a_mistake_on_the_command_line_ends_the_daemon_with_78(tmp_path: Path) -> None:
    serve_once(tmp_path, GOOD)
    good = (tmp_path / "config.toml").read_text()
    for text in (good, f"{good}video.quality = 0\n"):
        done = start(tmp_path, text, "--set", "video.width=641")
        assert done.returncode == 78 and "--set: video.width: 641 cannot be used" in done.stderr


def test_other_commands_tell_the_truth_about_the_files(tmp_path: Path) -> None:
    serve_once(tmp_path, GOOD)
    file = tmp_path / "config.toml"
    file.write_text("video.rotation = 45\n")
    for command in ("config --config", "config --sha256 --config", "snapshot never.jpg --config", "check-config"):
        done = subprocess.run(
            [sys.executable, "-m", "pi_cam_daemon", *command.split(), str(file)],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "STATE_DIRECTORY": str(tmp_path / "state")},
            capture_output=True, text=True, timeout=patience(30), check=False,
        )  # fmt: skip
        assert done.returncode == 78 and PROBLEM in done.stderr and done.stdout == "", command


def test_a_state_directory_that_cannot_be_written_is_one_warning(tmp_path: Path) -> None:
    folder = tmp_path / "daemon"
    folder.mkdir()
    (folder / "state").write_text("a file where a folder should be")
    with running(folder, GOOD) as daemon:
        for number in range(3):
            daemon.reload({**GOOD, "http.max_viewers": 10 + number})
            until("the reload", lambda number=number: daemon.state()["max_viewers"] == 10 + number)
        assert refused(daemon) is None
        assert daemon.log().count("the last good configuration cannot be kept") == 1
        assert f"{folder}/state" in daemon.log()


# -- files that the configuration names


def test_a_users_file_that_cannot_be_used_is_tried_again_and_opens_nothing(tmp_path: Path) -> None:
    """Exit status 1 makes systemd try again. The last good configuration, which asked for no password, is not taken."""
    serve_once(tmp_path, GOOD)
    file = tmp_path / "users"
    settings = (tmp_path / "config.toml").read_text() + f'http.users_file = "{file}"\n'
    for text, what in (
        (None, "there is no such file; create it with pi-cam-daemon add-user"),
        ("nonsense\n", "line 1 is not a user; write it with pi-cam-daemon add-user"),
    ):
        if text:
            file.write_text(text)
        done = start(tmp_path, settings)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"http.users_file: {file}: {what}" in done.stderr and "Traceback" not in done.stderr
    file.unlink()
    users.add(file, "alice", Role.VIEWER, "correct horse battery")
    with running(tmp_path, {**GOOD, "http.users_file": str(file)}) as daemon:
        assert refused(daemon) is None and daemon.get("/snapshot")[0] == 401


@pytest.mark.parametrize("text", [None, "", "-----BEGIN CERTIFICATE-----\nhalf of"])
def test_a_certificate_that_cannot_be_used_is_tried_again(tmp_path: Path, text: str | None) -> None:
    certificate = certificates.make(tmp_path)
    settings = {**GOOD, **certificate.settings()}
    serve_once(tmp_path / "daemon", settings)
    if text is None:
        certificate.certificate.unlink()
    else:
        certificate.certificate.write_text(text)
    wrong = (tmp_path / "daemon" / "config.toml").read_text()
    for extra in ("", "video.quality = 0\n"):
        done = start(tmp_path / "daemon", wrong + extra)
        assert (done.returncode, done.stdout) == (1, "")
        assert "http.tls_certificate" in done.stderr and "Traceback" not in done.stderr
        assert ("video.quality: 0" in done.stderr) == bool(extra), "the last good one names the same certificate"


def test_a_reload_with_a_wrong_users_file_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "users"
    users.add(file, "alice", Role.VIEWER, "correct horse battery")
    settings = {**GOOD, "http.users_file": str(file)}
    with running(tmp_path / "daemon", settings) as daemon:
        good = file.read_text()
        file.write_text("nonsense\n")
        daemon.reload(said=REFUSED)
        found = until("the refusal", lambda: refused(daemon))
        assert found["problems"] == [
            f"http.users_file: {file}: line 1 is not a user; write it with pi-cam-daemon add-user"
        ]
        file.write_text(good)
        daemon.reload()
        until("it is in force", lambda: refused(daemon) is None)
