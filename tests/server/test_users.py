"""Names and passwords on the whole daemon: rights, lock-outs, and viewers that do not notice them."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from pi_cam_daemon.server.handler import _CHANGES, _ROUTES
from tests.conftest import Report
from tests.kit.daemon import REFUSED, ROOT, Daemon, running
from tests.kit.lateness import patience
from tests.kit.network import CAMERA
from tests.kit.wait import until
from tests.kit.wire import Reading, Viewer, basic, fairly_shown, read_all, say, watch

ADMIN, VIEWER = ("alice", "correct horse battery"), ("bob", "지우개 staple")
WRONG = ("bob", "correct horse battery")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    users.add(file, ADMIN[0], Role.ADMIN, ADMIN[1])
    users.add(file, VIEWER[0], Role.VIEWER, VIEWER[1])
    return file


def settings(file: Path, **more: object) -> dict[str, object]:
    every = {"http.users_file": str(file), "video.width": 320, "video.height": 240, "log.level": "debug"}
    return {**every, **{f"http.{key}": value for key, value in more.items()}}


@pytest.fixture
def daemon(tmp_path: Path, file: Path) -> Iterator[Daemon]:
    with running(tmp_path / "daemon", settings(file)) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon with the same users for the tests that change nothing and enter no wrong password."""
    folder = tmp_path_factory.mktemp("shared")
    users.add(folder / "users", ADMIN[0], Role.ADMIN, ADMIN[1])
    users.add(folder / "users", VIEWER[0], Role.VIEWER, VIEWER[1])
    with running(folder / "daemon", settings(folder / "users")) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


def login(name: str, password: str) -> str:
    return f"Authorization: {basic(name, password)}"


def ask(
    daemon: Daemon,
    path: str,
    who: tuple[str, str] | None = None,
    method: str = "GET",
    body: bytes = b"",
    source: str = "",
) -> tuple[int, str, bytes]:
    """Return status, head and the first of the body of *path*, requested by *who* from *source*."""
    fields = ["Content-Type: application/json", f"Content-Length: {len(body)}", *([login(*who)] if who else [])]
    return say(CAMERA.connect("127.0.0.1", daemon.port, source), path, fields, method, body)


def watch_as(daemon: Daemon, who: tuple[str, str]) -> Viewer:
    return watch(daemon.connect(""), fields=[login(*who)])


def test_all_but_health_needs_a_user_and_every_change_an_admin(shared: Daemon) -> None:
    health = {"/healthz": 200, "/state": 200}  # asked on the machine itself
    for path in _ROUTES:
        stranger = 200 if path == "/livez" else health.get(path, 401)
        for method in ("GET", "HEAD"):
            assert ask(shared, path, method=method)[0] == stranger, path
            for who in (VIEWER, ADMIN):
                assert ask(shared, path, who, method)[0] not in (401, 403), (path, who)
    for path in ("/nowhere", "/index.html", "/livez/../snapshot", "//snapshot", "/%73napshot", "/snapshot/"):
        assert ask(shared, path)[0] == 401, path
    for path in _CHANGES:
        body = b'{"brightness": 0.1}'
        assert ask(shared, path, None, "POST", body)[0] == 401
        assert ask(shared, path, VIEWER, "POST", body)[0] == 403
        assert ask(shared, path, ADMIN, "POST", body)[0] not in (401, 403)
    for path in ("/?action=stream", "/?action=snapshot", "/mjpeg/?mode=stream"):
        assert ask(shared, path)[0] == 401
        assert ask(shared, path, VIEWER)[0] == 200


def test_the_state_tells_what_the_asker_may_do_and_each_refusal_its_reason(shared: Daemon) -> None:
    for who, role in ((None, "viewer"), (VIEWER, "viewer"), (ADMIN, "admin")):
        assert json.loads(ask(shared, "/state", who)[2])["role"] == role
    assert "\r\nX-Refused: password\r\n" in ask(shared, "/snapshot")[1]
    assert "\r\nX-Refused: role\r\n" in ask(shared, "/controls", VIEWER, "POST", b"{}")[1]


