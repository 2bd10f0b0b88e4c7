"""Figures of the lab: what was measured as points, what was predicted as dashed lines of the same colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from .hardware import Accelerator
from .plotting import roofline

Series = tuple[Sequence[float], Sequence[float]]  # measured, predicted


def measured_and_predicted(x: Sequence[float], series: Mapping[str, Series], *, xlabel: str, ylabel: str,
                           ax: Axes | None = None) -> Axes:
    """Both axes logarithmic, powers of two on the horizontal one."""
    ax = ax or plt.subplots()[1]
    for i, (name, (measured, predicted)) in enumerate(series.items()):
        ax.plot(x, measured, "os^Dv"[i % 5], color=f"C{i}", label=f"{name}, measured")
        ax.plot(x, predicted, "--", color=f"C{i}", label=f"{name}, predicted")
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    ax.set_xscale("log", base=2)
    ax.set_xticks(x, [f"{value:g}" for value in x])
    ax.legend()
    return ax


def measured_roofline(machine: Accelerator, intensity: Sequence[float], rates: Sequence[float], labels: Sequence[str]) -> Axes:
    """The measured roof of ``machine`` and measured passes below it, each at its predicted intensity."""
    ax = roofline({}, machine)
    ax.plot(intensity, rates, "o", color="C1")
    for x, y, label in zip(intensity, rates, labels):
        ax.annotate(label, (x, y), xytext=(4, -11), textcoords="offset points", fontsize=8)
    ridge = float(machine.intensity)
    ax.set_ylim(bottom=min(*rates, ax.get_ylim()[0]) * 0.6)  # room for the label of the lowest point
    ax.set(xlim=(min(0.3, *intensity), max(ridge * 10, *intensity) * 1.5), ylabel="FLOP/s")
    return ax


def trade_off(batches: Sequence[int], latency: Series, throughput: Series) -> np.ndarray:
    """Latency and throughput against the batch size, side by side."""
    _, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    measured_and_predicted(batches, {"latency": latency}, xlabel="batch size B", ylabel="s per step", ax=axes[0])
    measured_and_predicted(batches, {"throughput": throughput}, xlabel="batch size B", ylabel="tokens/s", ax=axes[1])
    return axes


def bytes_and_perplexity(rows: Sequence[tuple[str, int, float, str]]) -> Axes:
    """Perplexity against the bytes of the layers' weights; ``rows`` as in the table beside it."""
    _, ax = plt.subplots(layout="constrained")
    places = {"per tensor": (6, 1, "left"), "per row": (6, -8, "left"), "groups of 32": (-6, -9, "right"),
              "groups of 64": (-6, -5, "right"), "groups of 128": (-6, 1, "right")}
    for name, size, perplexity, _ in rows:
        ax.plot(size / 1e6, perplexity, "o", color="C0")
        # neighbours stand close: their labels go to different sides
        right, up, side = next((place for end, place in places.items() if name.endswith(end)), (6, -3, "left"))
        ax.annotate(name, (size / 1e6, perplexity), xytext=(right, up), ha=side, textcoords="offset points", fontsize=8)
    ax.set(xscale="log", yscale="log", xlabel="weights of the layers (MB)", ylabel="perplexity", xlim=(18, 900))
    ax.set_xticks(ticks := [25, 50, 100, 200, 400], [str(tick) for tick in ticks])
    ax.set_yticks(ticks := [50, 100, 200, 500], [str(tick) for tick in ticks])
    ax.minorticks_off()
    return ax
