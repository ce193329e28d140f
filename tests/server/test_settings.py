"""GET and POST /settings on the whole daemon: what an admin saves on the page."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.daemon import ROOT, Daemon, running
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.kit.wire import Reading

SETTINGS = {"video.width": 320, "video.height": 240}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


def settings(daemon: Daemon) -> dict[str, Any]:
    table = json.loads(daemon.get("/settings")[2])["settings"]
    return {key: about["value"] for key, about in table.items() if not key.startswith("motion.")}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for the tests that save nothing."""
    with running(tmp_path_factory.mktemp("daemon"), SETTINGS) as daemon:
        yield daemon


def save(daemon: Daemon, **wanted: object) -> tuple[int, dict[str, Any]]:
    """POST *wanted*, whose keys have _ in place of the dot."""
    body = json.dumps({key.replace("_", ".", 1): value for key, value in wanted.items()}).encode()
    status, _, answer = daemon.post("/settings", body)
    return status, json.loads(answer)


def test_settings_are_listed_with_limits_and_values(untouched: Daemon) -> None:
    status, headers, body = untouched.get("/settings")
    assert (status, headers["content-type"]) == (200, "application/json")
    table = json.loads(body)
    assert table["saved"] == {}
    assert table["settings"] == {
        "video.width": {
            "value": 320, "configured": 320, "kind": "integer", "minimum": 16, "maximum": 8192, "step": 2
        },
        "video.height": {
            "value": 240, "configured": 240, "kind": "integer", "minimum": 16, "maximum": 8192, "step": 2
        },
        "video.rotation": {"value": 0, "configured": 0, "kind": "choice", "choices": [0, 90, 180, 270]},
        "video.hflip": {"value": False, "configured": False, "kind": "boolean"},
        "video.vflip": {"value": False, "configured": False, "kind": "boolean"},
        "video.masks": {"value": [], "configured": [], "kind": "rectangles", "maximum": 16},
        **{
            f"motion.{name}": {"value": value, "configured": value, **about}
            for name, value, about in [
                ("enabled", False, {"kind": "boolean"}),
                ("rate", 5, {"kind": "number", "minimum": 1, "maximum": 15}),
                ("threshold", 0.1, {"kind": "number", "minimum": 0.02, "maximum": 0.9}),
                ("min_area", 0.005, {"kind": "number", "minimum": 0.0005, "maximum": 1}),
                ("min_seconds", 0.2, {"kind": "number", "minimum": 0, "maximum": 60}),
                ("quiet_seconds", 5, {"kind": "number", "minimum": 1, "maximum": 600}),
                ("zones", [], {"kind": "rectangles", "maximum": 16}),
            ]
        },
        "page.name": {"value": "", "configured": "", "kind": "text", "maximum": 60},
    }  # fmt: skip