def test_a_body_is_asked_for_only_after_the_password(shared: Daemon) -> None:
    head = "POST /controls HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n"
    head += "Content-Type: application/json\r\n"
    for who, first in ((None, b"HTTP/1.1 401 "), (VIEWER, b"HTTP/1.1 403 "), (ADMIN, b"HTTP/1.1 100 ")):
        with shared.connect(f"{head}{login(*who)}\r\n\r\n" if who else f"{head}\r\n") as sock:
            answer = sock.recv(4096)
            assert answer.startswith(first)
            if who is ADMIN:
                sock.sendall(b"{}")
                assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")
            else:
                assert b"\r\nConnection: close\r\n" in answer


def test_the_401_tells_programs_and_people_what_to_do(shared: Daemon) -> None:
    status, head, body = ask(shared, "/snapshot")
    assert status == 401
    assert '\r\nWWW-Authenticate: Basic realm="pi-cam-daemon", charset="UTF-8"\r\n' in head
    assert body == b"This camera asks for a name and a password\n"
    sock = shared.connect("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
    with sock:
        page = read_all(sock)
    assert "로그인이 필요합니다".encode() in page
    sock = shared.connect("GET / HTTP/1.1\r\nHost: localhost\r\nX-Requested-With: fetch\r\nConnection: close\r\n\r\n")
    with sock:
        told = sock.recv(65536)
    assert told.startswith(b"HTTP/1.1 401 ") and b"WWW-Authenticate" not in told, "no dialog opens behind the page"


def test_a_client_logs_in_on_the_same_connection(shared: Daemon) -> None:
    with shared.connect("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n") as sock:
        sock.recv(65536)
    with shared.connect("/app.js") as sock:
        assert sock.recv(65536).startswith(b"HTTP/1.1 401 Unauthorized\r\nConnection: keep-alive\r\n")
        sock.sendall(f"GET /app.js HTTP/1.1\r\nHost: localhost\r\n{login(*VIEWER)}\r\n\r\n".encode())
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


def test_undecodable_credentials_count_as_missing(shared: Daemon) -> None:
    not_utf8 = base64.b64encode(b"b\xff:\xfe").decode()
    for token in ("", "!!!!", "Ym9i", "/w==", not_utf8, "A" * 16000, "\xff\xff", "Ym9iOg=\x80"):
        head = f"GET /snapshot HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {token}\r\nConnection: close\r\n"
        with shared.connect(f"{head}\r\n") as sock:
            answer = read_all(sock)
        assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n"), token[:9]
        assert b"\r\n\r\nThis camera asks for a name and a password\n" in answer, token[:9]
    assert ask(shared, "/snapshot", VIEWER)[0] == 200
    assert "Traceback" not in shared.log()


def test_the_password_of_a_polling_client_is_derived_once(daemon: Daemon, report: Report) -> None:
    begun = time.monotonic()
    assert ask(daemon, "/snapshot", VIEWER)[0] == 200
    first = time.monotonic() - begun
    begun = time.monotonic()
    for _ in range(50):
        assert ask(daemon, "/snapshot", VIEWER)[0] == 200
    later = (time.monotonic() - begun) / 50
    report(f"{first * 1000:.0f} ms for the first snapshot, {later * 1000:.1f} ms for each of 50 later ones")
    assert later < first / 2


def test_a_reload_ends_only_the_streams_of_removed_and_changed_users(daemon: Daemon, file: Path) -> None:
    users.add(file, "carol", Role.VIEWER, "carol's password")
    daemon.reload()
    stays, goes, changes = (
        watch_as(daemon, ADMIN),
        watch_as(daemon, VIEWER),
        watch_as(daemon, ("carol", "carol's password")),
    )
    for viewer in (stays, goes, changes):
        viewer.part()
    users.remove(file, VIEWER[0])
    users.add(file, "carol", Role.VIEWER, "carol's other one")
    users.add(file, "dave", Role.VIEWER, "dave's password")
    daemon.reload()
    for viewer in (goes, changes):
        with pytest.raises((AssertionError, OSError)):
            viewer.parts(100)
    stays.parts(20)
    found = {who: ask(daemon, "/snapshot", who)[0] for who in (ADMIN, VIEWER, ("dave", "dave's password"))}
    assert found == {ADMIN: 200, VIEWER: 401, ("dave", "dave's password"): 200}
    users.add(file, ADMIN[0], Role.VIEWER, ADMIN[1])  # salted anew
    daemon.reload()
    assert ask(daemon, "/controls", ADMIN, "POST", b"{}")[0] == 403


def test_a_reload_that_adds_users_ends_anonymous_streams(tmp_path: Path, file: Path) -> None:
    with running(tmp_path / "daemon", {**settings(file), "http.users_file": ""}) as daemon:
        daemon.wait_for_state("streaming")
        viewer = daemon.watch()
        viewer.part()
        assert ask(daemon, "/snapshot")[0] == 200
        daemon.write_config(settings(file))
        daemon.reload()
        with pytest.raises((AssertionError, OSError)):
            viewer.parts(100)
        assert ask(daemon, "/snapshot")[0] == 401
        daemon.write_config({**settings(file), "http.users_file": ""})
        daemon.reload()
        assert ask(daemon, "/snapshot")[0] == 200


def test_a_broken_file_changes_nothing_and_is_explained(daemon: Daemon, file: Path) -> None:
    viewer = watch_as(daemon, VIEWER)
    good = file.read_text()
    for text, what in ((f"{good}eve:viewer:secret of hers\n", "line 3 is not a user"), (None, "there is no such file")):
        file.write_text(text) if text else file.unlink()
        daemon.reload(said=REFUSED)
        assert what in daemon.log()
        viewer.parts(3)
        assert ask(daemon, "/snapshot", VIEWER)[0] == 200
    assert "secret of hers" not in daemon.log()


def test_the_daemon_does_not_start_without_the_users_file(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "pi_cam_daemon", "run", "--set", f'http.users_file="{tmp_path}/none"']
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1, "it may be there soon"
    problem = f"http.users_file: {tmp_path}/none: there is no such file; create it with pi-cam-daemon add-user"
    assert problem in done.stderr


def test_hundreds_of_wrong_passwords_disturb_nobody_and_all_fail(tmp_path: Path, file: Path, report: Report) -> None:
    with running(tmp_path / "daemon", settings(file, max_connections_per_address=1000)) as daemon:
        daemon.wait_for_state("streaming")
        watching = [Reading(watch_as(daemon, VIEWER)) for _ in range(10)]
        answers: Counter[int] = Counter()
        lock = threading.Lock()

        def guess(address: int) -> None:
            for number in range(20):
                who, status = ("bob", f"guess {address} {number}"), 503
                while status == 503:  # so many come at once that some are told to come again
                    status = ask(daemon, "/snapshot", who, source=f"127.0.4.{address}")[0]
                    with lock:
                        answers[status] += 1
                    time.sleep(0.1)

        begun = time.monotonic()
        threads = [threading.Thread(target=guess, args=(number + 1,)) for number in range(20)]
        for thread in threads:
            thread.start()
        known = 0
        while any(thread.is_alive() for thread in threads):
            known += 1
            assert ask(daemon, "/snapshot", VIEWER)[0] == 200  # is remembered, and never waits
        for thread in threads:
            thread.join(patience(60))
        ended = time.monotonic()
        shown, least = fairly_shown(watching, begun, ended)
        log = daemon.log()
        report(
            f"{dict(answers)} in {ended - begun:.1f} s; {known} snapshots with the right one; "
            f"{shown} pictures, of which each of ten viewers saw {least:.1%} or more"
        )
        # a fast machine has none wait so long that it is refused
        assert {401, 429} <= answers.keys() <= {401, 429, 503} and answers[401] + answers[429] == 400
        assert answers[401] <= 20 * 9  # five are free, and the next ones after 1, 2, 4 and 8 s
        assert shown > (ended - begun) * 25 / 2
        assert least >= 0.95
        metrics = ask(daemon, "/metrics", ADMIN)[2].decode()
        assert f'pi_cam_http_denied_total{{reason="password"}} {float(answers[401])}' in metrics
        assert f'pi_cam_http_denied_total{{reason="lockout"}} {float(answers[429])}' in metrics
        # once a minute
        assert log.count("refused 127.0.4.1: The name or the password is wrong") <= 1 + (ended - begun) // 60


def test_a_locked_out_client_is_told_how_long_to_wait_and_a_reload_ends_it(daemon: Daemon) -> None:
    for number in range(5):
        assert ask(daemon, "/snapshot", ("bob", f"guess {number}"), source="127.0.4.9")[0] == 401
    status, head, _ = ask(daemon, "/snapshot", VIEWER, source="127.0.4.9")
    assert status == 429 and re.search(r"\r\nRetry-After: 1\r\n", head)
    until("let in", lambda: ask(daemon, "/snapshot", VIEWER, source="127.0.4.9")[0] == 200)
    assert ask(daemon, "/snapshot", ("bob", "guess 5"), source="127.0.4.9")[0] == 401
    daemon.reload()
    assert ask(daemon, "/snapshot", VIEWER, source="127.0.4.9")[0] == 200, "2 s of it were left"


def test_the_network_is_checked_before_the_password(tmp_path: Path, file: Path) -> None:
    with running(tmp_path / "daemon", settings(file, trusted_proxies=["127.0.0.1"])) as daemon:
        for who in (None, VIEWER, WRONG):
            fields = f"X-Forwarded-For: 203.0.113.9\r\n{login(*who)}" if who else "X-Forwarded-For: 203.0.113.9"
            with daemon.connect(f"GET /livez HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n") as sock:
                assert sock.recv(65536).startswith(b"HTTP/1.1 403 ")


def test_behind_a_local_proxy_the_state_needs_a_user(tmp_path: Path, file: Path) -> None:
    with running(tmp_path / "daemon", settings(file, trusted_proxies=["127.0.0.1"])) as daemon:
        for client in ("192.168.1.9", "::1"):
            fields = f"X-Forwarded-For: {client}"
            with daemon.connect(f"GET /state HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n") as sock:
                assert sock.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_scripts_of_a_listed_origin_can_log_in(tmp_path: Path, file: Path) -> None:
    with running(tmp_path / "daemon", settings(file, cors_origins=["http://mainsail.local"])) as daemon:
        lines = "OPTIONS /state HTTP/1.1\r\nHost: localhost\r\nOrigin: http://mainsail.local\r\n"
        with daemon.connect(f"{lines}Access-Control-Request-Headers: authorization\r\n\r\n") as sock:
            answer = sock.recv(65536).decode()
        assert answer.startswith("HTTP/1.1 200 OK")
        assert "\r\nAccess-Control-Allow-Headers: Authorization, Content-Type\r\n" in answer


def test_no_secret_appears_anywhere(daemon: Daemon, file: Path) -> None:
    watching = watch_as(daemon, VIEWER)
    for who in (ADMIN, VIEWER, WRONG, ("my secret name", "my secret password")):
        for path in ("/", "/state", "/controls", "/snapshot"):
            ask(daemon, path, who)
    ask(daemon, "/controls", VIEWER, "POST", b"{}")
    with daemon.connect(
        "GET http://bob:url%20secret@localhost/snapshot?password=query-secret HTTP/1.1\r\n\r\n"
    ) as sock:
        assert sock.recv(65536).startswith(b"HTTP/1.1 400 ")
    ask(daemon, "/snapshot?password=query-secret")
    daemon.reload()
    state, metrics = ask(daemon, "/state", ADMIN)[2], ask(daemon, "/metrics", ADMIN)[2]
    processes = b"".join(
        (Path("/proc", str(pid)) / name).read_bytes()
        for pid in (daemon.process.pid, daemon.camera_pid())
        for name in ("cmdline", "environ")
    )
    bundle = daemon.folder / "bundle.tar.gz"
    argv = [sys.executable, "-m", "pi_cam_daemon", "support-bundle", "--config", daemon.config_file, bundle]
    more = ["--set", f"http.port={daemon.port}"]
    subprocess.run([*argv, *more], cwd=ROOT, capture_output=True, timeout=120, check=True)
    with tarfile.open(fileobj=io.BytesIO(bundle.read_bytes())) as tar:
        packed = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]
    assert json.loads(packed["pi-cam-daemon-support/state.json"])["ok"] is True  # which needs no password here
    everything = {"log": daemon.log().encode(), "state": state, "metrics": metrics, "processes": processes, **packed}
    assert all(everything.values())
    secrets = [ADMIN[1], VIEWER[1], "my secret", "url secret", "url%20secret", "query-secret"]
    secrets += [login(*who).split()[-1] for who in (ADMIN, VIEWER, WRONG, ("my secret name", "my secret password"))]
    secrets += [line.rpartition("$")[2] for line in file.read_text().splitlines()]
    for name, text in everything.items():
        for secret in secrets:
            assert secret.encode() not in text, (name, secret)
    watching.part()


def test_without_users_no_login_module_is_loaded() -> None:
    code = (
        "import sys, pi_cam_daemon.daemon; "
        "users = {'pi_cam_daemon.config.users', 'pi_cam_daemon.server.logins', 'hmac', 'getpass'}; "
        "print(sorted(users & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "[]\n"
