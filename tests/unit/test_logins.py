"""Rights of users, the cost of checking a password, and lock-outs for guessing."""

from __future__ import annotations

import base64
import threading
from http import HTTPStatus

import pytest

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role, User
from pi_cam_daemon.server import logins
from pi_cam_daemon.server.access import Client
from pi_cam_daemon.server.logins import Lockouts, Logins
from pi_cam_daemon.server.refused import Refused
from pi_cam_daemon.server.request import Request, parse
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.kit.wire import basic

HERE = "192.168.1.5"
VISITOR = Client("192.168.1.9", "192.168.1.9")
MANY = 400


OUTSIDE = Client("203.0.113.9", "203.0.113.9")


def is_own(address: str) -> bool:
    """Return whether *address* is at home: 192.168, 10, or the home's /64."""
    return address.startswith(("192.168.", "10.", "2001:db8:1:1:"))


class Derive:
    """The key derivation of the tests: waits for *goes_on*, counts all calls and the most at once."""

    def __init__(self) -> None:
        self.times = self.now = self.most = 0
        self.goes_on = threading.Event()
        self.goes_on.set()

    def __call__(self, password: str, salt: bytes) -> bytes:
        self.times += 1
        self.now += 1
        self.most = max(self.most, self.now)
        self.goes_on.wait(patience(10))
        self.now -= 1
        return users.normal(password).encode() + salt


def user(name: str, password: str, role: Role = Role.VIEWER) -> User:
    return User(name, role, name.encode(), (password + name).encode())


KNOWN = {
    "alice": user("alice", "hers:with:colons", Role.ADMIN),
    "bob": user("bob", "his"),
    "Zoë": user("Zoë", "지우개"),
}


def asked(path: str = "/stream", authorization: str | None = None, method: str = "GET") -> Request:
    field = f"\r\nAuthorization: {authorization}" if authorization is not None else ""
    return parse(f"{method} {path} HTTP/1.1\r\nHost: camera.local{field}".encode())


def status(judge: Logins, request: Request, client: Client = VISITOR) -> int:
    """Return the status for *request* as far as the login decides it."""
    try:
        return HTTPStatus.OK if judge.judge(client, request) else HTTPStatus.UNAUTHORIZED
    except Refused as refused:
        return refused.status


@pytest.fixture
def derive() -> Derive:
    return Derive()


@pytest.fixture
def judge(derive: Derive) -> Logins:
    return Logins(KNOWN, is_own, derive)


def test_a_user_who_logs_in_is_known_by_name(judge: Logins) -> None:
    for name, password in (("alice", "hers:with:colons"), ("bob", "his"), ("Zoë", "지우개"), ("Zoe\u0308", "지우개")):
        client = judge.judge(VISITOR, asked(authorization=basic(name, password)))
        assert client and client.user and client.user.name == users.normal(name)
        assert judge.knows(client.user)
    assert not judge.knows(None)
    assert not judge.knows(user("bob", "his new one"))


@pytest.mark.parametrize(
    "authorization",
    [
        "", "Basic", "Basic ", "Bearer abc", "Basic !!!!", "Basic YWxpY2U=", "Basic YWxpY2U6", "Digest username=alice",
        "Basic " + base64.b64encode(b"bob:his").decode()[:-1], "Basic " + base64.b64encode(b"b\xf6b:his").decode(),
        "Basic " + "A" * 15000, basic("", ""), basic("", "his"), basic("bob", ""), basic("bob", "hIs"),
        basic("bob ", "his"), "Basic Ym9iOmhp!cw==", basic("bob", "his\0"), basic("\0", "his"),
    ],
)  # fmt: skip
def test_a_wrong_login_is_401(judge: Logins, authorization: str) -> None:
    assert status(judge, asked(authorization=authorization)) == HTTPStatus.UNAUTHORIZED


def test_two_authorization_headers_count_as_none(judge: Logins) -> None:
    line = f"Authorization: {basic('bob', 'his')}"
    request = parse(f"GET /stream HTTP/1.1\r\n{line}\r\n{line}".encode())
    assert judge.judge(VISITOR, request) is None


def test_malformed_credentials_are_not_derived_and_not_counted(judge: Logins, derive: Derive) -> None:
    for _ in range(100):
        assert status(judge, asked(authorization="Basic !!!!")) == HTTPStatus.UNAUTHORIZED
        assert status(judge, asked()) == HTTPStatus.UNAUTHORIZED
    assert derive.times == 0
    assert status(judge, asked(authorization=basic("bob", "his"))) == HTTPStatus.OK


