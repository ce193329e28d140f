"""Who may look, tried from addresses that are really other ones: network namespaces of the test's own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.harness import Daemon, running, until

OURS, OURS_6 = "10.231.7.1", "fd31:7::1"
THEIRS, THEIRS_6 = "10.231.7.2", "fd31:7::2"
# what a client outside of every private range looks like
ELSEWHERE = "198.51.100.2"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=10)


@pytest.fixture(scope="module")
def neighbour() -> Iterator[str]:
    """A network namespace with a wire to this one; its name."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs root and iproute2 for a network namespace of its own")
    name = f"picam{os.getpid()}"
    ours, theirs = f"pa{os.getpid()}", f"pb{os.getpid()}"
    ip("netns", "add", name)
    try:
        ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        for address in (f"{OURS}/24", f"{OURS_6}/64", "198.51.100.1/24"):
            ip("address", "add", address, "dev", ours, *(["nodad"] if ":" in address else []))
        ip("link", "set", ours, "up")
        for address in (f"{THEIRS}/24", f"{THEIRS_6}/64", f"{ELSEWHERE}/24"):
            ip("-n", name, "address", "add", address, "dev", theirs, *(["nodad"] if ":" in address else []))
        ip("-n", name, "link", "set", theirs, "up")
        yield name
    finally:
        ip("netns", "delete", name)


def fetch(neighbour: str, host: str, daemon: Daemon) -> tuple[int, str]:
    """Status and body of /livez as the neighbour gets them."""
    script = (
        "import urllib.request, urllib.error, sys\n"
        "try:\n"
        "    answer = urllib.request.urlopen(sys.argv[1], timeout=5)\n"
        "except urllib.error.HTTPError as error:\n"
        "    answer = error\n"
        "print(answer.status, answer.read().decode())\n"
    )
    argv = ["ip", "netns", "exec", neighbour, sys.executable, "-c", script, f"http://{host}:{daemon.port}/livez"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
    status, _, body = done.stdout.partition(" ")
    return int(status), body


CASES = [
    (["local"], OURS, 200),
    (["local"], f"[{OURS_6}]", 200),
    (["local"], "198.51.100.1", 403),
    (["198.51.100.0/24"], "198.51.100.1", 200),
    (["198.51.100.3"], "198.51.100.1", 403),
    ([], OURS, 403),
    ([THEIRS], OURS, 200),
    ([THEIRS], f"[{OURS_6}]", 403),
    ([THEIRS_6], f"[{OURS_6}]", 200),
    (["fd31:7::/64"], OURS, 403),
    (["10.0.0.0/8"], OURS, 200),
]


@pytest.mark.parametrize("listen_address", ["", "0.0.0.0"])
def test_the_list_is_obeyed(tmp_path: Path, neighbour: str, listen_address: str) -> None:
    settings: dict[str, object] = {"http.listen_address": listen_address}
    with running(tmp_path / "daemon", settings) as daemon:
        for networks, host, status in CASES:
            if listen_address and host.startswith("["):
                continue
            daemon.write_config({**settings, "http.allowed_networks": networks})
            reloads = daemon.log().count("configuration reloaded")
            daemon.process.send_signal(signal.SIGHUP)
            until("reloaded", lambda before=reloads: daemon.log().count("configuration reloaded") > before)
            assert fetch(neighbour, host, daemon)[0] == status, (networks, host)
            assert daemon.get("/livez")[0] == 200  # loopback always


def test_who_is_refused_reads_how_to_be_let_in(tmp_path: Path, neighbour: str) -> None:
    with running(tmp_path / "daemon", {"http.listen_address": ""}) as daemon:
        status, body = fetch(neighbour, "198.51.100.1", daemon)
        assert status == 403
        assert body.startswith(f"This camera does not serve {ELSEWHERE}.")
        assert f'allowed_networks = ["local", "{ELSEWHERE}"]' in body
        assert f"refused {ELSEWHERE}" in daemon.log()
