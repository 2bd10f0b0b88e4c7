"""The style that every figure of the book shares; importing this module sets it once.

Transparent SVG, the same bytes on every run. Labels are English or mathematics, so no font has to ship.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import sympy as sp
from IPython import get_ipython
from matplotlib.axes import Axes

from ..checks import instance, optional, positive, refused
from ..hardware import Accelerator
from ..sweep import array

WIDTH = 4.8
"""Inches, that is 346 points: a phone has about as many pixels for a figure,
so letters of 10 points are 10 pixels tall there."""

mpl.rcParams.update({
    "figure.figsize": (WIDTH, 3.6),
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.framealpha": 0.0,
    "legend.fontsize": 9,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "lecture10",
    # Okabe-Ito + 1
    "axes.prop_cycle": mpl.cycler(color=["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d00", "#56b4e9", "#5b2c8c"]),
})
if get_ipython() is not None:
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("svg", metadata={"Date": None, "Creator": None})

AXES = optional(instance(Axes))


def points(name: str, value: object, at_least: int = 1) -> Sequence[float]:
    """Positive numbers in a row, as they are."""
    found = array(name, value)
    if found.ndim != 1 or len(found) < at_least or not (np.isfinite(found).all() and (found > 0).all()):
        raise refused(name, value, f"{at_least} or more positive numbers")
    return value


def known(name: str, value: object) -> sp.Expr:
    """A positive number: a symbol cannot be drawn."""
    expr = positive(name, value)
    if not expr.is_number:
        raise refused(name, value, "a number, symbols cannot be drawn")
    return expr


def card(name: str, value: object) -> Accelerator:
    """An accelerator whose rates are numbers."""
    instance(Accelerator)(name, value)
    known(f"the rates of {name}", value.peak_flops * value.memory_bandwidth)
    return value
