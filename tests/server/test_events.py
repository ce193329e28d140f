"""Events of the whole daemon: at /events, live, and by a webhook."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from pi_cam_daemon.imaging import jpeg
from tests.kit import certificates
from tests.kit.certificates import Certificate
from tests.kit.daemon import REFUSED, ROOT, Daemon, running
from tests.kit.documents import blocks
from tests.kit.events import Listener, Receiver, begin, event, events, move
from tests.kit.wait import free_port, until
from tests.kit.wire import Reading, ask, basic, say
from tests.server.test_metrics import value

SETTINGS = {"video.width": 320, "video.height": 240, "small.width": 160}
SMALL = (160, 120)
MANY = 60  # motions at once; rig/camera.py says so


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificates.make(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for the tests that make no event."""
    with running(tmp_path_factory.mktemp("events") / "daemon", SETTINGS) as daemon:
        yield daemon


def listen(daemon: Daemon, path: str = "/events", *fields: str, buffer: int = 0) -> Listener:
    return Listener(daemon.connect("", buffer), path, *fields)


# -- what is an event


def test_new_masks_take_the_pictures_from_the_events(daemon: Daemon) -> None:
    daemon.fault("motion")
    begun = event(daemon, "motion", lambda one: one["picture"])
    daemon.fault("motion-ends")
    event(daemon, "motion", lambda one: one["ended"])
    assert daemon.post("/settings", b'{"video.masks": [[0, 0, 0.5, 0.5]]}')[0] == 200
    assert daemon.get(f"/{begun['picture']}")[0] == 404, "it shows what nobody may see any more"
    assert [one["picture"] for one in events(daemon)] == [None]


def test_a_motion_is_one_event_with_a_small_picture(daemon: Daemon) -> None:
    assert daemon.state()["event"] is None
    before = time.time()
    daemon.fault("motion")
    begun = event(daemon, "motion", lambda one: one["picture"])
    assert before - 1 < begun["began"] < time.time() and begun["ended"] is None
    assert (begun["peak"], begun["box"]) == (0.125, [0.25, 0.5, 0.25, 0.25])
    assert begun["picture"] == f"events/{begun['id']}.jpg"
    status, headers, body = daemon.get(f"/{begun['picture']}")
    assert (status, headers["content-type"], headers["cache-control"][:8]) == (200, "image/jpeg", "no-store")
    assert jpeg.size(body) == SMALL

    daemon.fault("motion-ends")
    ended = event(daemon, "motion", lambda one: one["ended"])
    assert (ended["id"], ended["peak"], ended["picture"]) == (begun["id"], 0.25, begun["picture"])
    assert begun["began"] == ended["began"] <= ended["ended"] < time.time()
    assert ended["text"].startswith("Something moved for ")
    assert daemon.state()["event"] == ended
    assert len(events(daemon)) == 1
    assert value(daemon, "pi_cam_events_total", kind="motion") == 1


def test_small_pictures_are_asked_for_only_for_an_event(daemon: Daemon) -> None:
    assert daemon.state()["small"]["width"] is None
    move(daemon)
    until("a small picture", lambda: daemon.state()["small"]["width"])
    event(daemon, "motion", lambda one: one["picture"])
    until("no more of them", lambda: daemon.state()["small"]["frames"]["age_seconds"] > 1)


def test_a_picture_that_there_is_not_is_404(shared: Daemon) -> None:
    for path in ("/events/1.jpg", "/events/99999999999999999999999.jpg", "/events/N.jpg", "/events/-1.jpg"):
        status, headers, _ = shared.get(path)
        assert (status, headers["x-refused"]) == (404, "other"), path
    assert b"The picture of this event is gone" in shared.get("/events/1.jpg")[2]
    status, headers, _ = shared.post("/events/1.jpg")
    assert (status, headers["allow"]) == (405, "GET, HEAD, OPTIONS")


def test_a_camera_that_is_lost_and_comes_back_is_told_with_the_cause(daemon: Daemon) -> None:
    begin(daemon)
    daemon.fault("lost")
    lost = event(daemon, "camera-lost")
    assert (lost["cause"], lost["text"], lost["picture"]) == ("lost", "The camera was unplugged", None)
    assert lost["ended"] == lost["began"]
    back = event(daemon, "camera-back")
    assert back["cause"] is None and back["id"] > lost["id"]
    motion = event(daemon, "motion")
    assert motion["ended"], "the camera that saw it has gone"


def test_a_motion_ends_with_a_camera_that_starts_anew(daemon: Daemon) -> None:
    begin(daemon)
    daemon.reload({**SETTINGS, "video.quality": 70})
    event(daemon, "motion", lambda one: one["ended"])
    assert [one["kind"] for one in events(daemon)] == ["motion"], "a wanted restart is no loss"


