"""Converters: each checks a value from TOML and returns it as the configuration keeps it, or raises ValueError."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from pi_cam_daemon.config import addresses, parsing
from pi_cam_daemon.config.addresses import Networks
from pi_cam_daemon.config.text import DEFAULT, short, shown, toml

_ZERO = "0 or "
LONGEST_NAME = 60  # characters
_MOST_SHOWN = 10  # wrong entries of a list
_OVERLAY = re.compile(r"(?:[ -z|~]|\{(?:time|host|rate)\})*")  # OpenCV's font is ASCII
MOST_RECTANGLES = 16
RECTANGLE_ACCEPTED = "[x, y, width, height] in fractions of the whole, such as [0.25, 0.25, 0.5, 0.5]"

# named after what it returns; its ValueError says what is wrong and what is accepted
Converter = Callable[[Any], Any]


def boolean(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    raise refused(raw, "true or false")


def integer(low: int, high: int, step: int = 1, zero: bool = False) -> Converter:
    """Return a converter for integers from *low* to *high*. With *zero*, 0 is accepted too: "automatic" or "off"."""

    def integer(raw: Any) -> int:
        if type(raw) is int and (raw in range(low, high + 1, step) or (zero and raw == 0)):
            return raw
        raise refused(raw, f"{_ZERO * zero}an {'even ' if step == 2 else ''}integer from {low} to {high}")

    return integer


def number(low: float, high: float, zero: bool = False) -> Converter:
    """Return a converter for numbers from *low* to *high*; *zero* as for `integer`."""

    def number(raw: Any) -> float:
        if type(raw) in (int, float) and (low <= raw <= high or (zero and raw == 0)):
            return float(raw)
        raise refused(raw, f"{_ZERO * zero}a number from {low} to {high}")

    return number


def choice(*choices: str | int) -> Converter:
    def choice(raw: Any) -> Any:
        if type(raw) is type(choices[0]) and raw in choices:  # false equals 0
            return raw
        raise refused(raw, " or ".join(map(toml, choices)))

    return choice


def or_default(converter: Converter) -> Converter:
    """Return *converter*, extended by the word "default", which becomes None: the camera decides."""

    def or_default(raw: Any) -> Any:
        if raw == DEFAULT:
            return None
        try:
            return converter(raw)
        except ValueError as error:
            raise ValueError(f'{error} or "{DEFAULT}"') from None

    return or_default


def rectangle(raw: Any) -> list[float]:
    """Return [x, y, width, height] in fractions of the whole, if it has an area and lies within."""
    if isinstance(raw, list) and len(raw) == 4 and all(type(side) in (int, float) for side in raw):
        x, y, width, height = raw
        # Two fractions that should add up to 1 may be slightly above it. Each comparison is false for a NaN. An integer
        # that is too large for a float cannot be added to one.
        each = 0 <= x < 1 and 0 <= y < 1 and 0 < width <= 1 and 0 < height <= 1
        if each and x + width <= 1 + 1e-9 and y + height <= 1 + 1e-9:
            return raw
    raise refused(raw, RECTANGLE_ACCEPTED)


def rectangles(raw: Any) -> list[list[float]]:
    """Return a list of rectangles, each one as `rectangle` returns it."""
    if not isinstance(raw, list):
        raise refused(raw, f"a list of {RECTANGLE_ACCEPTED}, or [] for none")
    if len(raw) > MOST_RECTANGLES:
        raise ValueError(f"{len(raw)} rectangles cannot be used; accepted: at most {MOST_RECTANGLES}")
    return [_numbered(number, entry) for number, entry in enumerate(raw, 1)]


def _numbered(number: int, entry: Any) -> list[float]:
    try:
        return rectangle(entry)
    except ValueError as error:
        raise ValueError(f"entry {number}: {error}") from None


def by_name(raw: Any) -> dict[str, bool | int | str | None]:
    """Return a table of settings whose names are the camera's own; None is the camera's default."""
    if not isinstance(raw, dict):
        raise refused(raw, 'a table, such as { brightness = 10, power_line_frequency = "50 Hz" }')
    wrong = [
        f"{short(name)}: {shown(value)}"
        for name, value in raw.items()
        if type(value) not in (bool, int, str) or not re.fullmatch("[a-z0-9_]{1,40}", name)
    ]
    if wrong:
        accepted = "true or false, an integer or text in quotes, for a name of a-z, 0-9 and _"
        raise ValueError(f"{_some(wrong)} cannot be used; accepted: {accepted}")
    return {name: None if value == DEFAULT else value for name, value in raw.items()}


def text(raw: Any) -> str:
    # keeps NUL and line breaks out of paths and logs
    if isinstance(raw, str) and raw.isprintable():
        return raw
    raise refused(raw, "text in quotes, without control characters")


def name(raw: Any) -> str:
    if isinstance(raw, str) and raw.isprintable() and len(raw) <= LONGEST_NAME:
        return raw.strip()
    raise refused(raw, f'text in quotes, up to {LONGEST_NAME} visible characters, or "" for the machine\'s name')


def overlay(raw: Any) -> str:
    if isinstance(raw, str) and len(raw) <= 100 and _OVERLAY.fullmatch(raw):
        return raw
    raise refused(raw, 'up to 100 ASCII characters, with {time}, {host} and {rate} as placeholders, or "" for none')


def path(raw: Any) -> str:
    # not relative: the service's working directory is in memory and new at each start
    if text(raw) and not raw.startswith("/"):
        raise refused(raw, "an absolute path, which begins with /")
    return str(raw)


def broker(raw: Any) -> str:
    if isinstance(raw, str) and re.fullmatch(r"[\w.:%-]{0,253}", raw) and (":" not in raw or _is_ipv6(raw)):
        return raw
    raise refused(raw, 'the name or address of an MQTT broker, such as "192.168.1.5", without a port, or "" for none')


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def identity(raw: Any) -> str:
    if isinstance(raw, str) and re.fullmatch("[A-Za-z0-9_-]{0,60}", raw):
        return raw
    raise refused(raw, 'up to 60 letters, digits, - and _, or "" for one of this machine')


def topic(raw: Any) -> str:
    if isinstance(raw, str) and raw.isprintable() and len(raw) <= 200 and not re.search(r"[+#]|^[/$]|/$", raw):
        return raw
    accepted = 'up to 200 characters without + and #, such as "home/yard", or "" for mqtt.client_id'
    raise refused(raw, accepted)


def camera(raw: Any) -> str:
    return str(raw) if type(raw) is int and raw in range(100) else text(raw)


def address(raw: Any) -> str:
    if isinstance(raw, str) and raw.isprintable():
        with contextlib.suppress(ValueError):
            return raw and str(ipaddress.ip_address(raw))
    raise refused(raw, 'an IPv4 or IPv6 address, or "" for all addresses of this machine')


def url(raw: Any) -> str:
    address = text(raw)
    try:
        parts = urlsplit(address)
        host = (parts.hostname or "").encode("idna")
        sound = parts.scheme in ("http", "https") and host and parts.port != 0
        sound = sound and address.isascii() and " " not in address
        # a later @ most likely belongs to a password with / or ? in it
        sound = sound and "@" not in parts.path + parts.query + parts.fragment and len(address) <= 2000
        # a line break would end the header Authorization
        sound = sound and not re.search(r"[\0-\x1f\x7f]", unquote(f"{parts.username}{parts.password}"))
    except ValueError:  # invalid port, IPv6 address or host name
        sound = False
    if address and not sound:
        accepted = 'an address such as "http://192.168.1.20:4747/video" or "http://user:password@camera.local/stream"'
        raise refused(raw, f"{accepted}, with %XX for all but letters and digits in user and password")
    return address


def release(raw: Any) -> str:
    """Return the address of a release. Its signature's is the same with .sig added, so it ends with the path."""
    accepted = 'an address such as "https://example.org/pi-cam-daemon.tar.zst", without user, password, ? or #'
    try:
        address = url(raw)
        parts = urlsplit(address)
    except ValueError:
        raise refused(raw, accepted) from None
    if "@" in parts.netloc or parts.query or parts.fragment or address.endswith(("/", "?", "#")):
        raise refused(raw, accepted)
    return address


