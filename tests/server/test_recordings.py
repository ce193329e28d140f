"""Clips over HTTP: listed, downloaded in parts, played at their pace, deleted by admins only; a disk that hangs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pi_cam_daemon.config import users
from pi_cam_daemon.config.users import Role
from pi_cam_daemon.recording.clip import Clip
from pi_cam_daemon.server import recordings
from tests.conftest import Report
from tests.kit import certificates
from tests.kit.clips import recording
from tests.kit.daemon import ROOT, Daemon, running
from tests.kit.films import film, picture, times
from tests.kit.lateness import patience
from tests.kit.wait import until
from tests.kit.wire import Reading, ask, basic, read_all, say, watch

NAME = "2023-11-14_22-13-20_motion.mkv"  # of a film, in UTC
COUNT = 20
SIZE = {"video.width": 320, "video.height": 240}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(tmp_path_factory.mktemp("daemon"), SIZE, env={"TZ": "UTC"}) as daemon:
        daemon.wait_for_state("streaming")
        yield daemon


@pytest.fixture
def folder(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the daemon's clips, empty. Films in it are named in UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    folder = daemon.state_folder / "recordings"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)
    monkeypatch.undo()
    time.tzset()


def listed(daemon: Daemon, query: str = "") -> dict[str, Any]:
    status, _, body = daemon.get(f"/recordings{query}")
    assert status == 200, body
    table: dict[str, Any] = json.loads(body)
    return table


def delete(daemon: Daemon, name: object, **headers: str) -> tuple[int, bytes]:
    status, _, body = daemon.post("/recordings/delete", json.dumps({"name": name}).encode(), headers)
    return status, body


def asked(daemon: Daemon, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(urllib.request.Request(f"http://127.0.0.1:{daemon.port}{path}", headers=fields))


def played(daemon: Daemon, query: str) -> list[Any]:
    """Return the parts of a clip that is played, up to its end."""
    viewer = watch(daemon.connect(""), f"/recordings/{NAME}/stream?{query}")
    found = []
    while True:
        try:
            found.append(viewer.part())
        except AssertionError as error:
            assert "ended after b''" in str(error), error
            viewer.close()
            return found


# -- the list


def test_the_newest_clip_is_listed_first_with_what_its_file_says(daemon: Daemon, folder: Path) -> None:
    first, second = film(folder, COUNT), film(folder, 5, later_seconds=60, reason="manual", closed=False)
    newest, oldest = listed(daemon)["recordings"]
    assert oldest == {
        "name": NAME, "began": times()[0], "seconds": (COUNT - 1) / 10, "bytes": first.stat().st_size,
        "reason": "motion", "complete": True, "written": False, "file": f"recordings/{NAME}",
        "stream": f"recordings/{NAME}/stream", "picture": f"recordings/{NAME}.jpg",
    }  # fmt: skip
    assert (newest["name"], newest["complete"], newest["seconds"]) == (second.name, False, 0.4)
    assert newest["began"] == times()[0] + 60 and newest["reason"] == "manual"


def test_only_files_with_the_name_of_a_clip_are_listed_and_sent(daemon: Daemon, folder: Path) -> None:
    film(folder, 2)
    for name in ("notes.txt", ".hidden.mkv", f"{NAME}.part"):
        (folder / name).write_text("not a clip")
    os.mkfifo(folder / NAME.replace("motion", "fifo"))
    (folder / NAME.replace("motion", "link")).symlink_to(daemon.config_file)
    (folder / NAME.replace("motion", "folder")).mkdir()
    (folder / NAME.replace("motion", "empty")).touch()
    assert {one["name"]: one["seconds"] for one in listed(daemon)["recordings"]} == {
        NAME: 0.1,
        NAME.replace("motion", "empty"): None,
    }
    for name in ("notes.txt", f"{NAME}.part", *(NAME.replace("motion", kind) for kind in ("fifo", "link", "folder"))):
        for end in ("", ".jpg", "/stream"):
            assert daemon.get(f"/recordings/{name}{end}")[0] == 404, name
    for end in (".jpg", "/stream"):
        assert daemon.get(f"/recordings/{NAME.replace('motion', 'empty')}{end}")[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        f"/recordings/../{NAME}", f"/recordings/%2e%2e/{NAME}", f"/recordings/..%2f{NAME}", f"/recordings/x/{NAME}",
        f"/recordings/{NAME}/../../settings.toml", "/recordings/..%2fsettings.toml",
        "/recordings/%2e%2e%2fsettings.toml", f"/recordings//etc/passwd%00{NAME}", f"/recordings/{NAME}%00",
        f"/recordings/{NAME}%0a", f"/recordings/{NAME}/x", f"/x/recordings/{NAME}",
        "/recordings/\u0662023-11-14_22-13-20_motion.mkv",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_folder(daemon: Daemon, folder: Path, path: str) -> None:
    film(folder, 2)
    (daemon.state_folder / "settings.toml").write_text("# a secret\n")
    (daemon.state_folder / NAME).write_text("a secret")
    status, _, body = say(daemon.connect(""), path.encode().decode("latin-1"))
    assert status in (400, 404), body
    assert b"secret" not in body


def test_a_long_list_comes_in_parts_and_soon(daemon: Daemon, folder: Path, report: Report) -> None:
    source = film(folder, 2)
    for number in range(2000):
        moment = time.strftime("%Y-%m-%d_%H-%M-%S", time.gmtime(1_800_000_000 + number))
        os.link(source, folder / f"{moment}_motion.mkv")
    begun = time.monotonic()
    table = listed(daemon)
    report(f"{(time.monotonic() - begun) * 1000:.0f} ms for the newest {recordings.MOST_LISTED} of 2001 clips")
    found = [one["name"] for one in table["recordings"]]
    assert table["clips"] == 2001
    while table["before"]:
        assert len(table["recordings"]) == recordings.MOST_LISTED
        table = listed(daemon, f"?before={table['before']}")
        found += [one["name"] for one in table["recordings"]]
    assert found == sorted((path.name for path in folder.iterdir()), reverse=True)
    assert daemon.get("/recordings?before=../x")[0] == 400


def test_without_a_folder_there_are_no_clips(daemon: Daemon, folder: Path, tmp_path: Path) -> None:
    folder.rmdir()
    assert listed(daemon) == {"recordings": [], "clips": 0, "before": None}
    daemon.reload({**SIZE, "recordings.folder": str(tmp_path / "disk")})
    try:
        status, _, body = daemon.get("/recordings")
        assert status == 503 and b"mounted" in body
        film_of_disk = tmp_path / "disk"
        film_of_disk.mkdir()
        film(film_of_disk, 2)
        assert [one["name"] for one in listed(daemon)["recordings"]] == [NAME]
    finally:
        daemon.reload(SIZE)
        folder.mkdir()


# -- the file


def test_a_clip_is_downloaded_whole_and_in_parts(daemon: Daemon, folder: Path) -> None:
    path, data = f"/recordings/{NAME}", film(folder, COUNT).read_bytes()
    assert len(data) > 2 * 128 << 10
    status, headers, body = asked(daemon, path)
    assert (status, body) == (200, data)
    assert headers["content-type"] == "video/x-matroska" and headers["accept-ranges"] == "bytes"
    assert headers["content-disposition"] == f'attachment; filename="{NAME}"'
    for field, begin, end in [("0-0", 0, 1), ("1000-", 1000, len(data)), ("-7", len(data) - 7, len(data))]:
        status, headers, body = asked(daemon, path, Range=f"bytes={field}")
        assert (status, body) == (206, data[begin:end])
        assert headers["content-range"] == f"bytes {begin}-{end - 1}/{len(data)}"
        assert headers["content-length"] == str(end - begin)
    status, headers, _ = asked(daemon, path, Range=f"bytes={len(data)}-")
    assert (status, headers["content-range"]) == (416, f"bytes */{len(data)}")
    tag = asked(daemon, path)[1]["etag"]
    assert asked(daemon, path, Range="bytes=0-9", If_Range=tag)[0] == 206
    assert asked(daemon, path, Range="bytes=0-9", If_Range='"other"')[0] == 200


def test_head_tells_of_a_clip_without_sending_it(daemon: Daemon, folder: Path) -> None:
    size = film(folder, 2).stat().st_size
    for end in ("", "/stream", ".jpg"):
        status, head, body = say(daemon.connect(""), f"/recordings/{NAME}{end}", method="HEAD")
        assert (status, body) == (200, b"")
        assert (f"Content-Length: {size}" in head) == (end == "")


def test_requests_follow_each_other_on_one_connection(daemon: Daemon, folder: Path) -> None:
    data = film(folder, COUNT).read_bytes()
    request = f"GET /recordings/{NAME} HTTP/1.1\r\nHost: localhost\r\n"
    with daemon.connect(f"{request}Range: bytes=5-300004\r\n\r\n{request}Connection: close\r\n\r\n") as sock:
        received = read_all(sock)
    first, _, rest = received.partition(b"\r\n\r\n")
    assert b" 206 " in first and rest[:300_000] == data[5:300_005]
    assert rest[300_000:].startswith(b"HTTP/1.1 200 ") and rest.endswith(data)


def test_a_clip_that_grows_is_sent_as_long_as_it_was(daemon: Daemon, folder: Path) -> None:
    clip = Clip(folder, picture(0), "motion")
    clip.write([picture(n) for n in range(10)])
    before = (folder / NAME).read_bytes()
    assert asked(daemon, f"/recordings/{NAME}")[2] == before
    clip.write([picture(n) for n in range(10, 20)])
    after = asked(daemon, f"/recordings/{NAME}")[2]
    assert after.startswith(before) and len(after) > len(before)
    assert listed(daemon)["recordings"][0]["seconds"] == 1.9
    clip.leave()


def test_a_clip_that_is_cut_is_played_up_to_the_cut(daemon: Daemon, folder: Path) -> None:
    path = film(folder, COUNT, closed=False)
    path.write_bytes(path.read_bytes()[:-100])
    assert [part.timestamp for part in played(daemon, "speed=64")][-1] == times()[COUNT - 2]
    assert listed(daemon)["recordings"][0]["seconds"] == (COUNT - 2) / 10


# -- playing


def test_a_clip_is_played_at_its_own_pace(daemon: Daemon, folder: Path) -> None:
    film(folder, COUNT)
    parts = played(daemon, "speed=2&from=0.45")
    assert [part.timestamp for part in parts] == times()[5:COUNT]
    assert [part.jpeg for part in parts] == [picture(n).jpeg for n in range(5, COUNT)]
    begun = parts[0].arrived
    late = [part.arrived - begun - (part.timestamp - parts[0].timestamp) / 2 for part in parts]
    assert min(late) > -0.02, "a picture came too early"
    assert max(late) < patience(0.5)


def test_the_raw_stream_has_the_same_bytes(daemon: Daemon, folder: Path) -> None:
    film(folder, 3)
    status, head, body = say(daemon.connect(""), f"/recordings/{NAME}/stream?raw=1&speed=64")
    assert status == 200 and "Content-Type: application/octet-stream" in head
    assert body.count(b"Content-Type: image/jpeg") >= 2 and picture(2).jpeg in body


def test_a_clip_that_is_played_fast_lacks_pictures_but_not_the_last_one(daemon: Daemon, folder: Path) -> None:
    film(folder, 100, every_ms=10)
    parts = played(daemon, "speed=16")
    assert len(parts) < 20
    assert parts[0].timestamp == times()[0] and parts[-1].timestamp == times(100, 10)[-1]


def test_while_no_picture_is_due_the_last_one_comes_again(daemon: Daemon, folder: Path) -> None:
    film(folder, 2, every_ms=2500)
    parts = played(daemon, "speed=1")
    assert [part.timestamp for part in parts] == [times()[0]] * 3 + [times(2, 2500)[1]]


@pytest.mark.parametrize("speed", ["0.1", "4"])
def test_a_clip_begins_with_its_first_whole_picture(daemon: Daemon, folder: Path, speed: str) -> None:
    """Nobody waits for the next one with an empty stream, which does not show that the client has gone."""
    path = film(folder, 3, every_ms=15_000)
    data = path.read_bytes()
    damaged = data.index(picture(0).jpeg)
    path.write_bytes(data[:damaged] + b"\0\0" + data[damaged + 2 :])
    viewer = watch(daemon.connect(""), f"/recordings/{NAME}/stream?speed={speed}")
    assert viewer.part().timestamp == times(3, 15_000)[1]
    viewer.close()
    until("the place is free", lambda: daemon.state()["viewers"] == 0)


@pytest.mark.parametrize("query", ["speed=0", "speed=65", "speed=x", "from=-1", "raw=2"])
def test_a_wrong_argument_is_refused(daemon: Daemon, folder: Path, query: str) -> None:
    film(folder, 2)
    assert daemon.get(f"/recordings/{NAME}/stream?{query}")[0] == 400


def test_who_plays_a_clip_takes_the_place_of_a_viewer(daemon: Daemon, folder: Path) -> None:
    film(folder, 100)
    daemon.reload({**SIZE, "http.max_viewers": 1})
    try:
        viewer = watch(daemon.connect(""), f"/recordings/{NAME}/stream?speed=0.1")
        viewer.part()
        assert daemon.state()["viewers"] == 1
        assert daemon.get(f"/recordings/{NAME}/stream")[1]["x-refused"] == "max_viewers"
        viewer.close()
        until("the place is free", lambda: daemon.state()["viewers"] == 0)
    finally:
        daemon.reload(SIZE)


def test_the_picture_of_a_clip_is_the_first_one_of_its_event(daemon: Daemon, folder: Path) -> None:
    film(folder, 100)
    status, headers, body = daemon.get(f"/recordings/{NAME}.jpg")
    assert (status, headers["content-type"], body) == (200, "image/jpeg", picture(50).jpeg)  # recordings.before_seconds
    for query, number in [("at=0", 0), ("at=0.31", 4), ("at=0.4&step=1", 5), ("at=0.4&step=-1", 3), ("at=900", 99)]:
        _, headers, body = daemon.get(f"/recordings/{NAME}.jpg?{query}")
        assert body == picture(number).jpeg, query
        assert float(headers["x-timestamp"]) == times(100)[number]


def test_viewers_lose_no_picture_to_those_who_download_and_play(daemon: Daemon, folder: Path) -> None:
    film(folder, 400)
    watching = Reading(daemon.watch())
    slow = [daemon.connect(f"/recordings/{NAME}{end}", receive_buffer=4096) for end in ("", "/stream?speed=64") * 4]
    until("pictures", lambda: len(watching.parts) > 5)
    done = threading.Event()

    def download() -> None:
        while not done.is_set():
            asked(daemon, f"/recordings/{NAME}")

    fast = threading.Thread(target=download)
    fast.start()
    begun = len(watching.parts)
    until("two seconds of pictures", lambda: len(watching.parts) > begun + 50)
    done.set()
    fast.join(patience(10))
    parts = watching.finish()[begun:]
    for sock in slow:
        sock.close()
    gaps = [later.timestamp - one.timestamp for one, later in pairwise(parts)]
    assert max(gaps) < patience(3 / 25), "pictures are missing"
    state = daemon.state()
    assert state["frames"]["captured"] > 0 and state["ok"]


# -- deleting


def test_a_clip_is_deleted(daemon: Daemon, folder: Path) -> None:
    path = film(folder, 2)
    assert delete(daemon, NAME) == (200, b'{\n "deleted": "%s"\n}\n' % NAME.encode())
    assert not path.exists()
    assert delete(daemon, NAME)[0] == 404
    assert f"deleted the recording {NAME}" in daemon.log()


@pytest.mark.parametrize("name", ["../settings.toml", f"../{NAME}", "", 5, None, ["x"], f"{NAME}\n", f"./{NAME}"])
@pytest.mark.usefixtures("folder")
def test_only_a_clip_is_deleted(daemon: Daemon, name: object) -> None:
    outside = daemon.state_folder / NAME
    outside.touch()
    status, body = delete(daemon, name)
    assert status == 400 and b"2026-11-29_18-05-31_motion.mkv" in body
    assert outside.exists()


def test_a_form_of_another_site_deletes_nothing(daemon: Daemon, folder: Path) -> None:
    path = film(folder, 2)
    assert delete(daemon, NAME, **{"Content-Type": "text/plain"})[0] == 415
    assert delete(daemon, NAME, **{"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"})[0] == 403
    assert daemon.get("/recordings/delete")[0] == 405
    assert path.exists()


def test_a_folder_that_is_read_only_is_told(daemon: Daemon, folder: Path) -> None:
    name = NAME.replace("motion", "folder")
    (folder / name).mkdir()  # root may write in any folder, but removes none like a file
    status, body = delete(daemon, name)
    assert status == 500 and b"cannot be deleted" in body


def test_the_clip_that_is_being_written_is_told_and_stays(tmp_path: Path) -> None:
    settings = {**SIZE, "recordings.clips": True, "recordings.keep_free_percent": 0}
    with running(tmp_path / "daemon", settings) as daemon, recording(daemon) as recorder:
        daemon.wait_for_state("streaming")
        daemon.fault("motion")
        name = until("a clip", lambda: recorder.record()["clip"])
        (one,) = listed(daemon)["recordings"]
        assert (one["name"], one["written"], one["complete"]) == (name, True, False)
        status, body = delete(daemon, name)
        assert status == 409 and b"being written" in body
        recorder.stop()
        (one,) = listed(daemon)["recordings"]
        assert (one["written"], one["complete"]) == (False, True)
        assert delete(daemon, name)[0] == 200


# -- who may


def test_recordings_ask_for_a_password_and_only_an_admin_deletes(tmp_path: Path) -> None:
    file = tmp_path / "users"
    for name, role in [("anna", Role.ADMIN), ("vera", Role.VIEWER)]:
        users.add(file, name, role, "correct horse")
    with running(tmp_path / "daemon", {**SIZE, "http.users_file": str(file)}) as daemon:
        folder = daemon.state_folder / "recordings"
        folder.mkdir()
        path = film(folder, 2)
        for end in ("", f"/{path.name}", f"/{path.name}/stream", f"/{path.name}.jpg"):
            assert daemon.get(f"/recordings{end}")[0] == 401
            assert asked(daemon, f"/recordings{end}", Authorization=basic("vera", "correct horse"))[0] == 200
        assert delete(daemon, path.name)[0] == 401
        assert delete(daemon, path.name, Authorization=basic("vera", "correct horse"))[0] == 403
        assert path.exists()
        assert delete(daemon, path.name, Authorization=basic("anna", "correct horse"))[0] == 200


def test_who_may_no_longer_watch_loses_the_clip_too(tmp_path: Path) -> None:
    file = tmp_path / "users"
    users.add(file, "vera", Role.VIEWER, "correct horse")
    settings = {**SIZE, "http.users_file": str(file)}
    with running(tmp_path / "daemon", settings) as daemon:
        (daemon.state_folder / "recordings").mkdir()
        path = film(daemon.state_folder / "recordings", 200, every_ms=1000)
        fields = [f"Authorization: {basic('vera', 'correct horse')}"]
        viewer = watch(daemon.connect(""), f"/recordings/{path.name}/stream", fields=fields)
        viewer.part()
        users.add(file, "vera", Role.VIEWER, "another horse")
        daemon.reload(settings)
        begun, watched = time.monotonic(), True
        while watched:
            assert time.monotonic() - begun < patience(5), "the clip goes on"
            try:
                viewer.part()
            except (AssertionError, OSError):
                watched = False


def test_recordings_come_encrypted_too(tmp_path: Path) -> None:
    certificate = certificates.make(tmp_path / "certificates")
    with running(tmp_path / "daemon", certificate.settings()) as daemon:
        (daemon.state_folder / "recordings").mkdir()
        path = film(daemon.state_folder / "recordings", COUNT)
        for end, expected in [("", path.read_bytes()), ("/stream?raw=1&speed=64", picture(COUNT - 1).jpeg)]:
            asked = f"https://127.0.0.1:{daemon.port}/recordings/{path.name}{end}"
            with urllib.request.urlopen(asked, timeout=patience(10), context=certificate.client()) as answer:
                body = answer.read()
            assert body == expected if not end else expected in body


# -- a disk that hangs


def test_a_folder_that_hangs_costs_only_the_requests_for_it(tmp_path: Path, report: Report) -> None:
    alone = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a mount namespace")
    disk = tmp_path / "disk"
    disk.mkdir()
    argv = [*alone, sys.executable, ROOT / "tests/rig/disks.py", "daemon", disk]
    with running(tmp_path / "daemon", {**SIZE, "recordings.folder": str(disk)}, argv=argv) as daemon:
        daemon.wait_for_state("streaming")
        paths = ["/recordings", f"/recordings/{NAME}", f"/recordings/{NAME}.jpg", f"/recordings/{NAME}/stream"]
        hanging = [daemon.connect(path) for path in paths]
        watching = Reading(daemon.watch())
        begun = time.monotonic()
        status, headers, body = daemon.get("/recordings", patience(20))
        report(f"refused after {time.monotonic() - begun:.1f} s")
        assert status == 503 and b"does not answer" in body and "retry-after" in headers
        assert delete(daemon, NAME)[0] == 503
        parts = watching.finish()
        gaps = [later.timestamp - one.timestamp for one, later in pairwise(parts)]
        assert len(parts) > 25 and max(gaps) < patience(3 / 25), "pictures are missing"
        for sock in hanging:
            sock.setblocking(False)
            with pytest.raises(BlockingIOError):  # each of these waits, and so does nobody else
                sock.recv(1)
            sock.close()
        assert daemon.state()["ok"]
        assert daemon.stop() == 0


def test_the_list_is_json_that_names_addresses_beside_it(daemon: Daemon, folder: Path) -> None:
    film(folder, 2)
    (one,) = listed(daemon)["recordings"]
    for address in (one["file"], one["picture"], one["stream"]):
        assert re.fullmatch(r"recordings/[^/]+(/stream)?", address)
        assert daemon.get(f"/{address}")[0] == 200
