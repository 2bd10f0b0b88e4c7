"""The style that every figure of the book shares; importing this module sets it once.

SVG on white, the same bytes on every run and on every machine. Labels are English or mathematics, so no font has to
ship.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO

import matplotlib as mpl
import numpy as np
import sympy as sp
from IPython import get_ipython
from matplotlib import text
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG, RendererSVG
from matplotlib.figure import Figure
from matplotlib.textpath import text_to_path

from ..checks import instance, optional, positive, refused
from ..hardware import Accelerator
from ..sweep import array

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
    "axes.titley": 1.0,  # no figure has ticks at the top, for which every title would be placed anew
    "grid.alpha": 0.25,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "lecture10",
    # Okabe-Ito + 1
    "axes.prop_cycle": mpl.cycler(color=["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c6d00", "#56b4e9", "#5b2c8c"]),
})

_hashed = RendererSVG._make_id


def _id_of_what_is_drawn(renderer: RendererSVG, kind: str, content: object) -> str:
    """An SVG id from ``content`` with the six decimals that the drawing shows: the backend hashes all sixteen digits,
    of which the last hang on the processor, the BLAS kernel and the Python that computed them."""
    def short(number: re.Match) -> str:
        return str(round(float(number[0]), 6) + 0.0)  # no -0.0

    return _hashed(renderer, kind, re.sub(r"-?\d+\.\d+(e-?\d+)?|-?\d+e-\d+", short, str(content)))


RendererSVG._make_id = _id_of_what_is_drawn
text.TextToPath = lambda: text_to_path  # three renderers draw a figure: each would parse every formula of the axes anew


def svg(figure: Figure) -> str | None:
    """What a cell shows of ``figure``, as ``bbox_inches="tight"`` cuts it: laid out and measured first, then drawn
    once, where Matplotlib draws all of it twice. None for a figure without axes."""
    if not figure.axes:
        return None
    canvas, dpi, layout, out = figure.canvas, figure.dpi, figure.get_layout_engine(), StringIO()
    FigureCanvasSVG(figure)  # so that letters are as wide as they will be drawn
    figure.dpi = FigureCanvasSVG.fixed_dpi
    try:
        if layout is not None:
            layout.execute(figure)
            figure.set_layout_engine("none")
        box = figure.get_tightbbox().padded(mpl.rcParams["savefig.pad_inches"])
        figure.savefig(out, format="svg", dpi=dpi, bbox_inches=box, metadata={"Date": None, "Creator": None})
    finally:
        figure.set_layout_engine(layout)
        figure.set_canvas(canvas)
        figure.dpi = dpi
    return out.getvalue()


if (shell := get_ipython()) is not None:
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("svg")
    shell.display_formatter.formatters["image/svg+xml"].for_type(Figure, svg)

AXES = optional(instance(Axes))


def points(name: str, value: object, at_least: int = 1) -> Sequence[float]:
    """Positive numbers in a row, as they are."""
    found = array(name, value)
    if found.ndim != 1 or len(found) < at_least or not (np.isfinite(found).all() and (found > 0).all()):
        raise refused(name, value, f"{at_least} or more positive numbers")
    return value


def as_many(name: str, value: Sequence, beside: str, others: Sequence) -> None:
    """Refuses a ``value`` with another number of entries than another argument."""
    if len(value) != len(others):
        raise refused(name, value, f"as many entries as {beside}, {len(others)}")


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
