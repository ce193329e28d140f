"""The metrics for Prometheus: stable names, counters that only grow, and no addresses."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pi_cam_daemon.core.health import State
from pi_cam_daemon.errors import Cause
from tests.kit.daemon import REFUSED, RIG, Daemon, running
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.kit.wire import Reading
from tests.server.test_daemon import Systemd

# with the labels of each; process_* is prometheus_client's
CONTRACT = {
    "pi_cam_build_info": {"version", "python", "libcamera", "model"},
    "pi_cam_state": {"state"},
    "pi_cam_source_info": {"configured", "kind", "stand_in", "last"},
    "pi_cam_frames_captured_total": set(),
    "pi_cam_frame_rate": set(),
    "pi_cam_frame_age_seconds": set(),
    "pi_cam_last_frame_timestamp_seconds": set(),
    "pi_cam_camera_restarts_total": {"reason"},
    "pi_cam_rotation_degrees": set(),
    "pi_cam_stream_clients": set(),
    "pi_cam_stream_clients_by_size": {"size"},
    "pi_cam_stream_clients_rejected_total": set(),
    "pi_cam_slow_clients_dropped_total": {"reason"},
    "pi_cam_events_total": {"kind"},
    "pi_cam_event_streams": set(),
    "pi_cam_http_requests_total": {"path", "code"},
    "pi_cam_http_denied_total": {"reason"},
    "pi_cam_thread_errors_total": {"thread"},
    "pi_cam_watchdog_pings_total": set(),
    "pi_cam_watchdog_withheld_total": set(),
    "pi_cam_config_last_reload_successful": set(),
    "pi_cam_config_reload_success_timestamp_seconds": set(),
    "process_cpu_seconds_total": set(),
    "process_resident_memory_bytes": set(),
    "process_virtual_memory_bytes": set(),
    "process_start_time_seconds": set(),
    "process_open_fds": set(),
    "process_max_fds": set(),
}
# where the machine has a sensor for it
OF_THE_BOARD = {"pi_cam_soc_temperature_celsius", "pi_cam_undervoltage"}

# a mount namespace of its own, and then the program it is given
IN_THE_UNIT = """
import ctypes, os, subprocess, sys
CLONE_NEWNS = 0x20000
if ctypes.CDLL(None).unshare(CLONE_NEWNS):
    sys.exit("needs root")
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
subprocess.run(["mount", "-t", "proc", "-o", "subset=pid", "proc", "/proc"], check=True)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""

Sample = tuple[str, frozenset[tuple[str, str]]]


