"""Compare measured figures with the limits that the daemon has to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A measured *value* with the limits that it must and should keep; lower limits if *least*."""

    name: str
    value: float
    unit: str
    must: float | None = None
    prize: float | None = None
    least: bool = False

    def keeps(self, limit: float | None) -> bool:
        """Return whether the value keeps the limit; True without a limit."""
        return limit is None or (self.value >= limit if self.least else self.value <= limit)

    @property
    def verdict(self) -> str:
        if not self.keeps(self.must):
            return "MISSED"
        if self.prize is not None and self.keeps(self.prize):
            return "prize"
        return "" if self.must is None else "must"

    def limit(self, limit: float | None) -> str:
        return "" if limit is None else f"{'≥' if self.least else '≤'} {limit:g}"


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| what | measured | must | prize | |", "|---|---:|---:|---:|---|"]
    lines += [
        f"| {figure.name} | {figure.value:.4g} {figure.unit} | {figure.limit(figure.must)} | "
        f"{figure.limit(figure.prize)} | {figure.verdict} |"
        for figure in figures
    ]
    return "\n".join(lines)
