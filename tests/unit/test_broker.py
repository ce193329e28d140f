"""The login at the MQTT broker: settings that contradict each other, and files that cannot be used."""

from __future__ import annotations

import dataclasses
import ssl
from pathlib import Path

import pytest

from pi_cam_daemon.config import broker, loading
from pi_cam_daemon.config.broker import Login
from pi_cam_daemon.errors import ConfigError, CredentialsError

DEFAULTS = loading.load(loading.DEFAULTS).mqtt


def read(**settings: object) -> Login | None:
    return broker.read(dataclasses.replace(DEFAULTS, **{"host": "broker", **settings}))


def test_without_a_host_nothing_is_read() -> None:
    assert read(host="", user="", password_file="/nonexistent", tls_ca="/nonexistent") is None


def test_a_login_has_the_password_and_does_not_show_it(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes("p4ss wört\r\n".encode())
    login = read(user="camera", password_file=str(file), port=8883, tls=True)
    assert login and (login.host, login.port, login.user, login.password) == ("broker", 8883, "camera", "p4ss wört")
    assert "p4ss" not in repr(login)
    assert login.tls and login.tls.verify_mode is ssl.CERT_REQUIRED and login.tls.check_hostname
    assert login == read(user="camera", password_file=str(file), port=8883, tls=True)
    file.write_text("another")
    assert login != read(user="camera", password_file=str(file), port=8883, tls=True)
    plain = read()
    assert plain and plain.password is None and plain.tls is None


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"password_file": "/x"}, "mqtt.user is not set; a password needs one"),
        ({"tls_ca": "/x"}, "mqtt.tls_ca needs mqtt.tls = true"),
    ],
)
def test_settings_that_belong_together(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        read(**settings)
    assert refusal.value.problems == [problem]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory"),
        (b"", "the file is empty; it has to hold the secret"),
        (b"\n", "the file is empty; it has to hold the secret"),
        (b"s3cret\nmore", "it has to have one line in UTF-8, the password, and nothing else"),
        (b"s3cret\xff", "it has to have one line in UTF-8, the password, and nothing else"),
        (b"s3cret" * 20_000, "larger than 64 KiB; this is not a secret"),
    ],
)
def test_no_error_has_the_password(tmp_path: Path, content: bytes | None, problem: str) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CredentialsError) as refusal:
        read(user="camera", password_file=str(file))
    assert refusal.value.problems == [f"mqtt.password_file: {file}: {problem}"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory"),
        (b"", "this is no certificate in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "this is no certificate in PEM"),
        (b"\xff", "this is no certificate in PEM"),
        (b"x" * 2_000_000, "larger than 1024 KiB; this is not a certificate"),
    ],
)
def test_a_wrong_file_of_the_authority_is_named(tmp_path: Path, content: bytes | None, problem: str) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CredentialsError) as refusal:
        read(tls=True, tls_ca=str(file))
    assert refusal.value.problems == [f"mqtt.tls_ca: {file}: {problem}"]
