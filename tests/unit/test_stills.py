"""Stills of cameras that sleep; tests/server takes them with a camera."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pi_cam_daemon.core.health import State
from pi_cam_daemon.core.latest import Demand, LatestFrame
from pi_cam_daemon.server import stills
from pi_cam_daemon.server.refused import Reason, Refused
from pi_cam_daemon.server.stills import Stills


@pytest.mark.parametrize("state", [State.IDLE, State.STARTING])
def test_a_camera_that_is_woken_and_gives_nothing_is_told(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stills, "_START_SECONDS", 0.02)
    woken: list[bool] = []
    supervisor: Any = SimpleNamespace(demand=Demand(lambda: woken.append(supervisor.demand.present)))
    observer: Any = SimpleNamespace(camera=lambda: SimpleNamespace(state=state), no_picture=lambda: "It is unplugged")
    taking = Stills(supervisor, LatestFrame(), observer)
    for _ in range(2):  # the next one need not wait for a pause
        with pytest.raises(Refused, match="It is unplugged") as refused:
            taking.take()
        assert refused.value.reason is Reason.PICTURE
    assert woken == [True, False] * 2
