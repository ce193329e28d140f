"""The deadlines fit into each other: a planned worst case is never cut short."""

import re
from pathlib import Path

from pi_cam_daemon import daemon
from pi_cam_daemon.config import kinds
from pi_cam_daemon.core import supervisor

ROOT = Path(__file__).parents[2]

# what is promised to people, in seconds
STOP = 5.0
BACK_AFTER_STALL = 3.0

# for a new camera process to give its first picture, on a machine that is not a Zero
START = 0.9
SCHEDULING = 0.1


def allowed(directive: str) -> int:
    """Return the seconds that systemd has for *directive*, the same in both units."""
    units = (ROOT / "systemd" / name for name in ("pi-cam-daemon.service", "pi-cam-daemon@.service"))
    (seconds,) = {re.findall(rf"^{directive}=(\d+)$", unit.read_text(), re.MULTILINE)[0] for unit in units}
    return int(seconds)


def test_closing_all_parts_fits_into_the_time_of_a_stop() -> None:
    assert daemon._SERVER_CLOSE + daemon._CAMERA_CLOSE + daemon._STREAMS_CLOSE + daemon._CARDS_CLOSE <= STOP
    assert allowed("TimeoutStopSec") > STOP


def test_a_camera_that_does_not_stop_is_killed_in_its_share_of_the_stop() -> None:
    longest = max(supervisor._STOP_SECONDS, *(kind.stop_seconds for kind in kinds.KINDS.values()))
    assert longest + 2 * supervisor._REAP_SECONDS + SCHEDULING < daemon._CAMERA_CLOSE


def test_a_silent_camera_is_replaced_within_the_promised_time() -> None:
    until_killed = supervisor._LOOK_SECONDS + supervisor._STOP_SECONDS + supervisor._REAP_SECONDS
    assert supervisor._BACK_OFF[0] == 0
    assert until_killed + START <= BACK_AFTER_STALL


def test_each_wait_of_the_supervisor_is_shorter_than_a_probes_time_limit() -> None:
    probe_period = allowed("WatchdogSec") / daemon._PROBES_PER_PERIOD
    assert max(supervisor._LOOK_SECONDS, supervisor._REAP_SECONDS) + SCHEDULING < probe_period


def test_the_wait_for_last_messages_exceeds_the_supervisors_sleep() -> None:
    assert supervisor._REAP_SECONDS < supervisor._LAST_WORDS_SECONDS < supervisor._KILL_SECONDS
