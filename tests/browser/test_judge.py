"""The page's pure parts, without a camera: the judgement, the texts, the reader of a stream and the names of files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

from pi_cam_daemon.errors import Cause
from pi_cam_daemon.ipc import parts
from pi_cam_daemon.server.refusal_page import RefusalPage
from pi_cam_daemon.server.refused import Reason, Refused
from tests.kit.daemon import ROOT

WEB = ROOT / "pi_cam_daemon/server/web"


@pytest.fixture(scope="module")
def scripts(chromium: Browser) -> Iterator[Page]:
    """Return an empty page that may import the scripts of the pages."""

    def serve(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if name:
            route.fulfill(path=WEB / name, content_type="text/javascript")
        else:
            route.fulfill(body="<!doctype html>", content_type="text/html")

    context = chromium.new_context(timezone_id="Asia/Seoul", locale="en-GB")
    page = context.new_page()
    page.route("http://camera.test/**", serve)
    page.goto("http://camera.test/")
    yield page
    context.close()


# ---- what a viewer is told

NOW = 1_800_000_000_000  # ms since 1970
HEALTHY: dict[str, Any] = {
    "now": NOW,
    "state.ok": True,
    "state.state": "streaming",
    "state.cause": None,
    "state.source": {"stand_in": False},
    "state.frames": {"age_seconds": 0.04, "period_seconds": 0.04},
    "answeredAt": NOW - 500,
    "refusal": None,
    "held": False,
    "failed": False,
    "played": False,
    "openedAt": NOW - 60_000,
    "stream.open": True,
    "stream.cause": "",
    "stream.pictureAt": NOW - 40,
    "stream.rate": 25,
    "stream.jpeg": {},
    "stream.refusal": None,
}
CLOSED = {"stream.open": False, "stream.rate": None}
DARK = {"stream.pictureAt": NOW - 60_000}  # for a minute
NONE_YET = {**CLOSED, "stream.pictureAt": None, "stream.jpeg": None}
UNANSWERED = {"state": None, "answeredAt": None, **NONE_YET}
STAND_IN = {"state.ok": False, "state.state": "no-camera", "state.cause": "missing", "state.source": {"stand_in": True}}


def picture_at(milliseconds: int) -> dict[str, Any]:
    return {"stream.pictureAt": NOW - milliseconds}


def opened_at(milliseconds: int) -> dict[str, Any]:
    return {"openedAt": NOW - milliseconds}


def frames(age: float | None, period: float = 0.04) -> dict[str, Any]:
    return {"state.frames": {"age_seconds": age, "period_seconds": period}}


def failed(cause: str | None, state: str = "no-camera") -> dict[str, Any]:
    return {"state.ok": False, "state.state": state, "state.cause": cause, **DARK}


def refused(kind: str = "", status: int = 503, seconds: int = 0) -> dict[str, Any]:
    return {"kind": kind, "status": status, "seconds": seconds, "reason": "no"}


# what differs from a healthy camera whose picture moves; the key; the tone; whether the picture is dimmed
JUDGED: list[tuple[str, dict[str, Any], str, str, bool]] = [
    ("a picture that moves", {}, "live", "good", False),
    ("its age is below 3 s", picture_at(2999), "live", "good", False),
    ("it is 3 s old", picture_at(3000), "connecting", "rest", True),
    ("a camera of 0.1 fps", {**picture_at(29_999), **frames(9, 10)}, "live", "good", False),
    ("and later than its three periods", {**picture_at(30_000), **frames(9, 10)}, "link", "bad", True),
    ("0.1 fps come here", {**picture_at(29_999), "stream.rate": 0.1}, "live", "good", False),
    ("and none for three of their periods", {**picture_at(30_001), "stream.rate": 0.1}, "link", "bad", True),
    ("no rate yet", {**picture_at(2999), "stream.rate": None}, "live", "good", False),
    ("no period yet", {**picture_at(2999), **frames(0.1, 0)}, "live", "good", False),
    ("it is opened again", {**CLOSED, **picture_at(2999)}, "live", "good", False),
    ("and nothing came for 3 s", {**CLOSED, **picture_at(3000)}, "connecting", "rest", True),
    ("a slow one is opened again", {**CLOSED, **picture_at(3000), **frames(3, 10)}, "connecting", "rest", True),
    # the state says less than the picture
    ("a state that is lost", {"state": None, "answeredAt": None}, "live", "good", False),
    ("one failed poll", {"answeredAt": NOW - 1500}, "live", "good", False),
    ("no poll for an hour", {"answeredAt": NOW - 3_600_000}, "live", "good", False),
    ("a refused poll", {"refusal": refused("network", 403)}, "live", "good", False),
    ("the last word of a camera that has woken", {"state.state": "idle"}, "live", "good", False),
    ("and of one that came back", {**failed("lost"), **picture_at(40)}, "live", "good", False),
    # a picture of another kind
    ("the test picture in its place", STAND_IN, "test-picture", "wait", False),
    ("and it stands still", {**STAND_IN, **DARK}, "link", "bad", True),
    ("a held picture", {"held": True, **CLOSED}, "held", "rest", False),
    ("held, and the server is gone", {"held": True, **CLOSED, "answeredAt": NOW - 60_000}, "held", "rest", False),
    ("a recording", {"played": True, **CLOSED, **DARK}, "played", "rest", False),
    ("a recording, and the camera is lost", {"played": True, **CLOSED, **failed("lost")}, "played", "rest", False),
    ("held, and none was taken yet", {"held": True, **NONE_YET, **opened_at(100)}, "connecting", "rest", True),
    ("none, and no camera", {"held": True, **NONE_YET, **failed("missing"), **NONE_YET}, "missing", "bad", True),
    ("none could be taken", {"held": True, "failed": True, **CLOSED, **DARK}, "failed", "wait", True),
    ("nor of a camera that is lost", {"held": True, "failed": True, **CLOSED, **failed("lost")}, "lost", "bad", True),
    # the stream says why it shows no picture
    *[
        (f"a card for {cause}", {"stream.cause": cause}, "frozen" if cause == "stalled" else cause, tone, True)
        for cause, tone in {"still": "wait", "starting": "wait", "stalled": "bad", "lost": "bad"}.items()
    ],
    # the camera's word
    ("a full-size photo for seconds", {**failed("still", "streaming")}, "still", "wait", True),
    ("it starts", failed("starting", "starting"), "starting", "wait", True),
    ("no cause is known", failed(None, "starting"), "starting", "wait", True),
    ("it is stalled", failed("stalled", "stalled"), "frozen", "bad", True),
    ("nobody watched", {**NONE_YET, "state.state": "idle"}, "asleep", "rest", True),
    ("idle while a stream is open", {**DARK, "state.state": "idle"}, "asleep", "rest", True),
    ("new frames for nobody", {**DARK}, "link", "bad", True),
    ("no new frames, and no stall yet", {**DARK, **frames(3.1)}, "frozen", "bad", True),
    ("frames that are new enough", {**picture_at(3100), **frames(2.9)}, "connecting", "rest", True),
    ("no frame was ever seen", {**DARK, **frames(None)}, "link", "bad", True),
    ("no picture for 4 s", {**picture_at(3999), **frames(0.1)}, "connecting", "rest", True),
    ("and for longer", {**picture_at(4000), **frames(0.1)}, "link", "bad", True),
    ("nor has the camera answered", {**DARK, "answeredAt": NOW - 3001}, "connecting", "rest", True),
    ("a page that was just opened", {**NONE_YET, **opened_at(3999)}, "connecting", "rest", True),
    ("and was opened before", {**NONE_YET, **opened_at(4000)}, "link", "bad", True),
    ("it comes back after an hour", {**CLOSED, **picture_at(3_600_000), **opened_at(50)}, "connecting", "rest", True),
    # refusals
    ("a refused stream", {**NONE_YET, "stream.refusal": refused("max_viewers")}, "full", "wait", True),
    ("a refused stream of a test picture", {**STAND_IN, **NONE_YET, "stream.refusal": refused("max_viewers")},
     "full", "wait", True),
    ("a refused state", {**UNANSWERED, "refusal": refused("password", 401)}, "password", "wait", True),
    ("the stream's refusal counts first", {**UNANSWERED, "stream.refusal": refused("max_viewers_per_address", 429),
     "refusal": refused("lockout", 429)}, "crowded", "wait", True),
    ("one that says nothing does not", {**UNANSWERED, "stream.refusal": refused("picture"),
     "refusal": refused("lockout", 429)}, "lockout", "wait", True),
    ("a refusal of long ago", {**DARK, "answeredAt": NOW - 9000, "refusal": refused("host", 421)},
     "host", "bad", True),
    ("a stream that is refused for its camera", {**failed("busy"), **CLOSED, "stream.refusal": refused("picture")},
     "busy", "bad", True),
    ("an unknown status", {**DARK, "stream.refusal": refused("", 500)}, "link", "bad", True),
    # no answer
    ("no answer for 6 s", {**CLOSED, **DARK, "answeredAt": NOW - 6000}, "connecting", "rest", True),
    ("and for longer", {**CLOSED, **DARK, "answeredAt": NOW - 6001}, "offline", "bad", True),
    ("the last word of a server that is gone", {**failed("missing"), "answeredAt": NOW - 6001}, "offline", "bad", True),
    ("never an answer", {**UNANSWERED, **opened_at(3999)}, "connecting", "rest", True),
    ("nor for 6 s", {**UNANSWERED, **opened_at(6000)}, "connecting", "rest", True),
    ("nor for longer", {**UNANSWERED, **opened_at(6001)}, "offline", "bad", True),
    ("an answer that cannot be read", {**UNANSWERED, "answeredAt": NOW - 100}, "unknown", "bad", True),
    ("and was just asked for", {**UNANSWERED, "answeredAt": NOW - 100, **opened_at(3999)}, "connecting", "rest", True),
    *[
        (f"no camera: {cause}", failed(cause), cause, "bad", True)
        for cause in ("missing", "broken", "busy", "permission", "settings", "lost", "crashed", "wedged")
    ],
]  # fmt: skip

# by the server's word and by the status alone, which is all that a proxy says
REFUSED = {
    ("network", 403): "network",
    ("proxy", 403): "network",
    ("proxy", 400): "network",
    ("host", 421): "host",
    ("origin", 403): "network",
    ("max_connections", 503): "taken",
    ("max_connections_per_address", 429): "taken",
    ("max_viewers", 503): "full",
    ("max_viewers_per_address", 429): "crowded",
    ("max_tls_viewers", 503): "full",
    ("threads", 503): "taken",
    ("password", 401): "password",
    ("lockout", 429): "lockout",
    ("logins", 503): "taken",
    ("tls", 400): "tls",
    ("picture", 503): "",
    ("other", 404): "",
    ("of a later version", 403): "network",
    ("", 400): "",
    ("", 401): "password",
    ("", 403): "network",
    ("", 404): "",
    ("", 421): "host",
    ("", 429): "taken",
    ("", 500): "",
    ("", 502): "offline",
    ("", 503): "",
    ("", 504): "offline",
}


def situation(differs: dict[str, Any]) -> dict[str, Any]:
    """Return the argument of `judge`; a name with a dot is a field of an object."""
    made: dict[str, Any] = {}
    for name, value in {**HEALTHY, **differs}.items():
        outer, _, inner = name.partition(".")
        if not inner:
            made[outer] = value
        elif made.get(outer, {}) is not None:
            made.setdefault(outer, {})[inner] = value
    if "state" in differs:
        made["state"] = differs["state"]
    return made


@pytest.fixture(scope="module")
def judged(scripts: Page) -> dict[str, dict[str, Any]]:
    """Return the judgement of each row."""
    script = "rows => import('/judge.js').then(({ judge }) => rows.map(judge))"
    results = scripts.evaluate(script, [situation(differs) for _, differs, *_ in JUDGED])
    return {f"{number} {row[0]}": result for number, (row, result) in enumerate(zip(JUDGED, results, strict=True))}


@pytest.mark.parametrize("number", range(len(JUDGED)), ids=[row[0].replace(" ", "-") for row in JUDGED])
def test_a_situation_is_told(judged: dict[str, dict[str, Any]], number: int) -> None:
    name, _, key, tone, dim = JUDGED[number]
    result = judged[f"{number} {name}"]
    assert (result["key"], result["tone"], result["dim"]) == (key, tone, dim)


def test_a_text_names_the_time_since_when_it_is_so(scripts: Page) -> None:
    answered = NOW - 500
    rows: list[tuple[dict[str, Any], int | None]] = [
        ({**DARK, **frames(9.5)}, answered - 9_500),
        (failed("stalled", "stalled"), NOW - 60_000),
        ({**DARK}, NOW - 60_000),
        ({**CLOSED, **DARK, "answeredAt": NOW - 7000}, NOW - 7000),
        ({**UNANSWERED, **opened_at(7000)}, None),
    ]
    script = "rows => import('/judge.js').then(({ judge }) => rows.map((row) => judge(row).since))"
    assert scripts.evaluate(script, [situation(differs) for differs, _ in rows]) == [since for _, since in rows]


def test_a_test_picture_has_a_reason_that_can_be_told_whatever_the_camera_does(scripts: Page) -> None:
    causes = [None, *(cause.value for cause in Cause)]
    rows = [situation({**STAND_IN, "state.cause": cause}) for cause in causes]
    script = """rows => Promise.all([import('/judge.js'), import('/text-en.js')]).then(([{ judge }, { text }]) =>
        rows.map(judge).map(({ key, cause }) => [key, cause, cause in text.told]))"""
    reasons = {None: "missing", "stalled": "frozen"}
    assert scripts.evaluate(script, rows) == [["test-picture", reasons.get(cause, cause), True] for cause in causes]


def test_a_refusal_tells_when_to_try_again(scripts: Page) -> None:
    row = situation({**NONE_YET, "stream.refusal": refused("lockout", 429, 40)})
    script = "row => import('/judge.js').then(({ judge }) => judge(row).values.seconds)"
    assert scripts.evaluate(script, row) == 40


def test_each_refusal_has_its_key(scripts: Page) -> None:
    script = """table => import('/judge.js').then(({ refusalKey }) =>
        [...table.map(([kind, status]) => refusalKey({ kind, status })), refusalKey(null)])"""
    assert scripts.evaluate(script, [list(one) for one in REFUSED]) == [*REFUSED.values(), ""]
    told = {(reason.label or "picture", int(reason.status)) for reason in Reason}
    assert told - REFUSED.keys() == {("role", 403), ("max_event_streams", 503)}, "no stream of pictures is refused so"


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_page_that_refuses_is_told_in_english_without_its_links(scripts: Page, language: str) -> None:
    body = RefusalPage().body(Refused(Reason.HOST, "No such name.\n\nAdd it as in\n\n[http]\nx = 1"), language, "./")
    scripts.route("**/refusal", lambda route: route.fulfill(status=421, body=body, content_type="text/html"))
    script = "import('/request.js').then(({ open }) => open('/refusal')).catch((refusal) => refusal.reason)"
    assert scripts.evaluate(script) == "No such name.\n\nAdd it as in\n\n[http]\nx = 1"
    scripts.unroute("**/refusal")


# ---- the size of the pictures

SIZED: list[tuple[str, dict[str, Any], str]] = [
    ("a computer", {}, "big"),
    ("a phone", {"phone": True}, "small"),
    ("a browser that saves data", {"saveData": True}, "small"),
    ("a slow connection", {"slow": True}, "small"),
    ("big was chosen on a phone", {"chosen": "big", "phone": True}, "big"),
    ("and the connection is slow", {"chosen": "big", "saveData": True, "slow": True}, "big"),
    ("small was chosen on a computer", {"chosen": "small"}, "small"),
    ("an address that asks for small", {"asked": "small", "chosen": "big"}, "small"),
    ("and for big", {"asked": "big", "chosen": "small", "phone": True, "saveData": True, "slow": True}, "big"),
    ("an address that asks for nothing that there is", {"asked": "huge"}, "big"),
    ("on a phone", {"asked": "", "phone": True}, "small"),
    ("where a size was chosen", {"asked": "SMALL", "chosen": "big"}, "big"),
    ("something else was kept", {"chosen": "640"}, "big"),
]
COUNTED = [  # late polls before; pictures a second that come here; seconds between two of the camera; late polls now
    (0, 25, 0.04, 0), (0, 13, 0.04, 0), (0, 12, 0.04, 1), (1, 12, 0.04, 2), (5, 0.3, 0.04, 6), (5, 13, 0.04, 0),
    (3, None, 0.04, 0), (3, 0.1, 10, 0), (3, 0.04, 10, 4), (3, 60, 0.04, 0),
]  # fmt: skip


def test_the_address_the_person_the_device_and_the_connection_choose_a_size(scripts: Page) -> None:
    rows = [{"asked": None, "chosen": None, "phone": False, "slow": False, **differs} for _, differs, _ in SIZED]
    sizes = scripts.evaluate("rows => import('/size.js').then(({ choose }) => rows.map(choose))", rows)
    names = [name for name, *_ in SIZED]
    assert dict(zip(names, sizes, strict=True)) == {name: size for name, _, size in SIZED}


def test_polls_are_late_while_less_than_half_of_the_pictures_come(scripts: Page) -> None:
    script = "rows => import('/size.js').then(({ count }) => rows.map((row) => count(...row)))"
    assert scripts.evaluate(script, [row[:3] for row in COUNTED]) == [row[3] for row in COUNTED]


# ---- texts

_SHAPES = """async () => {
    const call = (value) => {
        const values = [{ since: "13:06:32", seconds: 40 }, { since: null, seconds: 0 }, 7, 1, "x"];
        const texts = values.map((one) => value(one));
        return texts.every((one) => one && typeof one === "string" && !one.includes("undefined")) ? "text" : texts;
    };
    const shape = (value) => typeof value === "function" ? call(value)
        : typeof value === "string" ? (value ? "text" : "")
        : Array.isArray(value) ? value.map(shape)
        : Object.fromEntries(Object.entries(value).map(([key, one]) => [key, shape(one)]));
    const [en, ko] = await Promise.all(["en", "ko"].map((one) => import(`/text-${one}.js`)));
    return [shape(en.text), shape(ko.text)];
}"""


def leaves(shape: Any) -> list[Any]:
    if isinstance(shape, dict | list):
        return [leaf for one in (shape.values() if isinstance(shape, dict) else shape) for leaf in leaves(one)]
    return [shape]


def test_both_languages_have_every_text_and_each_key_has_one(scripts: Page) -> None:
    english, korean = scripts.evaluate(_SHAPES)
    assert english == korean
    assert len(leaves(english)) > 60
    assert set(leaves(english)) == {"text"}
    keys = {key for _, _, key, *_ in JUDGED} | set(REFUSED.values()) - {""}
    keys |= {"frozen" if cause is Cause.STALLED else cause.value for cause in Cause}
    assert set(english["told"]) == keys | {"mixed"}  # which the wall judges itself


def test_a_badge_is_short_in_both_languages(scripts: Page) -> None:
    script = """() => Promise.all(["en", "ko"].map((one) => import(`/text-${one}.js`))).then((both) =>
        both.flatMap(({ text }) => Object.values(text.told).map(([badge]) => badge)))"""
    assert [badge for badge in scripts.evaluate(script) if len(badge) > 14] == []


# ---- the reader of a stream

FIRST = b"\xff\xd8" + b"one\r\n\r\ntwo--" + b"\xff\xd9"
CARD = b"\xff\xd8" + bytes(range(256)) + b"\xff\xd9"
OF_FIRST = parts.part(FIRST, 1_800_000_000_123_456)
OF_CARD = parts.part(CARD, 1_800_000_001_000_000, "lost")
HEADER = b"Content-Type: image/jpeg\r\n%s\r\n\r\n"
READ = [
    {"jpeg": list(FIRST), "taken": 1_800_000_000.123456, "cause": ""},
    {"jpeg": list(CARD), "taken": 1_800_000_001.0, "cause": "lost"},
]
_READ = """async ([bytes, cuts]) => {
    const { readParts } = await import("/reader.js");
    return Promise.all(cuts.map(async (at) => {
        const taken = [];
        let arrived = 0;
        const body = new ReadableStream({ start(controller) {
            const ends = [...at, bytes.length];
            ends.forEach((end, index) => controller.enqueue(new Uint8Array(bytes.slice(ends[index - 1] ?? 0, end))));
            controller.close();
        } });
        const take = ({ jpeg, taken: at, cause }) => taken.push({ jpeg: [...jpeg], taken: at, cause });
        const error = await readParts(body, take, () => { arrived += 1; }).then(() => "", (error) => error.message);
        return JSON.stringify([taken, error, arrived]);
    }));
}"""


def read(page: Page, body: bytes, *cuts: list[int]) -> list[Any]:
    """Return what `readParts` takes from *body* in pieces, for each list of cuts.

    That is a list of parts, the error, and how often bytes arrived.
    """
    results: list[str] = page.evaluate(_READ, [list(body), cuts])
    read = {one: json.loads(one) for one in set(results)}
    return [read[one] for one in results]


def test_parts_are_read_wherever_the_network_cuts_them(scripts: Page) -> None:
    body = parts.OPENING + OF_FIRST + OF_CARD
    halves = [[at] for at in range(1, len(body))]
    *cut, bytewise, whole = read(scripts, body, *halves, list(range(1, len(body))), [])
    assert cut == [[READ, "", 2]] * len(halves)
    assert bytewise == [READ, "", len(body)]
    assert whole == [READ, "", 1]


@pytest.mark.parametrize(
    ("body", "taken", "error"),
    [
        (b"", 0, ""),
        (parts.OPENING, 0, ""),
        (parts.OPENING + OF_FIRST[:30], 0, ""),
        (parts.OPENING + OF_FIRST + OF_CARD[:-40], 1, ""),  # the stream ends in the middle of a part
        (parts.OPENING + OF_FIRST + HEADER % b"X: 1" + FIRST, 1, "a part without a length"),
        (parts.OPENING + HEADER % b"Content-Length: 0", 0, "a part without a length"),
        (parts.OPENING + HEADER % b"Content-Length: -5", 0, "a part without a length"),
        (parts.OPENING + HEADER % b"Content-Length: many", 0, "a part without a length"),
        (parts.OPENING + HEADER % b"Content-Length: 1e99", 0, "a part without a length"),
        (parts.OPENING + HEADER % b"Content-Length: 99999999999", 0, "a part without a length"),
        (parts.OPENING + OF_FIRST.replace(b"Content-Length: ", b"content-length:   "), 1, ""),
        (b"x" * 5000, 0, "a part without a header"),
        (parts.OPENING + OF_FIRST + b"<html>" * 1000, 1, "a part without a header"),
    ],
)
def test_a_stream_that_ends_or_is_none_of_ours_is_no_picture(
    scripts: Page, body: bytes, taken: int, error: str
) -> None:
    for got, why, _ in read(scripts, body, [], list(range(16, len(body), 16))):
        assert (got, why) == (READ[:taken], error)


# ---- the names of files


@pytest.mark.parametrize(
    ("camera", "kind", "name"),
    [
        ("picam-1", "", "picam-1-2027-01-15T17-00-00.jpg"),
        ("picam-1", "-full", "picam-1-2027-01-15T17-00-00-full.jpg"),
        ("정원 카메라", "", "정원-카메라-2027-01-15T17-00-00.jpg"),
        ('a\\b/c:d*e?f"g<h>i|j  k\tl', "", "a-b-c-d-e-f-g-h-i-j-k-l-2027-01-15T17-00-00.jpg"),
        ("../../etc", "", "..-..-etc-2027-01-15T17-00-00.jpg"),
    ],
)
def test_a_file_has_the_cameras_name_and_the_local_time(scripts: Page, camera: str, kind: str, name: str) -> None:
    script = f"([camera, kind]) => import('/photo.js').then(one => one.fileName(camera, new Date({NOW}), kind))"
    assert scripts.evaluate(script, [camera, kind]) == name
