"""Plots as inline SVG: latency, memory over time, CPU a call, stages. Text takes the page's colour."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = {
    "Hookline": "#0072b2",
    "nothing between": "#8a8a8a",
    "Kamailio": "#e69f00",
    "Kamailio, same job": "#8c510a",
    "Sippy B2BUA": "#009e73",
    "Asterisk": "#d55e00",
}
OTHER_COLOURS = ("#56b4e9", "#cc79a7", "#b8a800")
WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 34, 44
BAR, STEP, LABEL = 22, 16, 210
SMALLEST = 0.001            # milliseconds: what a logarithmic axis makes of nothing
SHARES = (0, 0.25, 0.5, 0.75, 0.99)
Points = Sequence[Sequence[float]]


def colours(names: Sequence[str]) -> dict[str, str]:
    """The colour of each name; the same for a name in every plot, whoever else is in it."""
    others = [name for name in names if name not in COLOURS]
    return {
        name: COLOURS.get(name) or OTHER_COLOURS[others.index(name) % len(OTHER_COLOURS)] for name in names
    }


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten from the last one at or below `low` to the first one at or above `high`."""
    steps = [
        mantissa * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for mantissa in (1, 2, 5)
    ]
    first = max((step for step in steps if step <= low * 1.000001), default=steps[0])
    last = min((step for step in steps if step >= high * 0.999999), default=steps[-1])
    return [step for step in steps if first <= step <= last]


def even_ticks(most: float) -> list[float]:
    """From 0 to the first one at or above `most`, at most ten steps of 1, 2 or 5 times a power of ten."""
    if most <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(most))
    step = next(size * power for size in (0.1, 0.2, 0.5, 1.0) if most / (size * power) <= 10)
    return [number * step for number in range(math.ceil(most / step - 1e-9) + 1)]


def _text(x: float, y: float, words: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _svg(height: float, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img">{"".join(parts)}</svg>'


def _x(value: float, ticks: Sequence[float]) -> float:
    low = math.log10(ticks[0])
    span = max(1e-9, math.log10(ticks[-1]) - low)
    return LEFT + (math.log10(max(value, SMALLEST)) - low) / span * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _axes(ticks: Sequence[float], unit: str) -> list[str]:
    parts = []
    for tick in ticks:
        at = _x(tick, ticks)
        parts += [_line(at, TOP, at, HEIGHT - BOTTOM), _text(at, HEIGHT - BOTTOM + 16, f"{tick:g}", anchor="middle")]
    for share in SHARES:
        at = _y(share)
        parts += [_line(LEFT, at, WIDTH - RIGHT, at), _text(LEFT - 6, at + 4, f"{share:.0%}", anchor="end")]
    return [*parts, _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, unit, anchor="middle")]


def distribution(curves: Mapping[str, Points]) -> str:
    """Share of calls by latency. `curves` are points [share, milliseconds]; the x axis is logarithmic."""
    drawn = {name: points for name, points in curves.items() if points}
    if not drawn:
        return ""
    values = [max(point[1], SMALLEST) for points in drawn.values() for point in points]
    ticks = log_ticks(min(values), max(values))
    parts = _axes(ticks, "milliseconds from the intended INVITE, logarithmic")
    placed = {
        name: [(_x(value, ticks), _y(share)) for share, value in points] for name, points in drawn.items()
    }
    return _svg(HEIGHT, [*parts, *_lines(placed)])


def _lines(placed: Mapping[str, Sequence[tuple[float, float]]]) -> list[str]:
    """A line through the points of each name, and the legend above."""
    parts, legend = [], LEFT
    for name, colour in colours(list(placed)).items():
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed[name])
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"><title>{escape(name)}</title>'
            "</polyline>"
        )
        parts.append(f'<rect x="{legend}" y="8" width="14" height="10" fill="{colour}"/>')
        parts.append(_text(legend + 19, 17, name))
        legend += 34 + int(6.6 * len(name))
    return parts


def over_time(curves: Mapping[str, Points], unit: str) -> str:
    """Lines through points [seconds, value]; both axes are linear and begin at 0."""
    drawn = {name: points for name, points in curves.items() if len(points) > 1}
    if not drawn:
        return ""
    across = even_ticks(max(point[0] for points in drawn.values() for point in points))
    up = even_ticks(max(point[1] for points in drawn.values() for point in points))

    def x(seconds: float) -> float:
        return LEFT + seconds / across[-1] * (WIDTH - LEFT - RIGHT)

    parts = [_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, f"{unit}, by seconds from the first call", anchor="middle")]
    for tick in across:
        at = x(tick)
        parts += [_line(at, TOP, at, HEIGHT - BOTTOM), _text(at, HEIGHT - BOTTOM + 16, f"{tick:g}", anchor="middle")]
    for tick in up:
        at = _y(tick / up[-1])
        parts += [_line(LEFT, at, WIDTH - RIGHT, at), _text(LEFT - 6, at + 4, f"{tick:g}", anchor="end")]
    placed = {name: [(x(at), _y(value / up[-1])) for at, value in points] for name, points in drawn.items()}
    return _svg(HEIGHT, [*parts, *_lines(placed)])


