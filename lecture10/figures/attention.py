"""Figures of book/Lecture10-Lab-Attention.ipynb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import sympy as sp
from matplotlib.axes import Axes

from ..checks import MOST_ENTRIES, checked, each, expression, pair, real, refused, text, values, whole
from ..notation import S
from .models import STYLES
from .style import WIDTH, known, points

_POSITIONS = partial(whole, at_least=1, at_most=MOST_ENTRIES)
_CELLS = values(each(each(partial(whole, at_most=MOST_ENTRIES))))


@checked(patterns=_CELLS, positions=_POSITIONS)
def reading_maps(patterns: Mapping[str, Sequence[Sequence[int]]], positions: int) -> np.ndarray:
    """A panel for each of ``patterns``: what every query (a row, the first one on top) reads, a list of cells each."""
    rows = -(-len(patterns) // 2)
    axes = plt.subplots(rows, 2, figsize=(WIDTH, 1.9 * rows), layout="constrained", squeeze=False)[1]
    for ax in axes.flat[len(patterns):]:
        ax.set_axis_off()
    for ax, (name, read) in zip(axes.flat, patterns.items()):
        for row, cells in enumerate(read):
            ax.broken_barh([(cell + 0.06, 0.88) for cell in sorted(set(cells))], (row + 0.06, 0.88), color="C0")
        ax.set(xlim=(0, positions), ylim=(len(read), 0), title=name, xticks=[], yticks=[], xlabel="cached position",
               ylabel="query")
        ax.title.set_fontsize(9)
        ax.grid(visible=False)
    return axes


@checked(curves=values(expression), contexts=points, ylabel=text, crossings=each(pair(real, real)))
def cost_curves(curves: Mapping[str, sp.Expr], contexts: Sequence[float], ylabel: str,
                crossings: Sequence[tuple[float, float]] = ()) -> Axes:
    """Costs of one token against the context, formulas in S; a ring on each of ``crossings`` (context, cost)."""
    ax = plt.subplots(figsize=(WIDTH, 4.6), layout="constrained")[1]
    for i, (name, formula) in enumerate(curves.items()):
        costs = [float(known(name, formula.subs(S, int(context)))) for context in contexts]
        ax.plot(contexts, costs, linestyle=STYLES[i % len(STYLES)], color=f"C{i % 7}", label=name)
    for context, cost in crossings:
        ax.plot(context, cost, "o", color="black", markerfacecolor="white", zorder=3)
    ax.set_xscale("log", base=2)
    ax.set(yscale="log", xlabel="context length S (tokens)", ylabel=ylabel)
    ticks = contexts[::1 + len(contexts) // 6]
    ax.set_xticks(ticks, [_short(context) for context in ticks])
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return ax


def _short(context: float) -> str:
    number, unit = (context / 2**20, "M") if context >= 2**20 else (context / 2**10, "k") if context >= 2**10 else (
        context, "")
    return f"{number:g}{unit}"


@checked(names=each(text), perplexities=points, base=real)
def perplexity_bars(names: Sequence[str], perplexities: Sequence[float], base: float) -> Axes:
    """How many times the perplexity of the unchanged model, ``base``, each change gives."""
    if len(names) != len(perplexities):
        raise refused("perplexities", perplexities, f"as many as names, {len(names)}")
    ax = plt.subplots(figsize=(WIDTH, 0.27 * len(names) + 0.9), layout="constrained")[1]
    times = [value / base for value in perplexities]
    ax.barh(range(len(names)), times, color=["C0" if value < 1.5 else "C1" for value in times])
    ax.axvline(1, color="black", linewidth=0.8, linestyle="--")
    ax.set(xscale="log", xlabel="perplexity, times the unchanged model's")
    ax.set_yticks(range(len(names)), list(names))
    ax.grid(visible=False, axis="y")
    ax.invert_yaxis()
    return ax