def test_a_camera_that_comes_and_goes_is_told_once_a_minute(daemon: Daemon) -> None:
    for starts in (2, 3):
        daemon.fault("crash")
        until("another start", lambda n=starts: daemon.state()["camera_process"]["starts"] >= n)  # type: ignore[misc]
        daemon.wait_for_state("streaming")
    assert [one["kind"] for one in events(daemon)] == ["camera-lost", "camera-back"]


def test_a_configuration_that_is_refused_is_an_event(daemon: Daemon) -> None:
    daemon.reload({**SETTINGS, "video.width": 7, "video.height": 9}, REFUSED)
    refused = event(daemon, "reload-refused")
    assert "video.width" in refused["text"] and "video.height" not in refused["text"]
    assert daemon.state()["event"]["kind"] == "reload-refused"


def test_events_that_have_not_changed_are_left_out(daemon: Daemon) -> None:
    move(daemon)
    first = event(daemon, "motion", lambda one: one["picture"])
    daemon.reload({"video.width": 7}, REFUSED)
    event(daemon, "reload-refused")
    later = json.loads(daemon.get(f"/events?after={first['changed']}")[2])["events"]
    assert [one["kind"] for one in later] == ["reload-refused"]
    assert json.loads(daemon.get(f"/events?after={later[-1]['changed']}")[2]) == {"events": []}
    every = json.loads(daemon.get("/events?after=9007199254740992")[2])["events"]
    assert [one["kind"] for one in every] == ["motion", "reload-refused"], "the number of another run"
    assert daemon.get("/events?after=new")[0] == 400


# -- live


def hear_all(listener: Listener) -> None:
    """Read until as many motions have ended as the rig makes at once."""
    ended: set[int] = set()
    while len(ended) < MANY:
        ended.add(listener.next_where(lambda one: one["ended"])["id"])


def test_what_happens_is_told_live(daemon: Daemon) -> None:
    listener = listen(daemon)
    assert "Content-Type: text/event-stream" in listener.head and "Connection: close" in listener.head
    daemon.fault("motion")
    began = listener.next()
    assert (began["kind"], began["ended"]) == ("motion", None)
    listener.next_where(lambda one: one["picture"])
    daemon.fault("motion-ends")
    ended = listener.next_where(lambda one: one["ended"])
    assert ended["id"] == began["id"]
    assert listener.ids == sorted(set(listener.ids))
    assert value(daemon, "pi_cam_event_streams") == 1
    listener.close()
    until("its place is free", lambda: value(daemon, "pi_cam_event_streams") == 0)


def test_a_listener_that_comes_back_gets_what_it_missed_and_no_more(daemon: Daemon) -> None:
    known = move(daemon)["id"]
    listener = listen(daemon)
    daemon.fault("motion")
    missed = listener.next_where(lambda one: one["id"] != known and one["picture"])["id"]
    listener.close()
    daemon.fault("motion-ends")
    event(daemon, "motion", lambda one: one["id"] == missed and one["ended"])
    last = listener.ids[-1]
    for again in (listen(daemon, "/events", f"Last-Event-ID: {last}"), listen(daemon, f"/events?after={last}")):
        assert again.next()["id"] == missed, "the end is all that it missed"
        again.close()
    both = listen(daemon, "/events?after=0", f"Last-Event-ID: {last}")
    assert both.next()["id"] == missed, "a browser repeats the address, and knows better meanwhile"
    both.close()


def test_all_listeners_get_everything_in_order(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "http.max_event_streams": 200}) as daemon:
        daemon.wait_for_state("streaming")
        listeners = [listen(daemon) for _ in range(100)]
        daemon.fault("motions")
        for listener in listeners:
            hear_all(listener)
            assert listener.ids == sorted(listener.ids)
            listener.close()
        assert len(events(daemon, "motion")) == MANY


def test_one_listener_too_many_is_told_why(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "http.max_event_streams": 1}) as daemon:
        first = listen(daemon)
        status, head, body = say(daemon.connect(""), "/events", ["Accept: text/event-stream"])
        assert status == 503 and "X-Refused: max_event_streams" in head and "Retry-After: 2" in head
        assert body == b"There is 1 event stream already, and http.max_event_streams allows no more\n"
        assert daemon.get("/events")[0] == 200, "asking now and then takes no place"
        assert say(daemon.connect(""), "/events", ["Accept: text/event-stream"], "HEAD")[0] == 503
        first.close()
        listen(daemon).close()
        until("both gone", lambda: value(daemon, "pi_cam_event_streams") == 0)
        status, head, body = say(daemon.connect(""), "/events", ["Accept: text/event-stream"], "HEAD")
        assert (status, body) == (200, b"") and "text/event-stream" in head
        assert value(daemon, "pi_cam_event_streams") == 0


