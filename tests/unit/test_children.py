"""The environment of the package's other processes."""

import os
import sys

import pytest

from pi_cam_daemon.system import children


@pytest.mark.parametrize(
    ("machine", "bits", "forced"),
    [
        ("armv7l", 32, True),
        ("aarch64", 32, True),  # 32-bit programs on a 64-bit kernel
        ("aarch64", 64, False),
        ("armv6l", 32, False),  # a Zero or Pi 1 has none
        ("x86_64", 64, False),
    ],
)
def test_neon_is_forced_where_libjpeg_turbo_cannot_find_it(
    monkeypatch: pytest.MonkeyPatch, machine: str, bits: int, forced: bool
) -> None:
    monkeypatch.delenv("JSIMD_FORCENEON", raising=False)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "pi", "6", "1", machine)))
    monkeypatch.setattr(sys, "maxsize", 2 ** (bits - 1) - 1)
    assert (children.options()["env"].get("JSIMD_FORCENEON") == "1") == forced


def test_a_choice_of_the_owner_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JSIMD_FORCENEON", "0")
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "pi", "6", "1", "armv7l")))
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    assert children.options()["env"]["JSIMD_FORCENEON"] == "0"
