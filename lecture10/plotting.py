"""Figures of the book, drawn from the same costs as its numbers. The only module that imports Matplotlib.

Importing it sets the book's style once: transparent SVG, the same bytes on every run. Labels are English or mathematics,
so no font has to ship.
"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import matplotlib.pyplot as plt
import sympy as sp
from IPython import get_ipython
from matplotlib.axes import Axes

from .cost import Cost
from .hardware import Accelerator

mpl.rcParams.update({
    "figure.figsize": (6.4, 4.0),
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.framealpha": 0.0,
    "legend.fontsize": 9,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "lecture10",
    "axes.prop_cycle": mpl.cycler(color=["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d00", "#56b4e9"]),  # Okabe-Ito
})
if get_ipython() is not None:
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("svg", metadata={"Date": None, "Creator": None})


def roofline(costs: Mapping[str, Cost], accelerator: Accelerator, *, ax: Axes | None = None) -> Axes:
    """Roofline plot: attainable FLOP/s against intensity, min(peak, intensity·bandwidth), with each cost as a point on it.

    A point stands at the cost's intensity and at its FLOPs over its time as one operation (arithmetic and transfers
    overlap perfectly), so all points lie on the roof. Raises ValueError for a cost that still has free symbols.
    """
    ax = ax or plt.subplots()[1]
    points = {name: _roofline_point(name, cost, accelerator) for name, cost in costs.items()}
    ridge, peak = float(accelerator.intensity), float(accelerator.peak_flops)
    left = min([0.5, *(x / 2 for x, _ in points.values())])
    right = max([ridge * 20, *(x * 2 for x, _ in points.values())])
    ax.plot([left, ridge, right], [left * peak / ridge, peak, peak], color="0.45", zorder=1)
    ax.axvline(ridge, color="0.45", linestyle="--", linewidth=1)
    ax.annotate(f"ridge {ridge:.0f}", (ridge, 0.02), xycoords=("data", "axes fraction"), xytext=(4, 0),
                textcoords="offset points")
    for name, (x, y) in points.items():
        ax.plot(x, y, "o", label=name, zorder=2)
    ax.set(xscale="log", yscale="log", xlabel="arithmetic intensity (FLOPs/byte)", ylabel="attainable FLOP/s",
           title=accelerator.name)
    if points:
        ax.legend(loc="upper left")
    return ax


def _roofline_point(name: str, cost: Cost, accelerator: Accelerator) -> tuple[float, float]:
    if free := cost.flops.free_symbols | cost.bytes_transferred.free_symbols:
        raise ValueError(f"cost {name!r} still has {sorted(map(str, free))}: expected numbers, substitute them first")
    return float(cost.intensity), float(sp.N(cost.flops / cost.as_step(name).time(accelerator)))