def test_what_is_saved_acts_at_once_outlives_a_restart_and_can_be_taken_back(tmp_path: Path) -> None:
    folder = tmp_path / "daemon"
    with running(folder, SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        configured = daemon.state()["config_sha256"]
        watching = Reading(daemon.watch())
        status, answer = save(daemon, video_rotation=90, page_name=" 마당 ")
        assert (status, answer["saved"]) == (200, {"video.rotation": 90, "page.name": "마당"})
        assert answer["settings"]["video.rotation"]["value"] == 90
        until("the turned picture", lambda: watching.parts and watching.parts[-1].size == (240, 320))
        watching.finish()
        state = daemon.state()
        assert (state["name"], state["config_sha256"]) == ("마당", configured), "to save is no drift"
        assert daemon.stop() == 0
    with running(folder, SETTINGS) as daemon:
        assert daemon.state()["name"] == "마당"
        viewer = daemon.watch()
        viewer.next_where("the turned picture", lambda part: part.size == (240, 320))
        status, answer = save(daemon, video_rotation=None, page_name=None)
        assert (status, answer["saved"]) == (200, {})
        assert answer["settings"]["video.rotation"] == {
            "value": 0, "configured": 0, "kind": "choice", "choices": [0, 90, 180, 270]
        }  # fmt: skip
        viewer.next_where("the configured picture", lambda part: part.size == (320, 240))
        assert not list((folder / "state").glob("*settings*"))


def test_only_another_picture_restarts_the_camera(daemon: Daemon) -> None:
    pid = daemon.camera_pid()
    assert save(daemon, page_name="Garden", video_rotation=0, video_vflip=None)[0] == 200
    assert (daemon.state()["name"], daemon.camera_pid()) == ("Garden", pid)
    daemon.reload()
    assert (daemon.state()["name"], daemon.camera_pid()) == ("Garden", pid)


def test_what_is_saved_stands_above_later_changes_of_the_files(daemon: Daemon) -> None:
    save(daemon, video_rotation=90)
    daemon.reload({**SETTINGS, "video.rotation": 180, "video.hflip": True})
    assert "video.rotation is 90, as saved on the page, and not 180" in daemon.log()
    assert settings(daemon) == {
        "video.width": 320, "video.height": 240, "video.rotation": 90, "video.hflip": True, "video.vflip": False,
        "video.masks": [], "page.name": "",
    }  # fmt: skip
    assert json.loads(daemon.get("/settings")[2])["settings"]["video.rotation"]["configured"] == 180
    save(daemon, video_rotation=None)
    assert settings(daemon)["video.rotation"] == 180


def test_a_setting_of_the_command_line_cannot_be_saved_but_forgotten(tmp_path: Path) -> None:
    (tmp_path / "daemon" / "state").mkdir(parents=True)
    (tmp_path / "daemon" / "state" / "settings.toml").write_text("video.rotation = 90\n")
    argv = [sys.executable, "-m", "pi_cam_daemon", "run", "--set", "video.rotation=180", "--config"]
    with running(tmp_path / "daemon", SETTINGS, argv=argv) as daemon:
        status, answer = save(daemon, video_rotation=270, video_hflip=True)
        assert status == 400 and "--set" in answer["errors"]["video.rotation"]
        assert settings(daemon)["video.rotation"] == 180 and not settings(daemon)["video.hflip"]
        assert save(daemon, video_rotation=None, video_hflip=True)[1]["saved"] == {"video.hflip": True}
        assert settings(daemon)["video.rotation"] == 180 and settings(daemon)["video.hflip"]


def test_every_wrong_setting_is_named_and_nothing_is_saved(untouched: Daemon) -> None:
    wanted = {
        "video.width": 641, "video.height": "240", "video.rotation": 45, "video.hflip": 1, "video.vflip": True,
        "page.name": "a\nb", "http.port": 80, "x": None,
    }  # fmt: skip
    status, _, body = untouched.post("/settings", json.dumps(wanted).encode())
    errors = json.loads(body)["errors"]
    assert status == 400 and errors.keys() == wanted.keys() - {"video.vflip"}
    assert errors["video.rotation"] == (
        "45 cannot be used; accepted: 0 or 90 or 180 or 270, or null for the configured value"
    )
    assert "accepted: video.width, video.height, " in errors["http.port"]
    assert not settings(untouched)["video.vflip"] and not (untouched.state_folder / "settings.toml").exists()


def test_only_json_of_the_own_page_saves_anything(untouched: Daemon) -> None:
    wanted = b'{"page.name": "x"}'
    for body, headers, status, reason in (
        (b"[]", {}, 400, "other"),
        (wanted, {"Content-Type": "text/plain"}, 415, "other"),
        (wanted, {"Origin": "http://attacker.example"}, 403, "origin"),
        (wanted, {"Sec-Fetch-Site": "cross-site"}, 403, "origin"),
    ):
        answer = untouched.post("/settings", body, headers)
        assert (answer[0], answer[1]["x-refused"]) == (status, reason)
    assert settings(untouched)["page.name"] == ""


def test_a_file_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "daemon"
    folder.mkdir()
    (folder / "state").write_text("a file where a folder should be")
    with running(folder, SETTINGS) as daemon:
        status, _, text = daemon.post("/settings", b'{"video.rotation": 90}')
        assert status == 500 and f"{folder}/state/settings.toml cannot be written: ".encode() in text
        assert settings(daemon)["video.rotation"] == 0


def test_a_damaged_file_stops_nothing_and_what_is_right_in_it_counts(tmp_path: Path) -> None:
    file = tmp_path / "daemon" / "state" / "settings.toml"
    file.parent.mkdir(parents=True)
    file.write_text('video.rotation = 45\npage.name = "Garden"\nfuture.key = 1\n')
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        assert (daemon.state()["name"], settings(daemon)["video.rotation"]) == ("Garden", 0)
        assert "45 cannot be used" in daemon.log() and "future" in daemon.log()
        file.write_bytes(b"\x00\xffgarbage")
        daemon.reload()
        assert settings(daemon)["page.name"] == ""
        save(daemon, video_hflip=True)
    assert file.read_text().endswith("\nvideo.hflip = true\n")


def test_settings_of_several_clients_at_once_are_all_saved(daemon: Daemon) -> None:
    wanted = [{"page_name": "Garden"}, {"video_hflip": True}, {"video_vflip": True}, {"video_rotation": 180}] * 3
    threads = [threading.Thread(target=save, args=[daemon], kwargs=one) for one in wanted]
    for thread in threads:
        thread.start()
    daemon.process.send_signal(signal.SIGHUP)
    for thread in threads:
        thread.join(patience(20))
    saved = {"page.name": "Garden", "video.hflip": True, "video.vflip": True, "video.rotation": 180}
    assert json.loads(daemon.get("/settings")[2])["saved"] == saved
    until("all in force", lambda: settings(daemon).items() >= saved.items())


def test_a_size_that_the_camera_refuses_can_be_taken_back(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "source.kind": "csi"}) as daemon:
        daemon.wait_for_state("streaming")
        assert save(daemon, video_width=8192)[0] == 200
        until("the camera's refusal", lambda: daemon.state()["cause"] == "settings")
        assert settings(daemon)["video.width"] == 8192
        assert save(daemon, video_width=None)[0] == 200
        daemon.wait_for_state("streaming")