def webhook(raw: Any) -> str:
    """Return the address of a receiver of events. A wrong one is not shown: it may be a secret as a whole."""
    try:
        address = url(raw)
        sound = "@" not in urlsplit(address).netloc
    except ValueError:
        sound = False
    if not sound:
        accepted = 'an address such as "https://example.org/hook", without user and password, or "" for none'
        raise ValueError(f"this is not the address of a receiver; accepted: {accepted}")
    return address


def destination(raw: Any) -> str:
    """Return where recordings are copied to. A wrong address is not shown: it may have a password."""
    address = raw if isinstance(raw, str) and raw.isascii() and raw.isprintable() else " "
    remote = re.fullmatch(r"rclone:\w[\w.+@-]*:[^ ]*", address)
    try:
        url(re.sub("^sftp:", "http:", address))
        parts = urlsplit(address)
        plain = parts.password is None and not parts.query and not parts.fragment and not address.endswith(("?", "#"))
    except ValueError:
        plain = False
    if address and not remote and not plain:
        accepted = (
            '"sftp://user@host/path", "https://host/path" or "rclone:REMOTE:path", without a password, or "" for none'
        )
        raise ValueError(f"this is not an address of a folder; accepted: {accepted}")
    return address


def fingerprint(raw: Any) -> str:
    """Return a SHA-256 fingerprint as 64 hexadecimal digits; programs show it with colons, dashes, spaces or a name."""
    if isinstance(raw, str):
        digits = re.sub(r"(?i)^\s*sha-?256(?: ?fingerprint)?\s*[:=/]?|[:\s-]", "", raw).lower()
        if not digits or re.fullmatch("[0-9a-f]{64}", digits):
            return digits
    raise refused(raw, 'a SHA-256 fingerprint, 64 hexadecimal digits with or without colons, or "" for none')


