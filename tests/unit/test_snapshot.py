"""The age of a snapshot has a limit, which depends on the camera's period."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.core.health import State
from pi_cam_daemon.core.latest import Demand, LatestFrame, Pictures
from pi_cam_daemon.ipc.pace import Pace
from pi_cam_daemon.ipc.parts import part
from pi_cam_daemon.server import handler
from pi_cam_daemon.server.handler import Handler

WAIT = handler._SNAPSHOT_SECONDS


@pytest.mark.parametrize(
    ("period", "age", "sent"),
    [
        (0.04, 0.9, True),
        (0.04, 1.1, False),
        (10.0, 19.0, True),
        (10.0, 25.0, True),  # no other one comes meanwhile, but the camera goes on
        (10.0, 27.0, False),
    ],
)
def test_a_snapshot_is_a_second_old_at_most_or_three_frames(
    period: float, age: float, sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "_SNAPSHOT_SECONDS", 0.001)
    latest = LatestFrame()
    latest.publish(Frame(part(b"jpeg", 0), round((time.monotonic() - age) * 1e9), 0))
    # when it has waited for another one
    live = age + WAIT < Pace(period).silent_seconds
    status = SimpleNamespace(state=State.STREAMING, period=period, live=live)
    observer = SimpleNamespace(camera=lambda: status, no_picture=lambda: "The camera gave no picture in time")
    answers: list[bytes | str] = []
    connection: Any = SimpleNamespace(
        asked=SimpleNamespace(number=lambda *_: None, small=False),
        app=SimpleNamespace(big=Pictures(latest, Demand(lambda: None)), observer=observer),
        _answer=lambda _, jpeg, __: answers.append(bytes(jpeg)),
        _refuse=lambda refused: answers.append(refused.text),
    )
    Handler.snapshot(connection)
    assert answers == [b"jpeg" if sent else "The camera gave no picture in time"]


@pytest.mark.parametrize(
    ("period", "framerate", "age", "sent"),
    [
        (0.04, 10.0, 0.9, True),
        (0.04, 10.0, 2.1, False),
        (0.04, 10.0, 3600.0, False),  # nobody asked for small ones for an hour
        (0.04, 0.1, 19.0, True),
        (0.04, 0.1, 25.0, True),
        (10.0, 10.0, 25.0, True),
        (10.0, 10.0, 3600.0, False),
    ],
)
def test_a_small_snapshot_is_as_new_as_small_ones_come(
    period: float, framerate: float, age: float, sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "_SNAPSHOT_SECONDS", 0.001)
    big, small = (Pictures(LatestFrame(), Demand(lambda: None)) for _ in range(2))
    big.latest.publish(Frame(part(b"big", 0), time.monotonic_ns(), 0))
    small.latest.publish(Frame(part(b"small", 0), round((time.monotonic() - age) * 1e9), 0))
    status = SimpleNamespace(state=State.STREAMING, period=period, live=True)
    config = SimpleNamespace(small=SimpleNamespace(framerate=framerate))
    observer = SimpleNamespace(camera=lambda: status, no_picture=lambda: "none in time", config=config)
    answers: list[bytes | str] = []
    connection: Any = SimpleNamespace(
        asked=SimpleNamespace(number=lambda *_: None, small=True),
        app=SimpleNamespace(big=big, small=small, observer=observer),
        _answer=lambda _, jpeg, __: answers.append(bytes(jpeg)),
        _refuse=lambda refused: answers.append(refused.text),
    )
    Handler.snapshot(connection)
    assert answers == [b"small" if sent else "none in time"]
    assert small.demand.wanted_until(30.0) > time.monotonic() + 20 and big.demand.wanted_until(0.0) < time.monotonic()
