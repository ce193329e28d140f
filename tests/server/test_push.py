"""The pusher as a process, with the real curl: against a WebDAV server that may refuse, hang or die."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pi_cam_daemon.push.sending import Sending
from pi_cam_daemon.system import pushed
from tests.kit import certificates
from tests.kit.daemon import ROOT, running
from tests.kit.films import film
from tests.kit.lateness import patience
from tests.kit.wait import until

LOGIN = "alice", "wonderful-secret"


class WebDav(ThreadingHTTPServer):
    """A WebDAV server for PUT and MOVE. *faults* are those of the next requests: a status, "hang" or "die"."""

    daemon_threads = True

    def __init__(self, login: tuple[str, str] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.login = login
        self.faults: list[int | str] = []
        self.stored: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.lasting: dict[str, int] = {}  # statuses for all requests whose path has that text
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/dav"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that was killed."""


class _Handler(BaseHTTPRequestHandler):
    server: WebDav
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_PUT(self) -> None:
        self._answer()

    def do_MOVE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        fault = self.server.faults.pop(0) if self.server.faults else None
        fault = fault or next((code for text, code in self.server.lasting.items() if text in self.path), None)
        if fault == "hang":
            self.server.over.wait()
        if fault == "die":
            self.rfile.read(10)
            self.connection.close()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = fault if isinstance(fault, int) else self._done(body)
        self.send_response(status)
        if status in (301, 302):
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _done(self, body: bytes) -> int:
        if self.server.login:
            wanted = base64.b64encode(":".join(self.server.login).encode()).decode()
            if self.headers["Authorization"] != f"Basic {wanted}":
                return 401
        if self.command == "PUT":
            self.server.stored[self.path] = body
            return 201
        target = self.headers["Destination"]
        assert target.startswith(self.server.url)
        self.server.stored[target.removeprefix(self.server.url.removesuffix("/dav"))] = self.server.stored.pop(
            self.path
        )
        return 201


@pytest.fixture
def server() -> Iterator[WebDav]:
    with serving(WebDav()) as one:
        yield one


@contextlib.contextmanager
def serving(server: WebDav) -> Iterator[WebDav]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Pusher:
    """A pusher as a process, with its state in *folder*."""

    def __init__(self, folder: Path, url: str, path: str = os.environ["PATH"], **settings: object) -> None:
        self.state_folder = folder / "state"
        self.state_folder.mkdir(exist_ok=True)
        self.log_file = folder / "push-log"
        every = {"push.url": url, "recordings.folder": str(folder / "recordings"), **settings}
        options = [word for key, value in every.items() for word in ("--set", f"{key}={json.dumps(value)}")]
        (folder / "none.toml").touch()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pi_cam_daemon", "push", "--config", folder / "none.toml", *options],
                env={**os.environ, "PYTHONPATH": str(ROOT), "STATE_DIRECTORY": str(self.state_folder), "PATH": path},
                stderr=log,
            )

    def record(self) -> dict[str, Any]:
        return pushed.PLACE.report(self.state_folder) or {}

    def wait_for(self, state: str, **values: object) -> dict[str, Any]:
        """Return the record once it has *state* and *values*."""
        wanted = {"state": state, **values}
        found: dict[str, Any] = until(
            f"the pusher is {wanted}", lambda: (now := self.record()).items() >= wanted.items() and now, 15
        )
        return found

    def hurry(self) -> None:
        self.process.send_signal(signal.SIGUSR1)

    def log(self) -> str:
        return self.log_file.read_text()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(patience(5))

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(patience(5))


@contextlib.contextmanager
def pushing(folder: Path, url: str, **settings: Any) -> Iterator[Pusher]:
    pusher = Pusher(folder, url, **settings)
    try:
        yield pusher
    finally:
        pusher.close()
        print(f"--- the pusher's log\n{pusher.log()}")


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Two clips, the older one first."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    return [film(folder, 5), film(folder, 6, later_seconds=60)]


