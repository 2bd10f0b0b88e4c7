"""Figures of the speculative lab: acceptance by position, speed-up against γ, and one round of a tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ..checks import checked, each, instance, pair, refused, sequence, text, values
from ..speculation.trees import Node
from ..sweep import array
from .speculative import ACCEPTED, BONUS, DISCARDED, REJECTED
from .style import WIDTH, as_many, points

MARKERS = "os^Dv<>"


def _shares(name: str, value: object) -> NDArray:
    """Numbers in a row; differences of measured means may lie below 0."""
    found = array(name, value)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise refused(name, value, "one or more numbers")
    return found


_SHARES = values(_shares)


@checked(measured=_SHARES, assumed=_SHARES)
def survival_plot(measured: Mapping[str, Sequence[float]],
                  assumed: Mapping[str, Sequence[float]] | None = None) -> Axes:
    """The share of rounds in which the first i draft tokens were accepted: measured as points,
    ``assumed`` as dashed lines of the same colour."""
    ax = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")[1]
    for i, (name, shares) in enumerate(measured.items()):
        color, marker = f"C{i % 7}", MARKERS[i % 7]
        ax.plot(range(1, len(shares) + 1), shares, marker=marker, color=color, label=name)
        if name in (assumed or {}):
            ax.plot(range(1, len(assumed[name]) + 1), assumed[name], "--", color=color, linewidth=1.2)
    ax.set(xlabel="position of the draft token i", ylabel="first i draft tokens accepted", ylim=(None, 1))
    ax.axhline(0, color="0.45", linewidth=1)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncol=1)
    return ax


@checked(gammas=points, series=values(pair(points, points)))
def speedup_plot(gammas: Sequence[int], series: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Axes:
    """Speed-up against γ: (measured, predicted) of each series, measured as points, predicted as dashed lines."""
    for name, parts in series.items():
        for part in parts:
            as_many(f"series[{name}]", part, "gammas", gammas)
    ax = plt.subplots(figsize=(WIDTH, 4), layout="constrained")[1]
    for i, (name, (measured, predicted)) in enumerate(series.items()):
        ax.plot(gammas, measured, MARKERS[i % 7], color=f"C{i % 7}", label=f"{name}, measured")
        ax.plot(gammas, predicted, "--", color=f"C{i % 7}", label=f"{name}, predicted")
    ax.axhline(1, color="0.45", linestyle="--", linewidth=1)
    ax.set(xlabel="draft tokens per round γ", ylabel="speed-up (×)", xticks=list(gammas), ylim=(0, None))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncol=max(1, len(series)))
    return ax


@checked(tree=instance(Node), output=sequence, words=each(text))
def tree_diagram(tree: Node, output: Sequence[int], words: Sequence[str]) -> Axes:
    """One round of a tree from the root on the left: the accepted path, children that were tried and rejected, what was
    not looked at, and the token after the path. ``output`` is what ``verify_tree`` made of it."""
    if not output or not all(isinstance(token, int) and 0 <= token < len(words) for token in output):
        raise refused("output", output, f"one or more tokens below {len(words)}, the number of words")
    ax = plt.subplots(figsize=(WIDTH, 1.2 + 0.7 * _leaves(tree)), layout="constrained")[1]
    root = _branch(ax, tree, 0, 0.0, list(output), words)
    _label(ax, 0, root, "prefix", "0.45")
    ax.set(xlim=(-0.4, _depth(tree) + 1.5), ylim=(-0.6, _leaves(tree) - 0.4))
    ax.invert_yaxis()
    ax.axis("off")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncol=2, handles=[
        Line2D([], [], color=color, linestyle=line, label=label) for label, color, line in (
            ("accepted", ACCEPTED, "-"), ("tried and rejected", REJECTED, "-"),
            ("from the target", BONUS, "-"), ("not looked at", DISCARDED, "--"))])
    return ax


def _branch(ax: Axes, node: Node, depth: int, top: float, rest: list[int] | None, words: Sequence[str]) -> float:
    """Draws what lies below a place whose lines begin at ``top``; ``rest`` are the tokens that came out from here on,
    None where the place was not reached. Returns the place's height."""
    heights, ends = [], []
    kept = _accepted(node, rest)
    for i, (token, place) in enumerate(zip(node.tokens, node.places)):
        below = rest[1:] if rest is not None and i == kept else None
        y = _branch(ax, place, depth + 1, top, below, words)
        tried = rest is not None and (kept is None or i <= kept)
        color = ACCEPTED if i == kept else REJECTED if tried else DISCARDED
        ends.append((y, words[token], color, "-" if tried else "--"))
        heights.append(y)
        top += _leaves(place)
    height = sum(heights) / len(heights) if heights else top
    if rest and kept is None:
        ends.append((height + (0.48 if heights else 0), words[rest[0]], BONUS, "-"))
    for y, word, color, line in ends:
        ax.plot([depth + 0.2, depth + 0.8], [height, y], color=color, linestyle=line, linewidth=1.2)
        _label(ax, depth + 1, y, word, color, line)
    return height


def _accepted(node: Node, rest: list[int] | None) -> int | None:
    """The child that was accepted: the one whose token came out, as long as one more token followed."""
    if rest is None or len(rest) < 2 or rest[0] not in node.tokens:
        return None
    return node.tokens.index(rest[0])


def _label(ax: Axes, x: float, y: float, word: str, color: str, line: str = "-") -> None:
    ax.text(x, y, word, ha="center", va="center",
            bbox={"boxstyle": "round,pad=0.3", "fc": "white", "ec": color, "lw": 1.8, "ls": line})


def _leaves(node: Node) -> int:
    return sum(map(_leaves, node.places)) or 1


def _depth(node: Node) -> int:
    return 1 + max(map(_depth, node.places)) if node.places else 0
