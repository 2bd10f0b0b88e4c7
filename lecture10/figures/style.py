"""The style that every figure of the book shares; importing this module sets it once.

SVG on white, the same bytes on every run. Labels are English or mathematics, so no font has to ship.
"""

from __future__ import annotations

import matplotlib as mpl
from IPython import get_ipython

WIDTH = 4.8
"""Inches, that is 346 points: a phone has about as many pixels for a figure,
so letters of 10 points are 10 pixels tall there."""

mpl.rcParams.update({
    "figure.figsize": (WIDTH, 3.6),
    "figure.facecolor": "white",  # a figure brings its own ground: JupyterLab, GitHub and editors have dark pages too
    "axes.facecolor": "none",
    "savefig.facecolor": "white",
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
