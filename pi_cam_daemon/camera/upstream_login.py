"""Answers another server's demand for a password: Basic (RFC 7617) and Digest (RFC 7616)."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from typing import NamedTuple

_TOKEN = r"[\w!#$%&'*+.^`|~-]+"
# a parameter, or a word that begins the next challenge
_ELEMENT = re.compile(rf'({_TOKEN})\s*=\s*("(?:\\.|[^"\\])*"?|[^\s,"]*)|({_TOKEN})')
# the names of RFC 7616, and others that servers use
_ALGORITHMS = {
    "MD5": "md5",
    "SHA-256": "sha256",
    "SHA256": "sha256",
    "SHA-512-256": "sha512_256",
    "SHA-512/256": "sha512_256",
}
_DEFAULT = "MD5"


class Challenge(NamedTuple):
    """One demand of a WWW-Authenticate line; all names are in lower case."""

    scheme: str
    parameters: dict[str, str]


def challenges(lines: list[str]) -> list[Challenge]:
    """Parse the values of WWW-Authenticate. Commas separate both challenges and the parameters of one."""
    found: list[Challenge] = []
    for line in lines:
        for name, value, word in _ELEMENT.findall(line):
            if word:
                found.append(Challenge(word.lower(), {}))
            elif found:
                found[-1].parameters[name.lower()] = _unquoted(value)
    return found


class Login:
    """User and password of the server that the configuration names, and how it wants them."""

    def __init__(self, user: str, password: str) -> None:
        # as latin-1 stands for the bytes of a header line
        self._user, self._password = (text.encode().decode("latin-1") for text in (user, password))
        self._digest: dict[str, str] = {}
        self._count = 0
        self.scheme = ""

    def take(self, demanded: list[Challenge]) -> bool:
        """Choose one of the challenges; False if none can be answered. Digest first: it does not send the password.

        Without any challenge it is Basic.
        """
        for challenge in demanded:
            if challenge.scheme == "digest" and _can_answer(challenge.parameters):
                self._digest, self._count, self.scheme = challenge.parameters, 0, "Digest"
                return True
        if not demanded or any(challenge.scheme == "basic" for challenge in demanded):
            self.scheme = "Basic"
            return True
        return False

    def renew(self, lines: list[str]) -> None:
        """Take the next nonce from the values of Authentication-Info, if it is there."""
        for name, value, _ in _ELEMENT.findall(", ".join(lines)):
            if name.lower() == "nextnonce" and self._digest:
                self._digest["nonce"], self._count = _unquoted(value), 0

    def header(self, uri: str) -> str:
        """Return the header Authorization for GET *uri*; empty before a challenge was taken."""
        if self.scheme == "Basic":
            login = f"{self._user}:{self._password}".encode("latin-1")
            return f"Basic {base64.b64encode(login).decode()}"
        return f"Digest {self._answer(uri)}" if self.scheme else ""

    def _answer(self, uri: str) -> str:
        said = self._digest
        named = said.get("algorithm", _DEFAULT)
        algorithm, session, _ = named.upper().partition("-SESS")

        def digest(*parts: str) -> str:
            joined = ":".join(parts).encode("latin-1")
            return hashlib.new(_ALGORITHMS[algorithm], joined, usedforsecurity=False).hexdigest()

        self._count += 1
        count, client = f"{self._count:08x}", os.urandom(8).hex()
        user, realm, nonce = self._user, said.get("realm", ""), said["nonce"]
        secret = digest(user, realm, self._password)
        if session:
            secret = digest(secret, nonce, client)
        offered = _qop(said)
        qop = next((kind for kind in ("auth", "auth-int") if kind in offered), "")
        asked = digest("GET", uri, *([digest("")] if qop == "auth-int" else []))
        response = digest(secret, nonce, *([count, client, qop] if qop else []), asked)
        quoted = {"username": user, "realm": realm, "nonce": nonce, "uri": uri, "response": response}
        if "opaque" in said:
            quoted["opaque"] = said["opaque"]
        if qop or session:
            quoted["cnonce"] = client
        plain = {"algorithm": named} if "algorithm" in said else {}
        if qop:
            plain |= {"qop": qop, "nc": count}
        fields = {name: _quoted(value) for name, value in quoted.items()} | plain
        return ", ".join(f"{name}={value}" for name, value in fields.items())


def _can_answer(parameters: dict[str, str]) -> bool:
    algorithm = parameters.get("algorithm", _DEFAULT).upper().removesuffix("-SESS")
    offered = _qop(parameters)
    is_known = _ALGORITHMS.get(algorithm) in hashlib.algorithms_available
    return is_known and "nonce" in parameters and (not offered or not offered.isdisjoint({"auth", "auth-int"}))


def _qop(parameters: dict[str, str]) -> set[str]:
    return set(re.split(r"[\s,]+", parameters.get("qop", "").lower().strip())) - {""}


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:].removesuffix('"')) if value.startswith('"') else value


def _quoted(value: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
