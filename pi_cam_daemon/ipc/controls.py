"""Controls of a camera: the camera process lists them, the server checks values for them, the page shows them."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pi_cam_daemon.config.converters import RECTANGLE_ACCEPTED, correction, rectangle, refused
from pi_cam_daemon.config.text import Value, short, toml

# more names than any camera has controls
MOST_NAMES = 64
# A guess is the most expensive part of a refusal. Whoever needs one has few mistakes, in short texts.
_MOST_GUESSES = 4
_LONGEST_GUESSED = 100  # characters


class Kind(enum.StrEnum):
    """Type of a control's value. An action has no value: setting it to true starts it."""

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    RECTANGLE = "rectangle"
    ACTION = "action"


class Group(enum.StrEnum):
    """Part of the page's panel in which a control is shown."""

    EXPOSURE = "exposure"
    COLOUR = "colour"
    IMAGE = "image"
    FOCUS = "focus"
    FRAMING = "framing"


@dataclass(frozen=True)
class Control:
    """One setting of a camera that can be changed while it runs.

    *value* is the last one that was set; None, in *default* too, means that the camera decides. If *zero* is given, 0
    is accepted outside the limits too, and that is its meaning. Another control makes an *inactive* one ineffective.
    *under* is the name of the control that decides whether this one has an effect, most often an automatic one.
    """

    name: str
    kind: Kind
    default: Value = None
    value: Value = None
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    zero: str = ""
    unit: str = ""
    inactive: bool = False
    group: Group = Group.IMAGE
    under: str = ""

    @property
    def accepted(self) -> str:
        """Return the values that `check` accepts, in words."""
        if self.kind is Kind.ACTION:
            return "true"
        limits = f"from {toml(self.minimum)} to {toml(self.maximum)}" if self.minimum is not None else ""
        zero = f"0 ({self.zero}) or " if self.zero else ""
        unit = f" {self.unit}" if self.unit else ""
        values = {
            Kind.NUMBER: f"{zero}a number {limits}{unit}",
            Kind.INTEGER: f"{zero}an integer {limits}{unit}",
            Kind.BOOLEAN: "true or false",
            Kind.CHOICE: " or ".join(map(toml, self.choices)),
            Kind.RECTANGLE: RECTANGLE_ACCEPTED,
        }[self.kind]
        return f"{values}, or null for the default"

    def check(self, raw: object) -> Value:
        """Return *raw* as it is stored. ValueError says what is wrong and what is accepted."""
        if not self._accepts(raw):
            raise refused(raw, self.accepted)
        if self.kind is Kind.RECTANGLE and raw is not None:
            return rectangle(raw)
        return float(raw) if self.kind is Kind.NUMBER and isinstance(raw, int) else raw  # type: ignore[return-value]

    def _accepts(self, raw: object) -> bool:
        match self.kind:
            case Kind.ACTION:
                return raw is True
            case _ if raw is None:
                return True
            case Kind.BOOLEAN:
                return isinstance(raw, bool)
            case Kind.CHOICE:
                return isinstance(raw, str) and raw in self.choices
            case Kind.RECTANGLE:
                return isinstance(raw, list)
        if type(raw) not in ((int, float) if self.kind is Kind.NUMBER else (int,)):  # isinstance() would accept a bool
            return False
        return (bool(self.zero) and raw == 0) or self.minimum <= raw <= self.maximum  # type: ignore[operator]


def check(offered: Iterable[Control], wanted: Mapping[str, object]) -> tuple[dict[str, Value], dict[str, str]]:
    """Return the values of *wanted* that the controls *offered* accept, and an error message for each of the others.

    The first few messages hold a guess of what was meant.
    """
    known = {control.name: control for control in offered}
    accepted: dict[str, Value] = {}
    refusals: dict[str, str] = {}
    for name, raw in wanted.items():
        guesses = len(refusals) < _MOST_GUESSES
        if name not in known:
            hint = _meant(name, known) if guesses else ""
            refusals[name if len(name) <= _LONGEST_GUESSED else short(name)] = f"This camera has no such control{hint}"
            continue
        try:
            accepted[name] = known[name].check(raw)
        except ValueError as error:
            guessable = guesses and isinstance(raw, str) and len(raw) <= _LONGEST_GUESSED
            refusals[name] = f"{error}{correction(raw, known[name].check) if guessable else ''}"
    return accepted, refusals


def _meant(name: str, known: Mapping[str, Control]) -> str:
    """Return the one of *known* that is spelled most like *name*, or else all of them, as the end of a sentence."""
    close = difflib.get_close_matches(name, known, n=1) if len(name) <= _LONGEST_GUESSED else ()
    return f"; did you mean {close[0]}?" if close else f"; accepted: {', '.join(known) or 'none at all'}"
