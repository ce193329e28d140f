"""Updates are checked with real keys of ssh-keygen and given to an installer that records its arguments."""

from __future__ import annotations

import contextlib
import os
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pi_cam_daemon.commands import update
from pi_cam_daemon.commands.update import UpdateError


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


@contextlib.contextmanager
def dripping(head: bytes, drop: bytes) -> Iterator[str]:
    """Serve *head*, then *drop* ten times a second until the client leaves; return the URL."""

    class Dripping(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.sendall(head)
                while not gone.wait(0.1):
                    self.request.sendall(drop)

    gone = threading.Event()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dripping) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/release"
        gone.set()
        server.shutdown()
        thread.join()


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
def test_a_server_that_drips_is_given_up(head: bytes, drop: bytes, tmp_path: Path) -> None:
    with dripping(head, drop) as url, pytest.raises(UpdateError, match="sends under 10 kB a second; try again later"):
        update.fetch(url, tmp_path / "artefact", 1_000_000, seconds=1.0)


@pytest.mark.timeout(60)
def test_a_named_pipe_without_a_writer_is_given_up(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UpdateError, match="try again later"):
        update.fetch(str(pipe), tmp_path / "artefact", 1_000_000, seconds=0.5)
    os.close(os.open(pipe, os.O_RDWR))  # the thread that waits ends


@pytest.mark.timeout(60)
@pytest.mark.parametrize("source", ["/dev/zero", "file:///dev/zero"])
def test_an_endless_source_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match=f"{source}: larger than 1000 kB, so it is no update"):
        update.fetch(source, tmp_path / "artefact", 1_000_000)
    assert (tmp_path / "artefact").stat().st_size <= 1_000_000


def test_a_signature_is_as_small_as_a_signature(camera: Camera) -> None:
    camera.artefact.with_name(f"{camera.artefact.name}.sig").write_bytes(bytes(100_000))
    with pytest.raises(UpdateError, match=r"release\.tar\.zst\.sig: larger than 64 kB"):
        camera.update()