def test_one_address_takes_half_of_the_places_at_most(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "http.max_event_streams": 3}) as daemon:
        listeners = [listen(daemon) for _ in range(2)]
        status, _, body = say(daemon.connect(""), "/events", ["Accept: text/event-stream"])
        assert status == 503
        assert body == b"127.0.0.1 has 2 event streams, and http.max_event_streams allows no more\n"
        other = socket.create_connection(("127.0.0.1", daemon.port), 10, source_address=("127.0.0.2", 0))
        assert say(other, "/events", ["Accept: text/event-stream"], "HEAD")[0] == 200
        for listener in listeners:
            listener.close()


def test_a_listener_that_takes_nothing_is_dropped_and_nobody_waits(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {**SETTINGS, "http.viewer_timeout_seconds": 1.0}) as daemon:
        daemon.wait_for_state("streaming")
        slow, quick, viewer = listen(daemon, buffer=4096), listen(daemon), Reading(daemon.watch())

        def dropped() -> bool:
            daemon.fault("motions")
            hear_all(quick)
            return value(daemon, "pi_cam_slow_clients_dropped_total", reason="timeout") == 1

        until("dropped", dropped, 20)
        assert value(daemon, "pi_cam_event_streams") == 1
        begun = len(viewer.parts)
        until("the stream goes on", lambda: len(viewer.parts) > begun + 10)
        viewer.finish()
        viewer.viewer.close()
        quick.close()
        slow.close()


def test_a_reload_that_no_longer_admits_a_client_ends_its_events(tmp_path: Path) -> None:
    proxied = {**SETTINGS, "http.trusted_proxies": ["127.0.0.1"]}
    with running(tmp_path / "daemon", proxied) as daemon:
        theirs = listen(daemon, "/events", "X-Forwarded-For: 192.168.7.7")
        ours = listen(daemon, "/events", "X-Forwarded-For: 192.168.8.8")
        daemon.reload({**proxied, "http.allowed_networks": ["192.168.8.0/24"]})
        assert theirs.ended()
        daemon.reload({"video.width": 7}, REFUSED)
        assert ours.next()["kind"] == "reload-refused"
        ours.close()


# -- for whom


def test_events_need_a_password_like_pictures(tmp_path: Path) -> None:
    file = tmp_path / "users"
    users.add(file, "alice", Role.ADMIN, "correct horse battery")
    users.add(file, "bob", Role.VIEWER, "unrelated staple")
    settings = {**SETTINGS, "http.users_file": str(file)}
    sse = "Accept: text/event-stream"
    with running(tmp_path / "daemon", settings) as daemon:
        for path in ("/events", "/events/1.jpg"):
            status, headers, _ = daemon.get(path)
            assert (status, headers["x-refused"]) == (401, "password"), path
        status, head, _ = say(daemon.connect(""), "/events", [sse])
        assert status == 401 and "WWW-Authenticate" not in head, "a browser would open its dialog"
        bob = f"Authorization: {basic('bob', 'unrelated staple')}"
        alice = f"Authorization: {basic('alice', 'correct horse battery')}"
        assert say(daemon.connect(""), "/events", [bob])[0] == 200
        assert say(daemon.connect(""), "/events/1.jpg", [bob])[0] == 404
        his, hers = listen(daemon, "/events", bob), listen(daemon, "/events", alice)
        users.remove(file, "bob")
        daemon.reload()
        assert his.ended()
        daemon.reload({"video.width": 7, "http.users_file": str(file)}, REFUSED)
        assert hers.next()["kind"] == "reload-refused"
        hers.close()


@pytest.mark.parametrize("field", ["Host: evil.example", "Host: localhost\r\nX-Forwarded-For: 192.168.1.1"])
def test_events_are_for_the_same_hosts_as_pictures(shared: Daemon, field: str) -> None:
    answers = []
    for path in ("/snapshot", "/events", "/events/1.jpg"):
        with shared.connect(f"GET {path} HTTP/1.0\r\n{field}\r\n\r\n") as sock:
            answers.append(sock.recv(4096).split()[1])
    assert len(set(answers)) == 1 and answers[0] in (b"421", b"403"), answers


