"""Cameras on a real kernel: its own test driver (vivid), and one that is plugged into its USB."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Report
from tests.image.conftest import Running
from tests.image.machine import Machine
from tests.kit.wait import until
from tests.kit.wire import Reading

RIG = Path(__file__).parent / "rig"
SECONDS = 600.0
LAYER = "/etc/pi-cam-daemon/conf.d/zz-camera.toml"


@pytest.fixture
def pi(first_boot: Running) -> Iterator[Machine]:
    """A machine without a camera, before and after the test."""
    pi = first_boot.machine
    pi.sh("systemctl stop pi-cam-daemon-first-boot")
    yield pi
    pi.sh("systemctl stop usb-camera || true")
    # whoever had a USB camera waits for it; a new server begins with the test picture
    pi.sh(f"rm -f {LAYER}; systemctl restart pi-cam-daemon; modprobe -r vivid")
    until("the test picture", lambda: shows(pi, "pattern"), SECONDS)


def shows(pi: Machine, kind: str) -> bool:
    try:
        state = pi.state()
    except (OSError, ValueError):
        return False
    return state["ok"] == (kind != "pattern") and state["source"]["kind"] == kind and bool(state["frames"]["captured"])


def rate(pi: Machine) -> float:
    """Return pictures a second as the daemon counts them, once it knows."""
    return float(until("a rate", lambda: pi.state()["frames"]["rate"], SECONDS))


def main_pid(pi: Machine) -> str:
    return pi.sh("systemctl show -p MainPID --value pi-cam-daemon")


def plug_in(pi: Machine, pictures: list[bytes]) -> None:
    if pi.sh("test -e /root/usb_camera.py && echo there || true") != "there":
        pi.send("/root/usb_camera.py", (RIG / "usb_camera.py").read_bytes())
        for number, picture in enumerate(pictures):
            pi.send(f"/root/pictures/{number}.jpg", picture)
        pi.sh("modprobe -a vhci-hcd uvcvideo")
    pi.sh("systemd-run --quiet --collect --unit usb-camera python3 /root/usb_camera.py /root/pictures")


def unplug(pi: Machine) -> None:
    """Disconnect the camera as the kernel does when the plug is pulled."""
    pi.sh("systemctl kill --signal KILL usb-camera")


def test_a_camera_of_the_kernel_is_shown_by_the_source_usb(pi: Machine, report: Report) -> None:
    viewer = pi.watch()
    pid = main_pid(pi)
    pi.sh("modprobe vivid n_devs=1 node_types=1")
    # it says that it sits on the chip, as the Pi's codecs do, so that only who names it gets it
    pi.send(LAYER, b'[source]\nkind = "usb"\n[usb]\ndevice = "/dev/video0"\n')
    pi.sh("systemctl reload pi-cam-daemon")
    until("pictures from vivid", lambda: shows(pi, "usb"), SECONDS)
    state = pi.state()
    camera = state["camera"]
    report(f"{camera['name']}, {camera['width']}x{camera['height']}, {rate(pi)} of {camera['framerate']:g} frames/s")
    assert "vivid" in camera["name"].lower()
    assert camera["pixel_format"] != "MJPG"
    assert main_pid(pi) == pid
    clock_may_jump(pi, viewer)
    assert viewer.finish()[-1].size == (camera["width"], camera["height"])


def clock_may_jump(pi: Machine, viewer: Reading) -> None:
    """Set the kernel's clock by years and days, and at last right: only the pictures' times may show it."""
    pid, starts = main_pid(pi), pi.state()["camera_process"]["starts"]
    right = int(pi.sh("date +%s")) - time.monotonic()
    for days in (3650, -3650, 0, 2, 0):
        count = len(viewer.parts)
        pi.sh(f"date -s @{right + time.monotonic() + days * 86400.0:.0f}")

        def shows_it(count: int = count, days: int = days) -> bool:
            """Return whether new pictures show that time; those before may still be under way."""
            shown = viewer.parts[-1].timestamp
            return len(viewer.parts) > count + 10 and abs(shown - (right + time.monotonic() + days * 86400.0)) < SECONDS

        until(f"pictures {days} days ahead", lambda now=shows_it: now() or not viewer.is_alive(), SECONDS)  # type: ignore[misc]
        assert viewer.is_alive(), f"{days} days: the stream ended"
        state = pi.state()
        assert (state["state"], state["camera_process"]["starts"]) == ("streaming", starts), f"{days} days"
        assert 0 <= state["frames"]["age_seconds"] < SECONDS, f"{days} days"
        assert 0 <= state["since_seconds"] <= state["uptime_seconds"] < float(pi.sh("cut -d' ' -f1 /proc/uptime"))
    # nor does the watchdog end it: it is fed as before
    fed = "systemctl show -p WatchdogTimestampMonotonic --value pi-cam-daemon"
    before = pi.sh(fed)
    until("the next sign of life", lambda: pi.sh(fed) != before, SECONDS)
    assert main_pid(pi) == pid


def test_a_usb_camera_is_found_passed_through_and_survives_unplugging(
    pi: Machine, pictures: list[bytes], report: Report
) -> None:
    """Nodes of vivid that are no cameras come first: metadata, radio and output."""
    pi.sh("modprobe vivid n_devs=1 node_types=0x60130")
    viewer = pi.watch()
    pid = main_pid(pi)
    plug_in(pi, pictures)
    until("pictures from the USB camera", lambda: shows(pi, "usb"), SECONDS)
    camera = pi.state()["camera"]
    assert (camera["pixel_format"], camera["width"], camera["height"]) == ("MJPG", 640, 480)
    assert pi.get("/snapshot")[1] in pictures
    report(f"{rate(pi)} of 15 frames/s")
    assert "by-id/usb-pi-cam-daemon_Test_camera" in pi.sh("ls /dev/v4l/by-id/* || true")

    unplug(pi)
    until("the loss", lambda: not shows(pi, "usb"), SECONDS)
    plug_in(pi, pictures)
    until("pictures after the plug was put in again", lambda: shows(pi, "usb"), SECONDS)
    seen = viewer.finish()
    assert seen[-1].jpeg in pictures
    assert main_pid(pi) == pid
