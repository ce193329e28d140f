"""Made scenes for a camera that watches for motion: small grey pictures, computed from a seed, the same each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
Picture = npt.NDArray[np.float32]
RATE = 5.0
WIDTH, HEIGHT = 160, 90


def garden(seed: int = 1) -> Picture:
    """Return how much light each spot gives back, 0 to 1: a lawn, a wall, a path, leaves and stones."""
    random = np.random.default_rng(seed)
    ground = np.full((HEIGHT, WIDTH), 0.35, np.float32)
    ground[:30] = 0.55
    ground[60:72] = 0.7
    for size, strength in ((3, 0.12), (9, 0.15), (31, 0.2)):
        noise = cv2.GaussianBlur(random.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), size / 3)
        ground += strength * noise / noise.std() * 0.4
    return np.clip(ground, 0.05, 0.95)


def sunlit(seed: int = 2) -> Picture:
    """Return where the sun shines, 0 or 1: a tree and a house keep it from a third of the ground, with sharp edges."""
    random = np.random.default_rng(seed)
    leaves = cv2.GaussianBlur(random.standard_normal((HEIGHT, WIDTH)).astype(np.float32), (0, 0), 6)
    lit = (leaves < np.quantile(leaves, 0.75)).astype(np.float32)
    lit[:40, :35] = 0
    return lit


def exposed(light: Picture, gain: float = 1.0) -> Picture:
    """Return the brightness, 0 to 255, that a camera gives for *light*."""
    return 255 * np.clip(gain * light, 0, 1) ** np.float32(1 / 2.2)


@dataclass
class Scene:
    """A row of pictures. *light(at)* is the light in the scene at *at* seconds, *gain(at)* the camera's."""

    light: Callable[[float], Picture]
    gain: Callable[[float], float] = lambda _: 1.0
    noise: float = 1.5  # standard deviation of a picture's noise at a gain of 1
    things: list[Callable[[Picture, float], None]] = field(default_factory=list)  # each draws itself into the light
    seed: int = 3

    def pictures(self, seconds: float, rate: float = RATE) -> Iterator[tuple[float, Grey]]:
        """Yield the pictures of *seconds*, each with its time."""
        random = np.random.default_rng(self.seed)
        noises = [(self.noise * random.standard_normal((HEIGHT, WIDTH))).astype(np.float32) for _ in range(37)]
        for number in range(round(seconds * rate)):
            at = number / rate
            light = self.light(at)
            for thing in self.things:
                thing(light, at)
            gain = self.gain(at)
            noise = noises[int(random.integers(len(noises)))] * np.float32(gain)
            yield at, np.clip(exposed(light, gain) + noise, 0, 255).astype(np.uint8)


def steady(strength: float = 0.8) -> Callable[[float], Picture]:
    ground = garden() * strength
    return lambda _: ground.copy()


@dataclass(frozen=True)
class Walker:
    """Somebody of 2 % of the picture who crosses it from *enters* on, in *seconds*, in clothes as bright as *shade*."""

    enters: float
    seconds: float = 8.0
    shade: float = 0.08
    bottom: int = 75
    backwards: bool = False

    HIGH, WIDE = 24, 12  # pixels; 288 of 14,400

    def left(self, at: float) -> float:
        """Return the left edge in pixels."""
        way = (at - self.enters) / self.seconds
        return (1 - way if self.backwards else way) * (WIDTH + self.WIDE) - self.WIDE

    @property
    def inside_at(self) -> float:
        """Return when all of the walker is in the picture."""
        return self.enters + self.seconds * self.WIDE / (WIDTH + self.WIDE)

    def __call__(self, light: Picture, at: float) -> None:
        if not self.enters <= at < self.enters + self.seconds:
            return
        left = round(self.left(at))
        top, body = self.bottom - self.HIGH, slice(max(0, left), max(0, left + self.WIDE))
        surrounding = float(light[top : self.bottom, :].mean()) / 0.4
        light[top + 6 : self.bottom, body] = self.shade * surrounding
        light[top : top + 6, max(0, left + 3) : max(0, left + 9)] = 0.4 * surrounding
        stride = int(at * 4) % 2
        light[self.bottom - 8 : self.bottom, max(0, left + 4 + stride) : max(0, left + 7 + stride)] = 0.35 * surrounding


