"""GET and POST /controls on the whole daemon, with a camera that has the controls of a Camera Module 3."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.kit.daemon import Daemon, running
from tests.kit.lateness import patience
from tests.kit.wait import until

SETTINGS = {"source.kind": "csi", "video.width": 320, "video.height": 240}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for the tests that set nothing."""
    with running(tmp_path_factory.mktemp("daemon"), SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


def controls(daemon: Daemon) -> dict[str, Any]:
    status, headers, body = daemon.get("/controls")
    assert status == 200 and headers["content-type"] == "application/json"
    table = json.loads(body)
    assert isinstance(table, dict)
    return table


def value(daemon: Daemon, name: str) -> Any:
    return controls(daemon)["controls"][name]["value"]


def set_controls(daemon: Daemon, **wanted: object) -> tuple[int, dict[str, Any]]:
    status, _, body = daemon.post("/controls", json.dumps(wanted).encode())
    return status, json.loads(body)


def test_controls_are_listed_with_limits_defaults_and_values(untouched: Daemon) -> None:
    table = controls(untouched)
    assert table["camera"] == "Camera Module 3" and table["saved"] == {}
    offered = table["controls"]
    assert offered["brightness"] == {
        "kind": "number", "minimum": -1.0, "maximum": 1.0, "default": 0.0, "value": 0.0, "group": "image"
    }  # fmt: skip
    assert offered["shutter"] == {
        "kind": "integer", "minimum": 26, "maximum": 40_000, "zero": "automatic", "unit": "µs", "default": 0,
        "value": 0, "group": "exposure",
    }  # fmt: skip
    assert offered["denoise"]["choices"] == ["off", "cdn_off", "cdn_fast", "cdn_hq"]
    focus = {"group": "focus", "under": "autofocus_mode"}
    assert offered["autofocus_trigger"] == {"kind": "action", "inactive": True, **focus}
    assert offered["autofocus_window"] == {"kind": "rectangle", "default": None, "value": None, **focus}


def test_a_value_is_set_live_and_the_answer_reports_it(daemon: Daemon) -> None:
    pid = daemon.camera_pid()
    status, answer = set_controls(daemon, brightness=0.25, lens_position=2)
    assert status == 200
    assert answer["applied"] == {"brightness": 0.25, "lens_position": 2.0, "autofocus_mode": "manual"}
    assert answer["controls"] == controls(daemon)["controls"]
    assert value(daemon, "brightness") == 0.25
    assert set_controls(daemon, brightness=None)[1]["applied"] == {"brightness": 0.0}
    assert daemon.camera_pid() == pid


def test_every_wrong_key_is_named_with_what_is_accepted_and_nothing_is_set(untouched: Daemon) -> None:
    status, answer = set_controls(untouched, brightness=0.5, contrast=99, awb="pink", shuter=3)
    assert status == 400
    assert set(answer) == {"errors"} and set(answer["errors"]) == {"contrast", "awb", "shuter"}
    assert answer["errors"]["contrast"] == (
        "99 cannot be used; accepted: a number from 0.0 to 32.0, or null for the default"
    )
    assert answer["errors"]["shuter"] == "This camera has no such control; did you mean shutter?"
    assert value(untouched, "brightness") == 0.0


def test_a_body_that_is_no_json_object_is_refused(untouched: Daemon) -> None:
    for body in (b"", b"{", b"[]", b"3", b'"x"', b"\xff\xfe{}", b"[" * 60_000):
        status, _, text = untouched.post("/controls", body)
        assert status == 400 and b"JSON object" in text, body[:9]


def test_only_json_from_own_pages_changes_anything(daemon: Daemon) -> None:
    body = b'{"brightness": 0.5}'
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp"):
        assert daemon.post("/controls", body, {"Content-Type": content_type})[0] == 415
    for path in ("/controls", "/controls/save", "/controls/forget"):
        assert daemon.post(path, body, {"Origin": "http://attacker.example"})[0] == 403
    assert value(daemon, "brightness") == 0.0 and not (daemon.state_folder / "controls.toml").exists()
    own = {"Origin": f"http://127.0.0.1:{daemon.port}", "Content-Type": "Application/JSON; charset=utf-8"}
    assert daemon.post("/controls", body, own)[0] == 200


def test_a_chunked_body_sets_controls(daemon: Daemon) -> None:
    head = "POST /controls HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    chunks = 'Transfer-Encoding: chunked\r\n\r\nE\r\n{"brightness":\r\n4\r\n0.5}\r\n0\r\n\r\n'
    with closing(daemon.connect(head + chunks)) as sock:
        assert sock.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
    assert value(daemon, "brightness") == 0.5


def test_get_changes_nothing_and_allow_lists_the_methods(daemon: Daemon) -> None:
    set_controls(daemon, brightness=0.5)
    for path, allow in (("/controls", "GET, HEAD, OPTIONS, POST"), ("/controls/save", "OPTIONS, POST")):
        with closing(daemon.connect(f"OPTIONS {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")) as sock:
            assert f"\r\nAllow: {allow}\r\n" in sock.recv(4096).decode()
    for path in ("/controls/save", "/controls/forget"):
        assert daemon.get(path)[0] == 405
    assert daemon.get("/controls?brightness=1")[0] == 200
    assert value(daemon, "brightness") == 0.5 and not (daemon.state_folder / "controls.toml").exists()
    assert daemon.post("/snapshot")[0] == 405


def test_the_last_of_two_writers_wins_and_both_get_true_answers(daemon: Daemon) -> None:
    answers: list[tuple[float, float, dict[str, Any]]] = []

    def write(brightness: float) -> None:
        for step in range(5):
            wanted = brightness + step / 1000
            status, answer = set_controls(daemon, brightness=wanted)
            assert status == 200
            answers.append((time.monotonic(), wanted, answer))

    writers = [threading.Thread(target=write, args=(start,)) for start in (0.1, 0.5)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(patience(30))
    assert len(answers) == 10
    for _, wanted, answer in answers:
        assert answer["applied"]["brightness"] == answer["controls"]["brightness"]["value"] == wanted
    assert value(daemon, "brightness") in (0.1 + 4 / 1000, 0.5 + 4 / 1000)


def test_a_refusal_by_the_camera_is_reported_and_nothing_is_lost(daemon: Daemon) -> None:
    set_controls(daemon, brightness=0.5)
    refuse = daemon.fault_file.with_name("refuse")
    refuse.touch()
    status, answer = set_controls(daemon, brightness=0.7, contrast=2)
    assert status == 409
    assert answer["applied"] == {}
    assert answer["errors"]["contrast"] == "The camera refuses it: the test says no"
    assert answer["controls"]["brightness"]["value"] == 0.5
    refuse.unlink()
    assert set_controls(daemon, contrast=2)[0] == 200
    assert daemon.state()["state"] == "streaming"


def test_setting_a_camera_that_hangs_ends_in_time(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "source.stall_timeout_seconds": 8.0}) as daemon:
        daemon.wait_for_rate()
        set_controls(daemon, brightness=0.5)
        daemon.fault("hang")
        until("it hangs", lambda: not daemon.fault_file.exists())
        begin = time.monotonic()
        status, _, text = daemon.post("/controls", b'{"brightness": 0.6}')
        assert status == 504 and b"did not answer within 3 s" in text
        assert time.monotonic() - begin < patience(5)
        assert daemon.get("/controls")[0] == 200
        daemon.wait_for_state("stalled")
        daemon.wait_for_state("streaming")
        assert value(daemon, "brightness") == 0.5, "what was set before holds in the next camera process"


def test_controls_are_503_without_a_camera_and_empty_without_controls(tmp_path: Path) -> None:
    with running(tmp_path / "pattern", {"source.kind": "pattern"}) as daemon:
        daemon.wait_for_state("streaming")
        assert controls(daemon)["controls"] == {}
        status, answer = set_controls(daemon, brightness=1)
        assert status == 400 and "accepted: none at all" in answer["errors"]["brightness"]
        assert set_controls(daemon) == (200, {"applied": {}, "controls": {}})
    with running(tmp_path / "missing", {"source.kind": "csi"}) as daemon:
        daemon.fault("missing")
        daemon.wait_for_state("no-camera")
        status, headers, text = daemon.post("/controls", b'{"brightness": 1}')
        assert status == 503 and "retry-after" in headers and b"/state tells why" in text


def test_a_camera_that_sleeps_is_woken_to_be_set(tmp_path: Path) -> None:
    with running(
        tmp_path / "daemon", {**SETTINGS, "source.capture": "on-demand", "source.idle_seconds": 0.5}
    ) as daemon:
        daemon.wait_for_state("idle")
        # a slow machine has it up after three seconds, and who asks is told to ask again
        body = b'{"brightness": 0.5}'
        answer = until("it is set", lambda: (found := daemon.post("/controls", body))[0] == 200 and found)
        assert json.loads(answer[2])["applied"] == {"brightness": 0.5}
        daemon.wait_for_state("idle")
        assert value(daemon, "brightness") == 0.5, "as it was when it ran last"
        assert daemon.get("/snapshot")[0] == 200
        assert value(daemon, "brightness") == 0.5


# -- kept, saved and forgotten


def test_set_values_outlive_a_camera_process_and_other_reloads(daemon: Daemon) -> None:
    set_controls(daemon, brightness=0.5, contrast=2)
    set_controls(daemon, contrast=None)
    pid = daemon.camera_pid()
    daemon.fault("crash")
    until("another camera process", lambda: daemon.state()["camera_process"]["pid"] not in (pid, None))
    daemon.wait_for_state("streaming")
    assert value(daemon, "brightness") == 0.5
    pid = daemon.camera_pid()
    daemon.reload({**SETTINGS, "http.max_viewers": 7})
    assert daemon.camera_pid() == pid and value(daemon, "brightness") == 0.5
    daemon.reload({**SETTINGS, "video.width": 160})
    until("another camera process", lambda: daemon.state()["camera_process"]["pid"] not in (pid, None))
    daemon.wait_for_state("streaming")
    assert value(daemon, "brightness") == 0.5 and value(daemon, "contrast") == 1.0


def test_values_that_would_not_outlive_a_restart_are_listed_as_unsaved(tmp_path: Path) -> None:
    configured = {"controls.contrast": 3.0, "controls.roi": [0.1, 0.1, 0.333, 0.333], "controls.lens_position": 2.0}
    with running(tmp_path / "daemon", {**SETTINGS, **configured}) as daemon:
        daemon.wait_for_state("streaming")
        assert controls(daemon)["unsaved"] == {}
        set_controls(daemon, brightness=0.5, contrast=None, roi=[0, 0, 1, 1], autofocus_mode="auto", saturation=1)
        kept = {"brightness": None, "contrast": 3.0, "roi": [0.1, 0.1, 0.333, 0.333], "lens_position": 2.0}
        unsaved = controls(daemon)["unsaved"]
        assert unsaved == {**kept, "autofocus_mode": "manual"}
        set_controls(daemon, **unsaved)
        assert controls(daemon)["unsaved"] == {} and value(daemon, "contrast") == 3.0
        set_controls(daemon, brightness=0.5)
        daemon.post("/controls/save")
        assert controls(daemon)["unsaved"] == {}
        set_controls(daemon, brightness=0.25)
        assert controls(daemon)["unsaved"] == {"brightness": 0.5}
        daemon.post("/controls/forget")
        assert controls(daemon)["unsaved"] == {}


def test_a_reload_with_other_controls_overrides_set_values(daemon: Daemon) -> None:
    set_controls(daemon, brightness=0.5, contrast=2)
    daemon.reload({**SETTINGS, "controls.contrast": 3.0})
    until("the new contrast", lambda: controls(daemon)["controls"].get("contrast", {}).get("value") == 3.0)
    assert value(daemon, "brightness") == 0.0


def test_saved_values_survive_a_restart_and_others_do_not(tmp_path: Path) -> None:
    folder = tmp_path / "daemon"
    with running(folder, {**SETTINGS, "controls.contrast": 3.0}) as daemon:
        daemon.wait_for_state("streaming")
        assert value(daemon, "contrast") == 3.0
        set_controls(daemon, brightness=0.5, roi=[0.25, 0.25, 0.5, 0.5], contrast=None)
        status, _, body = daemon.post("/controls/save")
        assert status == 200
        kept = {"brightness": 0.5, "roi": [0.25, 0.25, 0.5, 0.5], "contrast": None}
        assert json.loads(body) == {"saved": kept}
        set_controls(daemon, brightness=-0.5)
        assert controls(daemon)["saved"] == kept
        pid = daemon.camera_pid()
        assert daemon.stop() == 0
    file = folder / "state" / "controls.toml"
    assert "controls.brightness = 0.5\n" in file.read_text()
    assert not list(file.parent.glob(".*")), "half a file stays"
    with running(folder, {**SETTINGS, "controls.contrast": 3.0}) as daemon:
        daemon.wait_for_state("streaming")
        assert value(daemon, "brightness") == 0.5
        assert value(daemon, "contrast") == 1.0, "saved is above the file"
        pid = daemon.camera_pid()
        daemon.reload({**SETTINGS, "controls.contrast": 3.0})
        assert daemon.camera_pid() == pid, "nothing changed for the camera"
        assert value(daemon, "brightness") == 0.5


def test_a_save_and_a_reload_disturb_no_viewer(daemon: Daemon) -> None:
    pid = daemon.camera_pid()
    set_controls(daemon, brightness=0.5)
    daemon.post("/controls/save")
    daemon.reload()
    assert daemon.camera_pid() == pid and value(daemon, "brightness") == 0.5


def test_forget_restores_the_cameras_values_too(tmp_path: Path) -> None:
    folder = tmp_path / "daemon"
    configured = {**SETTINGS, "controls.contrast": 3.0}
    with running(folder, configured) as daemon:
        daemon.wait_for_state("streaming")
        set_controls(daemon, brightness=0.5, contrast=2, lens_position=1)
        daemon.post("/controls/save")
        daemon.stop()
    with running(folder, configured) as daemon:
        daemon.wait_for_state("streaming")
        set_controls(daemon, sharpness=4)
        pid = daemon.camera_pid()
        status, _, body = daemon.post("/controls/forget")
        answer = json.loads(body)
        assert status == 200 and answer["saved"] == {}
        assert (value(daemon, "brightness"), value(daemon, "contrast"), value(daemon, "sharpness")) == (0.0, 3.0, 1.0)
        assert (value(daemon, "lens_position"), value(daemon, "autofocus_mode")) == (None, "continuous")
        assert not (folder / "state" / "controls.toml").exists()
        daemon.reload({**SETTINGS, "controls.contrast": 3.0})
        assert daemon.camera_pid() == pid
        daemon.fault("crash")
        until("another camera process", lambda: daemon.state()["camera_process"]["pid"] not in (pid, None))
        daemon.wait_for_state("streaming")
        assert (value(daemon, "brightness"), value(daemon, "contrast")) == (0.0, 3.0)


@pytest.mark.parametrize("saved", [False, True])
def test_forget_restores_the_configured_value_after_null(tmp_path: Path, saved: bool) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "controls.contrast": 3.0, "controls.shutter": 5000}) as daemon:
        daemon.wait_for_state("streaming")
        set_controls(daemon, contrast=None, shutter=None)
        assert (value(daemon, "contrast"), value(daemon, "shutter")) == (1.0, 0)
        if saved:
            daemon.post("/controls/save")
        status, _, body = daemon.post("/controls/forget")
        assert (status, json.loads(body)["applied"]) == (200, {"contrast": 3.0, "shutter": 5000})
        assert (value(daemon, "contrast"), value(daemon, "shutter")) == (3.0, 5000)


