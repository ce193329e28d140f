"""Routes of the HTTP server: what is answered at each path."""

from __future__ import annotations

import json
import time
from http import HTTPStatus

from pi_cam_daemon.core.health import State
from pi_cam_daemon.ipc.pace import Pace
from pi_cam_daemon.ipc.parts import CONTENT_TYPE, OPENING
from pi_cam_daemon.server import live_controls
from pi_cam_daemon.server.answers import NO_STORE, PAGE_FILES
from pi_cam_daemon.server.clip_routes import ClipRoutes
from pi_cam_daemon.server.exchange import JPEG, TEXT, Route
from pi_cam_daemon.server.refused import Reason, Refused

_SNAPSHOT_SECONDS = 4.0  # OctoPrint waits 5 s
_MOST_CHANGES = 2.0**53
_DIGITS = 16
_NO_EVENT = "The picture of this event is gone, or there never was one\n\n/events lists the events that have one"


class Handler(ClipRoutes):
    """Answers requests. A stream is handed over to the stream loop."""

    def page_or_action(self) -> None:
        """Serve /, and the ?action= of mjpg-streamer's clients."""
        action = self.asked.arguments.get("action", "")
        if action.startswith("stream"):
            self.stream()
        elif action.startswith("snapshot"):
            self.snapshot()
        else:
            self._page("index.html")

    def tutorial_page(self) -> None:
        """Serve /mjpeg/: the same page with links that lead one level up."""
        self._page("index.html", {"<head>": '<base href="../">'})

    def wall(self) -> None:
        """Serve /wall, the only page that may load from other cameras."""
        cameras = self.policy.wall.cameras
        links = "".join(f'<li><a href="{camera}/">{camera}</a></li>' for camera in cameras)
        self._page("wall.html", {'<ul id="wall" class="wall">': links}, cameras)

    def manifest(self) -> None:
        """Send what a browser needs to install the page as an app, with the camera's name."""
        name = json.dumps(self.app.observer.name)[1:-1]
        self._page(self.asked.path[1:], {'"name": "': name})

    def page_file(self) -> None:
        """Send a file that the pages load."""
        self._page(self.asked.path[1:])

    def stream(self) -> None:
        """Send the stream; `?fps=N` limits it to N pictures per second, `?size=small` is of small ones.

        `?raw=1` is for scripts: WebKit's fetch() takes no answer of the type multipart/x-mixed-replace. The bytes are
        the same.
        """
        fps, small = self.asked.number("fps", 0.05, 1000.0), self.asked.small
        content_type = "application/octet-stream" if self.asked.number("raw", 0.0, 1.0) else CONTENT_TYPE
        self.close_connection = True
        streams = self.app.streams
        streams.take_place(self.client, self.policy.http)
        head = self._head(HTTPStatus.OK, {**NO_STORE, "X-Accel-Buffering": "no", "Content-Type": content_type})
        if self.command == "HEAD":
            streams.give_back_place(self.client)
            self.request.sendall(head)
            return
        try:
            streams.add(self.request, self.client, head + OPENING, 1 / fps if fps else 0.0, small)
        except OSError:  # the client has hung up
            streams.give_back_place(self.client)
        else:
            self.server.leave_open(self.request)

    def snapshot(self) -> None:
        """Send the newest picture; `?max_age_ms=N` limits its age in milliseconds, `?size=small` is a small one."""
        small = self.asked.small
        pictures = self.app.small if small else self.app.big
        max_age_ms = self.asked.number("max_age_ms", 0.0, 3_600_000.0)
        status = self.app.observer.camera()
        period = max(status.period, 1 / self.app.observer.config.small.framerate) if small else status.period
        max_age = max(1.0, 2 * period) if max_age_ms is None else max_age_ms / 1000
        now = time.monotonic()
        # no waiting for a camera that is known to be missing, unless the test picture is shown in its place
        comes = status.state.ok or status.state is State.STARTING or status.stands_in or not status.failure
        patience = _SNAPSHOT_SECONDS if comes else 0.0
        pictures.demand.touch()
        frame = pictures.latest.wait(now - max_age, 0.0)
        if frame is None and patience:
            frame = pictures.take(now - max_age, patience)
        if frame is None and max_age_ms is None and self.app.observer.camera().live:
            # of a camera that is slow; small ones come only while somebody asks
            frame = pictures.latest.wait(time.monotonic() - Pace(period).silent_seconds, 0.0)
        if frame is None:
            self._refuse(Refused(Reason.PICTURE, self.app.observer.no_picture()))
        else:
            self._answer(HTTPStatus.OK, frame.jpeg, {**JPEG, "X-Timestamp": f"{frame.timestamp_us / 1e6:.6f}"})

    def events(self) -> None:
        """Send the last events, or a stream of them; `?after=N` leaves out those that have not changed since."""
        after = int(self.asked.number("after", 0.0, _MOST_CHANGES) or 0)
        if self.asked.wants_events:
            self._event_stream(after)
        else:
            self._answer_json(HTTPStatus.OK, {"events": [event.table() for event in self.app.events.since(after)]})

    def _event_stream(self, after: int) -> None:
        """Send the last events after *after*, or after the one in Last-Event-ID, and what happens from now on."""
        self.close_connection = True
        streams, last = self.app.event_streams, self.asked.header("last-event-id")
        after = int(last) if last.isascii() and last.isdecimal() and len(last) < _DIGITS else after
        most = self.policy.http.max_event_streams
        streams.quota.take(str(self.client), most + self.client.is_ours, (most + 1) // 2)
        head = self._head(HTTPStatus.OK, {**NO_STORE, "X-Accel-Buffering": "no", "Content-Type": "text/event-stream"})
        try:
            if self.command == "HEAD":
                self.request.sendall(head)
            else:
                streams.add(self.request, self.client, head, after)
                self.server.leave_open(self.request)
                return
        except (OSError, RuntimeError):  # the client has hung up, or the system starts no more threads
            pass
        streams.quota.give_back(str(self.client))

    def event_picture(self) -> None:
        """Send the picture of an event, as long as it is kept."""
        number = self.asked.path.rpartition("/")[2].removesuffix(".jpg")
        event = self.app.events.get(int(number)) if number.isdecimal() else None
        if event and event.picture:
            self._answer(HTTPStatus.OK, event.picture, JPEG)
        else:
            self.send_error(HTTPStatus.NOT_FOUND, _NO_EVENT)

    def still(self) -> None:
        """Send a picture of the sensor's full size. HEAD takes none, because it would interrupt the stream."""
        self.policy.hosts.check_still(self.asked)
        if self.command == "HEAD":
            self.request.sendall(self._head(HTTPStatus.OK, JPEG))
        else:
            self._answer(HTTPStatus.OK, self.app.stills.take().jpeg, JPEG)

    def controls(self) -> None:
        """Send the camera's controls and their values."""
        self._answer_json(HTTPStatus.OK, self.app.live_controls.table())

    def set_controls(self) -> None:
        """Set the controls that the JSON object in the body names."""
        self._need_json()
        wanted = live_controls.parse(self.asked.body)
        self._wake_camera()
        self._answer_json(*self.app.live_controls.set(wanted))

    def save_controls(self) -> None:
        """Save what was set."""
        self._answer_json(HTTPStatus.OK, self.app.live_controls.save())

    def forget_controls(self) -> None:
        """Undo what was set and saved."""
        self._wake_camera()
        self._answer_json(HTTPStatus.OK, self.app.live_controls.forget())

    def motion(self) -> None:
        """Send what moves in the picture now."""
        self._answer_json(HTTPStatus.OK, self.app.motion.table())

    def settings(self) -> None:
        """Send the settings that can be saved, with their values."""
        self._answer_json(HTTPStatus.OK, self.app.settings.table())

    def set_settings(self) -> None:
        """Save the settings that the JSON object in the body names, and put them into force."""
        self._need_json()
        wanted = live_controls.parse(self.asked.body, '{"video.rotation": 90}')
        self._answer_json(*self.app.settings.set(wanted, str(self.client)))

    def _wake_camera(self) -> None:
        """Wait until a camera that sleeps or starts has its first picture; before that it takes no settings."""
        if self.app.observer.camera().state in (State.IDLE, State.STARTING):
            self.app.big.take(time.monotonic(), _SNAPSHOT_SECONDS)

    def state(self) -> None:
        """Send all that is known about the daemon and its camera."""
        newest = self.app.events.newest()
        more = {"event": newest.table() if newest else None, "role": self._role()}
        self._answer_json(HTTPStatus.OK, {**self.app.observer.table(), **more})

    def healthz(self) -> None:
        """Answer 200 while there are pictures or the camera sleeps because nobody watches, else 503."""
        table = self.app.observer.table()
        status = HTTPStatus.OK if table["ok"] else HTTPStatus.SERVICE_UNAVAILABLE
        keys = (
            "state", "ok", "detail", "cause", "hint", "source", "reboot_requested", "clock_synced", "frames", "release",
            "config_sha256", "config_refused",
        )  # fmt: skip
        self._answer_json(status, {key: table[key] for key in keys})

    def livez(self) -> None:
        """Answer 200, whatever the camera does."""
        self._answer(HTTPStatus.OK, b"alive\n", {**NO_STORE, **TEXT})

    def metrics(self) -> None:
        """Send the metrics for Prometheus."""
        content_type = "text/plain; version=0.0.4; charset=utf-8"
        self._answer(HTTPStatus.OK, self.app.metrics.text(), {**NO_STORE, "Content-Type": content_type})


_ROUTES: dict[str, Route] = {
    "/": Handler.page_or_action,
    "/wall": Handler.wall,
    **dict.fromkeys((f"/{name}" for name in PAGE_FILES), Handler.page_file),
    "/manifest.webmanifest": Handler.manifest,
    # /mjpeg has the addresses of the tutorial that this project grew from
    "/mjpeg": Handler.tutorial_page,
    **dict.fromkeys(("/stream", "/stream.mjpg", "/video", "/mjpeg/stream"), Handler.stream),
    **dict.fromkeys(("/snapshot", "/snapshot.jpg", "/mjpeg/snapshot"), Handler.snapshot),
    "/still.jpg": Handler.still,
    "/events": Handler.events,
    "/events/N.jpg": Handler.event_picture,
    "/recordings": Handler.recordings,
    "/recordings/NAME": Handler.recording,
    "/recordings/NAME/stream": Handler.recording_stream,
    "/recordings/NAME.jpg": Handler.recording_picture,
    "/state": Handler.state,
    "/healthz": Handler.healthz,
    "/livez": Handler.livez,
    "/controls": Handler.controls,
    "/settings": Handler.settings,
    "/motion": Handler.motion,
    "/metrics": Handler.metrics,
}
# POST only
_CHANGES: dict[str, Route] = {
    "/controls": Handler.set_controls,
    "/controls/save": Handler.save_controls,
    "/controls/forget": Handler.forget_controls,
    "/settings": Handler.set_settings,
    "/recordings/delete": Handler.delete_recording,
}

Handler.routes = _ROUTES
Handler.changes = _CHANGES
