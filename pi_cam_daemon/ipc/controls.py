"""Controls of a camera: the camera process lists them, the server checks values for them, the page shows them."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pi_cam_daemon.config.converters import RECTANGLE_ACCEPTED, correction, rectangle, refused
from pi_cam_daemon.config.text import Value, toml


class Kind(enum.StrEnum):
    """Type of a control's value. An action has no value: setting it to true starts it."""

    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    RECTANGLE = "rectangle"
    ACTION = "action"


@dataclass(frozen=True)
class Control:
    """One setting of a camera that can be changed while it runs.

    *value* is the last one that was set; None, in *default* too, means that the camera decides. If *zero* is given, 0
    is accepted outside the limits too, and that is its meaning. Another control makes an *inactive* one ineffective.
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
    """Return the values of *wanted* that the controls *offered* accept, and an error message for each of the others."""
    known = {control.name: control for control in offered}
    accepted: dict[str, Value] = {}
    refusals: dict[str, str] = {}
    for name, raw in wanted.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"accepted: {', '.join(known) or 'none at all'}"
            refusals[name] = f"This camera has no such control; {hint}"
            continue
        try:
            accepted[name] = known[name].check(raw)
        except ValueError as error:
            refusals[name] = f"{error}{correction(raw, known[name].check)}"
    return accepted, refusals
