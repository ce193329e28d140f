"""nginx in front of the camera with TLS and passwords of its own, as docs/security.md has it."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import ssl
import subprocess
import textwrap
import tomllib
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests.clients.test_proxies import NGINX_FOLDERS
from tests.kit import certificates
from tests.kit.certificates import Certificate
from tests.kit.daemon import ROOT, running
from tests.kit.lateness import patience
from tests.kit.network import CAMERA, Host, hosts, wire
from tests.kit.wait import free_port, until

SECTION = (ROOT / "docs/security.md").read_text("utf-8").partition("**Behind nginx**")[2].partition("\n**")[0]
SERVER, SETTINGS = (textwrap.dedent(text) for text in SECTION.split("\n\n") if text.startswith("    "))
OURS, INTERNET = "198.51.100.1", "198.51.100.2"


def status(client: Host, port: int, certificate: Certificate, password: str) -> int:
    """Return the status of a snapshot over TLS from the internet; 0 without an answer."""
    context = certificate.client()
    context.check_hostname = False
    login = f"Authorization: Basic {base64.b64encode(f'alice:{password}'.encode()).decode()}\r\n" if password else ""
    try:
        with context.wrap_socket(client.connect(OURS, port, INTERNET)) as sock:
            sock.sendall(f"GET /snapshot HTTP/1.1\r\nHost: camera.example.org\r\n{login}\r\n".encode())
            answer = HTTPResponse(sock)
            answer.begin()
            assert answer.status != 200 or answer.read().startswith(b"\xff\xd8")
            return answer.status
    except (ConnectionError, ssl.SSLError):
        return 0


def test_nginx_asks_the_internet_for_a_password_and_lets_nobody_in_without(tmp_path: Path) -> None:
    if not shutil.which("nginx"):
        pytest.skip("needs nginx, which scripts/test brings")
    certificate, port, users = certificates.make(tmp_path), free_port(), tmp_path / "camera.users"
    users.write_text("alice:{PLAIN}secret\n")
    settings = {f"http.{key}": value for key, value in tomllib.loads(SETTINGS).items()}
    device = f"ns{os.getpid()}"
    with hosts(1, beside_us=True) as (client,), running(tmp_path / "daemon", settings) as daemon:
        wire(CAMERA, client, {device: f"{OURS}/24"}, {f"{device}c": f"{INTERNET}/24"})
        server = SERVER
        for before, after in {
            "listen 443": f"listen {OURS}:{port}",
            "/etc/ssl/camera.pem": str(certificate.certificate),
            "/etc/ssl/camera.key": str(certificate.key),
            "/etc/nginx/camera.users": str(users),
            "127.0.0.1:8000": f"127.0.0.1:{daemon.port}",
        }.items():
            assert before in server
            server = server.replace(before, after)
        around = f"daemon off; pid pid; error_log stderr; events {{}} http {{ access_log off; {NGINX_FOLDERS}"
        (tmp_path / "nginx.conf").write_text(f"user root; {around}\n{server}}}\n")
        argv = ["nginx", "-p", tmp_path, "-c", tmp_path / "nginx.conf"]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, process_group=0)
        try:
            until("nginx answers", lambda: status(client, port, certificate, ""))
            daemon.wait_for_state("streaming")
            found = [status(client, port, certificate, password) for password in ("", "wrong", "secret")]
            assert found == [401, 401, 200]
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(patience(5))
