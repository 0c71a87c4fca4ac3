"""Curves as an SVG picture: a panel for each sort of number, one below the other, over the training step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

Points = Sequence[tuple[float, float]]

#: Sizes in pixels: of a panel with its labels, and of the margins around what is drawn in it.
_WIDTH, _HEIGHT = 720, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 150, 34, 40

#: Okabe and Ito's colours, which people who see few colours can tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

#: Points that a line has at most.
_POINTS = 600


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    lines: Mapping[str, Points]  #: (step, value) in the order of the steps, by name


def draw(panels: Sequence[Panel]) -> str:
    """The picture. Points that are not finite are left out, and so is a panel that has none."""
    kept = []
    for panel in panels:
        lines = {name: _finite(points) for name, points in panel.lines.items()}
        lines = {name: points for name, points in lines.items() if points}
        if lines:
            kept.append(Panel(panel.title, lines))
    end = max((p[0] for panel in kept for line in panel.lines.values() for p in line), default=1)
    height = _HEIGHT * len(kept)
    body = "".join(_panel(panel, n * _HEIGHT, max(end, 1)) for n, panel in enumerate(kept))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{body}</svg>\n'
    )


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``, about as many as wanted."""
    if high <= low:
        high = low + (abs(low) or 1)
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _panel(panel: Panel, top: float, end: float) -> str:
    values = [value for points in panel.lines.values() for _, value in points]
    across, up = ticks(0, end), ticks(min(values), max(values))
    right, bottom = _WIDTH - _RIGHT, top + _HEIGHT - _BOTTOM

    def x(step: float) -> float:
        return round(_LEFT + (right - _LEFT) * step / across[-1], 1)

    def y(value: float) -> float:
        return round(bottom - (bottom - top - _TOP) * (value - up[0]) / (up[-1] - up[0]), 1)

    parts = [_text(_LEFT, top + 20, panel.title, "start", weight="bold")]
    for value in up:
        parts.append(_line((_LEFT, y(value)), (right, y(value)), "#e5e5e5"))
        parts.append(_text(_LEFT - 8, y(value) + 4, f"{value:.4g}", "end"))
    for step in across:
        parts.append(_line((x(step), bottom), (x(step), bottom + 4), "#555"))
        parts.append(_text(x(step), bottom + 17, f"{step:g}", "middle"))
    parts.append(_line((_LEFT, bottom), (right, bottom), "#555"))
    parts.append(_line((_LEFT, top + _TOP), (_LEFT, bottom), "#555"))
    parts.append(_text(right + 36, bottom + 17, "step", "start"))
    for number, (name, points) in enumerate(panel.lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        drawn = [(x(step), y(value)) for step, value in _thinned(points)]
        path = " ".join(f"{a},{b}" for a, b in drawn)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        )
        if len(drawn) <= 50:
            parts += [f'<circle cx="{a}" cy="{b}" r="2.6" fill="{colour}"/>' for a, b in drawn]
        place = top + _TOP + 10 + 18 * number
        parts.append(_line((right + 12, place - 4), (right + 30, place - 4), colour, 3))
        parts.append(_text(right + 36, place, name, "start"))
    return "".join(parts)


def _line(
    start: tuple[float, float], end: tuple[float, float], colour: str, width: float = 1
) -> str:
    place = f'x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}"'
    return f'<line {place} stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, anchor: str, weight: str = "normal") -> str:
    style = f'text-anchor="{anchor}" font-weight="{weight}" fill="#222"'
    return f'<text x="{x}" y="{y}" {style}>{escape(text)}</text>'


def _finite(points: Points) -> Points:
    return [point for point in points if math.isfinite(point[1])]


def _thinned(points: Points) -> Points:
    """At most about ``_POINTS`` of the points, the last among them."""
    step = max(1, len(points) // _POINTS)
    kept = list(points[::step])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]
