"""Motion: what moves is found, and light that changes is not taken for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest

from pi_cam_daemon.camera.motion import Detector, Judge, Seen, Suspended
from pi_cam_daemon.ipc.messages import Box, Motion
from tests.kit import scenes
from tests.kit.scenes import RATE, Grey, Scene, Walker, clouds, lamp, steady

THRESHOLD, MIN_AREA, MIN_SECONDS, QUIET_SECONDS = 0.1, 0.005, 0.2, 3.0
FOUND_SECONDS = 0.4  # from when all of a walker is in the picture, to the message
MADE_SECONDS = 75.0
HOUR = 3600.0
EVERYWHERE = (0.0, 0.0, 1.0, 1.0)


@dataclass
class Watched:
    """Motions found in a row of pictures: when each began and ended, by the time of the message."""

    begun: list[float] = field(default_factory=list)
    ended: list[tuple[float, Motion, float]] = field(default_factory=list)  # with the time of its last picture
    seen: list[tuple[float, Seen]] = field(default_factory=list)

    def suspended(self, why: Suspended) -> list[float]:
        return [at for at, seen in self.seen if seen.suspended is why]


def watch(
    pictures: Iterable[tuple[float, Grey]],
    zones: Iterable[Box] = (),
    threshold: float = THRESHOLD,
    min_area: float = MIN_AREA,
    facts: Callable[[float], tuple[float, ...]] = lambda _: (),
) -> Watched:
    detector, judge = Detector([*zones], threshold, min_area), Judge(MIN_SECONDS, QUIET_SECONDS, RATE)
    watched = Watched()
    for at, grey in pictures:
        seen = detector.look(grey, at + 1, facts(at))
        watched.seen.append((at, seen))
        if found := judge.judge(seen, at):
            motion, when = found
            if motion.ends:
                watched.ended.append((at, motion, when))
            else:
                watched.begun.append(at)
    return watched


# -- light


def light_scenes() -> dict[str, Scene]:
    light, gain = scenes.nightfall()
    return {
        "soft clouds": Scene(clouds(0.5)),
        "sharp clouds": Scene(clouds(0.15)),
        "deep clouds": Scene(clouds(0.3, 0.9, seed=9, most_seconds=15)),
        "lamp": Scene(lamp()),
        "lamp that fades": Scene(lamp(fades=1.5)),
        "lamp that flickers": Scene(lamp(flickers=1.5)),
        "gain in steps": Scene(steady(), gain=scenes.steps()),
        "nightfall": Scene(light, gain, noise=0.8),
        "infrared lamp": Scene(scenes.infrared()),
        "rain": Scene(steady(), things=[scenes.rain()]),
        "heavy rain": Scene(steady(), things=[scenes.rain(400)]),
        "night": Scene(steady(0.01), noise=6),
    }


@pytest.mark.parametrize("name", light_scenes())
def test_light_rain_and_noise_are_no_motion(name: str, soak: bool, record_property: pytest.RecordProperty) -> None:
    """At most one motion in an hour, and none in the first minutes."""
    watched = watch(light_scenes()[name].pictures(HOUR if soak else MADE_SECONDS))
    record_property(name, f"{len(watched.begun)} false motions: {watched.begun}")
    assert len(watched.begun) <= (1 if soak else 0)


def test_a_flickering_lamp_suspends_the_judgement_of_a_sensitive_watch() -> None:
    watched = watch(Scene(lamp(flickers=4)).pictures(200), threshold=0.05, min_area=0.002)
    assert watched.begun == []
    light = watched.suspended(Suspended.LIGHT)
    assert light
    assert all(at % 60 < 8 or 30 <= at % 60 < 38 for at in light), "each switch, and no more"


# -- walkers


def walking(scene: Scene, walkers: list[Walker], seconds: float) -> tuple[list[float], Watched]:
    """Return how long after each of *walkers* was all in the picture it was found; infinity if it was not."""
    scene.things = [*scene.things, *walkers]
    watched = watch(scene.pictures(seconds))
    after = [
        min((at - one.inside_at for at in watched.begun if one.enters <= at < one.enters + one.seconds), default=1e9)
        for one in walkers
    ]
    return after, watched


@pytest.mark.parametrize("scene", ["day", "clouds", "rain", "lamp", "dusk"])
def test_each_walker_is_found_in_time_whatever_the_weather(scene: str) -> None:
    made = {
        "day": Scene(steady()),
        "clouds": Scene(clouds(0.4)),
        "rain": Scene(steady(), things=[scenes.rain()]),
        "lamp": Scene(lamp(period=40)),
        "dusk": Scene(steady(0.1), noise=2),
    }[scene]
    walkers = [
        Walker(8 + 22 * number, seconds, backwards=backwards)
        for number, (seconds, backwards) in enumerate([(4, False), (8, True), (16, False), (4, True), (8, False)])
    ]
    after, watched = walking(made, walkers, 120)
    assert max(after) <= FOUND_SECONDS, after
    false = [
        at for at in watched.begun if not any(w.enters <= at < w.enters + w.seconds + QUIET_SECONDS for w in walkers)
    ]
    assert false == []


def test_a_motion_is_one_with_a_peak_a_box_and_an_end() -> None:
    walker = Walker(6, 8)
    _, watched = walking(Scene(steady()), [walker], 30)
    assert len(watched.begun) == 1
    [(told_at, motion, last)] = watched.ended
    gone = walker.enters + walker.seconds
    assert gone - 1 <= last <= gone + 0.4
    assert told_at == pytest.approx(last + QUIET_SECONDS, abs=0.21)
    assert 0.01 < motion.peak < 0.04
    x, y, width, height = motion.box
    assert 0.04 < width < 0.2
    bottom, high = walker.bottom / scenes.HEIGHT, walker.HIGH / scenes.HEIGHT
    assert y == pytest.approx(bottom - high, abs=0.05)
    assert y + height == pytest.approx(bottom, abs=0.05)
    assert 0 <= x <= x + width <= 1


def test_the_box_follows_the_walker() -> None:
    walker = Walker(6, 8)
    _, watched = walking(Scene(steady()), [walker], 15)
    for at, seen in watched.seen:
        if seen.boxes and walker.inside_at < at < walker.enters + walker.seconds * 0.9:
            left = walker.left(at) / scenes.WIDTH
            assert any(x - 0.03 <= left + 0.03 <= x + width + 0.03 for x, _, width, _ in seen.boxes), at


def test_somebody_who_stays_is_no_motion_any_more() -> None:
    def stays(light: scenes.Picture, at: float) -> None:
        Walker(6, 8)(light, min(at, 10.0))

    watched = watch(Scene(steady(), things=[stays]).pictures(40))
    assert len(watched.begun) == 1
    [(_, _, last)] = watched.ended
    assert last < 12


# -- zones and sizes


def test_only_what_is_in_a_zone_counts() -> None:
    walker, upper, lower = Walker(6, 8), (0.0, 0.0, 1.0, 0.45), (0.0, 0.5, 1.0, 0.5)
    for zones, found in (([upper], 0), ([lower], 1), ([upper, lower], 1)):
        watched = watch(Scene(steady(), things=[walker]).pictures(20), zones)
        assert len(watched.begun) == found, zones


def test_a_share_is_one_of_the_zones() -> None:
    walker = Walker(6, 8)
    shares = [
        max(seen.share for _, seen in watch(Scene(steady(), things=[walker]).pictures(20), zones).seen)
        for zones in ([], [(0.0, 0.5, 1.0, 0.5)])
    ]
    assert shares[1] == pytest.approx(2 * shares[0], rel=0.15)


def test_a_branch_outside_the_zone_is_nothing_and_inside_it_is_learned() -> None:
    def seen(zones: list[Box]) -> list[float]:
        return watch(Scene(steady(), things=[scenes.branch()]).pictures(150), zones).begun

    assert seen([(0.0, 0.4, 1.0, 0.6)]) == []
    assert 1 <= len(seen([])) <= 2


def test_a_thing_smaller_than_the_least_area_is_nothing() -> None:
    walker = Walker(6, 8)
    assert watch(Scene(steady(), things=[walker]).pictures(20), min_area=0.05).begun == []


def test_two_halves_with_a_thin_gap_are_one_thing() -> None:
    """Each half alone is too small."""

    def pair(gap: int) -> Callable[[scenes.Picture, float], None]:
        def draw(light: scenes.Picture, at: float) -> None:
            top = round(4 * at)
            light[top : top + 4, 40:48] = light[top : top + 4, 48 + gap : 56 + gap] = 0.02

        return draw

    found = [bool(watch(Scene(steady(), things=[pair(gap)]).pictures(12)).begun) for gap in (2, 20)]
    assert found == [True, False]


def test_a_fainter_thing_than_the_threshold_is_nothing() -> None:
    walker = Walker(6, 8, shade=0.33)
    found = [
        max(seen.share for _, seen in watch(Scene(steady(), things=[walker]).pictures(20), threshold=t).seen)
        for t in (0.05, 0.9)
    ]
    assert found[0] > 0.005
    assert found[1] == 0


@pytest.mark.parametrize("size", [(1, 1), (2, 160), (160, 3), (90, 160), (160, 90), (213, 160)])
@pytest.mark.parametrize("zones", [[], [(0.0, 0.0, 0.001, 0.001)], [(0.999, 0.999, 0.001, 0.001), EVERYWHERE]])
def test_pictures_and_zones_of_any_size_can_be_looked_at(size: tuple[int, int], zones: list[Box]) -> None:
    random = np.random.default_rng(1)
    pictures = [(n / RATE, random.integers(0, 256, size, np.uint8)) for n in range(30)]
    for _, seen in watch(pictures, zones).seen:
        assert 0 <= seen.share <= 1
        for x, y, width, height in seen.boxes:
            assert 0 <= x < x + width <= 1
            assert 0 <= y < y + height <= 1


# -- when nothing is judged


def test_nothing_is_judged_while_the_scene_is_learned() -> None:
    _, watched = walking(Scene(steady()), [Walker(-1, 4)], 10)
    learning = watched.suspended(Suspended.LEARNING)
    assert learning[0] == 0
    assert 2.5 < learning[-1] < 3.5
    assert watched.begun == []


@pytest.mark.parametrize("change", ["a pause", "another size", "time goes back"])
def test_after_a_break_the_scene_is_learned_anew(change: str) -> None:
    pictures = [*Scene(steady()).pictures(10)]
    other = 20 + pictures[-1][0] if change == "a pause" else 0 if change == "time goes back" else pictures[-1][0] + 0.2
    later = [(at + other, 255 - grey) for at, grey in pictures]
    if change == "another size":
        later = [(at, cv2.resize(grey, (80, 60)).astype(np.uint8)) for at, grey in later]
    watched = watch([*pictures, *later])
    assert watched.begun == []
    assert [seen.suspended for _, seen in watched.seen[50:64]] == [Suspended.LEARNING] * 14
    assert not watched.seen[-1][1].suspended


@pytest.mark.parametrize("which", ["exposure", "white balance"])
def test_nothing_is_judged_while_the_camera_changes_its_exposure(which: str) -> None:
    """Somebody who walks meanwhile is not seen until it is over, and then found."""

    def facts(at: float) -> tuple[float, ...]:
        moving = 1000 * 1.1 ** (5 * min(max(at - 5, 0), 3))
        return (moving, 1.5, 2.0) if which == "exposure" else (1000.0, moving / 500, 2.0)

    pictures = [*Scene(steady(), things=[Walker(4.5, 8)]).pictures(14)]
    watched = watch(pictures, facts=facts)
    exposure = watched.suspended(Suspended.EXPOSURE)
    assert exposure[0] == pytest.approx(5.2, abs=0.21)
    assert exposure[-1] == pytest.approx(8 + 0.8, abs=0.3)
    assert not any(seen.boxes for at, seen in watched.seen if exposure[0] <= at <= exposure[-1])
    assert any(exposure[-1] < at < 11 for at in watched.begun) or watched.begun[0] < 5.2


def test_an_exposure_that_drifts_suspends_nothing() -> None:
    watched = watch(Scene(steady()).pictures(20), facts=lambda at: (1000 * 1.01 ** (5 * at), 1.5, 2.0))
    assert watched.suspended(Suspended.EXPOSURE) == []


# -- the judge

MOVES = Seen(0.02, ((0.125, 0.125, 0.25, 0.25),))
LARGER = Seen(0.04, ((0.125, 0.125, 0.25, 0.25), (0.5, 0.25, 0.125, 0.5)))
STILL = Seen()


def judged(judge: Judge, row: str, rate: float = 5.0) -> list[tuple[float, bool, float]]:
    """Return when something was told, whether it was an end, and its time; *row* has a letter for each look."""
    told = []
    for number, letter in enumerate(row):
        at = number / rate
        if found := judge.judge({"m": MOVES, "M": LARGER, ".": STILL}[letter], at):
            told.append((at, found[0].ends, found[1]))
    return told


@pytest.mark.parametrize(
    ("min_seconds", "row", "told"),
    [
        (0.0, ".m..", [(0.2, False, 0.2)]),
        (0.2, ".m.m.m.", []),
        (0.2, ".mm.", [(0.4, False, 0.2)]),
        (1.0, ".mmmmm.", []),
        (1.0, ".mmmmmm.", [(1.2, False, 0.2)]),
    ],
)
def test_a_motion_has_to_last(min_seconds: float, row: str, told: list[tuple[float, bool, float]]) -> None:
    assert judged(Judge(min_seconds, 100, 5), row) == told


def test_a_motion_ends_after_a_quiet_time_and_pauses_do_not_end_it() -> None:
    told = judged(Judge(0.2, 1.0, 5), "mm" + "...." + "m" + "....." + "..." + "mm")
    assert told == [(0.2, False, 0.0), (2.2, True, 1.2), (3.2, False, 3.0)]


def test_the_peak_and_its_box_are_those_of_the_largest_look() -> None:
    judge = Judge(0.0, 1.0, 5)
    found = [judge.judge(seen, at) for at, seen in enumerate([MOVES, LARGER, MOVES, STILL])]
    assert found[0] == (Motion(False, 0.02, (0.125, 0.125, 0.25, 0.25)), 0)
    assert found[1:3] == [None, None]
    assert found[3] is not None
    motion, at = found[3]
    assert (motion.ends, motion.peak, at) == (True, 0.04, 2)
    assert motion.box == (0.125, 0.125, 0.5, 0.625)


def test_a_motion_can_be_ended_early_once() -> None:
    judge = Judge(0.0, 100.0, 5)
    assert judge.end() is None
    judge.judge(MOVES, 1.0)
    assert judge.end() == (Motion(True, 0.02, (0.125, 0.125, 0.25, 0.25)), 1.0)
    assert judge.end() is None
