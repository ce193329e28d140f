"""Power failures at any time, also during updates."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Report
from tests.image import machine
from tests.image.conftest import Running
from tests.image.machine import SETTINGS, Machine
from tests.kit import clips
from tests.kit.lateness import patience
from tests.kit.wait import until

RECORDER = "pi-cam-daemon-record"
CLIPS = "/var/lib/pi-cam-daemon/recordings"
# clips of ten seconds, one after the other: a cut may also meet the end of one and the beginning of the next
RECORDINGS = """[source]
kind = "pattern"
[recordings]
clips = true
before_seconds = 1
after_seconds = 60
longest_seconds = 10
"""
MOST_LOST_SECONDS = 2.0
UPDATE_SECONDS = 900.0
CURRENT = "readlink /opt/pi-cam-daemon/current"
LOG = "/run/update.log"
# how a shell tells that an update has come so far
STAGES = {
    "prepares": f"grep -qs preparing {LOG}",
    "switches": f"grep -qs 'switching to' {LOG}",
    "checks": f"{CURRENT} | grep -q /9[.]",
}


def test_power_may_fail_at_any_moment_of_the_first_boot(other: Running, report: Report) -> None:
    report(f"cut at {other.cut_after}: pictures {other.seconds_to_picture:.0f} s after the next switch")
    assert other.machine.gives_pictures()


def test_power_may_fail_at_each_stage_of_an_update(other: Running, soak: bool, report: Report) -> None:
    # the first stage first: a release that is there already is not prepared again
    for stage in [stage for stage in STAGES for _ in range(2)] if soak else ("prepares", "checks"):
        offer_updates(other.machine)
        before = other.machine.sh(CURRENT)
        begin = f"systemd-run --quiet --unit update --property StandardError=file:{LOG} pi-cam-daemon-update"
        other.machine.sh(f"{begin} /run/update/newer.tar.zst")
        reached = f"until {STAGES[stage]} || ! systemctl is-active -q update; do sleep 0.1; done"
        assert other.machine.sh(f"{reached}; systemctl is-active update", UPDATE_SECONDS) == "active", stage
        other.cut_power()
        other.switch_on()
        other.wait_for_pictures()
        # what it had fetched would lie there for a month
        assert other.machine.sh("ls -A /var/tmp | grep -v ^systemd-private || true") == "", stage
        after = other.machine.sh(CURRENT)
        assert stage != "prepares" or after == before
        report(f"cut while it {stage}: pictures {other.seconds_to_picture:.0f} s after the next switch, by {after}")


def test_an_update_is_taken_only_from_a_trusted_publisher(other: Running, report: Report) -> None:
    pi = other.machine
    offer_updates(pi)
    before = pi.sh(CURRENT)
    refused = pi.sh("pi-cam-daemon-update /run/update/stranger.tar.zst 2>&1 || true", UPDATE_SECONDS)
    assert "not signed by any key in /etc/pi-cam-daemon/allowed_signers" in refused
    assert pi.sh(CURRENT) == before
    began = time.monotonic()
    pi.sh("pi-cam-daemon-update /run/update/newer.tar.zst 2>&1", UPDATE_SECONDS)
    report(f"updated in {time.monotonic() - began:.0f} s")
    assert "/9." in pi.sh(CURRENT)
    refused = pi.sh("pi-cam-daemon-update /run/update/older.tar.zst 2>&1 || true", UPDATE_SECONDS)
    assert "is older than 9." in refused
    pi.wait_for_pictures()
    # and it comes up so the next time, even if the plug is pulled at once and its settings are wrong then
    pi.cut_power()
    machine.put_boot_file(other.card, "pi-cam.toml", b"[video]\nrotation = 91\n")
    other.switch_on()
    other.wait_for_pictures()
    pi = other.machine
    assert "/9." in pi.sh(CURRENT)
    assert pi.state()["camera"]["width"] == 320
    pi.send("/boot/firmware/pi-cam.toml", SETTINGS.encode())


def test_a_power_cut_costs_two_seconds_of_a_clip(other: Running, soak: bool, tmp_path: Path, report: Report) -> None:
    other.machine.send("/boot/firmware/pi-cam.toml", (SETTINGS + RECORDINGS).encode())
    # a PC would eject the card
    other.machine.sh(f"sync; systemctl restart pi-cam-daemon-boot pi-cam-daemon {RECORDER}")
    known: dict[str, int] = {}
    for number in range(20 if soak else 3):
        seen = record_until_a_cut(other.machine, other.cut_power)
        allowed = patience(MOST_LOST_SECONDS)
        folder = machine.take_out(other.root, CLIPS, tmp_path / str(number))
        found = [clips.read(file) for file in sorted(folder.iterdir())]
        assert {clip.name: len(clip.pictures) for clip in found if clip.name in known} == known
        new = [clip for clip in found if clip.name not in known]
        assert all(clip.complete for clip in new[:-1])
        times = [at for clip in new for at, _ in clip.pictures]
        report(f"cut in clip {len(new)}, after {seen - times[0]:.1f} s: {seen - times[-1]:.2f} s are lost")
        assert max(after - before for before, after in itertools.pairwise([*times, seen])) <= allowed
        known = {clip.name: len(clip.pictures) for clip in found}
        other.switch_on()
        other.wait_for_pictures()
        listed = json.loads(other.machine.get("/recordings")[1])["recordings"]
        assert {clip["name"] for clip in listed} == set(known)


def record_until_a_cut(pi: Machine, cut: Callable[[], float]) -> float:
    """Record clips, and pull the plug at a random moment; return when the last picture that a viewer got was taken."""
    until("the recorder waits", lambda: told(pi).startswith("Waiting"), 120)
    viewer = pi.watch()
    pi.sh(f"systemctl kill -s USR1 {RECORDER}")
    until("a clip", lambda: told(pi).startswith("Recording 2"), 120)
    time.sleep(random.uniform(1.0, 14.0))  # until the moment of the cut
    cut()
    viewer.join(patience(5))
    return viewer.parts[-1].timestamp


def told(pi: Machine) -> str:
    """Return what the recorder says of itself."""
    return pi.sh(f"systemctl show -p StatusText --value {RECORDER}")


def offer_updates(pi: Machine) -> None:
    pi.sh("mkdir -p /run/update; mountpoint -q /run/update || mount -o ro /dev/vdb /run/update")
    # it would wait for apt, and install at the same time
    pi.sh("systemctl stop pi-cam-daemon-first-boot")
    if "/9." in pi.sh(CURRENT):
        pi.sh("/opt/pi-cam-daemon/current/install --rollback", UPDATE_SECONDS)