def test_events_are_told_over_tls(tmp_path: Path, certificate: Certificate) -> None:
    settings = certificate.settings(max_event_streams=2)
    with running(tmp_path / "daemon", settings) as daemon:
        sock = certificate.client().wrap_socket(daemon.connect(""), server_hostname="127.0.0.1")
        listener = Listener(sock)
        daemon.reload({"video.width": 7}, REFUSED)
        assert listener.next()["kind"] == "reload-refused"
        listener.close()


# -- by a webhook


def sent(receiver: Receiver, count: int = 1) -> list[dict[str, object]]:
    until(f"{count} requests", lambda: len(receiver.got) >= count)
    return receiver.tables()


def test_begin_and_end_are_posted_with_a_signature_over_https(tmp_path: Path, certificate: Certificate) -> None:
    secret = tmp_path / "secret"
    secret.write_text("do not tell\n")
    secret.chmod(0o640)
    with Receiver(certificate) as receiver:
        settings = {
            **SETTINGS, "page.name": "Garden", "log.level": "debug",
            "events.webhook_url": receiver.url, "events.webhook_secret_file": str(secret),
        }  # fmt: skip
        with running(tmp_path / "daemon", settings, env={"SSL_CERT_FILE": str(certificate.ca)}) as daemon:
            daemon.wait_for_state("streaming")
            move(daemon)
            begin, end = sent(receiver, 2)
            assert (begin["camera"], begin["kind"], begin["ended"]) == ("Garden", "motion", None)
            assert begin["id"] == end["id"] and end["ended"]
            event(daemon, "motion", lambda one: one["picture"])
            for path, fields, body in receiver.got:
                assert (path, fields["content-type"]) == ("/hook/token?key=7", "application/json")
                signature = hmac.new(b"do not tell", body, hashlib.sha256).hexdigest()
                assert fields["x-hub-signature-256"] == f"sha256={signature}"
            assert value(daemon, "pi_cam_webhook_events_total", result="delivered") == 2
            daemon.reload({**settings, "video.width": 7}, REFUSED)
            assert sent(receiver, 3)[2]["kind"] == "reload-refused"
            assert len(receiver.got) == 3, "a picture that came is no event of its own"
            assert not any(word in daemon.log() for word in ("do not tell", "token", "key=7"))


def test_a_receiver_with_another_certificate_gets_nothing(tmp_path: Path, certificate: Certificate) -> None:
    with Receiver(certificate) as receiver:
        with running(tmp_path / "daemon", {**SETTINGS, "events.webhook_url": receiver.url}) as daemon:
            daemon.reload({"video.width": 7, "events.webhook_url": receiver.url}, REFUSED)
            event(daemon, "reload-refused")
            # the next attempt is made elsewhere, without a signature, and its success says what was wrong before
            with Receiver() as other:
                daemon.reload({**SETTINGS, "events.webhook_url": other.url})
                (table,) = sent(other)
            assert table["kind"] == "reload-refused"
            assert "x-hub-signature-256" not in other.got[0][1]
        assert receiver.got == []


def test_an_event_is_sent_again_when_the_receiver_fails(tmp_path: Path) -> None:
    with Receiver(answers=(500, 200)) as receiver:
        settings = {**SETTINGS, "events.webhook_url": receiver.url}
        with running(tmp_path / "daemon", settings) as daemon:
            daemon.reload({**settings, "video.width": 7}, REFUSED)
            first, second = sent(receiver, 2)
            assert first == second
            assert receiver.at[1] - receiver.at[0] >= 1
            until("delivered", lambda: value(daemon, "pi_cam_webhook_events_total", result="delivered") == 1)
            assert value(daemon, "pi_cam_webhook_events_total", result="failed") == 0


@pytest.mark.parametrize(
    ("answer", "told"), [("/elsewhere", "it answered 302; redirects are not followed"), (404, "it answered 404")]
)
def test_a_receiver_that_redirects_or_refuses_gets_an_event_once(tmp_path: Path, answer: int | str, told: str) -> None:
    with Receiver(answers=(answer,)) as receiver:
        settings = {**SETTINGS, "events.webhook_url": receiver.url}
        with running(tmp_path / "daemon", settings) as daemon:
            daemon.reload({**settings, "video.width": 7}, REFUSED)
            until("failed", lambda: value(daemon, "pi_cam_webhook_events_total", result="failed") == 1)
            assert f"{receiver.url.partition('/hook')[0]}/*** did not take an event: " in daemon.log()
            assert told in daemon.log()
            daemon.reload({**settings, "video.width": 9}, REFUSED)
            _, second = sent(receiver, 2)
            assert "9" in str(second["text"])
            until("said so", lambda: "takes events again" in daemon.log())
            assert [path for path, _, _ in receiver.got] == ["/hook/token?key=7"] * 2


