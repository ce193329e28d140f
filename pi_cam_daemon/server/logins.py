"""Log in users with HTTP's Basic (RFC 7617), one password at a time, and lock out addresses that guess.

A right password is derived once and then remembered, as what a key makes of it that nobody has and that ends with the
process: a program that fetches pictures costs one derivation, not one for each. Nothing here is kept in the clear.
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
from pi_cam_daemon.server.refused import Reason, Refused
from pi_cam_daemon.server.request import Request

# Whether the server lives is nobody's secret. What it says of the camera's health shows no picture, and those who care
# for it on this machine (installer, Ansible, the status on a card) need no password lying about.
_FOR_EVERYBODY = ("/livez",)
_FOR_THIS_MACHINE = ("/healthz", "/state")

# A derivation takes most of a second on a Zero. Whoever would wait longer than people do is told to come again.
_WAIT_SECONDS = 5.0
_MOST_WAITING = 16
# wrong credentials that were derived already; a program that repeats its old password guesses nothing
_MOST_WRONG = 1024

# people who mistype get through; a machine that guesses gets 5 passwords and then one in five minutes
_FREE_ATTEMPTS = 5
_LONGEST_LOCKOUT_SECONDS = 300.0
# after so long without another one, an address is as good as new
_FORGET_SECONDS = 3600.0
# a stranger with more addresses than this could as well guess from each
_MOST_ADDRESSES = 1024

_WRONG = "The name or the password is wrong"


class Logins:
    """Judges requests by the *users*, by name; for any thread."""

    def __init__(self, users: Mapping[str, User], derive: Callable[[str, bytes], bytes] = users_file.derive) -> None:
        self._users = users
        self._derive = derive
        self._memory_key = os.urandom(32)
        self._nobody = User("", Role.VIEWER, os.urandom(16), os.urandom(32))
        self._right: dict[bytes, User] = {}  # at most one for each user
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._lockouts = Lockouts()
        self._deriving = threading.Lock()
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)

    def knows(self, user: User | None) -> bool:
        """Whether *user*, who logged in once, still could."""
        return user is not None and self._users.get(user.name) == user

    def judge(self, client: Client, asked: Request, here: str) -> Client | None:
        """*client*, who asks this machine's address *here*, as who he is; None where he has to log in first.

        Raises Refused.
        """
        # a browser asks what it may ask without saying who it is (Fetch, section 4.8)
        if asked.path in _FOR_EVERYBODY or asked.method == "OPTIONS":
            return client
        reads = asked.method in ("GET", "HEAD")
        credentials = _credentials(asked)
        if credentials is None:
            free = reads and asked.path in _FOR_THIS_MACHINE and client.is_this_machine(here)
            return client if free else None
        user = self._user(client.address, *credentials)
        if not reads and user.role is not Role.ADMIN:
            raise Refused(Reason.ROLE, "This needs a user whose role is admin", str(client))
        return replace(client, user=user)

    def _user(self, address: str, name: str, password: str) -> User:
        # also for a right password: else whoever has to wait could still learn which one is
        self._lockouts.check(address)
        digest = hashlib.blake2b(f"{name}:{password}".encode(), key=self._memory_key, digest_size=32).digest()
        if user := self._remembered(digest, address):
            return user
        if not self._waiting.acquire(blocking=False):
            raise _busy(address)
        try:
            if not self._deriving.acquire(timeout=_WAIT_SECONDS):
                raise _busy(address)
            try:
                # others may have been first with the same, or wrong from the same address
                self._lockouts.check(address)
                return self._remembered(digest, address) or self._checked(digest, address, name, password)
            finally:
                self._deriving.release()
        finally:
            self._waiting.release()

    def _remembered(self, digest: bytes, address: str) -> User | None:
        if digest in self._wrong:
            raise _wrong(address)
        return self._right.get(digest)

    def _checked(self, digest: bytes, address: str, name: str, password: str) -> User:
        user = self._users.get(name)
        # the same work for a name that nobody has, so that the time does not tell
        expected = user or self._nobody
        if hmac.compare_digest(self._derive(password, expected.salt), expected.key) and user:
            self._right[digest] = user
            return user
        self._wrong[digest] = None
        if len(self._wrong) > _MOST_WRONG:
            self._wrong.popitem(last=False)
        self._lockouts.failed(address)
        raise _wrong(address)


def _credentials(asked: Request) -> tuple[str, str] | None:
    """Name and password; None where there are none, or none that can be understood."""
    said = asked.headers.get("authorization", ())
    scheme, _, token = said[0].partition(" ") if len(said) == 1 else ("", "", "")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(token.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (users_file.normal(name), users_file.normal(password)) if colon else None


def _wrong(address: str) -> Refused:
    return Refused(Reason.PASSWORD, _WRONG, address)


def _busy(address: str) -> Refused:
    return Refused(Reason.LOGINS, "Too many are logging in at this moment; try again in a moment", address)


class Lockouts:
    """Make addresses that send wrong passwords wait, longer after each one; for any thread.

    An IPv6 address counts as its /64: who has one has all of that.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()  # how many, and when the last; oldest first

    def check(self, address: str) -> None:
        """Raise Refused while *address* has to wait."""
        with self._lock:
            count, last = self._failures.get(_block(address), (0, -math.inf))
        wait = last + _lockout_seconds(count) - self._clock()
        if wait > 0:
            raise Refused(
                Reason.LOCKOUT,
                f"Too many wrong passwords came from {address}; try again in {math.ceil(wait)} s",
                address,
                math.ceil(wait),
            )

    def failed(self, address: str) -> None:
        """Count a wrong password from *address*."""
        now = self._clock()
        block = _block(address)
        with self._lock:
            count, last = self._failures.pop(block, (0, -math.inf))
            self._failures[block] = (count if now - last < _FORGET_SECONDS else 0) + 1, now
            if len(self._failures) > _MOST_ADDRESSES:
                self._failures.popitem(last=False)


def _lockout_seconds(count: int) -> float:
    """Return how long to wait after the *count*-th wrong password: 1, 2, 4 … from the fifth on."""
    return 0.0 if count < _FREE_ATTEMPTS else min(2.0 ** min(count - _FREE_ATTEMPTS, 30), _LONGEST_LOCKOUT_SECONDS)


def _block(address: str) -> str:
    found = ipaddress.ip_address(address.partition("%")[0])
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else str(found)