def test_a_right_password_is_derived_once_for_all_requests(judge: Logins, derive: Derive) -> None:
    for _ in range(MANY):
        assert status(judge, asked("/snapshot", basic("bob", "his"))) == HTTPStatus.OK
    assert derive.times == 1


def test_concurrent_logins_are_derived_once_and_one_at_a_time() -> None:
    derive = Derive()
    derive.goes_on.clear()
    judge = Logins(KNOWN, is_own, derive)
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(status(judge, asked(authorization=basic("bob", "his")))))
        for _ in range(logins._MOST_WAITING)
    ]
    for thread in threads:
        thread.start()
    derive.goes_on.set()
    for thread in threads:
        thread.join(patience(10))
    assert found == [HTTPStatus.OK] * logins._MOST_WAITING
    assert (derive.times, derive.most) == (1, 1)


def test_too_many_waiting_logins_are_told_to_retry() -> None:
    derive = Derive()
    derive.goes_on.clear()
    judge = Logins(KNOWN, is_own, derive)
    found: list[int] = []

    def guess(number: int) -> None:
        client = Client(f"10.0.0.{number}", f"10.0.0.{number}")
        found.append(status(judge, asked(authorization=basic("bob", str(number))), client))

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    until("all but those who may wait are sent away", lambda: len(found) == 40 - logins._MOST_WAITING)
    assert set(found) == {HTTPStatus.SERVICE_UNAVAILABLE}
    derive.goes_on.set()
    for thread in threads:
        thread.join(patience(20))
    assert found.count(HTTPStatus.UNAUTHORIZED) == derive.times == logins._MOST_WAITING
    assert derive.most == 1
    # and who is remembered never waits
    assert status(judge, asked(authorization=basic("bob", "his"))) == HTTPStatus.OK


def test_a_login_that_waits_too_long_is_told_to_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "_WAIT_SECONDS", 0.02)
    derive = Derive()
    derive.goes_on.clear()
    judge = Logins(KNOWN, is_own, derive)
    first = threading.Thread(target=status, args=(judge, asked(authorization=basic("bob", "his"))))
    first.start()
    until("the first is derived", lambda: derive.now == 1)
    for client in (VISITOR, OUTSIDE):  # one waits for his turn, the other for the derivation
        assert status(judge, asked(authorization=basic("alice", "hers")), client) == HTTPStatus.SERVICE_UNAVAILABLE
    derive.goes_on.set()
    first.join(patience(10))
    assert derive.times == 1
    assert status(judge, asked(authorization=basic("bob", "his")), OUTSIDE) == HTTPStatus.OK


def test_an_unknown_name_costs_as_much_as_a_wrong_password(judge: Logins, derive: Derive) -> None:
    assert status(judge, asked(authorization=basic("nobody", "his"))) == HTTPStatus.UNAUTHORIZED
    assert derive.times == 1
    assert status(judge, asked(authorization=basic("bob", "hers"))) == HTTPStatus.UNAUTHORIZED
    assert derive.times == 2


def test_passwords_are_compared_in_constant_time() -> None:
    class Secret(bytes):
        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared byte by byte, up to the first that differs")

        __hash__ = bytes.__hash__

    judge = Logins(KNOWN, is_own, lambda password, salt: Secret(password.encode() + salt))
    assert status(judge, asked(authorization=basic("bob", "his"))) == HTTPStatus.OK
    assert status(judge, asked(authorization=basic("bob", "hers"))) == HTTPStatus.UNAUTHORIZED


def test_a_repeated_old_password_is_derived_once_and_locks_nobody_out(judge: Logins, derive: Derive) -> None:
    for _ in range(MANY):
        assert status(judge, asked(authorization=basic("bob", "his old one"))) == HTTPStatus.UNAUTHORIZED
    assert derive.times == 1
    assert status(judge, asked(authorization=basic("bob", "his"))) == HTTPStatus.OK


