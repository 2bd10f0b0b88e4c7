"""Rooflines and curves drawn from the same costs as the book's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import sympy as sp
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..checks import checked, each, expression, instance, pair, refused, values
from ..cost import Cost
from ..hardware import Accelerator
from ..measurements.timings import Timing
from ..notation import NOTATION
from ..sweep import sweep
from .style import AXES, WIDTH, card, points


def _size(name: str, value: object) -> sp.Symbol:
    if value not in list(NOTATION):
        raise refused(name, value, "a symbol of the book")
    return value


@checked(costs=values(instance(Cost)), accelerator=card, ax=AXES)
def roofline(costs: Mapping[str, Cost], accelerator: Accelerator, *, ax: Axes | None = None) -> Axes:
    """Roofline plot: attainable FLOP/s against intensity, min(peak, intensity·bandwidth),
    with each cost as a point on it.

    A point stands at the cost's intensity and at its FLOPs over its time as one operation (arithmetic and transfers
    overlap perfectly), so all points lie on the roof; where several share a place, later markers stand inside earlier
    ones. Raises ValueError for a cost that still has free symbols.
    """
    ax = ax or plt.subplots()[1]
    points = {name: _roofline_point(name, cost, accelerator) for name, cost in costs.items()}
    left = min([0.5, *(x / 2 for x, _ in points.values())])
    right = max([float(accelerator.intensity) * 20, *(x * 2 for x, _ in points.values())])
    _roof(ax, accelerator, left, right)
    for i, (marker, (name, (x, y))) in enumerate(zip(cycle("os^Dvph"), points.items())):
        inside = sum(abs(np.log(later / x)) < 0.1 for later, _ in [*points.values()][i + 1:])
        ax.plot(x, y, marker, label=name, fillstyle="none", markeredgewidth=1.8, markersize=6 + 6 * inside, zorder=2)
    ax.set(xlabel="arithmetic intensity (FLOPs/byte)", ylabel="attainable FLOP/s", title=accelerator.name)
    if len(points) > 4:
        ax.legend(loc="upper center", bbox_to_anchor=(0.45, -0.18), ncols=2)
    elif points:
        ax.legend(loc="upper left")
    return ax


@checked(moves=values(pair(instance(Cost), instance(Cost))), accelerator=card)
def roofline_moves(moves: Mapping[str, tuple[Cost, Cost]], accelerator: Accelerator) -> Figure:
    """One small roofline per move, two in a row: an arrow from the cost before (hollow) to the cost after (filled).

    Each panel says by what factor FLOPs, bytes and the time of the operation change. Raises ValueError as ``roofline``.
    """
    rows = -(-len(moves) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(WIDTH, 1.9 * rows + 0.4), sharex=True, sharey=True, squeeze=False,
                                layout="constrained")
    for ax, (name, (before, after)) in zip(axes.flat, moves.items()):
        start, end = (_roofline_point(name, cost, accelerator) for cost in (before, after))
        _roof(ax, accelerator, 0.5, float(accelerator.intensity) * 10)
        ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "C1", "linewidth": 2,
                                                "shrinkA": 4, "shrinkB": 2})
        ax.plot(*start, "o", color="C0", fillstyle="none", markersize=9)
        ax.plot(*end, "o", color="C1")
        ax.set_title(name, fontsize=9)
        ax.text(0.04, 0.95, _factors(before, after, accelerator), transform=ax.transAxes, va="top", fontsize=8)
        ax.minorticks_off()  # too small for them
    for ax in axes.flat[len(moves):]:
        ax.set_axis_off()
    figure.supxlabel("arithmetic intensity (FLOPs/byte)", fontsize=10)
    figure.supylabel("attainable FLOP/s", fontsize=10)
    return figure


@checked(rows=each(instance(Timing)), traced=each(instance(Timing)))
def measured_products(rows: Sequence[Timing], traced: Sequence[Timing] = ()) -> Axes:
    """Measured products of one device at their intensity, under the roof of each arithmetic that they use.

    ``traced`` ones, of one matrix, are joined in order of their rows, and labelled at powers of four. Raises ValueError
    for no row and for rows of several devices.
    """
    devices = {row.device for row in (*rows, *traced)}
    if len(devices) != 1:
        raise refused("rows", [card.name for card in devices], "rows of one device")
    ax = plt.subplots(figsize=(WIDTH, 4.6), layout="constrained")[1]
    kinds = dict.fromkeys(row.arithmetic for row in rows)
    for i, kind in enumerate(kinds):
        of_kind = [row for row in rows if row.arithmetic == kind]
        _roof(ax, of_kind[0].device.computing_in(kind), 0.8, 1e4)
        ax.plot(*_measured(of_kind), "os^"[i % 3], color=f"C{i}", markersize=(2.5, 4, 4)[i % 3], alpha=0.6,
                markeredgewidth=0, label=f"{kind}, {len(of_kind):,} products")
    joined = sorted(traced, key=lambda row: int(row.row["rows"]))
    ax.plot(*_measured(joined), "o-", color="black", linewidth=1, markersize=3.5, label="one matrix, by its rows")
    for row in joined:
        if (count := int(row.row["rows"])) in (1, 4, 16, 64, 256, 1024):
            ax.annotate(f"{count}", np.ravel(_measured([row])), xytext=(5, -11), textcoords="offset points", fontsize=9)
    ax.set(xlabel="arithmetic intensity (FLOPs/byte)", ylabel="measured FLOP/s", xlim=(0.8, 1e4))
    ax.legend(loc="upper left")
    return ax


def _measured(rows: Sequence[Timing]) -> tuple[list[float], list[float]]:
    """Intensities and FLOP/s."""
    return [float(row.cost.intensity) for row in rows], [row.rates[0] for row in rows]


@checked(curves=values(expression), size=_size, values=points, accelerator=card, ax=AXES)
def intensities(curves: Mapping[str, sp.Expr], size: sp.Symbol, values: Sequence[float], accelerator: Accelerator, *,
                ax: Axes | None = None) -> Axes:
    """Intensities as curves over ``size``, with the accelerator's ridge as a dashed line: above it, compute-bound.

    Raises ValueError for a curve with any other free symbol.
    """
    ax = ax or plt.subplots()[1]
    x = np.asarray(values, dtype=float)
    for style, (name, curve) in zip(cycle(("-", "--", "-.", ":")), curves.items()):
        ax.plot(x, np.broadcast_to(sweep(sp.sympify(curve), {size: x}), x.shape), style, label=name)
    ridge = float(accelerator.intensity)
    ax.axhline(ridge, color="0.45", linestyle="--", linewidth=1)
    # below the line, where rising curves have passed
    ax.annotate(f"{accelerator.name} ridge {ridge:.0f}", (0.99, ridge), xycoords=("axes fraction", "data"),
                xytext=(0, -3), textcoords="offset points", ha="right", va="top", fontsize=9)
    ax.set(xscale="log", yscale="log", xlabel=f"{NOTATION[size][0]} ${sp.latex(size)}$",
           ylabel="arithmetic intensity (FLOPs/byte)")
    ax.legend()
    return ax


@checked(cost=instance(Cost), size=_size, values=points, accelerator=card, ax=AXES)
def times(cost: Cost, size: sp.Symbol, values: Sequence[float], accelerator: Accelerator, *,
          ax: Axes | None = None) -> Axes:
    """Compute time, memory time and their maximum over ``size``, for a cost whose steps overlap perfectly.

    Raises ValueError for a cost with any other free symbol.
    """
    ax = ax or plt.subplots()[1]
    x = np.asarray(values, dtype=float)
    compute, memory = (np.broadcast_to(1e6 * sweep(time, {size: x}), x.shape) for time in (
        accelerator.compute_time(cost.flops), accelerator.memory_time(cost.bytes_transferred)))
    ax.plot(x, np.maximum(compute, memory), color="0.6", alpha=0.5, linewidth=7, label="step time = max of both")
    ax.plot(x, memory, color="C0", label="memory time = bytes / bandwidth")
    ax.plot(x, compute, color="C1", linestyle="--", label="compute time = FLOPs / peak")
    ax.set(xscale="log", yscale="log", xlabel=f"{NOTATION[size][0]} ${sp.latex(size)}$", ylabel="time (µs)",
           title=accelerator.name)
    ax.legend()
    return ax


def _roof(ax: Axes, accelerator: Accelerator, left: float, right: float) -> None:
    ridge, peak = float(accelerator.intensity), float(accelerator.peak_flops)
    ax.plot([left, ridge, right], [left * peak / ridge, peak, peak], color="0.45", zorder=1)
    ax.axvline(ridge, color="0.45", linestyle="--", linewidth=1)
    ax.annotate(f"ridge {ridge:.0f}", (ridge, 0.02), xycoords=("data", "axes fraction"), xytext=(3, 0),
                textcoords="offset points", rotation=90, va="bottom", fontsize=9)
    ax.set(xscale="log", yscale="log")


def _roofline_point(name: str, cost: Cost, accelerator: Accelerator) -> tuple[float, float]:
    if free := cost.flops.free_symbols | cost.bytes_transferred.free_symbols:
        raise ValueError(f"cost {name!r} still has {sorted(map(str, free))}: expected numbers, substitute them first")
    return float(cost.intensity), float(sp.N(cost.flops / cost.as_step(name).time(accelerator)))


def _factors(before: Cost, after: Cost, accelerator: Accelerator) -> str:
    ratios = {"FLOPs": after.flops / before.flops, "bytes": after.bytes_transferred / before.bytes_transferred,
              "time": after.as_step("").time(accelerator) / before.as_step("").time(accelerator)}
    return "\n".join(f"{name} ×{float(ratio):.4g}" for name, ratio in ratios.items())
