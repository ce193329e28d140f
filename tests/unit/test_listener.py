"""The words for an address that cannot be listened on."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pi_cam_daemon.config import loading
from pi_cam_daemon.server.listener import cannot_listen


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (
            errno.EADDRINUSE,
            "http.port = 80 is taken by another program; choose a free one, as with --set http.port=8080",
        ),
        (errno.EACCES, "http.port = 80: only root may use ports below 1024; choose one from 1024 to 65535"),
        (
            errno.EADDRNOTAVAIL,
            'http.listen_address = "10.0.0.7" is not an address of this machine; "" listens on all of them',
        ),
        (
            errno.EAFNOSUPPORT,
            'cannot listen on http.port = 80, http.listen_address = "10.0.0.7": '
            "Address family not supported by protocol",
        ),
    ],
)
def test_the_wrong_setting_is_named_with_what_to_set_instead(number: int, told: str) -> None:
    http = replace(loading.load(etc=Path("/nonexistent")).http, listen_address="10.0.0.7", port=80)
    assert cannot_listen(http, OSError(number, os.strerror(number))) == told
