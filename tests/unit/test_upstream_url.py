"""upstream.url: accepted values, and a password that is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pi_cam_daemon import cli
from pi_cam_daemon.config import loading
from pi_cam_daemon.errors import ConfigError
from pi_cam_daemon.system.redaction import without_secrets

NOWHERE = Path("/nonexistent/pi-cam-daemon")


def problems(setting: str, file: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        loading.load(file, [setting] if setting else [], NOWHERE)
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://192.168.1.20:4747/video",
        "http://192.168.1.20:4747/video?640x480",
        "https://camera.local",
        "HTTP://camera/",
        "http://[2001:db8::1]:8080/stream",
        "http://[fe80::1%25eth0]:8080/video",
        "http://[fe80::1%eth0]:8080/video",
        "http://me:secret@camera/cam/realmonitor?channel=1&subtype=2",
        "http://m%40e:p%2Fa%3As%23s@camera:80/",
        "http://camera:65535/a:b",
    ],
)
def test_a_valid_url_is_accepted_unchanged(url: str) -> None:
    assert loading.load(settings=[f'upstream.url="{url}"'], etc=NOWHERE).upstream.url == url


@pytest.mark.parametrize(
    "url",
    [
        "192.168.1.20:4747/video",
        "camera.local",
        "rtsp://camera/stream",
        "file:///etc/passwd",
        "http:/camera/",
        "http://",
        "http:///video",
        "http://:80/",
        "http://me:secret@/",
        "http://camera:0/",
        "http://camera:65536/",
        "http://camera:http/",
        "http://[::1/",
        "http://a..b/",
        f"http://{'x' * 64}/",
        "http://camera/a b",
        "http://me:pass/word@camera/",
        "http://me:pass?word@camera/",
        "http://me:pass#word@camera/",
        "http://me:pass%0d%0aword@camera/",
        "http://m%00e@camera/",
        "http://m%7fe@camera/",
        "http://camera/ü",
        f"http://camera/{'x' * 2000}",
        " http://camera/",
    ],
)
def test_an_invalid_url_is_reported(url: str) -> None:
    assert 'an address such as "http://192.168.1.20:4747/video"' in problems(f'upstream.url="{url}"')


DIGITS = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "written",
    [
        DIGITS,
        DIGITS.upper(),
        ":".join(DIGITS[at : at + 2] for at in range(0, 64, 2)).upper(),
        f"sha256 Fingerprint={DIGITS}",
        f"SHA-256: {DIGITS}",
        f" {DIGITS[:32]} {DIGITS[32:]} ",
        "sha256/" + "-".join(DIGITS[at : at + 2] for at in range(0, 64, 2)),
    ],
)
def test_a_fingerprint_may_be_written_as_programs_show_it(written: str) -> None:
    assert (
        loading.load(settings=[f'upstream.tls_fingerprint="{written}"'], etc=NOWHERE).upstream.tls_fingerprint == DIGITS
    )


@pytest.mark.parametrize("written", [DIGITS[:40], DIGITS + "0", "x" * 64, "SHA1: " + DIGITS])
def test_what_is_no_sha_256_fingerprint_is_reported(written: str) -> None:
    assert "64 hexadecimal digits" in problems(f'upstream.tls_fingerprint="{written}"')


SECRET = "s3cret"


@pytest.mark.parametrize(
    "setting",
    [
        f'upstream.url="http://me:{SECRET}@camera:x/"',
        f'upstream.url="me:{SECRET}@camera/video"',
        f'upstream.url="http://me:{SECRET}/@camera/"',
        f'upstream.url="http://me:#{SECRET}@camera/"',
        f'upstream.url="http://me:?{SECRET}@camera/"',
        f'upstream.url="http://me:@{SECRET}@camera:x/"',
        f'upstream.url="http://{SECRET}@camera:x/"',
        f'upstream.url="http://camera:x/videostream.cgi?user=me&pwd={SECRET}"',
        f'upstream.url="http://camera:x/videostream.cgi;user=me;pwd={SECRET}"',
        f'upstream.url="http://camera:x/video;pwd={SECRET}?x"',
        f'upstream.url="http://camera/;pwd={SECRET}@x"',
        f'upstream.url="http://me:;{SECRET}@camera:x/"',
        f'upstream.url=["http://me:{SECRET}@camera/"]',
        f'upstream.url=[["http://me:{SECRET}@camera/"]]',
        f'upstream.url={{ camera = "http://me:{SECRET}@camera/" }}',
        f'upstream.ulr="http://me:{SECRET}@camera/"',
        f'upstream="http://me:{SECRET}@camera/"',
        f"upstream.url=http://me:{SECRET}@camera/",
        f"upstream.url=http://camera/?pwd={SECRET}",
        f"upstream.url=me:{SECRET}@camera",
        f'upstream.url:"http://me:{SECRET}@camera/"',
        f'usb.device="http://me:{SECRET}@camera/\\n"',
    ],
)
def test_no_error_message_shows_a_password(setting: str, tmp_path: Path) -> None:
    assert SECRET not in problems(setting)
    file = tmp_path / "config.toml"
    file.write_text(setting)
    assert SECRET not in problems("", file)


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
)
def test_a_password_is_hidden_in_any_context(before: str, after: str) -> None:
    password = "\N{SNOWMAN}" * 3
    assert "\N{SNOWMAN}" not in without_secrets(f"http://{before}{password}{after}@camera/video")
    assert "\N{SNOWMAN}" not in without_secrets(f"http://camera/video?{before}={password}{after}")
    assert "\N{SNOWMAN}" not in without_secrets(f"http://camera/video;{before}={password}{after}")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("http://camera:4747/video", "http://camera:4747/video"),
        ("http://me:secret@camera/video", "http://***@camera/video"),
        ("http://camera/videostream.cgi?user=me&pwd=secret", "http://camera/videostream.cgi?***"),
        ("http://camera/videostream.cgi;user=me;pwd=secret?x", "http://camera/videostream.cgi;***"),
    ],
)
def test_the_config_command_shows_the_url_without_its_password(
    url: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["config", "--set", f'upstream.url="{url}"', "--origin"]) == 0
    _, found, rest = capsys.readouterr().out.partition("[upstream]\n")
    assert found and rest.partition("  #")[0].rstrip() == f'url = "{shown}"'


def test_settings_without_a_url_are_shown_whole() -> None:
    assert '"some.json5"' in problems('video.width="some.json5"')
