"""The webhook when its receiver does not work."""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pi_cam_daemon.core import webhook as module
from pi_cam_daemon.core.events import MOST_EVENTS, Events
from pi_cam_daemon.core.webhook import Target, Webhook
from pi_cam_daemon.ipc.messages import Motion
from tests.kit.events import Receiver
from tests.kit.wait import free_port, until


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 60 < sum(module._PAUSES) < 120
    monkeypatch.setattr(module, "_PAUSES", (0.01, 0.02, 0.03))


@pytest.fixture
def events() -> Events:
    return Events(lambda *_: None)


@pytest.fixture
def webhook(events: Events) -> Iterator[Webhook]:
    webhook = Webhook(events, lambda: "Garden")
    yield webhook
    webhook.configure(None)


def test_an_event_is_given_up_after_all_attempts_and_logged_once(
    events: Events, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with Receiver(answers=(500, 503, 429, 408, *[500] * 4, 200)) as receiver:
        webhook.configure(Target(receiver.url, b""))
        for number in range(3):
            events.refuse([f"problem {number}"])
        until("all", lambda: webhook.counted.total() == 3)
    assert webhook.counted == {"delivered": 1, "failed": 2, "dropped": 0}
    assert [str(table["text"])[-1] for table in receiver.tables()] == [*"00001111", "2"]
    place = receiver.url.partition("/hook")[0]
    logged = [record.getMessage() for record in caplog.records]
    assert logged == [f"{place}/*** did not take an event: it answered 408", f"{place}/*** takes events again"]


def test_a_receiver_that_hangs_costs_ten_seconds_an_attempt(
    events: Events, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module._SECONDS == 10
    monkeypatch.setattr(module, "_SECONDS", 0.1)
    with Receiver(answers=(None, None)) as receiver:
        webhook.configure(Target(receiver.url, b""))
        begun = time.monotonic()
        events.refuse(["a problem"])
        until("delivered", lambda: webhook.counted["delivered"])
        assert time.monotonic() - begun >= 0.2
        assert len(receiver.got) == 3


def test_an_answer_that_does_not_end_holds_up_no_event(events: Events, webhook: Webhook) -> None:
    with Receiver(answers=(299,)) as receiver:
        webhook.configure(Target(receiver.url, b""))
        for number in range(2):
            events.refuse([f"problem {number}"])
        until("both", lambda: webhook.counted["delivered"] == 2)
        assert len(receiver.got) == 2


def test_a_receiver_whose_answer_has_no_end_is_a_failure(
    events: Events, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_LONGEST_SECONDS", 0.2)

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def flood() -> None:
            for _ in range(len(module._PAUSES) + 1):
                with contextlib.suppress(OSError), listening.accept()[0] as asking:
                    while True:
                        asking.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

        threading.Thread(target=flood, daemon=True).start()
        webhook.configure(Target(f"http://127.0.0.1:{listening.getsockname()[1]}", b""))
        events.refuse(["a problem"])
        until("failed", lambda: webhook.counted["failed"])
    assert "its answer takes longer than 0.2 s" in caplog.text


def test_a_host_that_does_not_exist_is_a_failure(events: Events, webhook: Webhook) -> None:
    webhook.configure(Target(f"http://127.0.0.1:{free_port()}", b""))
    events.refuse(["a problem"])
    until("failed", lambda: webhook.counted["failed"])
    webhook.configure(Target("http://nowhere.invalid/", b""))
    events.refuse(["a problem"])
    until("failed", lambda: webhook.counted["failed"] == 2)


def test_the_oldest_are_dropped_when_too_many_wait(events: Events, webhook: Webhook) -> None:
    with Receiver(answers=(None,)) as receiver:
        webhook.configure(Target(receiver.url, b""))
        events.refuse(["first"])
        until("it hangs", lambda: receiver.got)
        for number in range(MOST_EVENTS + 5):
            events.refuse([f"problem {number}"])
        assert webhook.counted["dropped"] == 5
        receiver.close()
    with Receiver() as other:
        webhook.configure(Target(other.url, b""))
        until("all the others", lambda: webhook.counted["delivered"] == MOST_EVENTS + 1)
        assert [table["text"] for table in other.tables()][:2] == ["first", "problem 5"]


def test_a_motion_that_began_before_the_webhook_does_not_end_there(events: Events) -> None:
    now = time.monotonic()
    events.motion(Motion(False, 0.5, (0, 0, 1, 1)), now)
    with Receiver() as receiver:
        webhook = Webhook(events, lambda: "Garden")
        webhook.configure(Target(receiver.url, b""))
        events.motion(Motion(True, 0.5, (0, 0, 1, 1)), now + 1)
        events.refuse(["a problem"])
        until("delivered", lambda: webhook.counted["delivered"])
        assert [table["kind"] for table in receiver.tables()] == ["reload-refused"]
        webhook.configure(None)
        events.refuse(["another problem"])
    assert len(receiver.got) == 1


def test_a_target_shows_nothing_of_itself() -> None:
    assert repr(Target("http://example.org/token", b"secret")) == "Target()"
