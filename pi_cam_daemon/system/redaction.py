"""Remove passwords and addresses from texts."""

from __future__ import annotations

import ipaddress
import itertools
import re
from urllib.parse import urlsplit

_SECRET = re.compile(
    r"""((?:pass|pwd|psk|secret|token|authorization|cookie|api[-_]?key)[\w-]{0,40}["']?\s{0,9}[=:]).+""", re.IGNORECASE
)
_WORD = re.compile(r"\S+")
_CLOSING = "\"'<>()[]{},;."  # behind a URL they belong to the sentence
_MAC = re.compile(r"\b[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2}){4}\b", re.IGNORECASE)
# candidates; ipaddress then tells addresses from times and C++ names
_IPV6 = re.compile(r"[0-9a-f:.]+(?:%[\w.-]+)?", re.IGNORECASE)
_LONGEST_PUNCTUATION = 3  # "::" of the address and ":" of the sentence
_IPV4 = re.compile(r"(?<!\d)\d{1,3}(?:\.\d{1,3}){3}(?!\d)")
_REDACTED = "[redacted]"


class Redactor:
    """Removes secrets, and replaces each address by a number of its own. Loopback and unspecified addresses stay."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def redact(self, text: str) -> str:
        """Return *text* without secrets and addresses."""
        text = _WORD.sub(lambda found: _without_login(found[0]), text)
        text = _SECRET.sub(rf"\1 {_REDACTED}", text)
        text = _MAC.sub(lambda found: self._number(found[0].lower().replace("-", ":")), text)
        text = _IPV6.sub(self._ipv6, text)
        return _IPV4.sub(lambda found: self._address(found[0]) or found[0], text)

    def _ipv6(self, found: re.Match[str]) -> str:
        run = found[0]
        before, after = found.string[: found.start()][-1:], found.string[found.end() :][:1]
        if run.count(":") < 2:
            return run
        # punctuation at its ends may belong to the sentence, as in "fe80::1: hung up."
        leading = min(len(run) - len(run.lstrip(":.")), _LONGEST_PUNCTUATION)
        trailing = min(len(run) - len(run.rstrip(":.")), _LONGEST_PUNCTUATION)
        for cut in sorted(itertools.product(range(leading + 1), range(trailing + 1)), key=sum):
            start, end = cut[0], len(run) - cut[1]
            in_a_word = (start == 0 and before.isalnum()) or (end == len(run) and after.isalnum())
            if not in_a_word and (replaced := self._address(run[start:end])):
                return run[:start] + replaced + run[end:]
        return run

    def _address(self, text: str) -> str | None:
        """Return the replacement for the address *text*; None if it is no address."""
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return None
        mapped = getattr(address, "ipv4_mapped", None) or address
        if mapped.is_loopback or mapped.is_unspecified:
            return text
        return self._number(str(mapped))

    def _number(self, address: str) -> str:
        return f"[address {self._numbers.setdefault(address, len(self._numbers) + 1)}]"


def _without_login(word: str) -> str:
    """Return *word* without user, password and query if it has a URL. A password may contain quotes, and an @."""
    before, slashes, place = word.partition("://")
    if not slashes:
        return word
    _, at, place = place.rpartition("@")
    place, mark, query = place.partition("?")
    if value := query.rstrip(_CLOSING):
        query = _REDACTED + query[len(value) :]
    return f"{before}://{at and _REDACTED}{at}{place}{mark}{query}"


def without_secrets(text: str) -> str:
    """Return *text*, maybe a URL, without user, password and query: many cameras take passwords there.

    More is removed from an invalid URL, because the invalid part is often the password.
    """
    scheme = re.match(r"\W*\w+://|", text)
    start = scheme.end() if scheme else 0
    place = re.split("[;?]", text[start:], maxsplit=1)[0]
    parameters = text[start + len(place) :]
    if "@" in parameters:
        return f"{text[:start]}***"
    user, at, place = place.rpartition("@")
    return f"{text[:start]}{user and '***'}{at}{place}{parameters and parameters[0] + '***'}"


def host_only(url: str) -> str:
    """Return scheme, host and port of *url*. The address of a webhook is often a secret as a whole."""
    parts = urlsplit(url)
    return url and f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/***"
