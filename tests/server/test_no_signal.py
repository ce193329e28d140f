import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import pi_cam_daemon
from pi_cam_daemon.config import loading
from pi_cam_daemon.core import no_signal, overdue
from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.core.latest import LatestFrame
from pi_cam_daemon.core.no_signal import Cards
from pi_cam_daemon.errors import Cause
from pi_cam_daemon.imaging import jpeg
from pi_cam_daemon.ipc.parts import part
from tests.kit.lateness import patience
from tests.kit.wait import until

PACKAGED = Path(pi_cam_daemon.__file__).with_name("core").joinpath("no-signal.jpg").read_bytes()
SIZE = (160, 120)


@pytest.fixture
def cards() -> Iterator[Cards]:
    cards = Cards()
    yield cards
    cards.close(patience(20))


def children() -> list[str]:
    found = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += (task / "children").read_text().split()
        except OSError:  # a thread that ended since it was listed; its children are another's now
            return children()
    return found


def test_the_packaged_card_serves_until_the_right_one_is_drawn(cards: Cards) -> None:
    assert cards.get(Cause.MISSING, SIZE) == PACKAGED
    until("it is drawn", lambda: cards.get(Cause.MISSING, SIZE) != PACKAGED)
    card = cards.get(Cause.MISSING, SIZE)
    jpeg.check(card)
    assert jpeg.size(card) == SIZE


def test_the_last_card_of_the_same_size_serves_until_the_new_one_is_drawn(cards: Cards) -> None:
    # the packaged one, of another size, for a second in between costs ffmpeg the cards on both sides of it
    cards.get(Cause.CRASHED, SIZE)
    until("it is drawn", lambda: cards.get(Cause.CRASHED, SIZE) != PACKAGED)
    crashed = cards.get(Cause.CRASHED, SIZE)
    assert cards.get(Cause.STALLED, SIZE) is crashed
    assert cards.get(Cause.STALLED, (320, 240)) == PACKAGED
    until("the other is drawn", lambda: cards.get(Cause.STALLED, SIZE) not in (crashed, PACKAGED))


def test_a_card_is_drawn_once(cards: Cards) -> None:
    cards.get(Cause.BUSY, SIZE)
    until("it is drawn", lambda: cards.get(Cause.BUSY, SIZE) != PACKAGED)
    first = cards.get(Cause.BUSY, SIZE)
    until("no process is left", lambda: not children())
    for _ in range(100):
        assert cards.get(Cause.BUSY, SIZE) is first
    assert not children()


def test_nobody_ever_waits_for_a_card(cards: Cards) -> None:
    slowest = 0.0

    def get() -> bytes:
        nonlocal slowest
        begin = time.monotonic()
        card = cards.get(Cause.LOST, SIZE)
        slowest = max(slowest, time.monotonic() - begin)
        return card

    until("it is drawn", lambda: get() != PACKAGED)
    assert slowest < 0.1


def test_each_cause_and_size_has_a_card_and_one_is_drawn_at_a_time(cards: Cards) -> None:
    wanted = [(Cause.MISSING, SIZE), (Cause.WEDGED, SIZE), (Cause.MISSING, (200, 100))]
    most = 0

    def all_drawn() -> bool:
        nonlocal most
        found = {cards.get(*key) for key in wanted}
        most = max(most, len(children()))
        return len(found) == len(wanted) and PACKAGED not in found

    until("all are drawn", all_drawn)
    found = [cards.get(*key) for key in wanted]
    assert [jpeg.size(card) for card in found] == [size for _, size in wanted]
    assert most == 1


def test_a_card_that_cannot_be_drawn_is_not_tried_again(cards: Cards, caplog: pytest.LogCaptureFixture) -> None:
    impossible = (100_000, 100_000)
    with caplog.at_level(logging.WARNING):
        assert cards.get(Cause.LOST, impossible) == PACKAGED
        until("a warning", lambda: bool(caplog.records))
        until("no process is left", lambda: not children())
        for _ in range(20):
            assert cards.get(Cause.LOST, impossible) == PACKAGED
    assert not children()
    assert len(caplog.records) == 1
    until("another is drawn", lambda: cards.get(Cause.LOST, SIZE) != PACKAGED)


# $1 is the cause, $2 the language; it draws nothing
NO_LETTERS = 'echo "$1"; [ "$2" = en ] || exit 69'
CRASH = 'echo "$1"; [ "$2" = en ] || kill -SEGV $$'


