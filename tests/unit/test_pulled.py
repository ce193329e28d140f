"""The record of the checks for an update."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pi_cam_daemon.server import metrics
from pi_cam_daemon.system import pulled
from pi_cam_daemon.system.pulled import Record, Result

URL = "http://example.org/release"


def test_what_is_written_is_read_and_reported(tmp_path: Path) -> None:
    assert (pulled.read(tmp_path), pulled.report(tmp_path)) == (Record(), None)
    record = Record(url=URL, offered="2-b", etag='"a"', signature="f").checked(Result.INSTALLED, "2-b", 5.25)
    pulled.write(record, tmp_path)
    assert pulled.read(tmp_path) == record
    expected = {"checked_at": 5.25, "result": "installed", "detail": "2-b", "offered": "2-b"}
    assert pulled.report(tmp_path) == expected
    pulled.remove(tmp_path)
    assert pulled.report(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "{}", '{"result": "better"}', '{"result": 3}', "\xff"])
def test_a_record_that_cannot_be_read_is_none(text: str, tmp_path: Path) -> None:
    pulled.write(Record(), tmp_path)
    (tmp_path / pulled.FOLDER / "state.json").write_text(text, "latin-1")
    assert pulled.read(tmp_path) == Record()


def test_a_record_of_another_release_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    pulled.write(Record(), tmp_path)
    table = {"url": URL, "result": "failed", "failures": "many", "later": 1}
    (tmp_path / pulled.FOLDER / "state.json").write_text(json.dumps(table))
    assert pulled.read(tmp_path) == Record(url=URL, result="failed")


def test_runs_are_left_out_after_failures_up_to_a_week() -> None:
    record, left_out = Record(url=URL), []
    for _ in range(8):
        record = record.checked(Result.FAILED, "", 0.0)
        left_out.append(record.left_out)
    assert left_out == [0, 1, 3, 7, 15, 27, 27, 27]
    assert record.checked(Result.CURRENT, "", 0.0).left_out == 0
    # somebody chose that
    assert record.checked(Result.REPLACED, "", 0.0).failures == 0


def test_a_detail_is_one_line_of_limited_length() -> None:
    detail = Record().checked(Result.FAILED, "\x1b[31ma\n" + "b" * 1000, 0.0).detail
    assert detail.startswith(" [31ma b") and len(detail) == 500


@pytest.mark.parametrize(("result", "ok"), [(Result.CURRENT, 1), (Result.REPLACED, 0), (Result.REFUSED, 0)])
def test_metrics_tell_of_the_last_check(result: Result, ok: int) -> None:
    families = metrics.update_metrics(Record(offered="2-b").checked(result, "", 5.0))
    samples = [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]
    assert samples == [
        ("pi_cam_update_info", {"result": result, "offered": "2-b"}, 1),
        ("pi_cam_update_checked_timestamp_seconds", {}, 5.0),
        ("pi_cam_update_ok", {}, ok),
    ]
