"""Updates are checked with real keys of ssh-keygen and given to an installer that records its arguments."""

from __future__ import annotations

import contextlib
import os
import socketserver
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pi_cam_daemon.commands import download, update
from pi_cam_daemon.commands.download import UpdateError
from tests.kit import certificates
from tests.kit.certificates import Certificate


class Publisher:
    """A publisher with a key, who signs artefacts."""

    def __init__(self, folder: Path, name: str) -> None:
        self.key = folder / name
        self.name = name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)

    @property
    def line(self) -> str:
        return f'{self.name} namespaces="pi-cam-daemon" {self.key.with_suffix(".pub").read_text()}'

    def sign(self, file: Path, namespace: str = "pi-cam-daemon") -> None:
        file.with_name(f"{file.name}.sig").unlink(missing_ok=True)
        argv = ["ssh-keygen", "-q", "-Y", "sign", "-f", self.key, "-n", namespace, file]
        subprocess.run(argv, check=True, capture_output=True)


class Camera:
    """The files that `update` finds on a camera that trusts *publisher*."""

    def __init__(self, folder: Path, publisher: Publisher) -> None:
        self.artefact = folder / "release.tar.zst"
        self.artefact.write_bytes(b"a release")
        self.signers = folder / "allowed_signers"
        self.signers.write_text(publisher.line)
        self.installed = folder / "installed"
        self.installer = folder / "install"
        self.options = folder / "options"
        self.installer.write_text(
            f'#!/bin/bash\necho "${{@:1:$#-1}}" >{self.options}; cp "${{@:$#}}" {self.installed}\n'
        )
        self.installer.chmod(0o755)
        # of a first boot that has not succeeded yet
        self.waiting = folder / "first-boot.tar.zst"

    def update(self, source: str = "", allow_downgrade: bool = False) -> None:
        update.update(source or str(self.artefact), allow_downgrade, self.signers, self.installer, self.waiting)


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path, "publisher")


@pytest.fixture
def camera(tmp_path: Path, publisher: Publisher) -> Camera:
    return Camera(tmp_path, publisher)


def test_an_update_by_a_trusted_publisher_is_installed(camera: Camera, publisher: Publisher) -> None:
    publisher.sign(camera.artefact)
    camera.update()
    assert camera.installed.read_bytes() == b"a release"
    assert not camera.waiting.exists()


def test_an_older_version_is_installed_only_with_an_option(camera: Camera, publisher: Publisher) -> None:
    publisher.sign(camera.artefact)
    camera.update()
    assert camera.options.read_text() == "--no-apt --no-downgrade --from\n"
    camera.update(allow_downgrade=True)
    assert camera.options.read_text() == "--no-apt --from\n"


def test_an_unfinished_first_boot_installs_the_update_and_nothing_older(camera: Camera, publisher: Publisher) -> None:
    camera.waiting.write_bytes(b"the release of the image")
    publisher.sign(camera.artefact)
    camera.update()
    assert camera.waiting.read_bytes() == b"a release"


def test_a_check_of_the_signature_that_hangs_is_reported(camera: Camera, publisher: Publisher, tmp_path: Path) -> None:
    publisher.sign(camera.artefact)
    signature = camera.artefact.with_name(f"{camera.artefact.name}.sig")
    endless = tmp_path / "endless"
    os.mkfifo(endless)
    writer = os.open(endless, os.O_RDWR)
    try:
        with pytest.raises(UpdateError, match=r"ssh-keygen took longer than 0\.5 s; nothing was changed"):
            update.verify(endless, signature, camera.signers, seconds=0.5)
    finally:
        os.close(writer)


def test_an_address_is_fetched_with_its_signature(camera: Camera, publisher: Publisher) -> None:
    publisher.sign(camera.artefact)
    camera.update(camera.artefact.as_uri())
    assert camera.installed.exists()


def test_a_host_without_the_installer_is_told_what_updates_it(camera: Camera) -> None:
    camera.installer.unlink()
    with pytest.raises(UpdateError, match=r"no such file; .* a Debian package is apt's"):
        camera.update()


