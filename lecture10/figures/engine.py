"""Figures of the lab: what was measured as points, what was predicted as dashed lines of the same colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from ..checks import checked, each, pair, real, text, values, whole
from ..hardware import Accelerator
from .roofline import roofline
from .style import AXES, WIDTH, as_many, card, points

_SERIES = pair(points, points)

Series = tuple[Sequence[float], Sequence[float]]  # measured, predicted


@checked(x=points, series=values(_SERIES), xlabel=text, ylabel=text, scale=real, first=whole, ax=AXES)
def measured_and_predicted(x: Sequence[float], series: Mapping[str, Series], *, xlabel: str, ylabel: str,
                           scale: float = 1, first: int = 0, ax: Axes | None = None) -> Axes:
    """Both axes logarithmic, powers of two on the horizontal one; ``scale`` turns the values into the unit of
    ``ylabel``, colours begin with number ``first``."""
    for name, parts in series.items():
        for part in parts:
            as_many(f"series[{name}]", part, "x", x)
    ax = ax or plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")[1]
    for i, (name, (measured, predicted)) in enumerate(series.items(), first):
        ax.plot(x, scale * np.asarray(measured), "os^Dv"[i % 5], color=f"C{i}", label=f"{name}, measured")
        ax.plot(x, scale * np.asarray(predicted), "--", color=f"C{i}", label=f"{name}, predicted")
    ax.set(xlabel=xlabel, ylabel=ylabel, yscale="log")
    ax.set_xscale("log", base=2)
    ax.set_xticks(x[::1 + len(x) // 8], [f"{value:g}" for value in x[::1 + len(x) // 8]])
    ax.yaxis.set_major_locator(plt.LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_locator(plt.NullLocator())
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(series))
    return ax


@checked(machine=card, intensity=points, rates=points, tokens=points)
def measured_roofline(machine: Accelerator, intensity: Sequence[float], rates: Sequence[float],
                      tokens: Sequence[int]) -> Axes:
    """The measured roof of ``machine`` and measured passes over 1, 2, … ``tokens`` below it,
    each at its predicted intensity."""
    as_many("rates", rates, "intensity", intensity)
    ax = roofline({}, machine, ax=plt.subplots(figsize=(WIDTH, 3.9), layout="constrained")[1])
    ax.plot(intensity, rates, "o", color="C1", label="measured, T tokens")
    for x, y, count in list(zip(intensity, rates, tokens))[::3]:
        ax.annotate(f"T={count}", (x, y), xytext=(5, -12), textcoords="offset points")
    ridge = float(machine.intensity)
    ax.set_ylim(bottom=min(*rates, ax.get_ylim()[0]) * 0.6)  # room for the label of the lowest point
    ax.set(xlim=(min(0.3, *intensity), max(ridge * 10, *intensity) * 2), ylabel="FLOP/s")
    return ax


@checked(batches=points, latency=_SERIES, throughput=_SERIES)
def trade_off(batches: Sequence[int], latency: Series, throughput: Series) -> np.ndarray:
    """Latency and throughput against the batch size, one above the other."""
    _, axes = plt.subplots(2, 1, figsize=(WIDTH, 6.4), layout="constrained", sharex=True)
    measured_and_predicted(batches, {"latency": latency}, xlabel="", ylabel="ms per step", scale=1e3, ax=axes[0])
    measured_and_predicted(batches, {"throughput": throughput}, xlabel="batch size B", ylabel="tokens/s", first=1,
                           ax=axes[1])
    return axes


@checked(names=each(text), sizes=points, perplexities=points)
def bytes_and_perplexity(names: Sequence[str], sizes: Sequence[int], perplexities: Sequence[float]) -> Axes:
    """Perplexity against the bytes of the layers' weights, each point with its name."""
    _, ax = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
    sides = {"g32": (-6, -3, "right"), "g64": (6, -3, "left"), "g128": (-6, -3, "right"), "tensor": (6, 1, "left")}
    for name, size, perplexity in zip(names, sizes, perplexities):
        ax.plot(size / 1e6, perplexity, "o", color="C0", fillstyle="none")
        # neighbours stand close: their labels go apart
        right, up, side = sides.get(name.split()[-1], (0, -14, "center"))
        ax.annotate(name, (size / 1e6, perplexity), xytext=(right, up), ha=side, textcoords="offset points")
    ax.set(xscale="log", yscale="log", xlabel="weights of the layers (MB)", ylabel="perplexity",
           xlim=(10, 1000), ylim=(38, None))
    ax.set_xticks(ticks := [25, 50, 100, 200, 400], [str(tick) for tick in ticks])
    ax.set_yticks(ticks := [50, 100, 200, 500], [str(tick) for tick in ticks])
    ax.minorticks_off()
    return ax
