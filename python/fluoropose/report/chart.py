"""Line charts over time or frame numbers as inline SVG: no plotting library, nothing from the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

__all__ = ["Series", "line_chart", "ticks"]

_WIDTH, _HEIGHT = 560, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 12, 26


@dataclass(frozen=True, eq=False)
class Series:
    """One curve: values over the chart's times, NaN where there is none; ``kind`` is its CSS class."""

    values: NDArray[np.float64]
    kind: str = "estimate"
    label: str = ""


def line_chart(
    x_values: NDArray[np.float64],
    series: Sequence[Series],
    unit: str,
    names: Sequence[str],
    limit: float | None = None,
    x_unit: str = "s",
) -> str:
    """Draw curves with gaps where values are NaN.

    Parameters
    ----------
    x_values
        (n,) times or numbers of the frames, increasing.
    series
        Curves of n values each; the first one gets a dot with a tooltip per frame.
    unit
        Unit of the values, shown in tooltips.
    names
        n frame names for the tooltips.
    limit
        A level to draw as a dashed line, such as the largest accepted value.
    x_unit
        Unit of ``x_values``; "" for numbers.
    """
    drawn = np.concatenate([s.values for s in series] + ([np.array([limit])] if limit is not None else []))
    drawn = drawn[np.isfinite(drawn)]
    low, high = (float(drawn.min()), float(drawn.max())) if drawn.size else (0.0, 1.0)
    pad = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = low - pad, high + pad
    start, end = float(x_values[0]), float(x_values[-1])
    if end <= start:
        start, end = start - 0.5, end + 0.5
    span_x, span_y = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    x = _LEFT + (x_values - start) / (end - start) * span_x

    def y(value: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return np.asarray(_TOP + (high - np.asarray(value)) / (high - low) * span_y)

    parts = [f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">']
    whole, whole_x = (bool((values == np.round(values)).all()) for values in (drawn, x_values))
    for value in ticks(low, high, 5, least=float(whole)):
        at = float(y(value))
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 7}" y="{at + 3.5:.1f}" text-anchor="end">{value:.6g}</text>')
    digits = max(6, 2 + int(np.ceil(np.log10(max(abs(start), abs(end)) / (end - start)))))  # times may count from 1970
    for value in ticks(start, end, 7 if digits == 6 else 3, least=float(whole_x)):
        at, label = _LEFT + (value - start) / (end - start) * span_x, f"{value:.{digits}g} {x_unit}".strip()
        parts.append(f'<text class="tick" x="{at:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{label}</text>')
    if limit is not None:
        at = float(y(limit))
        parts.append(f'<line class="limit" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
    missing = np.flatnonzero(~np.isfinite(series[0].values)).tolist()
    half = 0.5 * span_x / max(len(x_values) - 1, 1)
    parts += [
        f'<rect class="gap" x="{max(x[i] - half, _LEFT):.1f}" y="{_TOP}" height="{span_y}" '
        f'width="{min(x[i] + half, _WIDTH - _RIGHT) - max(x[i] - half, _LEFT):.1f}">'
        f"<title>{escape(names[i])}: failed</title></rect>"
        for i in missing
    ]
    for one in reversed(series):  # the first curve lies on top
        path = _path(x, y(one.values))
        parts.append(f'<path class="{escape(one.kind)}" d="{path}"/>')
    dots = series[0]

    def at_time(i: int) -> str:
        return f", {x_values[i]:.3f} {x_unit}" if x_unit else ""

    parts += [
        f'<circle class="{escape(dots.kind)}" cx="{x[i]:.1f}" cy="{float(y(dots.values[i])):.1f}" r="1.8">'
        f"<title>{escape(names[i])}{at_time(i)}: {dots.values[i]:.{0 if whole else 2}f} {escape(unit)}</title></circle>"
        for i in np.flatnonzero(np.isfinite(dots.values)).tolist()
    ]
    return "".join([*parts, "</svg>"])


def ticks(low: float, high: float, about: int, least: float = 0) -> list[float]:
    """Return round values between ``low`` and ``high``, about ``about`` of them and at least ``least`` apart."""
    raw = max((high - low) / about, least)
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(next(m * power for m in (1, 2, 5, 10) if m * power >= raw))
    first = np.ceil(low / step)
    count = int(np.floor(high / step) - first) + 1
    return [float((first + i) * step) for i in range(count)]


def _path(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    commands, pen_down = [], False
    for px, py in zip(x, y, strict=True):
        if np.isfinite(py):
            commands.append(f"{'L' if pen_down else 'M'}{px:.1f} {py:.1f}")
        pen_down = bool(np.isfinite(py))
    return "".join(commands)