def test_clips_are_copied_oldest_first_and_only_once(tmp_path: Path, server: WebDav, clips: list[Path]) -> None:
    (tmp_path / "recordings/notes.txt").write_text("not a clip")
    half = film(tmp_path / "recordings", 7, later_seconds=120, closed=False)
    with pushing(tmp_path, server.url) as pusher:
        told = pusher.wait_for("waiting", sent=2, queue=0)
        assert told["detail"] == "Waiting for recordings; 0 to go, 2 copied"
        assert pusher.stop() == 0
    assert server.stored == {f"/dav/{clip.name}": clip.read_bytes() for clip in clips}
    assert server.asked == [f"{verb} /dav/{clip.name}.part" for clip in clips for verb in ("PUT", "MOVE")]
    assert all(clip.exists() for clip in clips) and half.exists()
    assert not (tmp_path / "state/push.json").exists()

    newer = film(tmp_path / "recordings", 5, later_seconds=180)
    with pushing(tmp_path, server.url) as pusher:
        pusher.wait_for("waiting", sent=1)
    assert server.asked[4:] == [f"PUT /dav/{newer.name}.part", f"MOVE /dav/{newer.name}.part"]


@pytest.mark.usefixtures("clips")
def test_the_daemon_reports_the_pusher(tmp_path: Path, server: WebDav) -> None:
    with running(tmp_path, {}) as daemon:
        assert daemon.state()["push"] is None
        with pushing(tmp_path, server.url) as pusher:
            pusher.wait_for("waiting", sent=2)
            assert daemon.state()["push"] == {
                "state": "waiting", "detail": "Waiting for recordings; 0 to go, 2 copied", "file": "", "queue": 0,
                "sent": 2,
            }  # fmt: skip
        assert daemon.state()["push"] is None


def test_without_an_address_it_ends_at_once(tmp_path: Path) -> None:
    with pushing(tmp_path, "") as pusher:
        assert pusher.process.wait(patience(10)) == 0
        assert "push.url is empty, so nothing is copied" in pusher.log()


def test_what_was_sent_may_be_removed_here_but_nothing_else(tmp_path: Path, server: WebDav, clips: list[Path]) -> None:
    folder = tmp_path / "recordings"
    half = film(folder, 7, later_seconds=120, closed=False)
    today = folder / f"{time.strftime('%Y-%m-%d')}_00-00-00_timelapse.mkv"
    shutil.copy(clips[0], today)
    with pushing(tmp_path, server.url, **{"push.delete_after": True}) as pusher:
        pusher.wait_for("waiting", sent=2)
        until("both are removed", lambda: not any(clip.exists() for clip in clips))
        assert pusher.process.poll() is None
    assert sorted(folder.iterdir()) == sorted([half, today])


def test_what_was_sent_before_a_kill_is_removed_after_it(tmp_path: Path, server: WebDav, clips: list[Path]) -> None:
    with pushing(tmp_path, server.url) as pusher:
        pusher.wait_for("waiting", sent=2)
    with pushing(tmp_path, server.url, **{"push.delete_after": True}):
        until("both are removed", lambda: not any(clip.exists() for clip in clips))
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ([500], "127.0.0.1 answers 500 to copying"),
        ([None, 405], "127.0.0.1 answers 405 to renaming; the server knows no WebDAV in this folder"),
        ([None, 200], "127.0.0.1 answers 200 to renaming; the server knows no WebDAV in this folder"),
        ([302], "127.0.0.1 answers 302 to copying"),
        (["die"], "curl: ("),
    ],
)
def test_a_failure_is_told_and_the_clip_is_sent_later(
    faults: list[int | str], said: str, tmp_path: Path, server: WebDav, clips: list[Path]
) -> None:
    clips[1].unlink()
    server.faults = list(faults)
    with pushing(tmp_path, server.url) as pusher:
        told = pusher.wait_for("failing", queue=1, sent=0)
        assert told["detail"].startswith(f"{clips[0].name}: {said}") and told["detail"].endswith(" (1 to go, 0 copied)")
        assert pusher.log().count(said) == 1
        # what is not whole is not renamed
        assert [asked.split()[0] for asked in server.asked] == ["PUT", "MOVE"][: 1 + ("renaming" in said)]
        assert f"/dav/{clips[0].name}" not in server.stored
        pusher.hurry()
        pusher.wait_for("waiting", sent=1)
        assert "copying again" in pusher.log()
    assert server.stored[f"/dav/{clips[0].name}"] == clips[0].read_bytes()