def time_of_day(raw: Any) -> str:
    if isinstance(raw, str) and re.fullmatch("(?:([01][0-9]|2[0-3]):[0-5][0-9])?", raw):
        return raw
    raise refused(raw, 'a time of day from "00:00" to "23:59", or "" for midnight')


def networks(raw: Any, may_be_local: bool = True) -> Networks:
    accepted = addresses.NETWORKS_ACCEPTED if may_be_local else addresses.ADDRESSES_ACCEPTED
    is_valid = functools.partial(addresses.is_network, may_be_local=may_be_local)
    return Networks(texts(accepted, is_valid)(raw), may_be_local)


def proxies(raw: Any) -> Networks:
    return networks(raw, may_be_local=False)


def texts(accepted: str, is_valid: Callable[[str], bool]) -> Converter:
    """Return a converter for lists of texts for which *is_valid* is true; *accepted* describes them."""

    def texts(raw: Any) -> tuple[str, ...]:
        if not isinstance(raw, list):
            raise refused(raw, f"a list of {accepted}")
        wrong = [entry for entry in raw if not (isinstance(entry, str) and entry.isprintable() and is_valid(entry))]
        if wrong:
            raise ValueError(f"{_some([*map(shown, wrong)])} cannot be used; accepted: {accepted}")
        return tuple(raw)

    return texts


hosts = texts(addresses.HOSTS_ACCEPTED, addresses.is_host)
origins = texts(addresses.ORIGINS_ACCEPTED, addresses.is_origin)


def cameras(raw: Any) -> tuple[str, ...]:
    return tuple(entry.removesuffix("/") for entry in texts(addresses.CAMERAS_ACCEPTED, addresses.is_camera)(raw))


def _some(wrong: Sequence[str]) -> str:
    """Return *wrong* as one text, without those that are too many to show."""
    more = f" and {len(wrong) - _MOST_SHOWN} more" if len(wrong) > _MOST_SHOWN else ""
    return ", ".join(wrong[:_MOST_SHOWN]) + more


def refused(raw: Any, accepted: str) -> ValueError:
    """Return the error for the value *raw*; *accepted* lists what may stand there."""
    return ValueError(f"{shown(raw)} cannot be used; accepted: {accepted}")


def correction(raw: Any, convert: Converter) -> str:
    """Return how *raw*, which *convert* refuses, has to be written, if only quotes or brackets are wrong; else ""."""
    if not isinstance(raw, str):
        return ""
    with contextlib.suppress(ValueError):
        convert(unquoted := parsing.parse(f"x = {raw.lower()}")["x"])
        return f"; write {shown(unquoted)} without quotes"
    with contextlib.suppress(ValueError):
        convert([raw])
        return f"; write {shown([raw])}"
    return ""
