"""TLS on the whole daemon: accepted protocols, and handshakes that do not disturb viewers."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pi_cam_daemon.errors import ConfigError, CredentialsError
from tests.conftest import Report
from tests.kit import certificates
from tests.kit.certificates import Certificate
from tests.kit.daemon import REFUSED, ROOT, Daemon, running
from tests.kit.lateness import patience
from tests.kit.network import CAMERA, hosts, wire
from tests.kit.wait import until
from tests.kit.wire import Reading, Viewer, fairly_shown, read_all, watch

STREAM = b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return certificates.make(tmp_path / "certificate")


@pytest.fixture
def daemon(tmp_path: Path, certificate: Certificate) -> Iterator[Daemon]:
    with running(tmp_path / "daemon", certificate.settings()) as daemon:
        daemon.wait_for_state("streaming")  # over plain HTTP, as on this machine it may be
        yield daemon


def connect(
    daemon: Daemon, certificate: Certificate, source: str = "127.0.0.1", receive_buffer: int = 0
) -> ssl.SSLSocket:
    plain = CAMERA.connect("127.0.0.1", daemon.port, source, receive_buffer)
    return certificate.client().wrap_socket(plain, server_hostname="127.0.0.1")


def watch_tls(daemon: Daemon, certificate: Certificate, source: str = "127.0.0.1", receive_buffer: int = 0) -> Viewer:
    return watch(connect(daemon, certificate, source, receive_buffer))


def get(daemon: Daemon, certificate: Certificate, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPSConnection("127.0.0.1", daemon.port, timeout=10, context=certificate.client())
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def s_client(daemon: Daemon, *options: str) -> str:
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{daemon.port}", *options]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout + done.stderr


def test_every_path_is_served_to_clients_that_trust_the_ca(daemon: Daemon, certificate: Certificate) -> None:
    for path in ("/", "/app.js", "/state", "/snapshot", "/controls", "/metrics", "/livez"):
        status, body = get(daemon, certificate, path)
        assert status == 200 and body, path
    viewer = watch_tls(daemon, certificate)
    assert [part.size for part in viewer.parts(10)] == [(320, 240)] * 10
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(CAMERA.connect("127.0.0.1", daemon.port), server_hostname="127.0.0.1")


def test_a_connection_ends_with_close_notify(daemon: Daemon, certificate: Certificate) -> None:
    with connect(daemon, certificate) as sock:
        sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert read_all(sock).endswith(b"alive\n")  # without a close_notify this would be an SSLEOFError
        sock.unwrap()


def test_the_logged_address_has_its_scheme(tmp_path: Path, certificate: Certificate) -> None:
    settings = [
        f"{key}={value}" if isinstance(value, int) else f'{key}="{value}"'
        for key, value in certificate.settings().items()
    ]
    settings += ['source.kind="pattern"', "http.port=0", 'http.listen_address="127.0.0.1"']
    argv = [sys.executable, "-m", "pi_cam_daemon", "run", *(word for one in settings for word in ("--set", one))]
    process = subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "STATE_DIRECTORY": str(tmp_path)}
    )
    try:
        assert process.stdout and ": https://127.0.0.1:" in process.stdout.readline()
    finally:
        process.terminate()
        process.wait(patience(10))
        assert process.stdout
        process.stdout.close()


def test_nothing_older_than_tls_1_2_and_no_weak_suite_is_agreed_on(daemon: Daemon) -> None:
    any_cipher = ("-cipher", "ALL:COMPLEMENTOFALL@SECLEVEL=0")
    for version in ("-tls1", "-tls1_1"):
        said = s_client(daemon, version, *any_cipher)
        assert "alert protocol version" in said and "Cipher is (NONE)" in said, said
    assert "Cipher is TLS_" in s_client(daemon, "-tls1_3")
    listed = subprocess.run(
        ["openssl", "ciphers", "-s", "-tls1_2", "ALL:COMPLEMENTOFALL@SECLEVEL=0"],
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    suites = [suite for suite in listed.stdout.strip().split(":") if not suite.startswith("TLS_")]
    assert len(suites) > 20
    sound = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305")
    agreed = {
        suite
        for suite in suites
        if f"Cipher is {suite}" in s_client(daemon, "-tls1_2", "-cipher", f"{suite}@SECLEVEL=0")
    }
    assert agreed == set(sound)


def test_tls_on_a_plain_port_ends_cleanly(tmp_path: Path) -> None:
    with running(tmp_path / "daemon") as daemon:
        said = s_client(daemon)
        assert "wrong version number" in said or "packet length too long" in said
        with daemon.connect("\x16\x03\x01\x00\xc8\x01\x00") as sock:
            answer = read_all(sock)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.endswith(b"This address is served by http, not by https\n")
        assert daemon.get("/livez")[0] == 200


def test_plain_http_gets_a_message_and_other_protocols_an_alert(tmp_path: Path, certificate: Certificate) -> None:
    with hosts(1, beside_us=True) as (near,):
        wire(
            CAMERA,
            near,
            {f"ta{os.getpid()}": "10.231.9.1/24 198.51.100.1/24"},
            {f"tb{os.getpid()}": "10.231.9.2/24 198.51.100.2/24"},
        )
        settings = certificate.settings(listen_address="0.0.0.0")
        with running(tmp_path / "daemon", settings) as daemon:

            def ask(source: str, there: str, request: bytes) -> bytes:
                with near.connect(there, daemon.port, source) as sock:
                    sock.sendall(request)
                    answer = b""
                    with contextlib.suppress(ConnectionResetError):
                        while chunk := sock.recv(65536):
                            answer += chunk
                    return answer

            for path in ("/livez", "/snapshot", "/stream", "/nowhere"):
                answer = ask("10.231.9.2", "10.231.9.1", f"GET {path} HTTP/1.1\r\nHost: 10.231.9.1\r\n\r\n".encode())
                assert answer.startswith(b"HTTP/1.1 400 ")
                assert b"\r\nX-Refused: tls\r\n" in answer  # for the page, if it came before the certificate
                assert answer.endswith(b"This address is served by https, not by http\n")
            assert ask("198.51.100.2", "198.51.100.1", STREAM) == bytes.fromhex("15030300020231")
            with pytest.raises(ssl.SSLError, match=r"(?i)access.denied"):
                certificate.client().wrap_socket(
                    near.connect("198.51.100.1", daemon.port, "198.51.100.2"), server_hostname="127.0.0.1"
                )
            # the machine itself, at whichever of its addresses
            for own in ("127.0.0.1", "10.231.9.1"):
                with CAMERA.connect(own, daemon.port) as sock:
                    sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")


def another_key(algorithm: str, *options: str) -> str:
    argv = ["openssl", "genpkey", "-algorithm", algorithm, *options]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True).stdout


def test_a_reload_takes_a_renewed_certificate_but_not_a_wrong_one(daemon: Daemon, certificate: Certificate) -> None:
    def serial() -> str:
        with connect(daemon, certificate) as sock:
            found = sock.getpeercert()
        assert found
        return str(found["serialNumber"])

    viewer = Reading(watch_tls(daemon, certificate))
    before = serial()
    certificates.make(certificate.certificate.parent)
    assert serial() == before
    daemon.reload()
    renewed = serial()
    assert renewed != before
    good = certificate.key.read_text()
    curve = ["-pkeyopt", "ec_paramgen_curve:P-256"]
    for text, what in (
        (None, "No such file"),
        ("nonsense", "are not a certificate and its key in PEM form"),
        (another_key("ec", *curve), "camera.key is not the key of"),
        (another_key("ed25519"), "camera.key is not the key of"),
    ):
        certificate.key.write_text(text) if text else certificate.key.unlink()
        told = len(daemon.log())
        daemon.reload(said=REFUSED)
        assert what in daemon.log()[told:]
        assert serial() == renewed
    certificate.key.write_text(good)
    seen = len(viewer.parts)
    until("pictures go on", lambda: len(viewer.parts) > seen + 10)
    viewer.finish()


def test_encrypted_streams_are_limited_and_plain_ones_do_not_count(tmp_path: Path, certificate: Certificate) -> None:
    with running(tmp_path / "daemon", certificate.settings(max_tls_viewers=2)) as daemon:
        daemon.wait_for_state("streaming")
        plain = [daemon.watch() for _ in range(3)]
        first, second = watch_tls(daemon, certificate), watch_tls(daemon, certificate)
        with connect(daemon, certificate) as sock:
            sock.sendall(STREAM)
            assert sock.recv(65536).startswith(b"HTTP/1.1 503 ")
        for viewer in (*plain, first, second):
            viewer.parts(3)
        assert daemon.state()["viewers"] == 5
        first.close()
        until("its place is free", lambda: daemon.state()["viewers"] == 4)
        watch_tls(daemon, certificate).part()
        assert b'pi_cam_http_denied_total{reason="max_tls_viewers"} 1.0' in daemon.get("/metrics")[2]


def test_encrypted_viewers_that_load_again_find_their_places_free(tmp_path: Path, certificate: Certificate) -> None:
    settings = certificate.settings(max_tls_viewers=2)
    with running(tmp_path / "daemon", {**settings, "video.framerate": 1}) as daemon:
        daemon.wait_for_state("streaming")
        viewers = [watch_tls(daemon, certificate) for _ in range(2)]
        for _ in range(10):
            for viewer in viewers:
                viewer.close()
            viewers = [watch_tls(daemon, certificate) for _ in range(2)]
        begun = time.monotonic()
        assert get(daemon, certificate, "/stream")[0] == 503
        assert time.monotonic() - begun < patience(0.3), "nobody leaves, so there is nothing to wait for"
        for viewer in viewers:
            viewer.close()


def test_a_slow_viewer_gets_whole_pictures_and_new_ones(tmp_path: Path, certificate: Certificate) -> None:
    settings = {**certificate.settings(), "video.width": 1920, "video.height": 1080, "video.quality": 95}
    with running(tmp_path / "daemon", settings) as daemon:
        daemon.wait_for_state("streaming")
        quick = Reading(watch_tls(daemon, certificate))
        slow = watch_tls(daemon, certificate, receive_buffer=4096)
        ages = []
        for _ in range(8):
            part = slow.part()  # read strictly: a byte that is lost or doubled would show
            ages.append(time.time() - part.timestamp)
            time.sleep(0.3)
        assert max(ages) < patience(2)
        assert len(quick.finish()) > 20


def test_a_snapshot_over_a_slow_link_is_whole(tmp_path: Path, certificate: Certificate) -> None:
    large = {"video.width": 1920, "video.height": 1080, "video.quality": 100, "video.framerate": 5}
    with running(tmp_path / "daemon", {**certificate.settings(request_timeout_seconds=1), **large}) as daemon:
        daemon.wait_for_state("streaming")
        with connect(daemon, certificate, receive_buffer=8192) as sock, sock.makefile("rb") as answer:
            begun = time.monotonic()
            sock.sendall(b"GET /snapshot HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while line := answer.readline().strip():
                if line.startswith(b"Content-Length: "):
                    left = length = int(line[16:])
            while left and (piece := answer.read1(min(left, length // 50))):
                left -= len(piece)
                time.sleep(0.04)  # the load under test: a slow link
        assert left == 0
        assert time.monotonic() - begun > 2, "it took longer than the timeout"


def test_unread_encrypted_pictures_keep_bounded_memory(tmp_path: Path, certificate: Certificate) -> None:
    settings = {
        **certificate.settings(request_timeout_seconds=600, max_pending_bytes=1 << 20),
        "video.width": 1920, "video.height": 1080, "video.quality": 100, "video.framerate": 10,
    }  # fmt: skip
    with running(tmp_path / "daemon", settings) as daemon, contextlib.ExitStack() as stack:
        daemon.wait_for_state("streaming")
        reading = Reading(watch_tls(daemon, certificate))
        until("pictures", lambda: len(reading.parts) > 2)
        threads = Path(f"/proc/{daemon.process.pid}/task")
        before = len(list(threads.iterdir()))
        most = (1 << 20) // len(reading.parts[-1].jpeg) + 2  # the newest is not limited, nor the one before it
        for turn in range(most + 8):  # each is stuck in another picture
            path = ("/snapshot?max_age_ms=0", "/stream")[turn % 2]
            sock = stack.enter_context(connect(daemon, certificate, receive_buffer=4096))
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            seen = len(reading.parts)
            until("new pictures", lambda seen=seen: len(reading.parts) > seen + 1)  # type: ignore[misc]
        answers, streams = len(list(threads.iterdir())) - before, daemon.state()["viewers"] - 1
        assert 0 < answers + streams <= most
        dropped = re.search(rb'slow_clients_dropped_total{reason="max_pending_bytes"} (\d+)', daemon.get("/metrics")[2])
        assert dropped and int(dropped[1]) >= 8
        reading.finish()
        reading.viewer.close()


def test_a_viewer_over_a_slow_link_is_not_taken_for_a_stalled_one(tmp_path: Path, certificate: Certificate) -> None:
    large = {"video.width": 1920, "video.height": 1080, "video.quality": 100, "video.framerate": 5}
    with running(tmp_path / "daemon", {**certificate.settings(viewer_timeout_seconds=1), **large}) as daemon:
        daemon.wait_for_state("streaming")
        with connect(daemon, certificate, receive_buffer=8192) as sock:
            sock.sendall(STREAM)
            begun = time.monotonic()
            while time.monotonic() < begun + 4:
                assert sock.recv(4096)
                time.sleep(0.04)  # the load under test: a slow link


def test_two_hundred_stalled_handshakes_disturb_no_viewer(
    tmp_path: Path, certificate: Certificate, report: Report
) -> None:
    with running(tmp_path / "daemon", certificate.settings(max_tls_viewers=100, max_connections=300)) as daemon:
        daemon.wait_for_state("streaming")
        hello = bytes.fromhex("16030100c8010000c40303") + bytes(30)
        watching = [Reading(watch_tls(daemon, certificate)) for _ in range(10)] + [
            Reading(daemon.watch()) for _ in range(10)
        ]

        with contextlib.ExitStack() as stack:
            for number in range(200):
                sock = stack.enter_context(CAMERA.connect("127.0.0.1", daemon.port, f"127.0.5.{1 + number // 50}"))
                sock.sendall((b"", b"\x16", hello)[number % 3])
            begun = time.monotonic()
            while time.monotonic() < begun + 6:
                assert get(daemon, certificate, "/livez")[0] == 200
            ended = time.monotonic()
        shown, least = fairly_shown(watching, begun, ended)
        report(f"{shown} pictures in 6 s beside 200 handshakes that stall, and each viewer saw {least:.1%} or more")
        assert shown > 6 * 25 / 2
        assert least >= 0.95


def test_a_handshake_that_stalls_is_given_up_in_time(tmp_path: Path, certificate: Certificate) -> None:
    with running(tmp_path / "daemon", certificate.settings(request_timeout_seconds=1)) as daemon:
        for said in (b"", b"\x16", bytes.fromhex("16030100c8010000c40303")):
            with CAMERA.connect("127.0.0.1", daemon.port) as sock:
                sock.sendall(said)
                begun = time.monotonic()
                with contextlib.suppress(ConnectionResetError):
                    while sock.recv(65536):
                        pass
                assert 0.5 < time.monotonic() - begun < patience(3)
        # nor does one that drips get more
        with CAMERA.connect("127.0.0.1", daemon.port) as sock:
            begun = time.monotonic()
            with contextlib.suppress(OSError):
                for byte in b"\x16\x03\x01\x40\x00" + bytes(2000):
                    sock.sendall(bytes([byte]))
                    time.sleep(0.02)
            assert time.monotonic() - begun < patience(3)


def test_a_wrong_tls_configuration_is_explained(tmp_path: Path, certificate: Certificate) -> None:
    from pi_cam_daemon.config import loading
    from pi_cam_daemon.server import credentials

    def problem(**http: object) -> str:
        settings = [f'http.{key}="{value}"' for key, value in http.items()]
        with pytest.raises(ConfigError) as error:
            credentials.read(loading.load(settings=settings, etc=Path("/nonexistent")).http)
        return "\n".join(error.value.problems)

    pem, key = certificate.certificate, certificate.key
    assert problem(tls_certificate=pem) == "http.tls_key is not set; set both tls_certificate and tls_key, or neither"
    assert problem(tls_key=key) == "http.tls_certificate is not set; set both tls_certificate and tls_key, or neither"
    assert "accepted: an absolute path" in problem(tls_certificate="camera.pem", tls_key=key)
    assert problem(tls_certificate=tmp_path / "none", tls_key=key).endswith("/none: No such file or directory")
    assert "in PEM form" in problem(tls_certificate=key, tls_key=key)
    protected = tmp_path / "protected.key"
    subprocess.run(
        ["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", protected], check=True, timeout=20
    )
    assert "is protected by a password; accepted: a key without one" in problem(tls_certificate=pem, tls_key=protected)


def test_a_file_that_a_renewal_removes_while_it_is_read_is_explained(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pi_cam_daemon.server import tls

    load = ssl.SSLContext.load_cert_chain

    def too_late(*arguments: Any, **more: Any) -> None:
        certificate.key.unlink()
        load(*arguments, **more)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", too_late)
    with pytest.raises(CredentialsError, match="No such file"):
        tls.context(certificate.certificate, certificate.key)


def test_a_key_that_everybody_can_read_is_a_warning(tmp_path: Path, certificate: Certificate) -> None:
    certificate.key.chmod(0o644)
    with running(tmp_path / "daemon", certificate.settings()) as daemon:
        assert "camera.key can be read by everybody on this machine" in daemon.log()


def test_without_a_certificate_no_tls_module_is_loaded() -> None:
    # ssl itself comes with http.server
    code = "import sys, pi_cam_daemon.daemon; print(sorted({'pi_cam_daemon.server.tls'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "[]\n"