def test_a_clip_that_is_always_refused_does_not_hold_up_others(
    tmp_path: Path, server: WebDav, clips: list[Path]
) -> None:
    server.lasting = {clips[0].name: 413}
    with pushing(tmp_path, server.url) as pusher:
        told = pusher.wait_for("failing", queue=2)
        assert "answers 413 to copying; the server takes no file of this size" in told["detail"]
        pusher.hurry()
        until("the other one is there", lambda: f"/dav/{clips[1].name}" in server.stored)
        pusher.wait_for("failing", queue=1, sent=1)
        assert pusher.log().count("413") == 1


def test_no_server_is_a_failure_until_there_is_nothing_to_send(tmp_path: Path, clips: list[Path]) -> None:
    server = WebDav()
    server.server_close()  # nobody listens there
    with pushing(tmp_path, server.url) as pusher:
        told = pusher.wait_for("failing", queue=2)
        assert "curl: (7) Failed to connect to 127.0.0.1" in told["detail"]
        for clip in clips:
            clip.unlink()
        pusher.hurry()
        pusher.wait_for("waiting", queue=0, sent=0)


@pytest.mark.usefixtures("clips")
@pytest.mark.parametrize("password", [LOGIN[1], "wrong-secret"])
def test_the_login_is_in_the_file_and_nowhere_else(password: str, tmp_path: Path) -> None:
    netrc = tmp_path / "login"
    netrc.write_text(f"machine 127.0.0.1 login {LOGIN[0]} password {password}\n")
    netrc.chmod(0o644)
    with serving(WebDav(LOGIN)) as server:
        server.faults = ["hang"]
        with pushing(tmp_path, server.url, **{"push.credentials_file": str(netrc)}) as pusher:
            (child,) = until("curl", lambda: server.asked and pusher.children())
            assert b"--netrc-file" in (command := Path(f"/proc/{child}/cmdline").read_bytes())
            assert password.encode() not in command
            server.over.set()
            if password == LOGIN[1]:
                pusher.wait_for("waiting", sent=2)
            else:
                told = pusher.wait_for("failing", sent=0)
                assert "answers 401 to copying; the login is refused; push.credentials_file" in told["detail"]
            assert f"{netrc} can be read by everybody on this machine; chmod 640" in pusher.log()
            assert password not in pusher.log()


def test_a_login_that_cannot_be_read_is_a_wrong_setting(tmp_path: Path, server: WebDav) -> None:
    with pushing(tmp_path, server.url, **{"push.credentials_file": str(tmp_path / "none")}) as pusher:
        assert pusher.process.wait(patience(10)) == os.EX_CONFIG
        assert "push.credentials_file: " in pusher.log() and "Traceback" not in pusher.log()


