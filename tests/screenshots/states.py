"""Bring about each state that the page can tell of. A function's name is the key of judge.js, with _ for -.

The camera's own states are real: its process is stopped, killed, or has an error of picamera2. In `failed`, `asleep`,
`connecting` and `tls` the browser holds back or replaces an answer of the server.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Route

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from pi_cam_daemon.recording.picture import Picture
from tests.browser.refused import NAME, PASSWORD, Refused
from tests.kit import certificates, films
from tests.kit.causes import BROKEN, EMPTY
from tests.kit.daemon import RUN, Daemon
from tests.kit.wait import free_port
from tests.screenshots.session import TILE, Session
from tests.server.test_stand_in import env

_STREAM = "**/stream*"
_LOCKED_OUT_SECONDS = 12  # enough for a picture in each language


def live(session: Session) -> None:
    session.watch(session.camera().address)


def held(session: Session) -> None:
    live(session)
    for page in session.pages.values():
        page.locator("#hold").click()


def played(session: Session) -> None:
    camera = session.camera()
    camera.wait_for_state("streaming")
    seen = camera.watch().parts(150)
    folder = camera.state_folder / "recordings"
    folder.mkdir()
    for minutes in (0, 4, 31):
        moments = [(part.jpeg, round(part.timestamp * 1e6) - minutes * 60_000_000, part.arrived) for part in seen]
        films.write(folder, [Picture(*moment) for moment in moments])
    session.watch(camera.address)
    for page in session.pages.values():
        page.locator("#menu").click()
        page.locator("#tab-recordings").click()
        page.locator("#panel-recordings li button").first.click()
        page.locator(".player input").fill("2")


def failed(session: Session) -> None:
    live(session)
    for page in session.pages.values():
        page.route("**/snapshot*", lambda route: route.abort())
        page.locator("#hold").click()
        page.locator("#again").click()


def test_picture(session: Session) -> None:
    asked: dict[str, Any] = {"source__kind": "auto", "usb__device": "/dev/video9", "page__name": "Launch pad"}
    session.open(session.daemon(env=env(session.folder, EMPTY), argv=RUN, **asked).address)


def connecting(session: Session) -> None:
    session.open(session.camera().address, frozen_clock=True, hang=_STREAM)


def asleep(session: Session) -> None:
    camera = session.camera(source__capture="on-demand", source__idle_seconds=0)
    camera.wait_for_state("idle")
    session.open(camera.address, hang=_STREAM)


def starting(session: Session) -> None:
    session.scene().silent = True
    session.open(session.camera().address)


def still(session: Session) -> None:
    camera = session.camera(source__kind="csi")
    session.watch(camera.address)
    camera.fault_file.with_name("still-fault").write_text("hang")
    threading.Thread(target=camera.get, args=("/still.jpg", 60.0), daemon=True).start()


def frozen(session: Session) -> None:
    camera = session.camera(source__stall_timeout_seconds=60)
    session.watch(camera.address)
    os.kill(camera.camera_pid(), signal.SIGSTOP)


def link(session: Session) -> None:
    wire = session.wire(session.camera().port)
    session.watch(wire.address)
    wire.go_silent(later=True)


def missing(session: Session) -> None:
    _without_camera(session, EMPTY)


def broken(session: Session) -> None:
    _without_camera(session, BROKEN)


def busy(session: Session) -> None:
    _with_fault(session, "csi-busy")


def permission(session: Session) -> None:
    _with_fault(session, "csi-permission")


def refused_settings(session: Session) -> None:
    _with_fault(session, "csi-settings")


def lost(session: Session) -> None:
    _with_fault(session, "lost")


def crashed(session: Session) -> None:
    camera = session.camera()
    session.watch(camera.address)
    session.scene().silent = True
    os.kill(camera.camera_pid(), signal.SIGSEGV)


def wedged(session: Session) -> None:
    camera = session.camera(unkillable=True, source__stall_timeout_seconds=2)
    session.watch(camera.address)
    os.kill(camera.camera_pid(), signal.SIGSTOP)


def offline(session: Session) -> None:
    camera = session.camera()
    session.watch(camera.address)
    camera.stop()


def full(session: Session) -> None:
    _with_viewer(session, "max_viewers")


def crowded(session: Session) -> None:
    _with_viewer(session, "max_viewers_per_address")


def taken(session: Session) -> None:
    camera = session.camera()
    wire = session.wire(camera.port)
    session.watch(wire.address)
    camera.stop()
    busy = session.camera(http__max_connections=2, http__request_timeout_seconds=600)
    for _ in range(2):
        session.stack.enter_context(socket.create_connection(("127.0.0.1", busy.port)))
    wire.target = busy.port


def network(session: Session) -> None:
    _refused(session, Refused.network)


def host(session: Session) -> None:
    _refused(session, Refused.host)


def password(session: Session) -> None:
    _refused(session, Refused.password)


def lockout(session: Session) -> None:
    def lock(refused: Refused) -> None:
        while refused.lockout() < _LOCKED_OUT_SECONDS:
            time.sleep(0.2)

    _refused(session, lock)


def tls(session: Session) -> None:
    def answer(route: Route) -> None:
        said = "This address is served by https, not by http"
        route.fulfill(status=400, headers={"X-Refused": "tls", "Content-Type": "text/plain"}, body=said)

    wire = session.wire(session.camera().port)
    session.watch(wire.address)
    for page in session.pages.values():
        page.route(lambda address: address.split("?")[0].endswith(("/stream", "/state")), answer)
    wire.hang_up()


def unknown(session: Session) -> None:
    dark = session.daemon(source__kind="csi", argv=RUN, env=env(session.folder, EMPTY))
    _wall(session, dark.address)
    session.wait("unknown", ".tile >> nth=1")


def mixed(session: Session) -> None:
    certificate = certificates.make(session.folder / "certificate")
    files = {"http__tls_certificate": certificate.certificate, "http__tls_key": certificate.key}
    encrypted: dict[str, Any] = {name: str(file) for name, file in files.items()}
    _wall(session, "http://picam-2.local:8000", **encrypted)
    session.wait("mixed", ".tile >> nth=1")


STATES: dict[str, Callable[[Session], None]] = {
    "settings" if state is refused_settings else state.__name__.replace("_", "-"): state
    for state in (
        live, held, played, failed, test_picture, connecting, asleep, starting, still, frozen, link, missing, broken,
        busy, permission, refused_settings, lost, crashed, wedged, offline, full, crowded, taken, network, host,
        password, lockout, tls, unknown, mixed,
    )
}  # fmt: skip
ON_THE_WALL = {"unknown", "mixed"}  # which a page of one camera never tells


def _without_camera(session: Session, program: str) -> None:
    """Open the page of a CSI camera that was never there, because its picamera2 is *program*."""
    camera = session.daemon(source__kind="csi", page__name="Launch pad", argv=RUN, env=env(session.folder, program))
    session.open(camera.address)


def _with_fault(session: Session, word: str) -> None:
    """Let a watched camera fail, and not come back."""
    camera = session.camera(source__kind="csi")
    session.watch(camera.address)
    session.scene().silent = True
    camera.fault(word)


def _with_viewer(session: Session, limit: str) -> None:
    """Open the page of a camera that has its only viewer already."""
    only: dict[str, Any] = {f"http__{limit}": 1}
    camera = session.camera(**only)
    session.stack.callback(camera.watch().close)
    session.open(camera.address)


def _refused(session: Session, refuse: Callable[[Refused], None]) -> None:
    """Let a camera refuse those whom it has served."""
    file = session.folder / "users"
    users.add(file, NAME, Role.ADMIN, PASSWORD)
    camera = session.camera(http__trusted_proxies=["127.0.0.1"], http__users_file=str(file))
    wire = session.wire(camera.port)
    refused = Refused(camera, wire)
    session.watch(wire.address)
    refuse(refused)
    wire.hang_up()


def _wall(session: Session, other: str, **settings: Any) -> Daemon:
    """Open a wall with a camera that is live, and with an *other* one behind it."""
    port = free_port()
    scheme = "https" if "http__tls_certificate" in settings else "http"
    origin = f"{scheme}://127.0.0.1:{port}"
    wall = session.camera(width=TILE, http__port=port, wall__cameras=[origin, other.rstrip("/")], **settings)
    session.open(f"{origin}/wall", ignore_https_errors=True)
    session.wait("live", ".tile >> nth=0")
    return wall
