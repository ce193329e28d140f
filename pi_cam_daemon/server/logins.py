"""Logins with HTTP Basic (RFC 7617), and lock-outs for addresses that guess passwords.

Clients in our own networks and clients outside are counted apart, so that nobody outside can lock out a household.

A correct password is derived once, which is slow, and then remembered as a hash with a random key of this process. So a
program that fetches pictures costs one derivation, not one per request. No password is stored.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace

from pi_cam_daemon.config import users as users_file
from pi_cam_daemon.config.users import Role, User
from pi_cam_daemon.server.access import Client
from pi_cam_daemon.server.limits import held
from pi_cam_daemon.server.refused import Reason, Refused
from pi_cam_daemon.server.request import Request

# /livez tells nothing secret. /healthz and /state show no picture, and programs on this machine (installer, Ansible,
# status on a card) should not need a stored password.
_FOR_THIS_MACHINE = ("/healthz", "/state")

# A derivation takes most of a second on a Zero. Clients that would wait longer than this are refused.
_WAIT_SECONDS = 5.0
_MOST_WAITING = 16
# Wrong credentials that were derived before. Repeating them counts as no guess, as programs do with an old password.
_MOST_WRONG = 1024

# A person may mistype some times. A program that guesses gets 5 passwords, and in the end one in five minutes.
_FREE_ATTEMPTS = 5
_LONGEST_LOCKOUT_SECONDS = 300.0
_LOCKED_OUT = "Until then no password from there is checked, not even the right one. Yours may be right: just wait."
# an address is forgotten this long after its last wrong password
_FORGET_SECONDS = 3600.0
# An attacker with more addresses than this can guess from each of them anyway.
_MOST_ADDRESSES = 1024


class Logins:
    """Checks the passwords of requests. *users* is by name, *is_own* tells our own networks' addresses. Thread-safe."""

    def __init__(
        self,
        users: Mapping[str, User],
        is_own: Callable[[str], bool],
        derive: Callable[[str, bytes], bytes] = users_file.derive,
    ) -> None:
        self._users = users
        self._is_own = is_own
        self._derive = derive
        self._memory_key = os.urandom(32)
        self._nobody = User("", Role.VIEWER, os.urandom(16), os.urandom(32))
        self._right: dict[bytes, User] = {}  # at most one for each user
        self._inside, self._outside = _Side(Lockouts(str)), _Side(Lockouts(_block))
        self._deriving = threading.Lock()

    def knows(self, user: User | None) -> bool:
        """Return whether *user*, who logged in before, could log in now."""
        return user is not None and self._users.get(user.name) == user

    def judge(self, client: Client, asked: Request) -> Client | None:
        """Return *client* with its user; None if it has to log in first. Raises Refused."""
        # browsers send a preflight request without credentials (Fetch, section 4.8)
        if asked.path == "/livez" or asked.method == "OPTIONS":
            return client
        reads = asked.method in ("GET", "HEAD")
        if client.is_ours:
            return client if reads else None
        credentials = _credentials(asked)
        if credentials is None:
            free = reads and asked.path in _FOR_THIS_MACHINE and client.is_this_machine
            return client if free else None
        user = self._user(client.address, *credentials)
        if not reads and user.role is not Role.ADMIN:
            raise Refused(Reason.ROLE, "This needs a user whose role is admin", str(client))
        return replace(client, user=user)

    def _user(self, address: str, name: str, password: str) -> User:
        side = self._inside if self._is_own(address) else self._outside
        # also for a correct password: otherwise a client that is locked out could still find out which one is
        side.lockouts.check(address)
        digest = hashlib.blake2b(f"{name}:{password}".encode(), key=self._memory_key, digest_size=32).digest()
        if user := self._remembered(digest, address, side):
            return user
        busy = Reason.LOGINS, "Too many clients are logging in; try again in a few seconds", address
        # one of each side waits for the last lock, so those outside delay somebody inside by one derivation
        with (
            held(side.waiting, 0, *busy),
            held(side.turn, _WAIT_SECONDS, *busy),
            held(self._deriving, _WAIT_SECONDS, *busy),
        ):
            # meanwhile others may have sent the same password, or a wrong one from the same address
            side.lockouts.check(address)
            return self._remembered(digest, address, side) or self._checked(digest, address, side, name, password)

    def _remembered(self, digest: bytes, address: str, side: _Side) -> User | None:
        if digest in side.wrong:
            raise _wrong(address)
        return self._right.get(digest)

    def _checked(self, digest: bytes, address: str, side: _Side, name: str, password: str) -> User:
        user = self._users.get(name)
        # the same work for an unknown name, so that the time does not tell which names exist
        expected = user or self._nobody
        if hmac.compare_digest(self._derive(password, expected.salt), expected.key) and user:
            self._right[digest] = user
            return user
        side.wrong[digest] = None
        if len(side.wrong) > _MOST_WRONG:
            side.wrong.popitem(last=False)
        side.lockouts.failed(address)
        raise _wrong(address)


class _Side:
    """State of the clients inside our own networks, or of those outside."""

    def __init__(self, lockouts: Lockouts) -> None:
        self.lockouts = lockouts
        self.wrong: OrderedDict[bytes, None] = OrderedDict()
        self.waiting = threading.BoundedSemaphore(_MOST_WAITING)
        self.turn = threading.Lock()


def _credentials(asked: Request) -> tuple[str, str] | None:
    """Return name and password; None if there are none, or if they are malformed."""
    fields = asked.headers.get("authorization", ())
    scheme, _, token = fields[0].partition(" ") if len(fields) == 1 else ("", "", "")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(token.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (users_file.normal(name), users_file.normal(password)) if colon else None


def _wrong(address: str) -> Refused:
    return Refused(Reason.PASSWORD, "The name or the password is wrong", address)


class Lockouts:
    """Lock-outs of addresses that sent wrong passwords, longer after each one. Thread-safe.

    Addresses for which *block* returns the same text count as one.
    """

    def __init__(self, block: Callable[[str], str], clock: Callable[[], float] = time.monotonic) -> None:
        self._block = block
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()  # number, time of the last; oldest first

    def check(self, address: str) -> None:
        """Raise Refused while *address* is locked out."""
        with self._lock:
            count, last = self._failures.get(self._block(address), (0, 0.0))
        wait = math.ceil(last + _lockout_seconds(count) - self._clock())
        if wait > 0:
            # 429, not 401: a browser would forget the right password, and ask for another one
            text = f"Too many wrong passwords came from {address}; try again in {wait} s"
            raise Refused(Reason.LOCKOUT, f"{text}\n\n{_LOCKED_OUT}", address, wait)

    def failed(self, address: str) -> None:
        """Count a wrong password from *address*."""
        now = self._clock()
        block = self._block(address)
        with self._lock:
            count, last = self._failures.pop(block, (0, 0.0))
            self._failures[block] = (count if now - last < _FORGET_SECONDS else 0) + 1, now
            if len(self._failures) > _MOST_ADDRESSES:
                self._failures.popitem(last=False)


def _lockout_seconds(count: int) -> float:
    """Return the seconds to wait after the *count*-th wrong password: 1, 2, 4 … from the fifth on."""
    return 0.0 if count < _FREE_ATTEMPTS else min(2.0 ** min(count - _FREE_ATTEMPTS, 30), _LONGEST_LOCKOUT_SECONDS)


def _block(address: str) -> str:
    """Return an IPv4 address as it is, and the /64 of an IPv6 address: whoever has one of those has all of them.

    In our own networks this does not hold: there a /64 is a whole house.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)