def test_a_changed_artefact_is_refused(camera: Camera, publisher: Publisher) -> None:
    publisher.sign(camera.artefact)
    camera.artefact.write_bytes(b"another release")
    with pytest.raises(UpdateError, match="nothing was changed"):
        camera.update()
    assert not camera.installed.exists()


def test_an_update_by_an_unknown_publisher_is_refused(camera: Camera, tmp_path: Path) -> None:
    Publisher(tmp_path, "stranger").sign(camera.artefact)
    with pytest.raises(UpdateError, match="not signed by any key in"):
        camera.update()
    assert not camera.installed.exists()


def test_a_key_is_changed_by_a_second_line_and_then_without_the_first(
    camera: Camera, publisher: Publisher, tmp_path: Path
) -> None:
    successor = Publisher(tmp_path, "successor")
    camera.signers.write_text(publisher.line + successor.line)
    for signer in (publisher, successor):
        signer.sign(camera.artefact)
        camera.update()
    camera.signers.write_text(successor.line)
    camera.update()
    publisher.sign(camera.artefact)
    with pytest.raises(UpdateError, match="not signed by any key in"):
        camera.update()


def test_a_signature_for_another_purpose_is_refused(camera: Camera, publisher: Publisher) -> None:
    publisher.sign(camera.artefact, namespace="file")
    with pytest.raises(UpdateError, match="nothing was changed"):
        camera.update()
    assert not camera.installed.exists()


def test_an_unsigned_update_is_refused(camera: Camera) -> None:
    with pytest.raises(UpdateError, match=r"release\.tar\.zst\.sig: No such file"):
        camera.update()
    assert not camera.installed.exists()


def test_a_camera_that_trusts_nobody_says_so(camera: Camera) -> None:
    camera.signers.unlink()
    with pytest.raises(UpdateError, match="it lists the keys that may sign updates"):
        camera.update()


def test_a_failed_installation_is_reported(camera: Camera, publisher: Publisher) -> None:
    camera.installer.write_text("#!/bin/sh\nexit 1\n")
    publisher.sign(camera.artefact)
    with pytest.raises(UpdateError, match="was not installed"):
        camera.update()


Answer = Callable[[str, ssl.SSLSocket], None]


class Website(socketserver.ThreadingTCPServer):
    """Gives each request's head and connection to *answer*, after the TLS handshake unless *certificate* is None."""

    def __init__(self, answer: Answer, certificate: Certificate | None) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.url = f"https://127.0.0.1:{self.server_address[1]}"
        self.left = threading.Event()
        self._answer = answer
        self._context = None
        if certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate.certificate, certificate.key)

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  # socketserver's own
        if not self._context:
            self.left.wait()
            return
        with contextlib.suppress(OSError), self._context.wrap_socket(request, server_side=True) as connection:
            head = b""
            while b"\r\n\r\n" not in head and (data := connection.recv(4096)):
                head += data
            self._answer(head.decode(), connection)


