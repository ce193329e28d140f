"""The map: everything is built here from top to bottom, runs until a signal, and is closed in reverse."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pi_cam_daemon import __version__
from pi_cam_daemon.config import kinds, saved
from pi_cam_daemon.config.schema import CameraConfig, Config
from pi_cam_daemon.core import frame
from pi_cam_daemon.core.latest import LatestFrame
from pi_cam_daemon.core.no_signal import Cards
from pi_cam_daemon.core.spawn import CAMERA_ARGV
from pi_cam_daemon.core.supervisor import Supervisor
from pi_cam_daemon.errors import ConfigError, JpegError
from pi_cam_daemon.server.app import App, Policy
from pi_cam_daemon.server.counts import Counts
from pi_cam_daemon.server.listener import CameraServer, cannot_listen
from pi_cam_daemon.server.live_controls import LiveControls
from pi_cam_daemon.server.report import Observer
from pi_cam_daemon.server.stills import Stills
from pi_cam_daemon.server.streams import Streams
from pi_cam_daemon.system import logs, machine, network
from pi_cam_daemon.system.events import Events
from pi_cam_daemon.system.systemd import Notifier, listening_socket

log = logging.getLogger(__name__)

# Closing is bounded by these, in seconds; together they stay below the 2 s that a stop may take.
_SERVER_CLOSE = 0.3
_CAMERA_CLOSE = 1.4
_STREAMS_CLOSE = 0.2
_CARDS_CLOSE = 0.1
# Three questions in one watchdog period: two answers may come late before systemd acts.
_PROBES_PER_PERIOD = 3

# what wakes the main thread: a signal's number, or one of these
_CHANGED = "changed"
_BUG = "bug"
# threads without which nothing goes on
_LOOPS = ("accept", "streams", "supervisor")


def run(
    load: Callable[[Path], tuple[Config, CameraConfig]],
    camera_argv: Sequence[str] = CAMERA_ARGV,
    popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. *load* reads the configuration, now and at each SIGHUP: all
    of it without the controls saved in the file that it is given, and the camera's part with them.

    *camera_argv* and *popen* start the camera process; tests hand in their own. Raises ConfigError.
    """
    notifier = Notifier()
    try:
        config, camera = load(saved.file())
        logs.setup(config.log.level)
        policy = Policy.make(config.http, config.wall)
    except ConfigError as error:
        notifier.status(f"Wrong configuration: {'; '.join(error.problems)}")
        raise
    # systemd's soft limit of 1024 is for select(), which the server does not use
    with contextlib.suppress(ValueError, OSError):  # a sandbox may forbid even that
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    events = Events()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: events.put(number))
    _warn_of_closed_devices(config)

    latest = LatestFrame()
    cards = Cards()
    supervisor = Supervisor(config, camera, lambda: events.put(_CHANGED), camera_argv, popen)

    def card() -> bytes:
        status = supervisor.status()
        return frame.part(cards.get(status.cause, _size(latest, config)), time.time(), no_picture=status.cause)

    live_controls = LiveControls(supervisor, saved.file(), camera, config.camera)
    handed = listening_socket()
    streams = Streams(latest, supervisor.demand, card)
    observer = Observer(supervisor, latest, streams, notifier, config)
    stills = Stills(supervisor, latest, observer)
    app = App(policy, latest, streams, supervisor.demand, observer, live_controls, stills)
    threading.excepthook = lambda failure: _report_bug(failure, events, app.counts)
    try:
        server = CameraServer(app, handed)
    except OSError as error:
        print(f"pi-cam-daemon: {cannot_listen(config.http, error)}", file=sys.stderr)
        return 1
    listening = None if handed else (config.http.listen_address, config.http.port)
    if handed:
        log.info("systemd's socket is served, whatever http.listen_address and http.port are")

    streams.start()
    supervisor.start(watch=streams.watch)
    server.start()
    scheme, listen_address = config.http.scheme, "" if handed else config.http.listen_address
    for address in network.listening_addresses(scheme, listen_address, server.server_port):
        print(f"pi-cam-daemon {__version__}: {address}", flush=True)
    notifier.ready(observer.sentence())

    probes = (server.probe, streams.probe, supervisor.probe)
    period = (notifier.watchdog_seconds or float("inf")) / _PROBES_PER_PERIOD
    probe_at = time.monotonic() + period
    exit_status = os.EX_OK
    while True:
        try:
            event = events.get(timeout=max(0.0, probe_at - time.monotonic()) if notifier.watchdog_seconds else None)
        except queue.Empty:
            probe_at = time.monotonic() + period
            silent = [probe.name for probe in probes if not probe.answered]
            if silent:
                log.error("the %s does not answer; systemd will restart the service", " and the ".join(silent))
                notifier.withhold()
                continue
            notifier.watchdog()
            for probe in probes:
                probe.ask()
            continue
        if event == _CHANGED:
            notifier.reboot(observer.camera().needs_reboot)
            notifier.status(observer.sentence())
        elif event == signal.SIGHUP:
            notifier.reloading()
            config = _reload(load, config, listening, app, supervisor)
            notifier.ready(observer.sentence())
        else:
            exit_status = os.EX_SOFTWARE if event == _BUG else os.EX_OK
            break

    notifier.stopping()
    server.close(_SERVER_CLOSE)
    supervisor.close(_CAMERA_CLOSE)
    streams.close(_STREAMS_CLOSE)
    cards.close(_CARDS_CLOSE)
    return exit_status


def _reload(
    load: Callable[[Path], tuple[Config, CameraConfig]],
    old: Config,
    listening: tuple[str, int] | None,
    app: App,
    supervisor: Supervisor,
) -> Config:
    """Take over a new configuration under the viewers' eyes; a broken one changes nothing."""
    try:
        new, camera = load(saved.file())
        policy = Policy.make(new.http, new.wall)
    except ConfigError as error:
        for problem in error.problems:
            log.error("%s", problem)
        log.error("the configuration was not reloaded; the old one stays")
        app.observer.reload_refused = True
        return old
    if listening and (new.http.listen_address, new.http.port) != listening:
        log.warning("http.listen_address and http.port change with the next restart")
        # what is in force is told, so that whoever compares it with the files sees that a restart is due
        new = replace(new, http=replace(new.http, listen_address=listening[0], port=listening[1]))
    logs.setup(new.log.level)
    app.configure(policy)
    app.observer.configure(new)
    supervisor.configure(new, app.live_controls.configure(camera, new.camera))
    log.info("configuration reloaded")
    return new


def _warn_of_closed_devices(config: Config) -> None:
    """A camera behind a node that may not be opened is simply not there, which nobody would look for."""
    if kinds.of(config.source.kind).has_driver and (nodes := machine.forbidden_nodes(Path("/dev"))):
        log.warning("no permission to open %s", machine.needed_groups(nodes))


def _size(latest: LatestFrame, config: Config) -> tuple[int, int]:
    """The size of the last picture, or the one that was asked for: a card of another would disturb recorders."""
    newest = latest.frame
    if newest:
        with contextlib.suppress(JpegError):
            return newest.size()
    return config.video.width, config.video.height


def _report_bug(failure: threading.ExceptHookArgs, events: Events, counts: Counts) -> None:
    """End the process when one of its loops died; any other thread's end is logged and counted."""
    name = failure.thread.name if failure.thread else "a thread"
    log.critical("%s died of a bug", name, exc_info=failure.exc_value)
    if name in _LOOPS:
        events.put(_BUG)
    else:
        counts.fail(name)
