"""Users and TLS in the service's sandbox, set up as docs/security.md and docs/tls.md say."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Iterator

import pytest

from tests.kit import certificates
from tests.kit.certificates import Certificate
from tests.kit.wait import until
from tests.systemd.conftest import ETC, UNIT, Camera

SOCKET = "pi-cam-daemon.socket"
SOCKET_DROP_INS = f"/etc/systemd/system/{SOCKET}.d"
COMMAND = "/opt/pi-cam-daemon/current/bin/pi-cam-daemon"
PASSWORD = "correct horse"
FILES = {"http.tls_certificate": f"{ETC}/camera.pem", "http.tls_key": f"{ETC}/camera.key"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificates.make(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def secured(stopped: Camera, certificate: Certificate) -> Camera:
    """The service, stopped, with a certificate and its key beside its configuration."""
    install(stopped, certificate.certificate.read_text(), f"{ETC}/camera.pem", "root:pi-cam-daemon")
    install(stopped, certificate.key.read_text(), f"{ETC}/camera.key", "root:pi-cam-daemon")
    return stopped


def install(camera: Camera, text: str, path: str, owner: str) -> None:
    camera.host.write(path, text)
    camera.host.run("chown", owner, path)
    camera.host.run("chmod", "640", path)


def snapshot(camera: Camera, certificate: Certificate, user: str = "", port: int = 8000) -> int:
    """Request a snapshot over TLS as *user* and return the status; 0 without an answer."""
    context = certificate.client()
    context.check_hostname = False  # the certificate is for another address
    connection = http.client.HTTPSConnection(camera.host.address, port, timeout=5, context=context)
    login = base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
    try:
        connection.request("GET", "/snapshot", headers={"Authorization": f"Basic {login}"} if user else {})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def add_user(camera: Camera, name: str) -> None:
    camera.host.run("sh", "-c", f"echo '{PASSWORD}' | {COMMAND} add-user {name}")


def test_the_service_reads_what_its_group_may_read(secured: Camera, certificate: Certificate) -> None:
    secured.configure({**FILES, "http.users_file": f"{ETC}/users"})
    add_user(secured, "alice")
    assert secured.host.run("stat", "-c", "%a %U %G", f"{ETC}/users") == "640 root pi-cam-daemon"
    secured.host.run("systemctl", "restart", UNIT)
    until("a picture for alice", lambda: snapshot(secured, certificate, "alice") == 200, 20)
    assert snapshot(secured, certificate) == snapshot(secured, certificate, "bob") == 401
    add_user(secured, "bob")
    secured.host.run("systemctl", "reload", UNIT)
    until("a picture for bob", lambda: snapshot(secured, certificate, "bob") == 200)
    assert "can be read by everybody" not in secured.journal()


@pytest.mark.every_debian
def test_a_key_that_only_systemd_may_read_is_used(secured: Camera, certificate: Certificate) -> None:
    secured.host.run("mv", f"{ETC}/camera.key", "/root/camera.key")
    secured.host.run("chown", "root:root", "/root/camera.key")
    secured.drop_in("LoadCredential=tls.key:/root/camera.key")
    secured.configure({**FILES, "http.tls_key": f"/run/credentials/{UNIT}/tls.key"})
    secured.host.run("systemctl", "restart", UNIT)
    until("a picture", lambda: snapshot(secured, certificate) == 200, 20)


@pytest.fixture
def held(secured: Camera) -> Iterator[Camera]:
    """The service behind the socket unit, on port 443."""
    secured.configure(FILES)
    secured.host.write(f"{SOCKET_DROP_INS}/port.conf", "[Socket]\nListenStream=\nListenStream=443\n")
    secured.host.run("systemctl", "daemon-reload")
    secured.host.run("systemctl", "start", SOCKET)
    secured.host.run("systemctl", "restart", UNIT)
    yield secured
    secured.host.run("systemctl", "stop", SOCKET, UNIT)
    secured.host.remove(SOCKET_DROP_INS)
    secured.host.run("systemctl", "daemon-reload")


def test_the_socket_unit_gives_port_443(held: Camera, certificate: Certificate) -> None:
    until("a picture", lambda: snapshot(held, certificate, port=443) == 200, 20)