def test_controls_that_were_set_stay_when_the_size_is_saved(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "source.kind": "csi", "controls.contrast": 3.0}) as daemon:
        daemon.wait_for_state("streaming")
        daemon.post("/controls", b'{"brightness": 0.5}')
        pid = daemon.camera_pid()
        save(daemon, video_width=640)
        until("another camera process", lambda: daemon.state()["camera_process"]["pid"] not in (pid, None))
        daemon.wait_for_state("streaming")
        found = json.loads(daemon.get("/controls")[2])["controls"]
        assert (found["brightness"]["value"], found["contrast"]["value"]) == (0.5, 3.0)


def test_config_origin_shows_the_layer(daemon: Daemon) -> None:
    save(daemon, video_rotation=90)
    done = subprocess.run(
        [sys.executable, "-m", "pi_cam_daemon", "config", "--origin", "--config", daemon.config_file],
        env={**os.environ, "PYTHONPATH": str(ROOT), "STATE_DIRECTORY": str(daemon.state_folder)},
        capture_output=True, text=True, timeout=patience(30), check=True,
    )  # fmt: skip
    [line] = [line for line in done.stdout.splitlines() if line.startswith("rotation = ")]
    assert line.split() == ["rotation", "=", "90", "#", str(daemon.state_folder / "settings.toml")]


def test_a_second_daemon_in_the_same_state_directory_is_warned_about_once(daemon: Daemon, tmp_path: Path) -> None:
    told = f"another pi-cam-daemon saves its settings in {daemon.state_folder}, too"
    with running(tmp_path / "second", SETTINGS, env={"STATE_DIRECTORY": str(daemon.state_folder)}) as second:
        second.wait_for_state("streaming")
        second.reload()
        assert second.log().count(told) == 1
    daemon.stop()
    with running(tmp_path / "third", SETTINGS, env={"STATE_DIRECTORY": str(daemon.state_folder)}) as third:
        third.wait_for_state("streaming")
        assert told not in daemon.log() + third.log()
