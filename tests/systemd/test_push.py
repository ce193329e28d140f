"""The optional unit that copies recordings to another machine: here by SFTP to the host's own OpenSSH."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit import clips
from tests.kit.wait import until
from tests.systemd.conftest import ETC, STATE, UNIT, Camera
from tests.systemd.test_recorder import RECORDER

PUSHER = "pi-cam-daemon-push.service"
LOGIN = f"{ETC}/push-login"
STORE = "/home/store/films"
KNOWN = f"{STATE}/.ssh/known_hosts"
# docs/recordings.md, "Copies on another machine"
STEPS = f"""
useradd --create-home store && echo store:wonderful | chpasswd && install -d -o store {STORE}
systemctl unmask --quiet ssh && systemctl start ssh
chgrp pi-cam-daemon {LOGIN} && chmod 640 {LOGIN}
mkdir -p {STATE}/.ssh && ssh-keyscan 127.0.0.1 >{KNOWN}
"""


@pytest.fixture
def pushed(stopped: Camera) -> Iterator[Camera]:
    """The service with a recorder, and with a pusher that knows the other machine."""
    host = stopped.host
    recording = {"recordings.clips": True, "recordings.after_seconds": 1}
    pushing = {"push.url": f"sftp://store@127.0.0.1{STORE}", "push.credentials_file": LOGIN}
    stopped.configure({**recording, **pushing})
    host.write(LOGIN, "machine 127.0.0.1 login store password wonderful\n")
    host.run("sh", "-ec", STEPS)
    host.run("systemctl", "start", UNIT)
    host.run("systemctl", "enable", "--now", RECORDER, PUSHER)
    until("the recorder waits", lambda: host.show(RECORDER, "StatusText").startswith("Waiting"), 30)
    until("the pusher waits", lambda: host.show(PUSHER, "StatusText").startswith("Waiting"), 30)
    yield stopped
    print(f"--- the pusher's journal\n{host.run('journalctl', '-q', '-u', PUSHER, '-o', 'cat', '--no-pager')}")
    host.run("systemctl", "disable", "--now", RECORDER, PUSHER)
    host.run("sh", "-ec", "systemctl stop ssh; systemctl mask --quiet ssh; userdel --remove store")


@pytest.mark.every_debian
def test_a_clip_is_copied_by_sftp_in_the_sandbox(pushed: Camera) -> None:
    host = pushed.host
    host.run("systemctl", "kill", "-s", "USR1", RECORDER)
    until("a copy", lambda: host.show(PUSHER, "StatusText") == "Waiting for recordings; 0 to go, 1 copied", 60)
    (there,) = (host.disk / STORE[1:]).iterdir()
    assert there.read_bytes() == (host.disk / STATE[1:] / "recordings" / there.name).read_bytes()
    assert clips.read(there).complete
    assert pushed.state()["push"]["sent"] == 1


def test_the_pusher_gets_no_devices_and_ends_and_starts_with_the_service(pushed: Camera) -> None:
    host = pushed.host
    assert {name: host.show(PUSHER, name) for name in ("PrivateDevices", "NRestarts")} == {
        "PrivateDevices": "yes",
        "NRestarts": "0",
    }
    host.run("systemctl", "stop", pushed.unit)
    assert host.show(PUSHER, "ActiveState") == "inactive"
    host.run("systemctl", "start", pushed.unit)
    until("the pusher", lambda: host.show(PUSHER, "ActiveState") == "active")
