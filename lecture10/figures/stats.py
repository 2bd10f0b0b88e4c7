"""Figures of book/Lecture10-Code-Stats.ipynb: curves of the same formulas over batch size and context length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import sympy as sp
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.patheffects import withStroke

from ..checks import checked, each, instance, values
from ..cost import Cost
from ..hardware import Accelerator
from ..measurements.timings import Timing
from ..notation import B, S
from ..stats import TransformerStats, throughput_limit
from ..sweep import sweep
from .style import AXES, card, known, points


@checked(steps=values(instance(Cost)), accelerator=card, batches=points, marked=points,
         measured=values(each(instance(Timing))), ax=AXES)
def trade_off(steps: Mapping[str, Cost], accelerator: Accelerator, batches: Sequence[int], marked: Sequence[int],
              measured: Mapping[str, Sequence[Timing]], *, ax: Axes | None = None) -> Axes:
    """Throughput against latency of generation steps as B grows: each operation's maximum, and dashed the bytes alone.

    ``marked`` batches are labelled, hollow where they exceed the memory; crosses are ``measured`` steps of the same
    name, a dotted line the limit of the throughput for B → ∞. Open: B.
    """
    ax = ax or plt.subplots()[1]
    for i, (name, step) in enumerate(steps.items()):
        both, seconds = step.time(accelerator), accelerator.memory_time(step.bytes_transferred)
        for label, time, style in ((name, both, "-"), (None, seconds, "--")):
            at = sweep(time, {B: batches})
            ax.plot(1000 * at, batches / at, style, color=f"C{i}", label=label, linewidth=1.8 if label else 1)
        ax.axhline(float(throughput_limit(step, accelerator)), color=f"C{i}", linestyle=":", linewidth=1)
        if runs := [(1000 * row.median, int(row.row["B"]) / row.median) for row in measured.get(name, ())]:
            ax.plot(*zip(*runs), "x", color=f"C{i}", label=f"{name}, measured", markersize=5)
        for batch in marked:
            point = float(1000 * both.subs(B, batch)), float(batch / both.subs(B, batch))
            fits = step.bytes_transferred.subs(B, batch) <= accelerator.memory_bytes
            ax.plot(*point, "o", color=f"C{i}", fillstyle="full" if fits else "none")
            ax.annotate(f"B = {batch}", point, xytext=((5, 6), (-7, 3))[i % 2], ha=("left", "right")[i % 2],
                        textcoords="offset points", fontsize=9)
    ax.set(xscale="log", yscale="log", xlim=(4, 130), xlabel="latency of a generation step (ms)",
           ylabel="throughput (tokens/s)")
    ax.margins(y=0.12)
    ax.set_xticks([5, 10, 20, 50, 100], labels=["5", "10", "20", "50", "100"])
    ax.legend(loc="lower right")
    return ax


@checked(stats=instance(TransformerStats), batches=points, contexts=points, memory_bytes=known, ax=AXES)
def memory_growth(stats: TransformerStats, batches: Sequence[int], contexts: Sequence[int], memory_bytes: sp.Expr, *,
                  ax: Axes | None = None) -> Axes:
    """KV cache against S for some batches, beside the weights (dashed) and a capacity (dotted). Open: B and S."""
    ax = ax or plt.subplots()[1]
    for batch in batches:
        ax.plot(contexts, sweep(batch * stats.kv_cache_size / 10**9, {S: contexts}), label=f"KV cache, B = {batch}")
    for height, style, text in ((stats.parameter_size, "--", "weights"), (memory_bytes, ":", "capacity")):
        gigabytes = float(height / 10**9)
        ax.axhline(gigabytes, color="0.45", linestyle=style, linewidth=1.3)
        ax.annotate(f"{text} {gigabytes:.1f} GB", (contexts[0], gigabytes), xytext=(4, 4),
                    textcoords="offset points", fontsize=9)
    ax.set(xscale="log", yscale="log", xlabel="context length S (tokens)", ylabel="memory (GB)")
    ax.legend(loc="lower right")
    return ax


@checked(cost=instance(Cost), batches=partial(points, at_least=2), contexts=partial(points, at_least=2),
         accelerator=card, ax=AXES)
def bottleneck_map(cost: Cost, batches: Sequence[int], contexts: Sequence[int], accelerator: Accelerator, *,
                   ax: Axes | None = None) -> Axes:
    """Share of the KV cache in the step time over B and S, the ridge of the weights and the edge of the memory.
    Open: B, S.

    Every point of the grid is evaluated; about a hundred in each direction, evenly spaced on the logarithmic axes,
    are drawn.
    """
    ax = ax or plt.subplots()[1]
    share = cost.only("attention").time(accelerator) / cost.time(accelerator)
    full = cost.bytes_transferred / accelerator.memory_bytes
    grid = {B: np.asarray(batches)[None, :], S: np.asarray(contexts)[:, None]}
    across, up = (np.unique(np.geomspace(1, len(points), 120).astype(int)) - 1 for points in (batches, contexts))
    share, full = (sweep(quantity, grid)[np.ix_(up, across)] for quantity in (share, full))
    x, y = np.asarray(batches)[across], np.asarray(contexts)[up]
    filled = ax.contourf(x, y, share, levels=np.linspace(0, 1, 6), cmap="cividis")
    ax.figure.colorbar(filled, ax=ax, label="share of attention over the cache")
    edge = ax.contour(x, y, full, levels=[1], colors="white", linestyles="--")
    ax.set(xscale="log", yscale="log", xlabel="batch size B", ylabel="context length S (tokens)")
    ax.grid(False)
    _label_limits(ax, edge, accelerator)
    return ax


def _label_limits(ax: Axes, edge: QuadContourSet, accelerator: Accelerator) -> None:
    """Draws the ridge and labels both limits; white with a dark rim is seen on every colour of the map."""
    ridge, points = float(accelerator.intensity), edge.get_paths()[0].vertices
    line = ax.axvline(ridge, color="white", linestyle=":")
    note = ax.annotate(f"ridge {ridge:.0f}", (ridge, 0.02), xycoords=("data", "axes fraction"), xytext=(-4, 0),
                       textcoords="offset points", rotation=90, ha="right", va="bottom", color="white")
    gigabytes = float(accelerator.memory_bytes / 10**9)
    notes = ax.clabel(edge, fmt=f"{gigabytes:.0f} GB", manual=[*points[len(points) // 2:][:1]])
    for artist in (edge, line, note, *notes):
        artist.set_path_effects([withStroke(linewidth=3, foreground="black")])