@contextlib.contextmanager
def website(answer: Answer, certificate: Certificate | None) -> Iterator[Website]:
    with Website(answer, certificate) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.left.set()
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trusted(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    """The certificate of a server whose CA this machine trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.ca))
    # a later Python looks for its CAs only once
    monkeypatch.setattr(urllib.request, "_opener", None)
    return certificate


def file(data: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)


def moved(to: str) -> bytes:
    return b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % to.encode()


def test_an_update_arrives_from_a_website_also_by_way_of_another_address(
    camera: Camera, publisher: Publisher, trusted: Certificate
) -> None:
    publisher.sign(camera.artefact)
    signature = camera.artefact.with_name(f"{camera.artefact.name}.sig")
    files = {"/there/release.sig": signature.read_bytes(), "/there/release": camera.artefact.read_bytes()}

    def answer(head: str, connection: ssl.SSLSocket) -> None:
        path = head.split()[1]
        connection.sendall(file(files[path]) if path in files else moved(path.replace("/latest/", "/there/")))

    with website(answer, trusted) as server:
        camera.update(f"{server.url}/latest/release")
    assert camera.installed.read_bytes() == b"a release"


def test_a_website_whose_ca_is_not_trusted_is_refused(certificate: Certificate, tmp_path: Path) -> None:
    unknown = website(lambda _, connection: connection.sendall(file(b"x")), certificate)
    with unknown as server, pytest.raises(UpdateError, match=r"/release: .*certificate verify failed"):
        download.fetch(f"{server.url}/release", tmp_path / "artefact", 1_000_000)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "Not Found"),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "Service Unavailable"),
        (file(bytes(10_000))[:-1], "the connection ended too early; try again"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab", "IncompleteRead"),
        (file(bytes(1_000_001)), "larger than 1000 kB, so it is no update"),
        (moved("/release"), "infinite loop"),
        (moved("file:///etc/passwd"), "not allowed"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0"),
        (b"", "closed connection without response"),
    ],
    ids=["404", "503", "cut", "cut chunk", "too large", "circle", "to a file", "no HTTP", "nothing"],
)
def test_a_website_that_gives_no_update_is_reported(
    answer: bytes, told: str, trusted: Certificate, tmp_path: Path
) -> None:
    bad = website(lambda _, connection: connection.sendall(answer), trusted)
    with bad as server, pytest.raises(UpdateError) as raised:
        download.fetch(f"{server.url}/release", tmp_path / "artefact", 1_000_000)
    assert str(raised.value).startswith(f"{server.url}/release: ") and told in str(raised.value)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
        (b"", b"H"),
    ],
    ids=["body", "chunks", "header", "status line"],
)
def test_a_server_that_drips_is_given_up(head: bytes, drop: bytes, trusted: Certificate, tmp_path: Path) -> None:
    def drip(_: str, connection: ssl.SSLSocket) -> None:
        connection.sendall(head)
        while not server.left.wait(0.1):
            connection.sendall(drop)

    slow = "sends under 10 kB a second; try again later"
    with website(drip, trusted) as server, pytest.raises(UpdateError, match=slow):
        download.fetch(f"{server.url}/release", tmp_path / "artefact", 1_000_000, seconds=1.0)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("head", [None, b"", file(bytes(100_000))[:5000]], ids=["handshake", "answer", "body"])
def test_a_server_that_stalls_is_given_up(head: bytes | None, trusted: Certificate, tmp_path: Path) -> None:
    def stall(_: str, connection: ssl.SSLSocket) -> None:
        connection.sendall(head or b"")
        server.left.wait()

    stalled = website(stall, None if head is None else trusted)
    with stalled as server, pytest.raises(UpdateError, match=r"timed out|sends under 10 kB a second"):
        download.fetch(f"{server.url}/release", tmp_path / "artefact", 1_000_000, seconds=0.3)


@pytest.mark.timeout(60)
def test_a_named_pipe_without_a_writer_is_given_up(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UpdateError, match="try again later"):
        download.fetch(str(pipe), tmp_path / "artefact", 1_000_000, seconds=0.5)
    os.close(os.open(pipe, os.O_RDWR))  # the thread that waits ends


@pytest.mark.timeout(60)
@pytest.mark.parametrize("source", ["/dev/zero", "file:///dev/zero"])
def test_an_endless_source_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match=f"{source}: larger than 1000 kB, so it is no update"):
        download.fetch(source, tmp_path / "artefact", 1_000_000)
    assert (tmp_path / "artefact").stat().st_size <= 1_000_000


def test_a_signature_is_as_small_as_a_signature(camera: Camera) -> None:
    camera.artefact.with_name(f"{camera.artefact.name}.sig").write_bytes(bytes(100_000))
    with pytest.raises(UpdateError, match=r"release\.tar\.zst\.sig: larger than 64 kB"):
        camera.update()
