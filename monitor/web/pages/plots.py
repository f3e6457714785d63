"""A rate over time, as inline SVG: steps and their confidence band, with the objective; gaps where there is no data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from monitor.domain.ledger import Count
from monitor.web.pages.formats import NO_DATA, share
from monitor.web.pages.html import Html, h

WIDTH = 326
HEIGHT = 88
_RIGHT = 288
"""Beyond it stand the labels of the scale."""
_TOP = 8
_BOTTOM = 70
_BASELINE = 84
"""Of the labels below."""
_LABEL_PITCH = 10
"""Labels of the scale that are nearer to each other than this would overlap."""
_FLOORS = (0.9, 0.8, 0.5, 0.0)
"""Where the scale may begin."""
_Z = 1.959964
"""Of the normal distribution, for a band that holds the true rate in 95 % of all cases."""


@dataclass(frozen=True, slots=True)
class Axis:
    """The names of the times at the left end, in the middle and at the right end."""

    left: str
    middle: str
    right: str


def wilson(count: Count) -> tuple[float, float]:
    """The bounds of the rate that the counts leave open (E. B. Wilson, 1927); all of it where there are none."""
    n = count.events
    if n == 0:
        return 0.0, 1.0
    rate, z2 = (n - count.bad) / n, _Z * _Z
    middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def plot(counts: Sequence[Count], objective: float, axis: Axis, label: str) -> Html:
    """The plot; `label` is its name for those who do not see it."""
    ratios = [count.good_ratio for count in counts]
    scale = _Scale(_floor([*(ratio for ratio in ratios if ratio is not None), objective]), len(counts))
    runs = list(_runs(counts))
    objective_y = scale.y(objective)
    empty = not runs
    return h.svg(
        [
            h.rect(class_="gap", x=scale.x(a), y=_TOP, width=_n(scale.width * (b - a)), height=_BOTTOM - _TOP)
            for a, b in _gaps(runs, len(counts))
        ],
        [h.path(class_="band", d=_band(counts, run, scale)) for run in runs],
        [h.line(class_="grid", x1=0, x2=_RIGHT, y1=y, y2=y) for y in (_TOP, _BOTTOM)],
        h.line(class_="objective", x1=0, x2=_RIGHT, y1=_n(objective_y), y2=_n(objective_y)),
        [h.path(class_="rate", d=_steps(ratios, run, scale)) for run in runs],
        h.path(class_="below", d=_below(ratios, objective, scale)),
        h.text(NO_DATA, class_="empty", x=_RIGHT // 2, y=_BOTTOM - 10, text_anchor="middle") if empty else None,
        _labels(scale, objective, objective_y),
        h.text(axis.left, x=0, y=_BASELINE),
        h.text(axis.middle, x=_RIGHT // 2, y=_BASELINE, text_anchor="middle"),
        h.text(axis.right, x=_RIGHT, y=_BASELINE, text_anchor="end"),
        class_="plot",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{label}: {_told(counts, objective)}",
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    floor: float
    spans: int

    @property
    def width(self) -> float:
        return _RIGHT / self.spans

    def x(self, span: int) -> str:
        return _n(span * self.width)

    def y(self, ratio: float) -> float:
        kept = max(self.floor, min(1.0, ratio))
        return _BOTTOM - (kept - self.floor) / (1 - self.floor) * (_BOTTOM - _TOP)


def _n(value: float) -> str:
    """Write a coordinate, to a tenth."""
    return f"{value:.1f}".removesuffix(".0")


def _floor(ratios: Iterable[float]) -> float:
    lowest = min(ratios)
    return next((floor for floor in _FLOORS if floor < lowest), 0.0)


def _runs(counts: Sequence[Count]) -> Iterator[tuple[int, int]]:
    """Spans with data that follow each other: from, up to but not including."""
    start = None
    for position, count in enumerate((*counts, Count())):
        if count.events and start is None:
            start = position
        elif not count.events and start is not None:
            yield start, position
            start = None


def _gaps(runs: Iterable[tuple[int, int]], spans: int) -> Iterator[tuple[int, int]]:
    last = 0
    for start, end in (*runs, (spans, spans)):
        if last < start:
            yield last, start
        last = end


def _steps(ratios: Sequence[float | None], run: tuple[int, int], scale: _Scale) -> str:
    parts: list[str] = []
    for position in range(*run):
        y = _n(scale.y(ratios[position] or 0.0))
        parts.append(f"{f'V{y}' if parts else f'M{scale.x(position)} {y}'}H{scale.x(position + 1)}")
    return "".join(parts)


def _below(ratios: Sequence[float | None], objective: float, scale: _Scale) -> str:
    return "".join(
        f"M{scale.x(position)} {_n(scale.y(ratio))}H{scale.x(position + 1)}"
        for position, ratio in enumerate(ratios)
        if ratio is not None and ratio < objective
    )


def _band(counts: Sequence[Count], run: tuple[int, int], scale: _Scale) -> str:
    bounds = [wilson(counts[position]) for position in range(*run)]
    path = f"M{scale.x(run[0])} {_n(scale.y(bounds[0][1]))}"
    for position, (_, high) in enumerate(bounds, run[0]):
        path += f"V{_n(scale.y(high))}H{scale.x(position + 1)}"
    for position, (low, _) in reversed(list(enumerate(bounds, run[0]))):
        path += f"V{_n(scale.y(low))}H{scale.x(position)}"
    return f"{path}Z"


def _labels(scale: _Scale, objective: float, objective_y: float) -> list[Html]:
    others = [(1.0, float(_TOP)), (scale.floor, float(_BOTTOM))]
    shown = [(ratio, y, "") for ratio, y in others if abs(y - objective_y) >= _LABEL_PITCH]
    return [
        h.text(f"{ratio * 100:.6g} %", x=WIDTH, y=_n(y + 3.5), text_anchor="end", class_=class_ or None)
        for ratio, y, class_ in (*shown, (objective, objective_y, "promised"))
    ]


def _told(counts: Sequence[Count], objective: float) -> str:
    having = [count for count in counts if count.events]
    if not having:
        return NO_DATA
    lowest = min(having, key=lambda count: count.good_ratio or 0.0)
    below = sum((count.good_ratio or 0.0) < objective for count in having)
    return (
        f"{len(having)} of {len(counts)} spans have data, {below} of them below the objective of"
        f" {objective * 100:.6g} %; the lowest is {share(lowest)}"
    )
