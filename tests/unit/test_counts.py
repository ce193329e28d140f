"""Refusals are counted, and logged so seldom that no stranger fills the log."""

from __future__ import annotations

import pytest

from pi_cam_daemon.server import counts
from pi_cam_daemon.server.counts import Counts
from pi_cam_daemon.server.refused import Reason, Refused


def test_one_host_with_many_addresses_gets_few_lines_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(counts.time, "monotonic", lambda: now)
    told = Counts("in the file")
    for number in range(5000):
        told.deny(Refused(Reason.NETWORK, "No"), f"2001:db8::{number:x}")
    assert len(caplog.records) == 20 and told.denied["network"] == 5000
    now += 60
    told.deny(Refused(Reason.NETWORK, "No"), "2001:db8::1")
    assert [record.getMessage() for record in caplog.records[20:]] == [
        "4980 refusals were not logged, because there were too many; /metrics counts all",
        "refused 2001:db8::1: No",
    ]