def test_a_broken_file_of_saved_controls_does_not_stop_the_daemon(tmp_path: Path) -> None:
    folder = tmp_path / "daemon"
    (folder / "state").mkdir(parents=True)
    (folder / "state" / "controls.toml").write_text(
        'controls.brightness = 0.5\ncontrols.awb = "pink"\nfuture.key = 1\n'
    )
    with running(folder, SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        assert value(daemon, "brightness") == 0.5
        assert '"pink" cannot be used' in daemon.log() and "future" in daemon.log()
    (folder / "state" / "controls.toml").write_bytes(b"\x00\xffgarbage")
    with running(folder, SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        assert set_controls(daemon, brightness=0.25)[0] == 200
        assert daemon.post("/controls/save")[0] == 200
    assert "controls.brightness = 0.25" in (folder / "state" / "controls.toml").read_text()


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "daemon"
    folder.mkdir()
    (folder / "state").write_text("a file where a folder should be")
    with running(folder, SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        set_controls(daemon, brightness=0.25)
        status, _, text = daemon.post("/controls/save")
        assert status == 500 and str(folder / "state" / "controls.toml").encode() in text
        status, _, text = daemon.post("/controls/forget")
        assert status == 500 and str(folder / "state" / "controls.toml").encode() in text
        assert value(daemon, "brightness") == 0.25


@pytest.mark.parametrize("path", ["/controls/save", "/controls/forget"])
def test_save_and_forget_are_refused_before_any_camera_ran(tmp_path: Path, path: str) -> None:
    saved = tmp_path / "daemon" / "state" / "controls.toml"
    saved.parent.mkdir(parents=True)
    saved.write_text("usb.controls.brightness = 3\n")
    (tmp_path / "daemon" / "fault").write_text("never-opens")
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        assert daemon.post(path)[0] == 503
    assert "brightness" in saved.read_text()
