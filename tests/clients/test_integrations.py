"""Software that serves the camera's pictures under its own address: Home Assistant, and a site made with Django."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.clients import document, picture
from tests.kit.daemon import Daemon, running
from tests.kit.lateness import patience
from tests.kit.wait import free_port, until
from tests.kit.wire import Viewer, ask

RIG = Path(__file__).parent / "rig"
VENVS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pi-cam-daemon" / "consumers"
SMALL = {"video.width": 320, "video.height": 240}


def get(port: int, path: str) -> tuple[int, bytes]:
    """Return status and body; 0 without an answer."""
    try:
        status, _, body = ask(f"http://127.0.0.1:{port}{path}")
        return status, body
    except OSError:
        return 0, b""


def has_picture(port: int, path: str) -> bool:
    status, body = get(port, path)
    return status == 200 and body.startswith(b"\xff\xd8") and picture.is_upright(body)


def kill_camera(daemon: Daemon) -> None:
    """Kill the camera process. The next one takes five seconds to open, long enough for the no-signal card."""
    pid = daemon.camera_pid()
    os.kill(pid, signal.SIGSTOP)
    daemon.fault("opens-slowly")
    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def process(argv: Sequence[str | Path], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run *argv* in *folder* for as long as the block lasts."""
    log = folder / "output"
    with log.open("wb") as output:
        program = subprocess.Popen(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            process_group=0,
        )
    try:
        yield program
    finally:
        os.killpg(program.pid, signal.SIGKILL)
        program.wait(patience(5))
        assert program.stdout
        program.stdout.close()
        print(log.read_text(errors="replace"))


# -- Home Assistant


@contextlib.contextmanager
def home_assistant(daemon: Daemon, folder: Path, login: str = "", query: str = "") -> Iterator[tuple[int, str, str]]:
    """Run Home Assistant with a camera; return its port and its paths of the stream and the still picture.

    *login* is name and password in the form used in a URL. *query* is added to both addresses.
    """
    address = f"{login}@127.0.0.1:{daemon.port}" if login else f"127.0.0.1:{daemon.port}"
    lines = document.block("Home Assistant", 0, {document.CAMERA: address}).splitlines()
    addresses = dict(re.split(r":\s+", line, maxsplit=1) for line in lines)
    port = free_port()
    python = VENVS / "homeassistant" / "bin" / "python"
    asked = [addresses[name] + query for name in ("MJPEG URL", "Still image URL")]
    argv = [python, "-P", RIG / "homeassistant.py", str(port), *asked]
    with process(argv, folder) as home:
        assert home.stdout
        stream, still = home.stdout.readline().strip(), home.stdout.readline().strip()
        assert stream.startswith("/api/camera_proxy_stream/") and still.startswith("/api/camera_proxy/")
        yield port, stream, still


def watch(port: int, path: str) -> Viewer:
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    return Viewer(sock)


def test_home_assistant_shows_a_camera_that_dies_and_one_that_was_off(tmp_path: Path) -> None:
    with running(tmp_path / "before", SMALL) as daemon:
        daemon.wait_for_state("streaming", 30)
        with home_assistant(daemon, tmp_path) as (port, stream, still):
            viewer = watch(port, stream)
            assert has_picture(port, still)
            viewer.next_where("the test picture", lambda part: picture.is_upright(part.jpeg))
            kill_camera(daemon)
            viewer.next_where("the card", lambda part: not picture.is_upright(part.jpeg))
            viewer.next_where("the test picture again", lambda part: picture.is_upright(part.jpeg), 40)
            viewer.close()
            assert has_picture(port, still)
            daemon.stop()
            assert not has_picture(port, still)
            with running(tmp_path / "after", {**SMALL, "http.port": daemon.port}) as after:
                after.wait_for_state("streaming", 30)
                until("the still picture", lambda: has_picture(port, still))
                watch(port, stream).parts(5)


# -- Django


@contextlib.contextmanager
def django(daemon: Daemon, folder: Path) -> Iterator[int]:
    """Run a new Django site with the app of the document; return its port."""
    admin = VENVS / "django" / "bin" / "django-admin"
    for command in (("startproject", "mysite", "."), ("startapp", "mjpeg")):
        subprocess.run([admin, *command], cwd=folder, check=True, timeout=60)
    (folder / "mjpeg/templates").mkdir()
    views, template, urls = document.blocks("A site made with Django")
    assert document.CAMERA in views
    (folder / "mjpeg/views.py").write_text(views.replace(document.CAMERA, f"127.0.0.1:{daemon.port}"))
    (folder / "mjpeg/templates/cam.html").write_text(template)
    (folder / "mjpeg/urls.py").write_text(urls)
    with (folder / "mysite/settings.py").open("a") as settings:
        settings.write('INSTALLED_APPS += ["mjpeg"]\n')
    with (folder / "mysite/urls.py").open("a") as site:
        site.write('from django.urls import include\nurlpatterns += [path("mjpeg/", include("mjpeg.urls"))]\n')
    port = free_port()
    python = VENVS / "django" / "bin" / "python"
    with process([python, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"], folder):
        until("Django serves", lambda: get(port, "/mjpeg/")[0] == 200, 30)
        yield port


def test_a_django_site_shows_the_stream_and_forwards_snapshots(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    with running(tmp_path / "before", SMALL) as daemon, django(daemon, folder) as port:
        daemon.wait_for_state("streaming", 30)
        stream = f'<img src="http://127.0.0.1:{daemon.port}/stream"'
        assert stream.encode() in get(port, "/mjpeg/")[1] and stream.encode() in get(port, "/mjpeg/?mode=stream")[1]
        assert b'<img src="/mjpeg/snapshot/"' in get(port, "/mjpeg/?mode=snapshot")[1]
        assert has_picture(port, "/mjpeg/snapshot/")
        kill_camera(daemon)
        until("there is no picture", lambda: get(port, "/mjpeg/snapshot/")[0] == 503)
        until("a picture", lambda: has_picture(port, "/mjpeg/snapshot/"), 30)
        daemon.stop()
        assert get(port, "/mjpeg/snapshot/")[0] == 503
        with running(tmp_path / "after", {**SMALL, "http.port": daemon.port}) as after:
            after.wait_for_state("streaming", 30)
            assert has_picture(port, "/mjpeg/snapshot/")


# -- Prometheus


def test_prometheus_scrapes_a_camera_before_and_after_its_death(tmp_path: Path) -> None:
    with running(tmp_path / "daemon", SMALL) as daemon:
        daemon.wait_for_state("streaming", 30)
        config = tmp_path / "prometheus.yml"
        often = "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        config.write_text(often + document.block("Prometheus", 0, {document.CAMERA: f"127.0.0.1:{daemon.port}"}))
        port = free_port()
        argv = ["prometheus", f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"]
        with process([*argv, f"--storage.tsdb.path={tmp_path}/data"], tmp_path):

            def newest(expression: str) -> list[str]:
                status, answer = get(port, f"/api/v1/query?query={expression}")
                # it says that it is not ready yet, in words
                return [result["value"][1] for result in json.loads(answer)["data"]["result"]] if status == 200 else []

            until("a scrape", lambda: newest("up") == ["1"], 30)
            kill_camera(daemon)
            until("the restart is counted", lambda: "1" in newest("pi_cam_camera_restarts_total"), 30)
            until("a scrape again", lambda: newest("up") == ["1"], 30)
