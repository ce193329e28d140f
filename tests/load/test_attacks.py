"""Twenty viewers keep their rate during attacks, and no attack leaves resources behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kit.daemon import RIG, Daemon, running
from tests.kit.lateness import patience
from tests.kit.network import CAMERA, Host, elsewhere, hosts, wire
from tests.kit.wait import until
from tests.load.viewers import Crowd

HERE = Path(__file__).parent
VIEWERS = 20
# names of the attacker's methods
ATTACKS = ["malformed", "bodies", "strangers", "slowloris", "idle", "connects", "viewers", "snapshots"]
# Attackers have processors of their own, and what else this machine does is not under test: on it the daemon and its
# viewers come first, and the attackers last.
FIRST, LAST = ("nice", "-n", "-10"), ("nice", "-n", "19")
# a machine that is busy with the attackers can still draw so many pictures a second
FRAMERATE = 10
SETTINGS = {
    "http.listen_address": "",
    "http.max_requests_per_connection": 1_000_000,  # the observer stays on one, which no attack can take
    "video.width": 320,
    "video.height": 240,
    "video.framerate": FRAMERATE,
}
SECONDS = 7.0
# of the pictures that the camera took; nor may a viewer miss those of so many seconds from beat to beat
LEAST = 0.95
MOST_MISSED_SECONDS = 0.6
LARGE = 7_000_000  # bytes of a picture, in rig/camera.py
# threads of the daemon besides those of connections: main, log, accept, streams, supervisor, card
OWN_THREADS = 9
# What the allocator keeps for the next time: threads that work at the same time get heaps of their own, which shrink
# only from their ends. That it does not grow with the number of attacks is seen before any of these tests.
KEPT_BYTES = 4 << 20


@dataclass(frozen=True)
class Size:
    """The resources of a process; *resident* and *peak*, the most that it ever was, are in bytes."""

    resident: int
    peak: int
    threads: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> Size:
        status = Path(f"/proc/{pid}/status").read_text()
        found = dict(re.findall(r"^(VmRSS|VmHWM|Threads):\s+(\d+)", status, re.MULTILINE))
        return cls(
            int(found["VmRSS"]) * 1024,
            int(found["VmHWM"]) * 1024,
            int(found["Threads"]),
            len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208
        )


class Observer:
    """Reads the state over one connection that is opened before an attack takes all others."""

    def __init__(self, daemon: Daemon) -> None:
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", daemon.port, timeout=10, source_address=("127.0.0.9", 0)
        )

    def state(self) -> dict[str, Any]:
        try:
            self._connection.request("GET", "/state")
            told = self._connection.getresponse().read()
        except http.client.RemoteDisconnected:  # after http.keep_alive_seconds
            self._connection.request("GET", "/state")
            told = self._connection.getresponse().read()
        table = json.loads(told)
        assert isinstance(table, dict)
        return table

    def beat(self) -> int:
        """Return how many pictures the camera has taken, as soon as it reports that, once a second."""
        before: int = self.state()["frames"]["captured"]
        return until("a beat", lambda: (now := self.state()["frames"]["captured"]) > before and now)  # type: ignore[no-any-return]

    def close(self) -> None:
        self._connection.close()


@dataclass
class Scene:
    """A daemon with twenty viewers."""

    daemon: Daemon
    crowd: Crowd
    observer: Observer
    framerate: int = FRAMERATE

    def size(self) -> Size:
        """Return the resources of the daemon, with the observer's connection."""
        self.observer.state()
        return Size.of(self.daemon.process.pid)

    def rates(self, seconds: float = SECONDS) -> list[float]:
        """Return each viewer's share of the pictures that the camera took in at least so many *seconds*.

        If a viewer got too few, measure up to four times as long. Pictures at the edges of the span then weigh less,
        while really lost pictures weigh the same.
        """
        taken, got = self.observer.beat(), self.crowd.pictures()
        begun = time.monotonic()
        missed, most_missed = [0] * len(got), 0
        while True:
            taken_then, got_then = self.observer.beat() - taken, self.crowd.pictures()
            lasted = time.monotonic() - begun
            missed_then = [taken_then - (after - before) for before, after in zip(got, got_then, strict=True)]
            # from one beat to the next
            most_missed = max(most_missed, *(then - now for now, then in zip(missed, missed_then, strict=True)))
            missed = missed_then
            rates = sorted(1 - lost / taken_then for lost in missed)
            if lasted >= seconds and (rates[0] >= LEAST or lasted >= 4 * seconds):
                break
        assert taken_then >= 0.5 * lasted * self.framerate, "the machine is too busy for its camera"
        print(f"in {lasted:.0f} s a viewer missed {most_missed} pictures at most from one beat to the next")
        assert most_missed <= patience(MOST_MISSED_SECONDS) * self.framerate
        return rates


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("daemon")
    # in a network of its own, where one test links a host with an address of the internet
    with elsewhere(), running(folder, SETTINGS, argv=[*FIRST, sys.executable, RIG, folder / "fault"]) as daemon:
        daemon.wait_for_state("streaming")
        crowd, observer = Crowd(daemon, VIEWERS, first=FIRST), Observer(daemon)
        try:
            scene = Scene(daemon, crowd, observer)
            # What is loaded on demand, and the heaps of as many threads as there will ever be: each attack once.
            assert daemon.get("/metrics")[0] == 200
            for name in ATTACKS:
                with attack(name, daemon):
                    scene.rates(1)
            takes_no_more(daemon)
            until("its threads are gone", lambda: Size.of(daemon.process.pid).threads <= OWN_THREADS, 30)
            yield scene
        finally:
            observer.close()
            crowd.close()


