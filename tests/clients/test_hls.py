"""HLS behind nginx as docs/scale.md describes it: two hundred clients watch, and only ffmpeg watches the camera."""

from __future__ import annotations

import asyncio
import re
import shutil
import textwrap
import time
from pathlib import Path

import pytest

from tests.clients.test_integrations import SMALL, get, process
from tests.clients.test_proxies import NGINX_FOLDERS
from tests.conftest import Report
from tests.kit.daemon import ROOT, running
from tests.kit.wait import free_port, until

CLIENTS = 200
SECONDS = 12
SEGMENT_SECONDS = 2


def command(camera: str, folder: Path) -> list[str]:
    (block,) = re.findall(r"^    ffmpeg .*\n(?:^     .*\n)*", (ROOT / "docs/scale.md").read_text("utf-8"), re.MULTILINE)
    assert "192.168.1.20:8000" in block and "/var/www/html/" in block
    text = textwrap.dedent(block).replace("192.168.1.20:8000", camera).replace("/var/www/html", str(folder))
    return ["sh", "-c", f"exec {text}"]


class Client:
    """A player that follows the playlist; *segments* are those that it has received whole."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.segments: list[str] = []

    async def _fetch(self, path: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(-1), 10)
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ") and b"Content-Length: %d\r\n" % len(body) in head + b"\r\n", head
        return body

    async def watch(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in (await self._fetch("/yard.m3u8")).decode().splitlines():
                if line.endswith(".ts") and line not in self.segments:
                    segment = await self._fetch(f"/{line}")
                    # a transport stream consists of packets of 188 bytes that begin so
                    assert segment and segment[::188] == b"G" * (len(segment) // 188)
                    self.segments.append(line)
            await asyncio.sleep(SEGMENT_SECONDS / 2)


def test_two_hundred_watch_hls_while_the_camera_has_one_viewer(tmp_path: Path, report: Report) -> None:
    if not shutil.which("nginx"):
        pytest.skip("needs nginx, which scripts/test brings")
    port, web, logs = free_port(), tmp_path / "web", tmp_path / "logs"
    web.mkdir()
    logs.mkdir()
    config = tmp_path / "nginx.conf"
    config.write_text(
        # root: the folders of a test are its owner's alone
        f"user root; daemon off; pid pid; error_log stderr; events {{}} http {{ access_log off; {NGINX_FOLDERS} "
        f"server {{ listen 127.0.0.1:{port}; root {web}; }} }}\n"
    )
    with (
        running(tmp_path / "daemon", SMALL) as daemon,
        process(command(f"127.0.0.1:{daemon.port}", web), tmp_path) as ffmpeg,
        process(["nginx", "-p", tmp_path, "-c", config], logs),
    ):
        until("a playlist of two", lambda: get(port, "/yard.m3u8")[1].count(b".ts") > 1, 40)
        clients = [Client(port) for _ in range(CLIENTS)]

        async def watch() -> None:
            await asyncio.gather(*(client.watch(SECONDS) for client in clients))

        asyncio.run(watch())
        fewest = min(len(client.segments) for client in clients)
        report(f"{CLIENTS} clients for {SECONDS} s: the fewest segments that one got are {fewest}")
        assert fewest >= SECONDS / SEGMENT_SECONDS / 2
        # none was left out
        for client in clients:
            numbers = [int(re.sub(r"\D", "", name)) for name in client.segments]
            assert numbers == list(range(numbers[0], numbers[-1] + 1))
        assert ffmpeg.poll() is None and daemon.state()["viewers"] == 1
