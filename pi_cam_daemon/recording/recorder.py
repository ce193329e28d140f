"""The map of the recorder: build everything, tell systemd and the daemon how it goes, run until a signal."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from functools import partial

from pi_cam_daemon.config import saved
from pi_cam_daemon.config.last_good import ConfigFiles
from pi_cam_daemon.recording.shelf import Shelf
from pi_cam_daemon.recording.timelapse import Timelapse
from pi_cam_daemon.recording.watch import Watch
from pi_cam_daemon.recording.writer import Progress, Writer
from pi_cam_daemon.system import beside, logs, memory, recordings
from pi_cam_daemon.system.beside import Teller
from pi_cam_daemon.system.recordings import Record
from pi_cam_daemon.system.wakeups import Wakeups

log = logging.getLogger(__name__)

LOCK = "recorder.lock"
_FAILED = 1
_LOOK_SECONDS = 5.0  # between two looks whether a disk hangs
_TIMELAPSE_CLOSE = 0.5
_WATCH_CLOSE = 2.0
_WRITER_CLOSE = 4.0
_CHANGED, _BUG = "changed", "bug"  # wakeups besides the numbers of signals
_MEGABYTE = 1_000_000


def run(files: ConfigFiles) -> int:
    """Record until SIGTERM or SIGINT, and return the exit status. Raises ConfigError. SIGUSR1 records at once."""
    memory.give_back_large_blocks()
    teller = Teller(recordings.PLACE, saved.folder())
    config = files.load_any().config
    logs.setup(config.log.level)
    every = config.timelapse.every_seconds
    if not config.recordings.clips and not every:
        teller.nothing_to_do("recordings.clips is false and timelapse.every_seconds is 0, so nothing is recorded")
        return os.EX_OK
    if beside.lock(saved.folder() / LOCK) is None:
        log.error("another recorder works here, as a service or at another terminal")
        return _FAILED
    wakeups = Wakeups()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, lambda number, _: wakeups.put(number))
    threading.excepthook = lambda failure: _report_bug(failure, wakeups)

    own, folder = saved.clips_folder(), saved.clips_folder(config.recordings.folder)
    shelf = Shelf(folder, config.recordings.quota_mb * _MEGABYTE, config.recordings.keep_free_percent)
    changed = partial(wakeups.put, _CHANGED)
    writer = Writer(shelf, config.recordings.longest_seconds, folder == own, changed, config.timelapse.days_kept)
    daemon = recordings.socket_file(saved.folder())
    sleeps = config.source.capture == "on-demand"
    watch = Watch(daemon, config.recordings, writer, changed) if config.recordings.clips else None
    timelapse = Timelapse(daemon, config.timelapse, sleeps, writer, changed) if every else None
    for thread in (writer, watch, timelapse):
        if thread:
            thread.start()
    while True:
        teller.tell(_record(writer.progress(time.monotonic()), watch, timelapse))
        wakeup = wakeups.get(_LOOK_SECONDS)
        if wakeup == signal.SIGUSR1:
            if watch:
                watch.ask()
            else:
                log.warning("recordings.clips is false, so no clip is recorded")
        elif wakeup not in (None, _CHANGED):
            break

    teller.stop()
    if timelapse:
        timelapse.close(_TIMELAPSE_CLOSE)
    if watch:
        watch.close(_WATCH_CLOSE)
    writer.close(_WRITER_CLOSE)
    teller.end()
    return os.EX_SOFTWARE if wakeup == _BUG else os.EX_OK


def _record(progress: Progress, watch: Watch | None, timelapse: Timelapse | None) -> Record:
    """Return what the recorder tells of itself."""
    problem = watch.problem if watch else ""
    problem = problem or (timelapse.problem if timelapse else "")
    there = f"{progress.clips} clip{'' if progress.clips == 1 else 's'}, {progress.bytes // _MEGABYTE} MB"
    if progress.problem:
        state, detail = "failing", f"Nothing is recorded: {progress.problem}"
    elif problem:
        state, detail = "failing", problem
    elif progress.writes or (watch and watch.recording):
        state, detail = "recording", f"Recording {progress.clip or 'a clip'}; {there}"
    else:
        waits = ["Waiting for something to happen"] if watch else []
        waits += [f"Time-lapse: a picture every {timelapse.every} s"] if timelapse else []
        state, detail = "waiting", f"{'; '.join(waits)}; {there}"
    return Record(
        os.getpid(),
        state,
        detail,
        progress.clip,
        progress.clips,
        progress.bytes,
        progress.lost,
        progress.day,
        timelapse.missed if timelapse else 0,
    )


def _report_bug(failure: threading.ExceptHookArgs, wakeups: Wakeups) -> None:
    """Log an exception in a thread. It ends the process, which systemd starts again."""
    name = failure.thread.name if failure.thread else "a thread"
    log.critical("a bug ended the thread %s", name, exc_info=failure.exc_value)
    wakeups.put(_BUG)