@pytest.mark.usefixtures("clips")
@pytest.mark.parametrize(("url", "program"), [("http://127.0.0.1:9/dav", "curl"), ("rclone:nas:camera", "rclone")])
def test_a_missing_program_is_named_with_the_command(url: str, program: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    with pushing(tmp_path, url, path=str(tmp_path / "bin")) as pusher:
        told = pusher.wait_for("failing", queue=2)
        assert told["detail"].startswith(f"{program} is not installed; sudo apt install {program} (")


def test_a_missing_folder_is_told_and_its_clips_come_later(tmp_path: Path, server: WebDav) -> None:
    folder = tmp_path / "recordings"
    with pushing(tmp_path, server.url) as pusher:
        assert pusher.wait_for("failing")["detail"].startswith(f"{folder}: No such file or directory")
        folder.mkdir()
        film(folder, 5)
        pusher.hurry()
        pusher.wait_for("waiting", sent=1)


@pytest.mark.usefixtures("clips")
def test_a_certificate_that_nobody_signed_gets_nothing(tmp_path: Path, server: WebDav) -> None:
    made = certificates.make(tmp_path / "tls")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with pushing(tmp_path, server.url.replace("http:", "https:")) as pusher:
        told = pusher.wait_for("failing", sent=0)
        assert "no authority that this machine trusts has signed the certificate" in told["detail"]
        assert server.asked == []


@pytest.mark.usefixtures("clips")
def test_a_host_that_is_not_known_gets_nothing(tmp_path: Path) -> None:
    with pushing(tmp_path, "sftp://user@127.0.0.1:9/camera") as pusher:
        told = pusher.wait_for("failing", queue=2)
        known = tmp_path / "state/.ssh/known_hosts"
        beginning = f"{known} is missing, so 127.0.0.1 is not known; ssh-keyscan -p 9 127.0.0.1 | sudo "
        assert told["detail"].startswith(beginning)
        rest = told["detail"].removeprefix(beginning).partition(" (")[0]
        subprocess.run(["sh", "-c", f"echo key | {rest}"], check=True, timeout=30)
        assert known.read_text() == "key\n"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_ends_curl_and_the_clip_is_sent_whole_later(
    how: signal.Signals, tmp_path: Path, server: WebDav, clips: list[Path]
) -> None:
    server.faults = ["hang"]
    with pushing(tmp_path, server.url) as pusher:
        assert pusher.wait_for("sending", file=clips[0].name, queue=2)["detail"].startswith(f"Copying {clips[0].name}")
        (child,) = until("curl hangs", lambda: server.asked and pusher.children())
        pusher.process.send_signal(how)
        assert pusher.process.wait(patience(5)) == (0 if how == signal.SIGTERM else -how)
        if how == signal.SIGKILL:  # as nobody can end it then, but systemd
            with pushing(tmp_path, server.url) as second:
                assert second.process.wait(patience(5)) == 1
                assert "another pusher works here" in second.log()
            os.kill(child, signal.SIGKILL)
        until("curl is gone", lambda: not Path(f"/proc/{child}/exe").exists())
    with pushing(tmp_path, server.url) as pusher:
        pusher.wait_for("waiting", sent=2)
    assert server.stored == {f"/dav/{clip.name}": clip.read_bytes() for clip in clips}


def test_a_clip_that_is_removed_meanwhile_is_no_failure(tmp_path: Path, server: WebDav, clips: list[Path]) -> None:
    server.faults = ["hang"]
    with pushing(tmp_path, server.url) as pusher:
        pusher.wait_for("sending", file=clips[0].name)
        until("curl has the clip", lambda: server.asked)
        clips[0].unlink()
        server.faults = [500]  # to renaming it
        server.over.set()
        pusher.wait_for("waiting", sent=1, queue=0)
        assert pusher.log() == ""


# -- the command while it runs


def test_a_command_that_takes_too_long_is_killed_with_its_group(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    sending = Sending(["sh", "-c", f"sleep 1000 & echo $! > {pid}; wait"], {}, 100.0, 7.0)
    child = int(until("a child", lambda: pid.exists() and pid.read_text().strip()))
    assert sending.ended(106.9) is None
    assert sending.ended(107.0) == (-9, "", "it took longer than 7 s")
    until("the child is gone", lambda: not Path(f"/proc/{child}/exe").exists())


def test_an_endless_error_is_cut_and_holds_up_nothing() -> None:
    sending = Sending(["sh", "-c", "yes >&2 & sleep 0.1; kill $!; exit 3"], {}, 0.0, 10.0)
    status, out, err = until("its end", lambda: sending.ended(1.0))
    assert (status, out) == (3, "") and 0 < len(err) <= 65536
