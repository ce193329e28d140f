import os
import re
import signal
import subprocess
import sys
import tempfile
import threading

import pytest

from tests.kit.lateness import patience

SETUP = "import logging; from pi_cam_daemon.system import logs; logs.setup({level!r}); log = logging.getLogger('x')\n"


def logged(code: str, level: str = "debug", journal: bool = False) -> str:
    """Return the standard error of a process that runs *code*."""
    environment = {key: value for key, value in os.environ.items() if key != "JOURNAL_STREAM"}
    argv = [sys.executable, "-c", SETUP.format(level=level) + code]
    with tempfile.TemporaryFile() as stderr:
        if journal:
            status = os.fstat(stderr.fileno())
            environment["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
        result = subprocess.run(argv, env=environment, stdout=subprocess.PIPE, stderr=stderr, timeout=30, check=True)
        assert result.stdout == b""
        stderr.seek(0)
        return stderr.read().decode()


FAILING = "try:\n  raise ValueError({text!r})\nexcept ValueError:\n  log.exception('it failed')"


def test_the_journal_gets_each_line_with_its_priority() -> None:
    code = "\n".join(f"log.{level}('%s', '{level}')" for level in ("debug", "info", "warning", "error", "critical"))
    assert logged(code, journal=True) == "<7>debug\n<6>info\n<4>warning\n<3>error\n<3>critical\n"


def test_without_the_journal_a_line_has_time_and_level() -> None:
    lines = logged("log.info('one'); log.warning('two')").splitlines()
    assert [line[24:] for line in lines] == ["INFO one", "WARNING two"]
    for line in lines:
        date, clock, *_ = line.split()
        assert date.count("-") == 2
        assert clock.count(":") == 2


def test_the_level_hides_lower_levels() -> None:
    assert logged("log.info('one'); log.warning('two'); log.error('three')", "warning", True) == "<4>two\n<3>three\n"


def test_a_second_setup_replaces_the_first() -> None:
    assert logged("logs.setup('error'); log.warning('one'); log.error('two')", journal=True) == "<3>two\n"


@pytest.mark.parametrize("journal", [True, False])
def test_every_line_of_a_traceback_has_the_priority(journal: bool) -> None:
    lines = logged(FAILING.format(text="boom"), journal=journal).splitlines()
    assert lines[-1].endswith("ValueError: boom")
    assert any(line.endswith("Traceback (most recent call last):") for line in lines)
    if journal:
        assert all(line.startswith("<3>") for line in lines)


HOSTILE = "\x1b[2J\x1b]0;owned\x07 \n<0>forged\r\u2028\x9b31m \ud800"


def test_line_feeds_and_escape_sequences_are_escaped() -> None:
    text = logged(f"log.info('path %s', {HOSTILE!r})", journal=True)
    assert text.count("\n") == 1
    assert text[:-1].isprintable()
    assert r"\x1b[2J" in text
    assert r"\n<0>forged" in text


def test_they_are_escaped_in_the_message_of_an_exception_too() -> None:
    text = logged(FAILING.format(text=HOSTILE), journal=True)
    assert all(line.isprintable() for line in text.split("\n"))


def test_letters_of_every_language_are_kept() -> None:
    assert logged("log.info('%s', 'Wohnzimmer-Tür 門')", journal=True) == "<6>Wohnzimmer-Tür 門\n"


def test_picamera2_is_quiet_below_warnings() -> None:
    code = "p = logging.getLogger('picamera2'); p.info('one'); p.warning('two'); assert p.level == logging.WARNING"
    assert logged(code, journal=True) == "<4>two\n"


def test_an_inherited_journal_variable_for_another_stream_is_ignored() -> None:
    code = "import logging; from pi_cam_daemon.system import logs; logs.setup('info'); logging.info('hello')"
    env = {**os.environ, "JOURNAL_STREAM": "8:12345"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=20)
    assert done.stderr.endswith(" INFO hello\n") and "<6>" not in done.stderr


BLOCKED = """
import ctypes, os, signal, threading, time
def bystander():
    threading.Event().wait()
def stuck():
    # PyDLL keeps the interpreter's lock: no Python code runs in any thread, as under a driver that does the same
    ctypes.PyDLL(None).sleep(60)
threading.Thread(target=bystander, daemon=True).start()
if not os.fork():
    time.sleep(1)
    os.kill(os.getppid(), signal.SIGABRT)
    os._exit(0)
stuck()
"""


def test_sigabrt_logs_the_stacks_of_all_threads_even_if_main_is_stuck_in_c() -> None:
    argv = [sys.executable, "-c", SETUP.format(level="info") + BLOCKED]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in done.stderr
    assert " in stuck\n" in done.stderr and " in bystander\n" in done.stderr


UNREAD = """
import time
begun = time.monotonic()
for number in range(20_000):
    log.info('%064d', number)
print(time.monotonic() - begun, flush=True)
"""


def test_a_log_that_nobody_reads_blocks_nobody_and_tells_what_it_dropped() -> None:
    argv = [sys.executable, "-c", SETUP.format(level="info") + UNREAD + "input()\nlog.info('the last')"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(argv, **pipes) as process:  # type: ignore[call-overload]
        try:
            killer = threading.Timer(patience(20), process.kill)
            killer.start()
            assert process.stdout.readline(), "it waits for the reader of its log"
            _, log = process.communicate("\n")
        finally:
            killer.cancel()
            process.kill()
    told = [line.partition(" INFO ")[2] for line in log.splitlines() if " INFO " in line]
    dropped = re.findall(r" WARNING (\d+) lines of the log were dropped, because its reader was too slow$", log, re.M)
    # the pipe may take some more after the first dropped line
    assert told[0] == f"{0:064}" and told == sorted(set(told)) and told[-1] == "the last"
    assert dropped and len(told) - 1 + sum(map(int, dropped)) == 20_000


def test_a_log_that_nobody_reads_delays_the_end_only_briefly() -> None:
    reading, writing = os.pipe()
    try:
        argv = [sys.executable, "-c", SETUP.format(level="info") + UNREAD]
        subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=writing, timeout=patience(20), check=True)
    finally:
        os.close(reading)
        os.close(writing)
