"""The age of a snapshot has a limit, which depends on the camera's period."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from pi_cam_daemon.core.frame import Frame
from pi_cam_daemon.core.health import State
from pi_cam_daemon.core.latest import Demand, LatestFrame
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
        asked=SimpleNamespace(number=lambda *_: None),
        app=SimpleNamespace(latest=latest, demand=Demand(lambda: None), observer=observer),
        _answer=lambda _, jpeg, __: answers.append(bytes(jpeg)),
        _refuse=lambda refused: answers.append(refused.text),
    )
    Handler.snapshot(connection)
    assert answers == [b"jpeg" if sent else "The camera gave no picture in time"]
