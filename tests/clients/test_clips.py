"""Clips in the programs that people watch them with: complete ones, and those that a power cut left."""

from __future__ import annotations

import random
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from pi_cam_daemon.recording.days import Days
from pi_cam_daemon.recording.picture import Picture
from pi_cam_daemon.recording.shelf import Shelf
from tests.clients.programs import PLAYERS
from tests.kit import clips, films
from tests.kit.daemon import running
from tests.kit.lateness import patience
from tests.server.test_metrics import value

PICTURES = 60
CUTS = 12


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    """Pictures of a daemon, not as evenly as they were taken."""
    with running(tmp_path_factory.mktemp("daemon"), {"video.width": 328, "video.height": 216}) as daemon:
        daemon.wait_for_state("streaming")
        seen = daemon.watch().parts(PICTURES * 3 // 2)
    chosen = sorted(random.Random(3).sample(seen, PICTURES), key=lambda part: part.timestamp)
    return [Picture(part.jpeg, round(part.timestamp * 1e6), part.arrived) for part in chosen]


@pytest.fixture
def complete(pictures: Sequence[Picture], tmp_path: Path) -> Path:
    return films.write(tmp_path, pictures)


@pytest.fixture
def unfinished(pictures: Sequence[Picture], tmp_path: Path) -> Path:
    return films.write(tmp_path, pictures, closed=False)


def packets(path: Path | str, *options: str) -> tuple[list[float], str]:
    """Return the times that ffprobe reads, and what it complains of."""
    shown = ("-show_entries", "packet=pts_time", "-of", "csv=p=0")
    done = subprocess.run(
        ["ffprobe", "-v", "warning", *options, *shown, path], capture_output=True, text=True, timeout=60, check=True
    )
    return [float(line.strip(",")) for line in done.stdout.split()], done.stderr


def decoded(path: Path) -> int:
    """Return how many pictures ffmpeg decodes, without an error in any of them."""
    argv = ["ffmpeg", "-v", "error", "-xerror", "-i", path, "-fps_mode", "passthrough", "-f", "framecrc", "-"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return sum(not line.startswith("#") for line in done.stdout.splitlines())


def test_ffprobe_reads_the_times_to_the_millisecond(complete: Path, unfinished: Path, pictures: list[Picture]) -> None:
    real = [(picture.taken_us - pictures[0].taken_us) / 1e6 for picture in pictures]
    for path in (complete, unfinished):
        times, complaints = packets(path)
        assert complaints == "" and len(times) == PICTURES
        assert max(abs(one - other) for one, other in zip(times, real, strict=True)) <= 0.001


def test_the_duration_and_the_date_are_told(complete: Path, pictures: list[Picture]) -> None:
    argv = ["ffprobe", "-v", "error", "-show_entries", "format=duration:format_tags", "-of", "default=nk=1", complete]
    shown = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout
    duration = (pictures[-1].taken_us - pictures[0].taken_us) / 1e6
    assert f"{duration:.3f}"[:-1] in shown and "T" in shown


def test_a_complete_clip_is_searched_by_its_index(complete: Path) -> None:
    clip = clips.read(complete)
    middle = clip.pictures[films.PER_CLUSTER][0] - clip.began
    found, _ = packets(complete, "-read_intervals", f"{middle + 0.1:.3f}%+#1")
    assert found and abs(found[0] - middle) <= 0.2


@pytest.mark.parametrize("closed", [True, False])
def test_ffprobe_seeks_over_http(pictures: Sequence[Picture], tmp_path: Path, closed: bool) -> None:
    with running(tmp_path / "daemon", {"video.width": 328, "video.height": 216}) as daemon:
        folder = daemon.state_folder / "recordings"
        folder.mkdir()
        path = films.write(folder, pictures, closed=closed)
        url = f"{daemon.address}recordings/{path.name}"
        assert packets(url) == packets(path)
        real = [(picture.taken_us - pictures[0].taken_us) / 1e6 for picture in pictures]
        wanted = real[films.PER_CLUSTER * 2] + 0.001
        found, _ = packets(url, "-seekable", "1", "-read_intervals", f"{wanted:.3f}%+#1")
        assert found and abs(found[0] - wanted) <= 0.2
        sent = value(daemon, "pi_cam_http_requests_total", path="/recordings/NAME", code="206")
        assert sent >= 1, "it asked for no part"


@pytest.mark.parametrize("program", ["mpv", "vlc"])
def test_the_players_show_what_is_played(program: str, pictures: Sequence[Picture], tmp_path: Path) -> None:
    with running(tmp_path / "daemon", {"video.width": 328, "video.height": 216}) as daemon:
        (daemon.state_folder / "recordings").mkdir()
        path = films.write(daemon.state_folder / "recordings", pictures)
        folder = tmp_path / "shown"
        folder.mkdir()
        folder.chmod(0o777)
        words = {"url": f"{daemon.address}recordings/{path.name}", "folder": str(folder)}
        argv = [word.format(**words) for word in shlex.split(PLAYERS[program])]
        argv += ["vlc://quit"] if program == "vlc" else []
        subprocess.run(argv, capture_output=True, timeout=patience(30), check=True)
        assert len(list(folder.glob("*.png"))) > PICTURES / 3


def test_a_clip_that_is_cut_anywhere_plays_up_to_the_cut(unfinished: Path, tmp_path: Path) -> None:
    data, cut = unfinished.read_bytes(), tmp_path / "cut.mkv"
    for at in sorted(random.Random(5).sample(range(30_000, len(data)), CUTS)):
        cut.write_bytes(data[:at])
        whole = len(clips.read(cut).pictures)
        assert whole and decoded(cut) >= whole, f"cut at byte {at}"


@pytest.mark.parametrize("state", ["grows", "goes on", "complete"])
def test_ffmpeg_plays_a_day_of_time_lapse_as_a_film(pictures: Sequence[Picture], state: str, tmp_path: Path) -> None:
    for part in (pictures[:30], pictures[30:]):
        shelf = Shelf(tmp_path, 1 << 40, 0)
        shelf.look()
        days = Days(shelf, 30)
        for picture in part:
            days.add(picture)
        days.leave() if state == "grows" else days.close()
        if state == "goes on":  # the index of a complete film is taken away again
            days.add(part[-1])
            days.leave()
    *_, film = sorted(tmp_path.glob("*_timelapse.mkv"))
    times, complaints = packets(film)
    assert complaints == "" and times == pytest.approx([number * 0.04 for number in range(len(times))], abs=0.001)
    assert decoded(film) == len(times) == PICTURES + 2 * (state == "goes on")


def test_the_pictures_of_a_day_have_their_times(pictures: Sequence[Picture], tmp_path: Path) -> None:
    days = Days(Shelf(tmp_path, 1 << 40, 0), 30)
    for picture in pictures:
        days.add(picture)
    days.close()
    *_, film = tmp_path.glob("*.mkv")
    argv = ["ffmpeg", "-v", "error", "-i", film, "-c", "copy", "%05d.jpg"]
    subprocess.run(argv, cwd=tmp_path, timeout=60, check=True)
    taken = [clips.taken(path.read_bytes()).timestamp() for path in sorted(tmp_path.glob("*.jpg"))]
    assert taken == [picture.taken_us // 1_000_000 for picture in pictures]


@pytest.mark.parametrize("kind", ["complete", "unfinished"])
@pytest.mark.parametrize("program", ["mpv", "vlc"])
def test_the_players_show_it(program: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = tmp_path / "shown"
    folder.mkdir()
    folder.chmod(0o777)
    words = {"url": str(request.getfixturevalue(kind)), "folder": str(folder)}
    argv = [word.format(**words) for word in shlex.split(PLAYERS[program])]
    argv += ["vlc://quit"] if program == "vlc" else []
    subprocess.run(argv, capture_output=True, timeout=patience(30), check=True)
    # players leave out pictures when they are late
    assert len(list(folder.glob("*.png"))) > PICTURES / 3
