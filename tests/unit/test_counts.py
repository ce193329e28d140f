"""Refusals are counted, and logged so seldom that no stranger fills the log."""

from __future__ import annotations

import dataclasses

import pytest

from pi_cam_daemon.config.schema import HttpConfig
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
        "refused 2001:db8::1: No (http.allowed_networks)",
    ]


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason.key])
def test_each_refusal_in_the_log_names_its_setting_once(reason: Reason, caplog: pytest.LogCaptureFixture) -> None:
    told = Counts("in the file")
    told.deny(Refused(reason, "No\n\nAsk the owner"), "192.168.1.5")
    told.deny(Refused(reason, f"No, says http.{reason.key}"), "192.168.1.6")
    assert [record.getMessage() for record in caplog.records] == [
        f"refused 192.168.1.5: No (http.{reason.key})",
        f"refused 192.168.1.6: No, says http.{reason.key}",
    ]
    assert reason.key in {field.name for field in dataclasses.fields(HttpConfig)}


def test_a_refusal_that_a_setting_prevents_has_the_whole_line(caplog: pytest.LogCaptureFixture) -> None:
    refused = Refused.unless_set(Reason.HOST, "No.", "Add it", "allowed_hosts", ["local"], "cam.example.org")
    Counts("in the file").deny(refused, "192.168.1.5")
    assert caplog.records[0].getMessage() == (
        'refused 192.168.1.5: No. If it should, set allowed_hosts = ["local", "cam.example.org"] in the file'
    )
