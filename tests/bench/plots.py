"""Latency distributions as PNG, by matplotlib, which is in the environment of the benchmark alone."""

import math
import os
import tempfile
from pathlib import Path

from tests.bench.results import FOLDER, Curve, Result

TICKS = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99)


def nines(percent: float) -> float:
    """The place of a percentile on an axis where 90, 99 and 99.9 are equally far apart."""
    return -math.log10(max(1e-5, 1 - percent / 100))


def draw(result: Result, folder: Path = FOLDER) -> Path | None:
    """Draw results/PART.png; None when the part has no distributions."""
    curves = result.outcome.curves
    if not curves:
        return None
    with tempfile.TemporaryDirectory(prefix="svc-bench-") as cache:
        os.environ.setdefault("MPLCONFIGDIR", cache)  # otherwise it writes into the home
        import matplotlib as mpl  # type: ignore[import-not-found,unused-ignore]

        mpl.use("Agg")
        from matplotlib import pyplot  # type: ignore[import-not-found,unused-ignore]

        figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
        for curve in curves:
            axes.plot(*_line(curve), label=curve.name, linewidth=2 if curve.name.startswith("svc") else 1)
        axes.set_yscale("log")
        axes.set_xticks([nines(tick) for tick in TICKS], [f"{tick:g} %" for tick in TICKS])
        axes.set_xlabel("share of requests")
        axes.set_ylabel("answered within, ms")
        axes.set_title(result.title)
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize="small")
        path = folder / f"{result.part}.png"
        figure.savefig(path, dpi=110, metadata={"Software": None})
        pyplot.close(figure)
    return path


def _line(curve: Curve) -> tuple[list[float], list[float]]:
    points = [(nines(percent), milliseconds) for percent, milliseconds in curve.points if percent < 100]
    longest = max(points[-1][0], nines(99.99)) if points else nines(99.99)
    points.append((longest, curve.points[-1][1]))
    return [x for x, _ in points], [y for _, y in points]
