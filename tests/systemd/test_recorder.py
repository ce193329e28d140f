"""The optional unit that records clips."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.kit import clips
from tests.kit.wait import until
from tests.systemd.conftest import ETC, STATE, UNIT, Camera
from tests.systemd.test_users_and_tls import add_user

RECORDER = "pi-cam-daemon-record.service"
STATE_URL = "http://127.0.0.1:8000/state"


@pytest.fixture
def recorded(stopped: Camera) -> Iterator[Camera]:
    """The service where viewers log in, and its recorder, which waits for something to happen."""
    host = stopped.host
    stopped.configure({"recordings.clips": True, "recordings.after_seconds": 1, "http.users_file": f"{ETC}/users"})
    add_user(stopped, "alice")
    host.run("systemctl", "start", UNIT)
    host.run("systemctl", "enable", "--now", RECORDER)
    until("the recorder waits", lambda: host.show(RECORDER, "StatusText").startswith("Waiting"), 30)
    yield stopped
    host.run("systemctl", "disable", "--now", RECORDER)


@pytest.mark.every_debian
def test_a_clip_is_recorded_in_the_sandbox_where_viewers_log_in(recorded: Camera) -> None:
    host = recorded.host
    host.run("systemctl", "kill", "-s", "USR1", "pi-cam-daemon-record")
    folder = host.disk / STATE[1:] / "recordings"
    clip = until(
        "a complete clip", lambda: next((c for c in map(clips.read, folder.glob("*.mkv")) if c.complete), None)
    )
    assert clip.pictures
    file = "/run/pi-cam-daemon-record/recordings.json"
    status = until(
        "no clip is written", lambda: (now := json.loads(host.run("cat", file)))["state"] == "waiting" and now
    )
    assert status["clips"] == 1
    # the service reads it in its own sandbox; this machine itself asks without a password
    ask = f"import urllib.request; print(urllib.request.urlopen('{STATE_URL}').read().decode())"
    told = json.loads(host.run("python3", "-c", ask))
    assert told["recordings"]["clips"] == 1


def test_the_recorder_may_neither_use_the_network_nor_devices(recorded: Camera) -> None:
    shown = {name: recorded.host.show(RECORDER, name) for name in ("PrivateNetwork", "PrivateDevices", "NRestarts")}
    assert shown == {"PrivateNetwork": "yes", "PrivateDevices": "yes", "NRestarts": "0"}


def test_the_recorder_ends_and_starts_with_the_service(recorded: Camera) -> None:
    host = recorded.host
    host.run("systemctl", "stop", recorded.unit)
    assert host.show(RECORDER, "ActiveState") == "inactive"
    host.run("systemctl", "start", recorded.unit)
    until("the recorder", lambda: host.show(RECORDER, "ActiveState") == "active")
