"""What a camera lets people set: listed by the camera process, checked by the server, shown by the page."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pi_cam_daemon.config.converters import RECTANGLE_ACCEPTED, rectangle, refused
from pi_cam_daemon.config.text import Value, toml


class Kind(enum.StrEnum):
    """What a control's value is; an action has none, and happens when it is set to true."""

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    RECTANGLE = "rectangle"
    ACTION = "action"


@dataclass(frozen=True)
class Control:
    """One thing that can be set.

    *value* is what it was set to last; None, also as the *default*, leaves it to the camera. *zero* is what 0 means
    where that lies outside the limits. An *inactive* control has no effect now, because of how another one is set.
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

    @property
    def accepted(self) -> str:
        """What `check` takes, in words."""
        if self.kind is Kind.ACTION:
            return "true"
        limits = f"from {toml(self.minimum)} to {toml(self.maximum)}" if self.minimum is not None else ""
        zero = f"0 ({self.zero}) or " if self.zero else ""
        unit = f" {self.unit}" if self.unit else ""
        what = {
            Kind.NUMBER: f"{zero}a number {limits}{unit}",
            Kind.INTEGER: f"{zero}an integer {limits}{unit}",
            Kind.BOOLEAN: "true or false",
            Kind.CHOICE: " or ".join(map(toml, self.choices)),
            Kind.RECTANGLE: RECTANGLE_ACCEPTED,
        }[self.kind]
        return f"{what}, or null for the default"

    def check(self, raw: object) -> Value:
        """*raw* as it is kept. Raises ValueError with what is wrong and what is accepted."""
        if not self._takes(raw):
            raise refused(raw, self.accepted)
        if self.kind is Kind.RECTANGLE and raw is not None:
            return rectangle(raw)
        return float(raw) if self.kind is Kind.NUMBER and isinstance(raw, int) else raw  # type: ignore[return-value]

    def _takes(self, raw: object) -> bool:
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
        if type(raw) not in ((int, float) if self.kind is Kind.NUMBER else (int,)):  # a bool is an int, too
            return False
        return (bool(self.zero) and raw == 0) or self.minimum <= raw <= self.maximum  # type: ignore[operator]


def check(offered: Iterable[Control], wanted: Mapping[str, object]) -> tuple[dict[str, Value], dict[str, str]]:
    """What of *wanted* the controls on *offer* take, and for each of the others what is wrong, what is accepted."""
    known = {control.name: control for control in offered}
    taken: dict[str, Value] = {}
    wrong: dict[str, str] = {}
    for name, raw in wanted.items():
        if name not in known:
            wrong[name] = f"This camera has no such control; {_guess(name, known)}"
            continue
        try:
            taken[name] = known[name].check(raw)
        except ValueError as error:
            wrong[name] = str(error)
    return taken, wrong


def _guess(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"accepted: {', '.join(known) or 'none at all'}"
