"""Latency distributions in plain text: one line each, on a logarithmic scale."""

import math
from collections.abc import Sequence

from tests.bench.results import Curve

WIDTH = 64
BANDS = ((50.0, "█"), (99.0, "▓"), (99.9, "░"), (100.0, "·"))
LEGEND = "█ up to the median, ▓ p99, ░ p99.9, · the longest"


def plot(curves: Sequence[Curve], width: int = WIDTH) -> str:
    """All curves on one scale; empty when there is none."""
    if not curves:
        return ""
    shortest = min(_at(curve, 50.0) for curve in curves)
    longest = max(curve.points[-1][1] for curve in curves)
    first = math.floor(math.log10(max(shortest, 1e-3))) - 1
    last = max(first + 2, math.ceil(math.log10(max(longest, 1e-3))))

    def column(milliseconds: float) -> int:
        share = (math.log10(max(milliseconds, 1e-6)) - first) / (last - first)
        return round(max(0.0, min(1.0, share)) * width)

    name_width = max(len(curve.name) for curve in curves)
    axis = [" "] * (width + 12)
    for power in range(first, last + 1):
        label = f"|{_label(power)}"
        axis[column(10.0**power) : column(10.0**power) + len(label)] = label
    lines = [f"{'':{name_width}} {''.join(axis).rstrip()}"]
    for curve in curves:
        bar = ""
        for percent, mark in BANDS:
            bar += mark * (column(_at(curve, percent)) - len(bar))
        lines.append(f"{curve.name:{name_width}} {bar}")
    return "\n".join([*lines, f"{'':{name_width}} {LEGEND}"])


def _at(curve: Curve, percent: float) -> float:
    """The latency at a percentile, or at the last known one before it."""
    return max((ms for share, ms in curve.points if share <= percent), default=0.0)


def _label(power: int) -> str:
    return f"{10 ** (power - 3):,} s" if power >= 3 else f"{10.0**power:g} ms"
