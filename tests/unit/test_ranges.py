"""The parts of a file that a client asks for."""

from __future__ import annotations

import pytest

from pi_cam_daemon.server import ranges


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("bytes=0-0", (0, 1)), ("bytes=0-", (0, 100)), ("bytes=10-19", (10, 20)), ("bytes=90-200", (90, 100)),
        ("bytes=-1", (99, 100)), ("bytes=-500", (0, 100)), ("BYTES= 5-6 ", (5, 7)),
        ("", None), ("bytes=", None), ("bytes=-", None), ("bytes=1-2,5-6", None), ("lines=1-2", None),
        ("bytes=5-4", None),
        ("bytes=٣-", None),
    ],
)  # fmt: skip
def test_a_part_of_a_file(field: str, part: tuple[int, int] | None) -> None:
    assert ranges.asked(field, 100) == part


@pytest.mark.parametrize(("field", "size"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-", 0), ("bytes=-5", 0)])
def test_a_part_that_is_not_there(field: str, size: int) -> None:
    with pytest.raises(ValueError):
        ranges.asked(field, size)
