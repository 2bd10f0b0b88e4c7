"""Figures of book/Lecture10-Lab-Models.ipynb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ..checks import checked, each, instance, pair, text, values, whole
from ..hardware import Accelerator
from ..measurements.published import Measurement
from ..models.deployment import Deployment
from ..models.passes import distinct_experts
from ..models.transformer import Transformer
from ..notation import B
from ..sweep import sweep
from .style import WIDTH, card, points

_AT_LEAST_1 = partial(whole, at_least=1)

MARKERS = ("o", "s", "^", "D", "v", "P")
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), "-")


@checked(models=each(instance(Transformer)))
def kv_bars(models: Sequence[Transformer]) -> Axes:
    """Bytes of KV cache one more token costs (16-bit, all layers), a bar per model, coloured by kind of attention."""
    models = sorted(models, key=lambda model: model.kv_cache_elements(1))
    ax = plt.subplots(figsize=(WIDTH, 0.24 * len(models) + 0.9), layout="constrained")[1]
    colours: dict[str, str] = {}
    for y, model in enumerate(models):
        kind = attention_family(model)
        new = kind not in colours
        colour = colours.setdefault(kind, f"C{len(colours)}")
        ax.barh(y, 2 * model.kv_cache_elements(1) / 1e3, color=colour, label=kind if new else None)
    ax.set(xscale="log", xlabel="KV cache per token (kB, 16-bit)")
    _name_bars(ax, [model.name for model in models])
    _plain_ticks(ax.xaxis, (10, 30, 100, 300, 1000))
    ax.legend(loc="lower right")
    return ax


@checked(model=instance(Transformer))
def attention_family(model: Transformer) -> str:
    """MHA, GQA, MQA or MLA, with "local" in front where some layers see a window only; other kinds by their names."""
    kinds = [layer.attention.kind for _, layer in model.layers if layer.attention is not None]
    names = dict.fromkeys(kind.split()[-1] if "local" in kind else kind for kind in kinds)
    return ("local " if any("local" in kind for kind in kinds) else "") + " + ".join(names)


@checked(models=each(instance(Transformer)), contexts=points)
def cache_growth(models: Sequence[Transformer], contexts: Sequence[int]) -> Axes:
    """KV cache of one sequence (GB, 16-bit) against its length."""
    ax = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")[1]
    for model, style in zip(models, STYLES):
        ax.plot(contexts, [2e-9 * model.kv_cache_elements(context) for context in contexts], linestyle=style,
                label=f"{model.name} ({attention_family(model)})")
    ax.set(xscale="log", yscale="log", xlabel="context length S (tokens)", ylabel="KV cache of one sequence (GB)",
           ylim=(None, 3e3))
    ax.legend(loc="upper left")
    return ax


@checked(cards=each(card))
def device_bars(cards: Sequence[Accelerator]) -> Figure:
    """Ridge point, and the time to read all of the memory once, for each accelerator, in order of the ridge."""
    cards = sorted(cards, key=lambda card: float(card.intensity))
    figure, (left, right) = plt.subplots(1, 2, sharey=True, figsize=(WIDTH, 0.24 * len(cards) + 0.9),
                                         layout="constrained")
    y = range(len(cards))
    left.barh(y, [float(card.intensity) for card in cards], color="C0")
    right.barh(y, [1e3 * float(card.memory_bytes / card.memory_bandwidth) for card in cards], color="C1")
    for ax, label in ((left, "ridge point\n(FLOPs/byte)"), (right, "reading all\nmemory (ms)")):
        _name_bars(ax, [card.name for card in cards])
        ax.set_xlabel(label)
    return figure


@checked(plans=values(instance(Deployment)), context=_AT_LEAST_1)
def pareto(plans: Mapping[str, Deployment], context: int) -> Axes:
    """Time per output token against throughput per device, along all batches that fit; a dot ends each curve."""
    ax = plt.subplots(figsize=(WIDTH, 4.0), layout="constrained")[1]
    for (name, plan), style in zip(plans.items(), STYLES):
        batch = np.unique(np.geomspace(1, int(plan.largest_batch(context)), 60).astype(int))
        seconds = sweep(plan.step_time(B, 1, context), {B: batch.astype(float)})
        per_device = batch / seconds / plan.devices
        ax.plot(1e3 * seconds, per_device, linestyle=style, label=name)
        ax.plot(1e3 * seconds[-1], per_device[-1], "o", color=ax.lines[-1].get_color())
    ax.set(xscale="log", yscale="log", xlabel="time per output token (ms)", ylabel="throughput (tokens/s per device)")
    _plain_ticks(ax.xaxis, (2, 5, 10, 20, 50, 100))
    ax.legend()
    return ax


@checked(models=values(pair(_AT_LEAST_1, _AT_LEAST_1)), batches=points)
def experts_read(models: Mapping[str, tuple[int, int]], batches: Sequence[int]) -> Axes:
    """Expected share of a layer's experts that a decode step reads, for (experts, used per token) of each model."""
    ax = plt.subplots(layout="constrained")[1]
    for (name, (experts, used)), style in zip(models.items(), STYLES):
        share = sweep(distinct_experts(B, experts, used) / experts, {B: np.asarray(batches, dtype=float)})
        ax.plot(batches, share, linestyle=style, label=f"{name}: {used} of {experts}")
    ax.set(xscale="log", xlabel="batch size B", ylabel="share of the experts read", ylim=(0, 1.05))
    _plain_ticks(ax.xaxis, (1, 4, 16, 64, 256, 1024))
    ax.legend()
    return ax


