"""Programs log in with a URL alone, and watch over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from pi_cam_daemon.imaging import jpeg
from tests.clients import picture
from tests.clients.programs import PROGRAMS, started, watching
from tests.clients.test_integrations import get, home_assistant, watch
from tests.clients.test_recovery import CONSUMERS, sees
from tests.kit import certificates
from tests.kit.certificates import Certificate
from tests.kit.daemon import Daemon, running

NAME, PASSWORD = "bob", "p@ss:지우개 1"
LOGIN = "bob:p%40ss%3A%EC%A7%80%EC%9A%B0%EA%B0%9C%201"
# Python's requests knows no letters but Latin-1's, and sends these in a coding that nobody else does
ASCII_PASSWORD = "p@ss:word 1"
ASCII_LOGIN = "carol:p%40ss%3Aword%201"
# what does not take it out of the address
PROPERTIES = {"gstreamer": f'user-id={NAME} user-pw="{PASSWORD}"'}
# How each trusts the CA, where it asks at all. GStreamer knows no file of its own with libsoup 3, which it prefers.
TRUST = {
    "curl": "--cacert {ca}",
    "wget": "--ca-certificate={ca}",
    "gstreamer": f"ssl-strict=false {PROPERTIES['gstreamer']}",
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificates.make(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[Daemon]:
    file = tmp_path_factory.mktemp("users") / "users"
    users.add(file, NAME, Role.VIEWER, PASSWORD)
    users.add(file, "carol", Role.VIEWER, ASCII_PASSWORD)
    settings = certificate.settings(users_file=str(file))
    with running(tmp_path_factory.mktemp("daemon"), settings) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


@pytest.mark.parametrize("program", PROGRAMS)
def test_name_and_password_in_the_address_are_enough(daemon: Daemon, program: str, tmp_path: Path) -> None:
    options = PROPERTIES.get(program, "")
    with watching(program, daemon, tmp_path, origin=f"http://{LOGIN}@127.0.0.1", options=options) as watcher:
        watcher.wait_for(5)


@pytest.mark.parametrize(("program", "login"), [("octoprint", ASCII_LOGIN), ("motion", LOGIN)])
def test_programs_log_in_with_the_addresses_of_the_document(
    daemon: Daemon, program: str, login: str, tmp_path: Path
) -> None:
    argv = CONSUMERS[program](f"{login}@127.0.0.1:{daemon.port}", tmp_path)
    with started(program, argv, tmp_path) as watcher:
        sees(watcher, "the test picture", picture.is_upright)


def test_home_assistant_logs_in_by_the_address_and_gets_small_pictures(daemon: Daemon, tmp_path: Path) -> None:
    with home_assistant(daemon, tmp_path, ASCII_LOGIN, "?size=small") as (port, stream, still):
        status, body = get(port, still)
        assert (status, jpeg.size(body)) == (200, (160, 120))
        viewer = watch(port, stream)
        viewer.next_where("a small picture", lambda part: part.size == (160, 120))
        viewer.close()


# VLC asks a person about a CA that the system does not know
@pytest.mark.parametrize("program", sorted(PROGRAMS.keys() - {"vlc"}))
def test_programs_watch_over_tls(daemon: Daemon, certificate: Certificate, program: str, tmp_path: Path) -> None:
    options = TRUST.get(program, "").replace("{ca}", str(certificate.ca))
    with watching(program, daemon, tmp_path, origin=f"https://{LOGIN}@127.0.0.1", options=options) as watcher:
        watcher.wait_for(5)
