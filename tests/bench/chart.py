"""Draw the curves as SVG: processor time and memory over the number of viewers, in two panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_WIDTH, _HEIGHT = 400, 260
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 40, 24, 44
_COLOURS = ("#c2255c", "#1971c2", "#868e96")
_GRID = 4

Points = Mapping[str, Sequence[Mapping[str, float]]]


def svg(servers: Points) -> str:
    """Return an SVG document with both panels."""
    panels = [
        _panel(servers, 0, "percent", "Processor time, % of one core"),
        _panel(servers, _WIDTH, "resident_mb", "Memory of the server process, MB"),
    ]
    legend = [
        f'<circle cx="{_LEFT + 120 * number}" cy="{_HEIGHT + 12}" r="4" fill="{colour}"/>'
        f'<text x="{_LEFT + 8 + 120 * number}" y="{_HEIGHT + 16}">{name}</text>'
        for number, (name, colour) in enumerate(zip(servers, _COLOURS, strict=True))
    ]
    size = f'width="{2 * _WIDTH}" height="{_HEIGHT + 28}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12" fill="#343a40">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *panels, *legend, "</svg>", ""])


def _panel(servers: Points, left: float, key: str, title: str) -> str:
    most_viewers = max(point["viewers"] for row in servers.values() for point in row)
    top = _round_up(max(point[key] for row in servers.values() for point in row))

    def x(viewers: float) -> float:
        return left + _LEFT + (_WIDTH - _LEFT - _RIGHT) * viewers / most_viewers

    def y(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / top)

    parts = [f'<text x="{left + _LEFT}" y="{_TOP - 16}" font-weight="bold">{title}</text>']
    for step in range(_GRID + 1):
        value, viewers = top * step / _GRID, most_viewers * step / _GRID
        parts += [
            f'<path d="M{x(0):.1f} {y(value):.1f}H{x(most_viewers):.1f}" stroke="#dee2e6"/>',
            f'<text x="{x(0) - 6:.1f}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>',
            f'<text x="{x(viewers):.1f}" y="{y(0) + 18:.1f}" text-anchor="middle">{viewers:g}</text>',
        ]
    parts.append(f'<text x="{x(most_viewers / 2):.1f}" y="{y(0) + 36:.1f}" text-anchor="middle">viewers</text>')
    for row, colour in zip(servers.values(), _COLOURS, strict=True):
        line = " ".join(f"{x(point['viewers']):.1f},{y(point[key]):.1f}" for point in row)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(p["viewers"]):.1f}" cy="{y(p[key]):.1f}" r="3" fill="{colour}"/>' for p in row]
    return "\n".join(parts)


def _round_up(value: float) -> float:
    """Round up to a number that divides well into four steps."""
    unit = 10.0 ** (len(str(int(value))) - 1)
    return next(unit * factor for factor in (1, 2, 4, 6, 8, 10) if unit * factor >= value)
