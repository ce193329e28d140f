"""The page over https, in a browser that imported the CA as docs/tls.md says."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error, Playwright

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from tests.browser.engines import CHROMIUM, CHROMIUM_FLAGS
from tests.browser.looking import wait_until_live
from tests.kit import certificates
from tests.kit.certificates import Certificate

NAME, PASSWORD = "alice", "correct horse battery"


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return certificates.make(tmp_path / "certificate")


@pytest.fixture
def daemon(start_daemon: Callable[..., Any], tmp_path: Path, certificate: Certificate) -> Any:
    users.add(tmp_path / "users", NAME, Role.ADMIN, PASSWORD)
    return start_daemon(
        http__users_file=str(tmp_path / "users"),
        http__tls_certificate=str(certificate.certificate),
        http__tls_key=str(certificate.key),
    )


@pytest.fixture
def home(tmp_path: Path, certificate: Certificate) -> Iterator[Path]:
    """Make a home folder whose Chromium trusts the CA."""
    if not shutil.which("certutil"):
        pytest.skip("needs certutil: apt install libnss3-tools")
    database = tmp_path / "home" / ".pki" / "nssdb"
    database.mkdir(parents=True)
    nss = ["certutil", "-d", f"sql:{database}"]
    subprocess.run([*nss, "-N", "--empty-password"], check=True, timeout=20)
    subprocess.run([*nss, "-A", "-t", "C,,", "-n", "home", "-i", certificate.ca], check=True, timeout=20)
    yield tmp_path / "home"


def test_chromium_shows_the_page_where_the_ca_is_trusted_and_only_there(
    playwright: Playwright, daemon: Any, home: Path, tmp_path: Path
) -> None:
    assert daemon.address.startswith("https://")
    for place, trusted in ((home, True), (tmp_path / "another", False)):
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=CHROMIUM_FLAGS, env={**os.environ, "HOME": str(place)}
        )
        try:
            page = browser.new_context(http_credentials={"username": NAME, "password": PASSWORD}).new_page()
            if trusted:
                page.goto(daemon.address)
                wait_until_live(page)
                assert page.evaluate("isSecureContext") is True
                assert page.locator("#picture").evaluate("canvas => canvas.width") == 640
            else:
                with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
                    page.goto(daemon.address)
        finally:
            browser.close()