@contextlib.contextmanager
def attack(name: str, daemon: Daemon, host: Host = CAMERA, address: str = "127.0.0.1") -> Iterator[dict[str, Any]]:
    """Run an attack for as long as the block lasts; then add its results to the table."""
    inside = ["ip", "netns", "exec", host.name] if host.name else []
    process = subprocess.Popen(
        [*inside, *LAST, sys.executable, str(HERE / "attacker.py"), name, address, str(daemon.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    came: dict[str, Any] = {}
    try:
        yield came
        told, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        came |= json.loads(told)
    finally:
        process.kill()
        process.communicate()


def takes_no_more(daemon: Daemon) -> None:
    """Fail unless memory stops growing during the attack that takes the most of it."""
    samples: list[tuple[int, int]] = []

    def has_settled() -> bool:
        time.sleep(2)  # the span between two samples
        samples.append((answered(daemon), Size.of(daemon.process.pid).resident))
        count, resident = samples[-1]
        # ten seconds ago or earlier, and so many requests that a kilobyte for each would show
        earlier = [kept for before, kept in samples[:-5] if count - before > 512]
        return bool(earlier) and resident - earlier[-1] < 512 * 1024

    with attack("malformed", daemon):
        until("no more memory taken", has_settled, 90)


def answered(daemon: Daemon) -> int:
    """Return the number of requests that the daemon has answered."""
    table = daemon.get("/metrics")[2].decode()
    return sum(
        round(float(count)) for count in re.findall(r"^pi_cam_http_requests_total{.*} (.+)$", table, re.MULTILINE)
    )


def is_survived(scene: Scene, name: str, before: Size, rates: list[float], most: Size) -> None:
    """Fail unless the viewers got their pictures and the daemon's resources are as before."""
    pid = scene.daemon.process.pid

    def settled() -> bool:
        scene.observer.state()  # has a thread and a descriptor, as before
        after = Size.of(pid)
        return (
            after.threads <= before.threads
            and after.descriptors <= before.descriptors
            and after.resident <= before.resident + KEPT_BYTES
        )

    with contextlib.suppress(AssertionError):  # the figures are told below
        until("settled", settled, 30)
    after = Size.of(pid)
    print(f"{name}: least rate {rates[0]:.3f}; before {before}, under attack {most}, after {after}")
    assert after.threads <= before.threads
    assert after.descriptors <= before.descriptors
    assert after.resident <= before.resident + KEPT_BYTES
    assert rates[0] >= LEAST, rates
    assert scene.observer.state()["viewers"] == VIEWERS
    assert "Traceback" not in scene.daemon.log()


@pytest.mark.parametrize("name", ATTACKS)
def test_twenty_viewers_do_not_notice_an_attack(scene: Scene, name: str) -> None:
    pid = scene.daemon.process.pid
    before = scene.size()
    with attack(name, scene.daemon) as came:
        rates = scene.rates()
        most = Size.of(pid)
    print(came)
    is_survived(scene, name, before, rates, most)
    assert came["attacks"] >= 50
    assert most.threads <= OWN_THREADS + 200, "more than http.max_connections has"


def test_peers_that_are_refused_and_talk_without_end(scene: Scene) -> None:
    with hosts(1) as (stranger,):
        device = f"pl{os.getpid()}"
        wire(CAMERA, stranger, {device: "198.51.100.1/24"}, {f"{device}x": "198.51.100.2/24"})
        before = scene.size()
        with attack("refused", scene.daemon, stranger, "198.51.100.1") as came:
            rates = scene.rates()
            most = Size.of(scene.daemon.process.pid)
        print(came)
        is_survived(scene, "refused", before, rates, most)
        assert came["attacks"] >= 50
        assert most.resident <= before.resident + (1 << 20), "what they say is kept"


def test_slow_readers_of_large_pictures(tmp_path: Path) -> None:
    budget = 30_000_000
    argv = [*FIRST, sys.executable, RIG, tmp_path / "fault"]
    # between two pictures there has to be time to send a large one twenty times
    settings = {**SETTINGS, "http.max_pending_bytes": budget, "video.framerate": 5}
    with running(tmp_path, settings, argv=argv) as daemon:
        daemon.wait_for_state("streaming")
        crowd, observer = Crowd(daemon, VIEWERS, first=FIRST), Observer(daemon)
        try:
            scene = Scene(daemon, crowd, observer, framerate=5)
            assert daemon.get("/metrics")[0] == 200
            before = scene.size()
            daemon.fault("large")
            with attack("slow_readers", daemon) as came:
                rates = scene.rates(patience(SECONDS))  # a reader of a slow machine meets few of the large ones
                most = scene.size()
            daemon.fault("small")
            print(came)
            assert min(came["answers"][path] for path in ("/stream", "/snapshot")) >= 24
            # beside the budget: the newest picture, and copies of the next one while it is received
            assert most.peak <= before.resident + budget + 4 * LARGE
            is_survived(scene, "slow readers", before, rates, most)
            assert re.search(
                rb'slow_clients_dropped_total{reason="max_pending_bytes"} [1-9]', daemon.get("/metrics")[2]
            )
        finally:
            observer.close()
            crowd.close()


def test_ten_thousand_requests_good_and_bad(scene: Scene) -> None:
    before = scene.size()
    argv = [*LAST, "wrk", "-t1", "-c50", "-d8s", "--timeout", "5s", "-s", str(HERE / "mixture.lua")]
    done = 0
    begun = time.monotonic()
    rates: list[float] = []
    while done < 10_000:
        wrk = subprocess.Popen([*argv, f"http://127.0.0.1:{scene.daemon.port}/"], stdout=subprocess.PIPE, text=True)
        rates += scene.rates(6)
        most = Size.of(scene.daemon.process.pid)
        told, _ = wrk.communicate(timeout=30)
        found = re.search(r"(\d+) requests in", told)
        assert wrk.returncode == 0 and found, told
        done += int(found[1])
        print(told)
        assert time.monotonic() - begun < patience(60), f"{done} requests"
    is_survived(scene, "wrk", before, sorted(rates), most)


def test_twenty_snapshots_at_once_of_a_camera_that_is_silent_are_refused_in_time(scene: Scene) -> None:
    pid = scene.daemon.camera_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        until("an old picture", lambda: scene.observer.state()["frames"]["age_seconds"] > 1.5)
        with ThreadPoolExecutor(20) as pool:
            begun = time.monotonic()
            answers = list(pool.map(lambda _: scene.daemon.get("/snapshot?max_age_ms=0"), range(20)))
            assert time.monotonic() - begun < patience(5)  # which is what OctoPrint gives it
    finally:
        os.kill(pid, signal.SIGCONT)
    assert {(status, headers["retry-after"]) for status, headers, _ in answers} == {(503, "2")}
    scene.daemon.wait_for_state("streaming")


def test_viewers_and_new_clients_are_still_served(scene: Scene) -> None:
    assert scene.rates(3)[0] >= LEAST
    for path in ("/", "/snapshot", "/state", "/metrics"):
        assert scene.daemon.get(path)[0] == 200


def test_more_than_a_thousand_descriptors_are_served(tmp_path: Path) -> None:
    most = {f"http.{key}": 1000 for key in ("max_viewers", "max_viewers_per_address", "max_connections")}
    with running(tmp_path / "daemon", {**SETTINGS, **most, "http.max_connections_per_address": 1000}) as daemon:
        daemon.wait_for_state("streaming")
        idle = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(700)]
        crowd = Crowd(daemon, 400, first=FIRST)
        try:
            size = Size.of(daemon.process.pid)
            assert size.descriptors > 1100
            assert size.threads <= 1000 + OWN_THREADS
            before = crowd.pictures()
            until(
                "ten more pictures each",
                lambda: all(n > b + 10 for n, b in zip(crowd.pictures(), before, strict=True)),
                20,
            )
            assert daemon.get("/snapshot")[0] == 200
        finally:
            crowd.close()
            for sock in idle:
                sock.close()
        until("all gone", lambda: Size.of(daemon.process.pid).descriptors < 30, 20)
        assert Size.of(daemon.process.pid).threads <= OWN_THREADS


def test_without_descriptors_viewers_go_on_and_new_clients_wait(tmp_path: Path) -> None:
    argv = [*FIRST, "prlimit", "--nofile=64:64", sys.executable, str(RIG), str(tmp_path / "fault")]
    with running(tmp_path / "daemon", SETTINGS, argv=argv) as daemon:
        daemon.wait_for_state("streaming")
        crowd, observer = Crowd(daemon, VIEWERS, first=FIRST), Observer(daemon)
        observer.state()
        scene = Scene(daemon, crowd, observer)
        try:
            sockets = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(100)]
            until("none left", lambda: "cannot accept connections: Too many open files" in daemon.log())
            assert scene.rates(5)[0] >= LEAST
            for sock in sockets:
                sock.close()
            until("served again", lambda: daemon.get("/livez")[0] == 200)
            assert scene.rates(3)[0] >= LEAST
        finally:
            observer.close()
            crowd.close()
        assert daemon.log().count("cannot accept connections") == 1
        assert daemon.process.poll() is None and daemon.state()["camera_process"]["starts"] == 1


def test_without_new_threads_viewers_go_on_and_others_are_refused(tmp_path: Path) -> None:
    argv = [*FIRST, sys.executable, str(RIG), str(tmp_path / "fault")]
    # with one arena, as in the unit, a thread reserves address space for its stack alone
    with running(tmp_path / "daemon", SETTINGS, argv=argv, env={"MALLOC_ARENA_MAX": "1"}) as daemon:
        daemon.wait_for_state("streaming")
        stack_bytes = resource.getrlimit(resource.RLIMIT_STACK)[0]
        pages = int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + 50 * stack_bytes
        resource.prlimit(daemon.process.pid, resource.RLIMIT_AS, (most, most))
        crowd = Crowd(daemon, VIEWERS, first=FIRST)
        try:
            idle = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(90)]
            status, headers, body = daemon.get("/livez")
            assert (status, headers["retry-after"]) == (503, "2")
            assert b"No more connections can be taken now" in body
            before = crowd.pictures()
            until(
                "ten more pictures each",
                lambda: all(n > b + 10 for n, b in zip(crowd.pictures(), before, strict=True)),
            )
            for sock in idle:
                sock.close()
            until("served again", lambda: daemon.get("/livez")[0] == 200)
        finally:
            crowd.close()
        assert "Traceback" not in daemon.log()