def by_rate(probes: Mapping[str, Sequence[tuple[float, float, bool]]]) -> str:
    """Points (rate, milliseconds, whether it is filled) and a line through those of each name; both axes are
    logarithmic."""
    drawn = {name: sorted(points) for name, points in probes.items() if points}
    if not drawn:
        return ""
    values = [max(value, SMALLEST) for points in drawn.values() for _, value, _ in points]
    rates = [rate for points in drawn.values() for rate, _, _ in points]
    across, up = log_ticks(min(rates), max(rates)), log_ticks(min(values), max(values))
    span = max(1e-9, math.log10(up[-1] / up[0]))

    def y(value: float) -> float:
        return _y(math.log10(max(value, SMALLEST) / up[0]) / span)

    parts = [_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "ms, by calls/s; both logarithmic", anchor="middle")]
    for tick in across:
        at = _x(tick, across)
        parts += [_line(at, TOP, at, HEIGHT - BOTTOM), _text(at, HEIGHT - BOTTOM + 16, f"{tick:g}", anchor="middle")]
    for tick in up:
        parts += [_line(LEFT, y(tick), WIDTH - RIGHT, y(tick)), _text(LEFT - 6, y(tick) + 4, f"{tick:g}", anchor="end")]
    parts += _lines({name: [(_x(rate, across), y(value)) for rate, value, _ in all_] for name, all_ in drawn.items()})
    for name, colour in colours(list(drawn)).items():
        for rate, value, filled in drawn[name]:
            fill = colour if filled else "none"
            middle = f'cx="{_x(rate, across):.1f}" cy="{y(value):.1f}"'
            parts.append(f'<circle {middle} r="4" fill="{fill}" stroke="{colour}" stroke-width="2"/>')
    return _svg(HEIGHT, parts)


@dataclass(frozen=True)
class Bar:
    """One bar: its whole, the part of it that is drawn lighter, and what stands at its end."""

    name: str
    value: float
    lighter: float
    words: str


def bars(drawn: Sequence[Bar]) -> str:
    """Horizontal bars on one linear scale from 0."""
    if not drawn:
        return ""
    most = max((bar.value for bar in drawn), default=0.0) or 1.0
    scale = (WIDTH - LABEL - 190) / most
    colour = colours([bar.name for bar in drawn])
    parts = []
    for number, bar in enumerate(drawn):
        top = 6 + number * (BAR + 8)
        solid = (bar.value - bar.lighter) * scale
        parts.append(_text(LABEL - 8, top + BAR * 0.7, bar.name, anchor="end"))
        parts.append(f'<rect x="{LABEL}" y="{top}" width="{solid:.1f}" height="{BAR}" fill="{colour[bar.name]}"/>')
        if bar.lighter:
            parts.append(
                f'<rect x="{LABEL + solid:.1f}" y="{top}" width="{bar.lighter * scale:.1f}" height="{BAR}"'
                f' fill="{colour[bar.name]}" fill-opacity="0.45"/>'
            )
        parts.append(_text(LABEL + bar.value * scale + 6, top + BAR * 0.7, bar.words))
    return _svg(12 + len(drawn) * (BAR + 8), parts)


def waterfall(steps: Sequence[tuple[str, float]], others: str, unit: str) -> str:
    """Horizontal bars, each of which begins where the one above ends; the step named `others` is not ours and grey."""
    whole = sum(value for _, value in steps)
    if not whole:
        return ""
    scale = (WIDTH - LABEL - 190) / whole
    parts, begun = [], 0.0
    for number, (name, value) in enumerate(steps):
        top = 6 + number * (STEP + 4)
        left, width = LABEL + begun * scale, max(1.0, value * scale)
        colour = COLOURS["nothing between" if name == others else "Hookline"]
        parts.append(_line(LABEL, top + STEP + 2, WIDTH - RIGHT, top + STEP + 2))
        parts.append(_text(LABEL - 8, top + STEP * 0.75, name, anchor="end"))
        parts.append(f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{STEP}" fill="{colour}"/>')
        parts.append(_text(left + width + 6, top + STEP * 0.75, f"{value:.3f} {unit}, {value / whole:.1%}"))
        begun += value
    return _svg(12 + len(steps) * (STEP + 4), parts)