def clouds(
    soft: float = 0.4, deep: float = 0.6, seed: int = 5, most_seconds: float = 40.0
) -> Callable[[float], Picture]:
    """Return the light of a garden in the sun while clouds pass. Their edges are *soft* picture widths wide.

    *deep* is the share of the sun's light that a cloud takes.
    """
    ground, lit = garden(), sunlit()
    random = np.random.default_rng(seed)
    edges, at = [], 5.0
    while at < 4000:
        at += float(random.uniform(8, most_seconds))
        edges.append((at, float(random.uniform(1.5, 8.0))))  # when an edge comes, and the seconds that it crosses in
    x = np.linspace(0, 1, WIDTH, dtype=np.float32)

    def light(at: float) -> Picture:
        cover = np.zeros(WIDTH, np.float32)
        for number, (begin, crossing) in enumerate(edges):
            if begin > at:
                break
            edge = (at - begin) / crossing * (1 + 2 * soft) - soft
            passed = np.clip((edge - x) / soft + 0.5, 0, 1)
            cover = cover * (1 - passed) + passed * (1 - number % 2)
        return ground * (0.35 + 0.9 * lit * (1 - deep * cover))

    return light


def lamp(period: float = 30.0, fades: float = 0.1, flickers: float = 0.0) -> Callable[[float], Picture]:
    """Return the light of a room in which a lamp with sharp shadows is switched on and off, each *period* seconds.

    It changes within *fades* seconds. An old one flickers for *flickers* seconds when it is switched on.
    """
    ground, lit = garden(7), sunlit(8)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    cone = lit / (1 + ((x - 60) ** 2 + (y - 20) ** 2) / 60**2)

    def light(at: float) -> Picture:
        on = at // period % 2
        since = min(1.0, at % period / fades)
        level = since if on else 1 - since
        if on and at % period < flickers:
            level = int(at * 5) * 7 % 5 / 4
        return ground * (0.12 + 0.9 * cone * np.float32(level if at >= period else 0))

    return light


def steps(period: float = 10.0, factor: float = 1.3) -> Callable[[float], float]:
    """Return a camera's gain that goes up and down by *factor*, each *period* seconds, in three steps of 0.2 s."""

    def gain(at: float) -> float:
        step = min(3, int(at % period * 5)) / 3
        return 0.7 * factor ** (1 - step if at // period % 2 else step)

    return gain


def nightfall(period: float = 60.0) -> tuple[Callable[[float], Picture], Callable[[float], float]]:
    """Return the light of a room whose lamp goes out and on, each *period* seconds, and the gain of its camera.

    The camera follows within 1.5 s. In the dark its gain is eight times as high, and so is its noise.
    """
    ground = garden(7)

    def dark(at: float) -> bool:
        return at // period % 2 == 1

    def gain(at: float) -> float:
        part = min(1.0, at % period / 1.5) if at >= period else 1.0
        return 8.0 ** (part if dark(at) else 1 - part)

    return lambda at: ground * (0.08 if dark(at) else 0.8), gain


def infrared(period: float = 60.0, fades: float = 0.8) -> Callable[[float], Picture]:
    """Return the light of a camera that goes over to its infrared lamp and back, each *period* seconds.

    Leaves, paint and clothes then have other brightnesses, each its own.
    """
    seen, infrared = garden(1) * 0.1, garden(20) * 0.5

    def light(at: float) -> Picture:
        part = np.float32(min(1.0, at % period / fades) if at >= period else 1.0)
        before, after = (seen, infrared) if at // period % 2 else (infrared, seen)
        return before * (1 - part) + after * part

    return light


def rain(drops: int = 120, seed: int = 11) -> Callable[[Picture, float], None]:
    """Return what draws bright streaks of rain, 6 pixels long."""
    random = np.random.default_rng(seed)

    def draw(light: Picture, _: float) -> None:
        tops, lefts = random.integers(0, HEIGHT - 6, drops), random.integers(0, WIDTH, drops)
        for top, left in zip(tops, lefts, strict=True):
            light[top : top + 6, left] += 0.12

    return draw


def branch(left: int = 110, top: int = 5) -> Callable[[Picture, float], None]:
    """Return what draws a dark branch that waves in the wind, 40 x 12 pixels."""

    def draw(light: Picture, at: float) -> None:
        shift = round(5 * np.sin(at * 2.1) + 3 * np.sin(at * 3.7))
        light[top + 8 + shift : top + 20 + shift, left : left + 40] = 0.06

    return draw
