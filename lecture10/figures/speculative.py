"""Figures of the two notebooks on speculative sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import cycle

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ..checks import checked, each, number, pairs, real, refused, sequence, values, whole, within
from ..distributions import row
from ..speculative import Distribution, overlap
from ..speedup import walltime_improvement
from .style import WIDTH

ACCEPTED, REJECTED, REDRAWN, BONUS, DISCARDED = "#0072b2", "#d55e00", "#cc79a7", "#009e73", "0.75"
HATCHES = {REDRAWN: "..", DISCARDED: "//"}
BATCH_LOOKS = [{"color": color, "linestyle": line, "marker": marker} for color, line, marker in (
    ("#009e73", "-", ""), ("#8c6d00", "--", ""), ("0.35", "-.", ""),
    ("#0072b2", "-", "o"), ("#d55e00", "-", "o"), ("#7b3fa0", ":", "s"), ("#cc79a7", ":", "s"))]


LONGEST = 100
"""Draft tokens that a figure has room for."""


def _labels(name: str, value: object) -> list[str]:
    return [str(label) for label in (value if isinstance(value, str) else sequence(name, value))]


@checked(p=row, q=row, labels=_labels)
def overlap_plot(p: Distribution, q: Distribution, labels: Sequence[str]) -> Axes:
    """p and q side by side for every token, cut at min(p, q): accepted mass, rejected mass, residual mass."""
    if not len(labels) == len(p) == len(q):
        raise refused("labels", labels, f"one for each of the {len(p)} tokens")
    ax = plt.subplots(figsize=(WIDTH, 3.8))[1]
    p, q, width = [float(a) for a in p], [float(b) for b in q], 0.36
    both = [min(a, b) for a, b in zip(p, q)]
    left, right = [x - width / 2 - 0.02 for x in range(len(p))], [x + width / 2 + 0.02 for x in range(len(p))]
    ax.bar(left, both, width, color=ACCEPTED, label="min(p, q): accepted")
    ax.bar(right, both, width, color=ACCEPTED)
    ax.bar(left, [a - m for a, m in zip(p, both)], width, bottom=both, color=REJECTED, hatch="//",
           label="p − min(p, q): rejected")
    ax.bar(right, [b - m for b, m in zip(q, both)], width, bottom=both, color=REDRAWN, hatch="..",
           label="q − min(p, q): redrawn")
    ax.set(xticks=range(len(p)), xlabel="token (left bar: draft p, right bar: target q)", ylabel="probability",
           ylim=(0, 1.35 * max(p + q)), title=f"P(accept) = Σ min(p, q) = {float(overlap(p, q)):.2f}")
    ax.set_xticklabels(labels)
    ax.grid(visible=False, axis="x")
    ax.legend(loc="upper right")
    return ax


@checked(gamma=partial(whole, at_least=1, at_most=LONGEST), accepted=whole)
def round_diagram(gamma: int, accepted: int) -> Axes:
    """One round with γ draft tokens of which the first ``accepted`` are accepted: draft, target and result,
    row by row."""
    within("accepted", accepted, "gamma", gamma)
    ax = plt.subplots(figsize=(WIDTH, 2.8), layout="constrained")[1]
    ax.set_axis_off()
    ax.set(xlim=(-2.1, gamma + 0.6), ylim=(-0.6, 2.5))
    for y, name in ((2, "draft:\nγ small steps"), (1, "target:\none pass"), (0, "decision")):
        ax.text(-2.1, y, name, va="center")
    for i in range(gamma + 1):
        _box(ax, i, 1, f"$q_{i + 1}$", "0.6")
        if i < gamma:
            _box(ax, i, 2, f"$x_{i + 1}$\n$\\sim p_{i + 1}$", "0.6")
    for i in range(accepted):
        _box(ax, i, 0, f"keep\n$x_{i + 1}$", ACCEPTED)
    if accepted == gamma:
        _box(ax, gamma, 0, f"bonus\n$\\sim q_{gamma + 1}$", BONUS)
        return ax
    _box(ax, accepted, 0, f"redraw\n$\\sim r_{accepted + 1}$", REDRAWN)
    for i in range(accepted + 1, gamma):
        _box(ax, i, 0, f"drop\n$x_{i + 1}$", "0.6", linestyle="--")
    return ax


@checked(lengths=each(partial(whole, at_least=1)), gamma=partial(whole, at_least=1, at_most=LONGEST))
def rounds_plot(lengths: Sequence[int], gamma: int) -> Axes:
    """Rounds of speculative decoding as a staircase: what became of the γ draft tokens,
    given the tokens of each round."""
    if not lengths or max(lengths) > gamma + 1:
        raise refused("lengths", lengths, f"the tokens of one round or more, at most gamma + 1 = {gamma + 1} each")
    ax, start = plt.subplots(figsize=(WIDTH, 3.8))[1], 0
    for y, length in enumerate(lengths, start=1):
        last = BONUS if length == gamma + 1 else REDRAWN
        colors = [ACCEPTED] * (length - 1) + [last] + [DISCARDED] * (gamma - length)
        for i, color in enumerate(colors):
            ax.barh(y, 0.9, left=start + i, color=color, hatch=HATCHES.get(color, ""))
        start += length
    ax.set(xlabel="position in the output (tokens)", ylabel="round (one target pass each)",
           yticks=range(1, len(lengths) + 1), title=f"{start} tokens in {len(lengths)} target passes")
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.legend(loc="lower left", handles=[
        Patch(facecolor=color, hatch=HATCHES.get(color, ""), label=label) for color, label in (
            (ACCEPTED, "accepted draft"), (REDRAWN, "redrawn after rejection"), (BONUS, "bonus"),
            (DISCARDED, "discarded draft"))])
    return ax


@checked(predicted=values(values(real)), published=values(values(real)))
def batch_plot(predicted: Mapping[str, Mapping[int, float]], published: Mapping[str, Mapping[int, float]],
               ) -> tuple[Axes, Axes]:
    """Throughput with over without speculation against batch size: predicted above, published below,
    on the same axes."""
    above, below = plt.subplots(2, 1, figsize=(WIDTH, 6.4), sharex=True, sharey=True, layout="constrained")[1]
    looks = cycle(BATCH_LOOKS)
    for ax, series, title in ((above, predicted, "predicted: roofline"), (below, published, "published: measured")):
        for (name, points), look in zip(series.items(), looks):
            ax.plot(list(points), [float(value) for value in points.values()], label=name, fillstyle="none",
                    markeredgewidth=1.8, **look)
        ax.axhline(1, color="0.45", linestyle="--", linewidth=1)
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:.0f}")
        ax.set(title=title, ylabel="throughput improvement (×)")
        ax.legend()
    below.set(xlabel="batch size (sequences)")
    return above, below


@checked(cases=pairs(number, number), largest=partial(whole, at_most=LONGEST))
def improvement_plot(cases: Sequence[tuple[float, float]], largest: int) -> Axes:
    """Walltime improvement against γ for pairs (α, c), with the best γ of each marked."""
    ax, gammas = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")[1], range(largest + 1)
    for (alpha, c), marker in zip(cases, cycle("os^Dv")):
        gains = [float(walltime_improvement(alpha, gamma, c)) for gamma in gammas]
        ax.plot(gammas, gains, marker=marker, markevery=[gains.index(max(gains))], markersize=8,
                label=f"α = {float(alpha):g}, c = {float(c):g}")
    ax.axhline(1, color="0.45", linestyle="--", linewidth=1)
    ax.set(xlabel="draft tokens per round γ", ylabel="walltime improvement (×)", xticks=range(0, largest + 1, 4))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncol=2)
    return ax


def _box(ax: Axes, x: float, y: float, text: str, color: str, linestyle: str = "-") -> None:
    ax.text(x, y, text, ha="center", va="center",
            bbox={"boxstyle": "round,pad=0.35", "fc": "none", "ec": color, "lw": 2, "ls": linestyle})