def test_a_guessing_client_is_locked_out_and_learns_nothing(judge: Logins, derive: Derive) -> None:
    assert status(judge, asked(authorization=basic("bob", "his"))) == HTTPStatus.OK
    found = [status(judge, asked(authorization=basic("bob", str(number)))) for number in range(20)]
    assert found == [HTTPStatus.UNAUTHORIZED] * 5 + [HTTPStatus.TOO_MANY_REQUESTS] * 15
    assert derive.times == 6
    with pytest.raises(Refused, match="Too many wrong passwords came from") as refused:
        judge.judge(VISITOR, asked(authorization=basic("bob", "his")))
    assert "no password from there is checked, not even the right one" in refused.value.text
    assert refused.value.headers == {"X-Refused": "lockout", "Retry-After": "1"}
    other = Client("192.168.1.10", "192.168.1.10")
    assert status(judge, asked(authorization=basic("bob", "his")), other) == HTTPStatus.OK


def test_only_the_fifth_different_wrong_password_locks_out(judge: Logins) -> None:
    for number in range(4):
        for _ in range(3):
            assert status(judge, asked(authorization=basic("bob", str(number)))) == HTTPStatus.UNAUTHORIZED
    assert status(judge, asked(authorization=basic("bob", "his"))) == HTTPStatus.OK
    assert status(judge, asked(authorization=basic("bob", "4"))) == HTTPStatus.UNAUTHORIZED
    assert status(judge, asked(authorization=basic("bob", "his"))) == HTTPStatus.TOO_MANY_REQUESTS


def test_of_many_wrong_passwords_at_once_five_are_checked() -> None:
    derive = Derive()
    derive.goes_on.clear()
    judge = Logins(KNOWN, is_own, derive)
    found: list[int] = []

    def guess(number: int) -> None:
        found.append(status(judge, asked(authorization=basic("bob", str(number)))))

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(logins._MOST_WAITING)]
    for thread in threads:
        thread.start()
    until("the others wait", lambda: judge._inside.waiting._value == 0)
    derive.goes_on.set()
    for thread in threads:
        thread.join(patience(20))
    assert (found.count(HTTPStatus.UNAUTHORIZED), derive.times) == (5, 5)
    assert found.count(HTTPStatus.TOO_MANY_REQUESTS) == logins._MOST_WAITING - 5


def test_the_memory_of_wrong_passwords_is_bounded(judge: Logins) -> None:
    for number in range(logins._MOST_WRONG + 100):
        client = Client("10.0.0.1", f"10.{number >> 8}.{number & 255}.1")
        assert status(judge, asked(authorization=basic("bob", str(number))), client) == HTTPStatus.UNAUTHORIZED
    assert len(judge._inside.wrong) == logins._MOST_WRONG
    assert status(judge, asked(authorization=basic("bob", "his"))) == HTTPStatus.OK


def test_the_oldest_wrong_password_is_forgotten_first(
    judge: Logins, derive: Derive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "_MOST_WRONG", 2)
    for password in ("a", "b", "c", "b", "c"):
        status(judge, asked(authorization=basic("bob", password)))
    assert derive.times == 3
    status(judge, asked(authorization=basic("bob", "a")))
    assert derive.times == 4


def test_what_is_remembered_of_a_password_differs_between_two_processes() -> None:
    remembered = set()
    for _ in range(2):
        judge = Logins(KNOWN, is_own, Derive())
        assert status(judge, asked(authorization=basic("bob", "his"))) == HTTPStatus.OK
        remembered |= judge._right.keys()
    assert len(remembered) == 2


def test_only_admins_change_anything(judge: Logins) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "X"):
        for path in ("/controls", "/controls/save", "/state", "/nowhere"):
            assert status(judge, asked(path, basic("bob", "his"), method)) == HTTPStatus.FORBIDDEN
            assert status(judge, asked(path, basic("alice", "hers:with:colons"), method)) == HTTPStatus.OK
            assert status(judge, asked(path, None, method)) == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize("client", [Client("127.0.0.1", "127.0.0.1"), Client("::1", "::1"), Client(HERE, HERE, HERE)])
def test_this_machine_may_ask_for_its_health_and_nothing_else(judge: Logins, client: Client) -> None:
    for path in ("/healthz", "/state"):
        assert status(judge, asked(path), client) == HTTPStatus.OK
        assert status(judge, asked(path)) == HTTPStatus.UNAUTHORIZED
        assert status(judge, asked(path, method="POST"), client) == HTTPStatus.UNAUTHORIZED
        assert status(judge, asked(path), Client("127.0.0.1", VISITOR.address)) == HTTPStatus.UNAUTHORIZED
        assert status(judge, asked(path), Client("127.0.0.1", "::1")) == HTTPStatus.UNAUTHORIZED
        assert status(judge, asked(path), Client(HERE, HERE)) == HTTPStatus.UNAUTHORIZED, "a trusted proxy named it"
    for path in ("/", "/stream", "/snapshot", "/metrics", "/controls", "/wall", "/app.js"):
        assert status(judge, asked(path), client) == HTTPStatus.UNAUTHORIZED


