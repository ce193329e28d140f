"""Stills of cameras that sleep; tests/server takes them with a camera."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pi_cam_daemon.core.health import State
from pi_cam_daemon.core.latest import Demand, LatestFrame
from pi_cam_daemon.ipc.messages import Still
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


@pytest.mark.parametrize("changed", [False, True])
def test_a_still_with_other_masks_is_given_to_nobody(changed: bool) -> None:
    observer: Any = SimpleNamespace(camera=lambda: SimpleNamespace(state=State.STREAMING, period=0.1))
    observer.config = SimpleNamespace(video=SimpleNamespace(masks=[]))

    def take_still(number: int, _seconds: float) -> Still:
        observer.config.video.masks = [[0.0, 0.0, 0.5, 0.5]] if changed else []
        return Still(number, b"jpeg")

    link = SimpleNamespace(masks=[], take_still=take_still)
    supervisor: Any = SimpleNamespace(demand=Demand(lambda: None), link=lambda: link)
    taking = Stills(supervisor, LatestFrame(), observer)
    if changed:
        with pytest.raises(Refused, match="The masks were changed meanwhile; try again"):
            taking.take()
    else:
        assert taking.take().jpeg == b"jpeg"
