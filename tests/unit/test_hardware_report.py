"""The report of scripts/try-on-a-pi: its lines, and steps that fail or hang."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pi_cam_daemon.system import machine
from tests.hardware.machine import expected_encoder
from tests.hardware.report import Report, Result, Results


def written(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "report.txt"


@pytest.mark.parametrize(("ok", "verdict"), [(True, "ok"), (False, "FAILED"), (None, "measured")])
def test_a_result_is_one_line(ok: bool | None, verdict: str) -> None:
    assert str(Result("a", "1\n2", "3", ok)) == f"{verdict} a: 1 2; expected 3"


def test_a_step_that_fails_or_hangs_does_not_end_the_others(path: Path) -> None:
    cleaned = []

    def fails() -> Results:
        yield Result("first", "1", "1", ok=True)
        raise ValueError("no camera")

    def hangs() -> Results:
        try:
            time.sleep(60)
            yield Result("never", "", "")
        finally:
            cleaned.append("hangs")

    def ends() -> Results:
        yield Result("last", "2", "2", ok=True)

    report = Report(path)
    for title, step in (("fails", fails), ("hangs", hangs), ("ends", ends)):
        report.step(title, 0.2 if title == "hangs" else 10, step)
    report.close()
    assert [line for line in written(path) if line] == [
        "== fails", "ok first: 1; expected 1", "FAILED fails: ValueError: no camera; expected an end within 10 s",
        "== hangs", "FAILED hangs: TooLong: not within 0 s; expected an end within 0 s",
        "== ends", "ok last: 2; expected 2",
    ]  # fmt: skip
    assert cleaned == ["hangs"]
    assert (report.count, report.failed) == (4, 2)


def test_what_was_found_so_far_is_in_the_file_at_once(path: Path) -> None:
    report = Report(path)
    report.result(Result("a", "1", "1"))
    assert written(path) == ["measured a: 1; expected 1"]
    report.close()


def test_addresses_and_passwords_are_left_out_but_versions_stay(path: Path) -> None:
    report = Report(path)
    report.text("versions", "opencv: 4.13.0.92", redact=False)
    report.text("log", "peer 192.168.1.7, password: hunter2")
    report.result(Result("a", "refused by 192.168.1.7", "1"))
    report.close()
    text = path.read_text()
    assert "4.13.0.92" in text and "[address 1]" in text
    assert "192.168" not in text and "hunter2" not in text


@pytest.mark.parametrize(
    ("model", "kind", "encoder"),
    [
        ("Raspberry Pi 4 Model B Rev 1.5", "csi", "hardware MJPEG (V4L2)"),
        ("Raspberry Pi 5 Model B Rev 1.0", "csi", "software JPEG (simplejpeg)"),
        ("Raspberry Pi 4 Model B Rev 1.5", "usb", ""),
        ("", "csi", ""),
    ],
)
def test_an_encoder_is_expected_of_a_csi_camera_on_a_pi_alone(
    monkeypatch: pytest.MonkeyPatch, model: str, kind: str, encoder: str
) -> None:
    monkeypatch.setattr(machine, "model", lambda: model)
    assert expected_encoder(kind) == encoder
