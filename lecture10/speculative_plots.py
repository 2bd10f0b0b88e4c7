"""Figures of the two notebooks on speculative sampling, in the style that ``lecture10.plotting`` sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from . import plotting  # noqa: F401  (importing it sets the style)
from .speculative import Distribution, overlap, walltime_improvement

ACCEPTED, REJECTED, REDRAWN, BONUS, DISCARDED = "#0072b2", "#d55e00", "#cc79a7", "#009e73", "0.75"


def overlap_plot(p: Distribution, q: Distribution, labels: Sequence[str]) -> Axes:
    """p and q side by side for every token, cut at min(p, q): accepted mass, rejected mass, residual mass."""
    ax = plt.subplots()[1]
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
           title=f"P(accept) = Σ min(p, q) = {float(overlap(p, q)):.2f}")
    ax.set_xticklabels(labels)
    ax.legend()
    return ax


def round_diagram(gamma: int, accepted: int) -> Axes:
    """One round with γ draft tokens of which the first ``accepted`` are accepted: draft, target and result, row by row."""
    ax = plt.subplots(figsize=(7.2, 3.0))[1]
    ax.set_axis_off()
    ax.set(xlim=(-1.9, gamma + 1.6), ylim=(-0.7, 2.6))
    for y, name in ((2, "draft:\nγ small steps"), (1, "target:\none pass"), (0, "decision")):
        ax.text(-0.65, y, name, ha="right", va="center")
    for i in range(gamma + 1):
        _box(ax, i, 1, f"$q_{i + 1}$", "0.6")
        if i < gamma:
            _box(ax, i, 2, f"$x_{i + 1}\\sim p_{i + 1}$", "0.6")
    for i in range(accepted):
        _box(ax, i, 0, f"keep $x_{i + 1}$", ACCEPTED)
    if accepted == gamma:
        _box(ax, gamma, 0, f"bonus $\\sim q_{gamma + 1}$", BONUS)
        return ax
    _box(ax, accepted, 0, f"redraw\n$\\sim r_{accepted + 1}$", REDRAWN)
    for i in range(accepted + 1, gamma):
        _box(ax, i, 0, f"drop $x_{i + 1}$", DISCARDED)
    return ax


def rounds_plot(lengths: Sequence[int], gamma: int) -> Axes:
    """Rounds of speculative decoding as a staircase: what became of the γ draft tokens, given the tokens of each round."""
    ax, start = plt.subplots()[1], 0
    for row, length in enumerate(lengths, start=1):
        last = BONUS if length == gamma + 1 else REDRAWN
        colors = [ACCEPTED] * (length - 1) + [last] + [DISCARDED] * (gamma - length)
        for i, color in enumerate(colors):
            ax.barh(row, 0.9, left=start + i, color=color, hatch="" if color != DISCARDED else "//")
        start += length
    ax.set(xlabel="position in the output (tokens)", ylabel="round (one target pass each)", yticks=range(1, len(lengths) + 1),
           title=f"{start} tokens in {len(lengths)} target passes")
    ax.invert_yaxis()
    ax.legend(handles=[Patch(color=color, label=label) for color, label in (
        (ACCEPTED, "accepted draft"), (REDRAWN, "redrawn after rejection"), (BONUS, "bonus"), (DISCARDED, "discarded draft"))])
    return ax


def batch_plot(predicted: Mapping[str, Mapping[int, float]], published: Mapping[str, Mapping[int, float]]) -> tuple[Axes, Axes]:
    """Throughput with over without speculation against batch size: predicted on the left, published on the right."""
    left, right = plt.subplots(1, 2, figsize=(8.6, 3.8), sharey=True)[1]
    for ax, series, marker, title in ((left, predicted, "", "roofline"), (right, published, "o", "measured")):
        for name, points in series.items():
            ax.plot(list(points), [float(value) for value in points.values()], marker=marker, label=name)
        ax.axhline(1, color="0.45", linestyle="--", linewidth=1)
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:.0f}")
        ax.set(xlabel="batch size (sequences)", title=title)
        ax.legend()
    left.set(ylabel="throughput improvement (×)")
    return left, right


def improvement_plot(cases: Sequence[tuple[float, float]], largest: int) -> Axes:
    """Walltime improvement against γ for pairs (α, c), with the best γ of each marked."""
    ax, gammas = plt.subplots()[1], range(largest + 1)
    for alpha, c in cases:
        gains = [float(walltime_improvement(alpha, gamma, c)) for gamma in gammas]
        line = ax.plot(gammas, gains, label=f"α = {float(alpha):g}, c = {float(c):g}")[0]
        best = gains.index(max(gains))
        ax.plot(best, gains[best], "o", color=line.get_color())
    ax.axhline(1, color="0.45", linestyle="--", linewidth=1)
    ax.set(xlabel="draft tokens per round γ", ylabel="walltime improvement (×)", xticks=range(0, largest + 1, 4))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def _box(ax: Axes, x: float, y: float, text: str, color: str) -> None:
    ax.text(x, y, text, ha="center", va="center", fontsize=9,
            bbox={"boxstyle": "round,pad=0.35", "fc": "none", "ec": color, "lw": 2})