@pytest.mark.parametrize(("program", "says"), [(NO_LETTERS, "apt install fonts-nanum"), (CRASH, "failed: SIGSEGV")])
def test_a_card_that_cannot_be_korean_is_english_and_the_log_says_once_why(
    program: str, says: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pi_cam_daemon.system.children.command", lambda _: ("/bin/sh", "-c", program, "sh"))
    cards = Cards("ko")
    for cause in (Cause.MISSING, Cause.LOST):
        until("it is drawn", lambda cause=cause: cards.get(cause, SIZE) == f"{cause}\n".encode())
    assert [says in record.getMessage() for record in caplog.records] == [True]
    until("no process is left", lambda: not children())
    cards.configure("ko")  # after a font was installed, say
    caplog.clear()
    until("it is drawn anew", lambda: cards.get(Cause.MISSING, SIZE) == b"missing\n" and caplog.records)
    assert len(caplog.records) == 1
    cards.close(patience(20))


def test_a_reload_in_the_same_language_draws_nothing_anew(cards: Cards) -> None:
    cards.get(Cause.BUSY, SIZE)
    until("it is drawn", lambda: cards.get(Cause.BUSY, SIZE) != PACKAGED)
    first = cards.get(Cause.BUSY, SIZE)
    until("no process is left", lambda: not children())
    cards.configure("en")
    assert cards.get(Cause.BUSY, SIZE) is first
    assert not children()


def test_closing_leaves_no_process_behind() -> None:
    cards = Cards()
    cards.get(Cause.LOST, (4000, 3000))
    until("a process draws", lambda: bool(children()))
    begin = time.monotonic()
    cards.close(patience(20))
    assert time.monotonic() - begin < patience(5)
    assert not children()
    assert cards.get(Cause.LOST, SIZE) == PACKAGED
    assert cards.get(Cause.LOST, (4000, 3000)) == PACKAGED
    assert not children()


def test_the_card_has_the_configured_size_if_the_pictures_is_unknown(tmp_path: Path) -> None:
    # the stream loop asks for the card: an exception there ends the daemon
    latest, broken = LatestFrame(), b"\xff\xd8 the rest was lost on the cable"
    latest.publish(Frame(part(broken, 0), 0, 0))
    assert overdue.size(latest, latest, loading.load(etc=tmp_path)) == (640, 480)


def test_the_first_that_a_viewer_sees_has_the_size_of_the_pictures_to_come(
    cards: Cards, monkeypatch: pytest.MonkeyPatch
) -> None:
    # OpenCV's FFmpeg keeps the first size: after a card of another size it would show parts of pictures for ever
    latest, status = LatestFrame(), SimpleNamespace(cause=Cause.STARTING, live=False)
    seen = until("a card", lambda: overdue.card(cards, status, latest, SIZE))
    assert b"Content-Type: image/jpeg" in seen.part and jpeg.size(seen.jpeg) == SIZE
    other = 320, 240
    assert overdue.card(cards, status, latest, other) is None
    monkeypatch.setattr(no_signal, "_FIRST_SECONDS", 0.0)
    slow = overdue.card(cards, status, latest, other)
    assert slow and bytes(slow.jpeg) == PACKAGED, "whoever waits for long sees why"
    monkeypatch.undo()
    latest.publish(Frame(part(PACKAGED, 0), 0, 0))
    assert overdue.card(cards, status, latest, SIZE), "an old picture is never taken for a live one"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_card_is_drawn_again_after_a_bug_in_the_thread(cards: Cards, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(_: str) -> tuple[str, ...]:
        raise RuntimeError("a bug of the test's own")

    with monkeypatch.context() as broken:
        broken.setattr("pi_cam_daemon.system.children.command", bug)
        cards.get(Cause.MISSING, SIZE)
        until("the thread ended", lambda: all(thread.name != "card" for thread in threading.enumerate()))
    assert cards.get(Cause.MISSING, SIZE) == PACKAGED, "it is tried again after a while, not at every call"
    until("another is drawn", lambda: cards.get(Cause.LOST, SIZE) != PACKAGED)


# a machine that has nothing left to start a process with, and then has again
EXHAUSTED = """
import os, resource, threading, time
from pi_cam_daemon.core.no_signal import Cards
from pi_cam_daemon.errors import Cause

cards = Cards()
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
packaged = cards.get(Cause.LOST, (160, 120))
time.sleep(0.3)
assert cards.get(Cause.LOST, (160, 120)) == packaged
for fd in taken:
    os.close(fd)
deadline = time.monotonic() + 5
while cards.get(Cause.MISSING, (160, 120)) == packaged:
    assert time.monotonic() < deadline, "nothing is drawn any more"
    time.sleep(0.01)
cards.close(5)
"""


def test_a_machine_that_cannot_start_a_process_causes_no_traceback() -> None:
    # an exception at the top of a thread ends the daemon
    result = subprocess.run([sys.executable, "-c", EXHAUSTED], capture_output=True, timeout=60, text=True)
    assert "Traceback" not in result.stderr
    assert result.returncode == 0