def test_a_receiver_that_hangs_is_in_nobodys_way(tmp_path: Path) -> None:
    with Receiver(answers=(None,)) as receiver:
        settings = {**SETTINGS, "events.webhook_url": receiver.url}
        with running(tmp_path / "daemon", settings) as daemon:
            daemon.wait_for_state("streaming")
            viewer = Reading(daemon.watch())
            daemon.fault("motions")
            until("it hangs", lambda: receiver.got)
            assert len(until("all of them", lambda: len(found := events(daemon)) == MANY and found)) == MANY
            begun = len(viewer.parts)
            until("the stream goes on", lambda: len(viewer.parts) > begun + 10)
            viewer.finish()
            viewer.viewer.close()
            assert value(daemon, "pi_cam_webhook_events_total", result="dropped") >= 2 * MANY - 101
            assert daemon.stop() == 0


def test_a_reload_ends_a_webhook(tmp_path: Path) -> None:
    with Receiver() as receiver:
        settings = {**SETTINGS, "events.webhook_url": receiver.url}
        with running(tmp_path / "daemon", settings) as daemon:
            daemon.reload({**settings, "video.width": 7}, REFUSED)
            sent(receiver)
            daemon.reload(SETTINGS)
            daemon.reload({"video.width": 7}, REFUSED)
            daemon.reload(settings)
            daemon.reload({**settings, "video.width": 9}, REFUSED)
            assert [str(table["text"]).count("video.width: 9") for table in sent(receiver, 2)] == [0, 1]


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "No such file or directory"), (b" \n", "the file is empty; it has to hold the secret"),
     (b"x" * 70000, "larger than 64 KiB; this is not a secret")],
)  # fmt: skip
def test_a_secret_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None, told: str) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with running(tmp_path / "daemon", SETTINGS) as daemon:
        wrong = {"events.webhook_url": "http://127.0.0.1:9/", "events.webhook_secret_file": str(file)}
        daemon.reload({**SETTINGS, **wrong}, REFUSED)
        assert f"events.webhook_secret_file: {file}: {told}" in daemon.log()
        assert event(daemon, "reload-refused")["text"].endswith(told)


def test_the_address_of_a_webhook_is_shown_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("do not tell")
    url = "http://127.0.0.1:9/hook/token?key=7"
    settings = {**SETTINGS, "events.webhook_url": url, "events.webhook_secret_file": str(secret), "log.level": "debug"}
    with running(tmp_path / "daemon", settings) as daemon:
        command = [sys.executable, "-m", "pi_cam_daemon", "config", "--config", str(daemon.config_file)]
        shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=ROOT).stdout
        assert 'webhook_url = "http://127.0.0.1:9/***"' in shown
        daemon.reload({**settings, "events.webhook_url": url.replace("http", "htp")}, REFUSED)
        assert "events.webhook_url: this is not the address of a receiver; accepted: " in daemon.log()
        for text in (shown, daemon.log(), json.dumps(daemon.state())):
            assert not any(word in text for word in ("do not tell", "token", "key=7"))


def test_the_receiver_of_the_document_checks_the_signature(tmp_path: Path) -> None:
    text = (ROOT / "docs/integrations.md").read_text("utf-8").partition("## A webhook")[2].partition("\n## ")[0]
    make, settings, receiver = blocks(text)
    secret, port = tmp_path / "secret", free_port()
    path = "/etc/pi-cam-daemon/webhook-secret"
    make = make.replace("sudo ", "").replace("-g pi-cam-daemon ", "").replace(path, "secret")
    subprocess.run(["sh", "-c", make], cwd=tmp_path, check=True, timeout=30)
    assert secret.stat().st_mode & 0o777 == 0o640
    program = receiver.replace("what is in the file", secret.read_text().strip()).replace("9000", str(port))
    named = tomllib.loads(settings)["events"]
    assert named == {"webhook_url": "http://192.168.1.30:9000/", "webhook_secret_file": path}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            url = f"http://127.0.0.1:{port}/"
            until("it listens", lambda: connects(port))
            forged = urllib.request.Request(url, b"{}", {"X-Hub-Signature-256": "sha256=00"})
            assert ask(forged)[0] == 403
            signed = {"page.name": "Yard", "events.webhook_url": url, "events.webhook_secret_file": str(secret)}
            with running(tmp_path / "daemon", {**SETTINGS, **signed}) as daemon:
                daemon.wait_for_state("streaming")
                move(daemon)
                assert process.stdout
                assert process.stdout.readline() == "Yard motion Something moves\n"
                assert process.stdout.readline().startswith("Yard motion Something moved for ")
        finally:
            process.kill()


def connects(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
