"""The map of the daemon: build everything, run until a signal, close in reverse."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pi_cam_daemon import __version__, configuring
from pi_cam_daemon.config import kinds, saved
from pi_cam_daemon.config.last_good import ConfigFiles
from pi_cam_daemon.config.loading import ETC
from pi_cam_daemon.core import overdue
from pi_cam_daemon.core.events import Events
from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.core.last_camera import LastCamera
from pi_cam_daemon.core.latest import LatestFrame, Pictures
from pi_cam_daemon.core.no_signal import Cards
from pi_cam_daemon.core.spawn import CAMERA_ARGV
from pi_cam_daemon.core.supervisor import Supervisor
from pi_cam_daemon.errors import ConfigError, CredentialsError
from pi_cam_daemon.server import local_socket
from pi_cam_daemon.server.app import App
from pi_cam_daemon.server.audience import Audience
from pi_cam_daemon.server.counts import Counts
from pi_cam_daemon.server.listener import CameraServer, cannot_listen
from pi_cam_daemon.server.live_controls import LiveControls
from pi_cam_daemon.server.motion import MotionLooks
from pi_cam_daemon.server.report import Observer
from pi_cam_daemon.server.settings import Settings
from pi_cam_daemon.server.stills import Stills
from pi_cam_daemon.server.streams import Streams
from pi_cam_daemon.system import machine, memory, network, recordings
from pi_cam_daemon.system.systemd import Notifier, listening_socket
from pi_cam_daemon.system.wakeups import Wakeups

if TYPE_CHECKING:
    from pi_cam_daemon.mqtt.bridge import Bridge

log = logging.getLogger(__name__)

# The longest times to close, in seconds. A stop may take 5 s in all, as a CSI camera may take 4 s.
_SERVER_CLOSE = 0.3
_CAMERA_CLOSE = 4.4
_STREAMS_CLOSE = 0.2
_CARDS_CLOSE = 0.1
_PROBES_PER_PERIOD = 3  # of the watchdog: two answers may be late before systemd acts

_CHANGED, _BUG = "changed", "bug"  # what wakes the main thread, besides the numbers of signals
_LOOPS = ("accept", "streams", "supervisor")  # threads whose failure ends the process


def run(
    files: ConfigFiles,
    camera_argv: Sequence[str] = CAMERA_ARGV,
    popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status. Raises ConfigError.

    *files* are read now and at each SIGHUP. *camera_argv* and *popen* start the camera process.
    """
    memory.give_back_large_blocks()
    notifier = Notifier()
    try:
        loaded, policy, refused = configuring.start_with(files)
    except CredentialsError as error:
        notifier.status(f"Cannot start: {'; '.join(error.problems)}")
        configuring.log_problems(error.problems)
        return 1  # systemd tries again: the file may be corrected, or was being replaced
    except ConfigError as error:
        notifier.status(f"Wrong configuration: {'; '.join(error.problems)}")
        raise
    config = loaded.config
    # systemd's soft limit of 1024 files is meant for select(), which the server does not use
    with contextlib.suppress(ValueError, OSError):  # a sandbox may forbid the change
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    wakeups = Wakeups()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: wakeups.put(number))
    if kinds.of(config.source.kind).has_driver and (nodes := machine.forbidden_nodes(Path("/dev"))):
        log.warning("no permission to open %s", machine.needed_groups(nodes))

    latest = LatestFrame()
    cards = Cards(overdue.language(config))
    last = LastCamera(saved.folder() / "last-camera.json")
    supervisor = Supervisor(config, loaded.camera, last, lambda: wakeups.put(_CHANGED), camera_argv, popen)

    def card(pictures: Pictures) -> Frame | None:
        size = overdue.size(pictures.latest, latest, observer.config)
        return overdue.card(cards, supervisor.status(), pictures.latest, size)

    live_controls = LiveControls(supervisor, saved.controls_file(), loaded.camera, config.camera)
    big, small = Pictures(latest, supervisor.demand), Pictures(LatestFrame(), supervisor.small_demand, steady=False)
    streams = Streams(*(Audience(pictures, partial(card, pictures)) for pictures in (big, small)))
    streams.show_only(config.video.masks)
    observer = Observer(supervisor, latest, small.latest, streams, notifier, loaded)
    events = Events(small.take)
    supervisor.on_motion = events.motion

    def mask(masks: list[list[float]]) -> None:
        """Show no picture without *masks* any more."""
        streams.show_only(masks)
        events.forget_pictures()

    supervisor.on_masks = mask
    if refused:
        observer.refuse(refused)
        events.refuse(refused)
    settings = Settings(saved.settings_file(), loaded, observer, live_controls, supervisor)
    stills, motion = Stills(supervisor, latest, observer), MotionLooks(supervisor, observer)
    in_etc = f"{ETC}/config.toml or where pi-cam-daemon config --origin shows it"
    place = files.file.absolute() if files.file else in_etc
    counts = Counts(f"below [http] in {place}, then {notifier.reload_command}")
    app = App(policy, big, small, streams, observer, live_controls, settings, stills, motion, events, counts)
    threading.excepthook = lambda failure: _report_bug(failure, wakeups, app.counts)
    activated = listening_socket()
    held = saved.hold_folder()
    local_file = recordings.socket_file(saved.folder())
    local = local_socket.listen(local_file) if held else None
    try:
        server = CameraServer(app, activated, local)
    except OSError as error:
        print(f"pi-cam-daemon: {cannot_listen(config.http, error)}", file=sys.stderr)
        return 1
    listening = None if activated else (config.http.listen_address, config.http.port)
    if activated:
        log.info("listening on pi-cam-daemon.socket; http.listen_address and http.port are ignored")
    if not held:
        shared = "another pi-cam-daemon saves its settings in %s, too; start one of them with another STATE_DIRECTORY"
        log.warning(shared, saved.folder())
    if not refused:
        files.keep(loaded)

    streams.start()
    events.start()
    supervisor.start(watch=streams.watch)
    bridge = _bridge(None, app, supervisor, server.server_port)
    server.start()
    listen_address = "" if activated else config.http.listen_address
    addresses = network.listening_addresses(config.http.scheme, listen_address, server.server_port)
    for address in addresses:
        print(f"pi-cam-daemon {__version__}: {address}", flush=True)
    if sys.stdout.isatty():
        print(f"pi-cam-daemon: {network.invitation(addresses)}; Ctrl+C stops the camera", flush=True)
    notifier.ready(observer.status_line())

    probes = (server.probe, streams.probe, supervisor.probe)
    period = (notifier.watchdog_seconds or float("inf")) / _PROBES_PER_PERIOD
    probe_at = time.monotonic() + period
    while True:
        wakeup = wakeups.get(timeout=max(0.0, probe_at - time.monotonic()) if notifier.watchdog_seconds else None)
        if wakeup is None:
            probe_at = time.monotonic() + period
            if silent := [probe.name for probe in probes if not probe.answered]:
                log.error("no answer from the %s; systemd will restart the service", " and the ".join(silent))
                notifier.withhold()
            else:
                notifier.watchdog()
                for probe in probes:
                    probe.ask()
        elif wakeup == _CHANGED:
            last.remember(status := observer.camera())
            notifier.reboot(status.needs_reboot)
            notifier.status(observer.status_line())
            events.camera(status)
        elif wakeup == signal.SIGHUP:
            notifier.reloading()
            config = configuring.reload(files, listening, app, supervisor)
            cards.configure(overdue.language(config))
            bridge = _bridge(bridge, app, supervisor, server.server_port)
            notifier.ready(observer.status_line())
        else:
            break

    notifier.stopping()
    if bridge:
        bridge.close()
    server.close(_SERVER_CLOSE)
    if local:
        local_socket.remove(local_file)
    supervisor.close(_CAMERA_CLOSE)
    streams.close(_STREAMS_CLOSE)
    cards.close(_CARDS_CLOSE)
    return os.EX_SOFTWARE if wakeup == _BUG else os.EX_OK


def _bridge(bridge: Bridge | None, app: App, supervisor: Supervisor, port: int) -> Bridge | None:
    """Return *bridge* as configured now. It is made at the first need, since its imports take memory."""
    if bridge is None and app.policy.broker:
        from pi_cam_daemon.mqtt.bridge import Bridge

        bridge = Bridge(app, supervisor, port)
    if bridge:
        bridge.configure()
    return bridge


def _report_bug(failure: threading.ExceptHookArgs, wakeups: Wakeups, counts: Counts) -> None:
    """Log an exception in a thread. One of *_LOOPS* ends the process, others are counted."""
    name = failure.thread.name if failure.thread else "a thread"
    log.critical("a bug ended the thread %s", name, exc_info=failure.exc_value)
    if name in _LOOPS:
        wakeups.put(_BUG)
    else:
        counts.fail(name)