def scrape(daemon: Daemon) -> dict[Sample, float]:
    status, headers, body = daemon.get("/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def value(daemon: Daemon, name: str, **labels: str) -> float:
    """Return the sample's value, 0 if there is none yet."""
    return scrape(daemon).get((name, frozenset(labels.items())), 0.0)


def test_metric_names_and_labels_are_stable(daemon: Daemon) -> None:
    scrape(daemon)  # a request is counted once it is answered
    samples = scrape(daemon)
    found = {name: {label for label, _ in labels} for name, labels in samples}
    assert {name: labels for name, labels in found.items() if name not in OF_THE_BOARD} == CONTRACT
    states = {dict(labels)["state"]: value for (name, labels), value in samples.items() if name == "pi_cam_state"}
    assert states == {state: float(state is State.STREAMING) for state in State}


def test_promtool_finds_no_problem(daemon: Daemon) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool")
    scrape(daemon)
    done = subprocess.run(
        [promtool, "check", "metrics"], input=daemon.get("/metrics")[2], capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_viewers_requests_and_refusals_are_counted(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {"http.max_viewers": 2}) as daemon:
        daemon.wait_for_state("streaming")
        viewers = [Reading(daemon.watch("/stream?fps=5")), Reading(daemon.watch("/video/"))]
        assert value(daemon, "pi_cam_stream_clients") == 2
        assert daemon.get("/stream")[0] == 503
        assert daemon.get("/some/path/of/a/stranger")[0] == 404
        daemon.connect("POST /stream HTTP/1.1\r\n\r\n").recv(100)
        daemon.connect("nonsense\r\n\r\n").recv(100)
        samples = scrape(daemon)
        requests = {
            (dict(labels)["path"], dict(labels)["code"]): count
            for (name, labels), count in samples.items()
            if name == "pi_cam_http_requests_total" and dict(labels)["path"] not in ("/state", "/metrics")
        }
        assert requests == {
            ("/stream", "200"): 1, ("/video", "200"): 1, ("/stream", "503"): 1,
            ("other", "404"): 1, ("/stream", "405"): 1, ("other", "400"): 1,
        }  # fmt: skip
        assert samples["pi_cam_stream_clients_rejected_total", frozenset()] == 1
        for viewer in viewers:
            viewer.finish()
            viewer.viewer.close()
        until("the viewers gone", lambda: value(daemon, "pi_cam_stream_clients") == 0)
        assert b"127.0.0.1" not in daemon.get("/metrics")[2]


def test_the_frame_counter_continues_over_camera_processes(daemon: Daemon) -> None:
    until("frames", lambda: value(daemon, "pi_cam_frames_captured_total") >= 50)
    before = value(daemon, "pi_cam_frames_captured_total")
    assert value(daemon, "pi_cam_camera_restarts_total", reason=Cause.CRASHED) == 0
    os.kill(daemon.camera_pid(), signal.SIGKILL)
    until("the restart", lambda: value(daemon, "pi_cam_camera_restarts_total", reason=Cause.CRASHED) == 1)
    counts = [value(daemon, "pi_cam_frames_captured_total")]
    daemon.wait_for_state("streaming")
    until("more", lambda: counts.append(value(daemon, "pi_cam_frames_captured_total")) or counts[-1] > before + 50)
    assert counts[0] >= before and counts == sorted(counts), "a counter never goes back"
    assert 0 <= value(daemon, "pi_cam_frame_age_seconds") < 2
    assert 0 < value(daemon, "pi_cam_frame_rate") < 30


def test_watchdog_pings_and_the_last_reload_are_reported(tmp_path: Path) -> None:
    systemd = Systemd(tmp_path / "notify")
    env = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "600000"}
    with running(tmp_path / "daemon", {"video.rotation": 180}, env=env) as daemon:
        until("pings", lambda: value(daemon, "pi_cam_watchdog_pings_total") >= 3)
        samples = scrape(daemon)
        assert samples["pi_cam_rotation_degrees", frozenset()] == 180
        assert samples["pi_cam_config_last_reload_successful", frozenset()] == 1
        taken_at = samples["pi_cam_config_reload_success_timestamp_seconds", frozenset()]
        daemon.config_file.write_text("video.rotation = 45\n")
        daemon.reload(said=REFUSED)
        until("the refusal", lambda: value(daemon, "pi_cam_config_last_reload_successful") == 0)
        assert value(daemon, "pi_cam_config_reload_success_timestamp_seconds") == taken_at
        daemon.reload({})
        until("the reload", lambda: value(daemon, "pi_cam_config_last_reload_successful") == 1)
        assert value(daemon, "pi_cam_config_reload_success_timestamp_seconds") > taken_at
    systemd.close()


def test_many_first_scrapes_at_once_are_all_answered(daemon: Daemon) -> None:
    answers: list[set[str]] = []
    threads = [threading.Thread(target=lambda: answers.append({name for name, _ in scrape(daemon)})) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience(20))
    assert len(answers) == 8 and all(names >= set(CONTRACT) for names in answers)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a mount namespace")
def test_process_metrics_exist_if_proc_shows_only_processes(tmp_path: Path) -> None:
    """With the unit's ProcSubset=pid, prometheus_client's own collector gives nothing."""
    file = tmp_path / "in-the-unit.py"
    file.write_text(IN_THE_UNIT)
    with running(tmp_path / "daemon", argv=[sys.executable, str(file), str(RIG), str(tmp_path / "fault")]) as daemon:
        names = {name for name, _ in scrape(daemon)}
        assert names >= {name for name in CONTRACT if name.startswith("process_")}
        started = time.time() - value(daemon, "process_start_time_seconds")
        assert 0 <= started < 60