@checked(rows=each(instance(Measurement)))
def predicted_against_measured(rows: Sequence[Measurement]) -> Axes:
    """Measured tokens/s against the bound; everything has to lie below the diagonal."""
    ax = plt.subplots(figsize=(WIDTH, 4.4), layout="constrained")[1]
    groups: dict[str, list[Measurement]] = {}
    for row in rows:
        kind = "prefill" if row.metric.startswith("pp") else "decode" if not row.generated else "whole request"
        groups.setdefault(f"{row.group}: {kind}", []).append(row)
    for (name, group), marker in zip(groups.items(), MARKERS):
        measured = [row.tokens_per_second for row in group]
        ax.plot([row.bound for row in group], measured, marker, markersize=4, alpha=0.7, label=name)
    ends = np.array([5, 6000])
    for share in (1, 0.5, 0.1):
        ax.plot(ends, share * ends, color="0.6", linestyle="-" if share == 1 else "--", linewidth=1)
        ax.annotate(f"{share:.0%}", (ends[1], share * ends[1]), xytext=(3, -3), textcoords="offset points", fontsize=9,
                    annotation_clip=False)
    ax.set(xscale="log", yscale="log", xlabel="bound (tokens/s)", ylabel="measured (tokens/s)")
    ax.set_ylim(top=3e4)
    ax.legend(loc="upper left")
    return ax


@checked(rows=each(instance(Measurement)), model=text)
def context_growth(rows: Sequence[Measurement], model: str) -> Axes:
    """Tokens/s of whole requests against the prompt's length: bounds as lines, measurements as marks."""
    ax = plt.subplots(figsize=(WIDTH, 4.8), layout="constrained")[1]
    of_model = [row for row in rows if row.model == model and row.generated]
    for precision, marker, colour in zip(dict.fromkeys(row.precision for row in of_model), MARKERS,
                                         ("C0", "C1", "C2", "C3")):
        chosen = sorted((row for row in of_model if row.precision == precision), key=lambda row: row.prompt)
        prompts, measured = [row.prompt / 1e3 for row in chosen], [row.tokens_per_second for row in chosen]
        line = (0, (3, 6)) if precision == "AWQ" else "-"  # the same bits as GPTQ-Int4
        ax.plot(prompts, [row.bound for row in chosen], linestyle=line, color=colour, label=f"{precision} bound")
        ax.plot(prompts, measured, marker, color=colour, fillstyle="none", label=f"{precision} measured")
    ax.set(yscale="log", xlabel="prompt length (thousand tokens)", ylabel="tokens/s, prefill included")
    _plain_ticks(ax.yaxis, (20, 50, 100, 200, 500))
    ax.figure.legend(loc="outside lower center", ncols=2)
    return ax


def _name_bars(ax: Axes, names: Sequence[str]) -> None:
    """A name beside each horizontal bar, and the grid along their length only."""
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set_ylim(-0.7, len(names) - 0.3)
    ax.grid(visible=False, axis="y")


def _plain_ticks(axis: Axis, values: Sequence[int]) -> None:
    """A few round numbers instead of powers of ten; those outside the data are left away."""
    low, high = axis.get_view_interval()
    axis.set_ticks([value for value in values if low <= value <= high])
    axis.set_major_formatter("{x:.0f}")
    axis.set_minor_formatter(NullFormatter())