def test_livez_and_options_are_for_everybody(judge: Logins) -> None:
    assert status(judge, asked("/livez")) == HTTPStatus.OK
    assert status(judge, asked("/controls", method="OPTIONS")) == HTTPStatus.OK
    assert status(judge, asked("/livez/x")) == HTTPStatus.UNAUTHORIZED


# -- lock-outs


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def wait(lockouts: Lockouts, address: str) -> int:
    try:
        lockouts.check(address)
    except Refused as refused:
        return int(refused.headers["Retry-After"])
    return 0


def test_the_lockout_doubles_from_the_fifth_failure_and_ends_after_an_hour() -> None:
    clock = Clock()
    lockouts = Lockouts(str, clock)
    waits = []
    for _ in range(16):
        lockouts.failed("10.0.0.1")
        waits.append(wait(lockouts, "10.0.0.1"))
        clock.now += waits[-1]
        assert wait(lockouts, "10.0.0.1") == 0
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    clock.now += 3299  # 300 have passed already
    lockouts.failed("10.0.0.1")
    assert wait(lockouts, "10.0.0.1") == 300
    clock.now += 3600
    lockouts.failed("10.0.0.1")
    assert wait(lockouts, "10.0.0.1") == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("2001:db8:0:2::1", "2001:db8:0:3::1", False),
        ("203.0.113.1", "203.0.113.2", False),
        ("2001:db8:1:1::1", "2001:db8:1:1::2", False),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("2001:db8:1:1::1", "2001:db8:1:1::1", True),
    ],
)
def test_lockouts_count_by_address_at_home_and_by_64_outside(judge: Logins, one: str, other: str, same: bool) -> None:
    for number in range(6):
        status(judge, asked(authorization=basic("bob", str(number))), Client(one, one))
    expected = HTTPStatus.TOO_MANY_REQUESTS if same else HTTPStatus.OK
    assert status(judge, asked(authorization=basic("bob", "his")), Client(other, other)) == expected


def test_a_scanner_outside_changes_nothing_for_an_old_password_at_home(judge: Logins) -> None:
    """A program with an old password locks its host out only if it is forgotten that the password was wrong before."""
    for round_ in range(6):
        assert status(judge, asked(authorization=basic("bob", "his old one"))) == HTTPStatus.UNAUTHORIZED
        for number in range(logins._MOST_WRONG + 1):
            address = f"203.{number >> 8}.{number & 255}.{round_}"
            status(judge, asked(authorization=basic("bob", f"{round_} {number}")), Client(address, address))
    assert status(judge, asked(authorization=basic("bob", "his"))) == HTTPStatus.OK


def test_many_scanners_outside_keep_nobody_at_home_waiting() -> None:
    derive = Derive()
    derive.goes_on.clear()
    judge = Logins(KNOWN, is_own, derive)

    def scan(number: int) -> None:
        address = f"203.0.113.{number}"
        status(judge, asked(authorization=basic("bob", str(number))), Client(address, address))

    scanners = [threading.Thread(target=scan, args=(number,)) for number in range(logins._MOST_WAITING)]
    for thread in scanners:
        thread.start()
    until("the first is derived", lambda: derive.now == 1)
    until("the others wait", lambda: judge._outside.waiting._value == 0)
    assert status(judge, asked(authorization=basic("bob", "his")), OUTSIDE) == HTTPStatus.SERVICE_UNAVAILABLE
    found: list[int] = []
    at_home = threading.Thread(target=lambda: found.append(status(judge, asked(authorization=basic("bob", "his")))))
    at_home.start()
    until("the one at home waits for the derivation", lambda: judge._inside.turn.locked())
    derive.goes_on.set()
    for thread in [at_home, *scanners]:
        thread.join(patience(20))
    assert found == [HTTPStatus.OK]
    assert derive.most == 1


def test_any_number_of_addresses_is_remembered_in_bounded_memory() -> None:
    lockouts = Lockouts(str, Clock())
    for number in range(5000):
        for _ in range(5):
            lockouts.failed(f"10.{number >> 8}.{number & 255}.1")
    assert len(lockouts._failures) == 1024
    assert wait(lockouts, "10.0.0.1") == 0  # the oldest went first
    assert wait(lockouts, "10.19.135.1") == 1
