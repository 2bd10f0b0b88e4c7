"""Figures of serving: a request's time-line, who was served when, who holds which slot. Imports Matplotlib, as ``plotting``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import pairwise

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from . import plotting  # noqa: F401  (sets the book's style)
from .serving import Memory, Schedule, Usage

EDGE = "0.5"


def request_timeline(times: Sequence[object], *, ax: Axes | None = None) -> Axes:
    """One request on a time axis (ms): prefill as one bar, every further token as another, TTFT and latency marked.

    ``times`` are the seconds at which the output tokens appear, as ``token_times`` returns them; at least two.
    """
    ax = ax or plt.subplots(figsize=(6.4, 2.2))[1]
    ms = [1e3 * float(time) for time in times]
    ax.barh(0, ms[0], color="C0", edgecolor=EDGE, label="prefill")
    for i, (start, end) in enumerate(pairwise(ms)):
        ax.barh(0, end - start, left=start, color="C1", edgecolor=EDGE, label="generation step" if i == 0 else None)
    ax.plot(ms, [0.55] * len(ms), "v", color="C2", label="token appears")
    for start, end, text in ((0, ms[0], "TTFT"), (ms[-2], ms[-1], "latency")):
        ax.annotate("", (start, -0.6), (end, -0.6), arrowprops={"arrowstyle": "<->", "color": EDGE})
        ax.text((start + end) / 2, -0.72, text, ha="center", va="top")
    ax.set(xlabel="time since the request arrived (ms)", yticks=[], ylim=(-1.15, 1.7))
    ax.spines["left"].set_visible(False)
    ax.legend(loc="upper center", ncols=3)
    return ax


def schedules(named: Mapping[str, Schedule]) -> list[Axes]:
    """One panel a schedule: a row for each slot, a coloured cell for each step that serves a request, blank where it idles."""
    axes = plt.subplots(len(named), 1, figsize=(6.4, 1.9 * len(named)), sharex=True, squeeze=False, layout="constrained")[1][:, 0]
    for ax, (name, schedule) in zip(axes, named.items()):
        for slot, row in enumerate(schedule.rows):
            for step, request in enumerate(row):
                served = request is not None
                ax.barh(slot, 1, left=step, height=0.9, color=_colour(request) if served else "none", edgecolor=EDGE,
                        linewidth=0.5)
                if served:
                    ax.text(step + 0.5, slot, str(request), ha="center", va="center", fontsize=8, color="white")
        ax.set(title=f"{name}: {schedule.steps} steps, {schedule.idle} idle", ylabel="slot", yticks=range(len(schedule.rows)))
        ax.invert_yaxis()
        ax.grid(False)
    axes[-1].set(xlabel="step")
    return list(axes)


def memory_maps(named: Mapping[str, Memory], stored: Mapping[str, int]) -> list[Axes]:
    """One row of cells a memory: solid where a token is stored, pale where a slot is held but empty, blank where it is free.

    ``stored[owner]`` is the number of tokens that ``owner`` has stored so far; they fill its slots from the left.
    """
    axes = plt.subplots(len(named), 1, figsize=(6.4, 1.0 * len(named) + 0.5), sharex=True, squeeze=False, layout="constrained")[1]
    owners = sorted({owner for memory in named.values() for owner in memory if owner is not None})
    for ax, (name, memory) in zip(axes[:, 0], named.items()):
        seen = dict.fromkeys(owners, 0)
        for slot, owner in enumerate(memory):
            style = {"color": "none"}
            if owner is not None:
                seen[owner] += 1
                style = {"color": f"C{owners.index(owner)}", "alpha": 1.0 if seen[owner] <= stored[owner] else 0.25}
            ax.barh(0, 1, left=slot, height=1, **style)
            ax.barh(0, 1, left=slot, height=1, color="none", edgecolor=EDGE, linewidth=0.2)
        ax.set(title=name, yticks=[], xlim=(0, len(memory)))
        ax.grid(False)
    handles = [plt.Rectangle((0, 0), 1, 1, color=f"C{i}", label=owner) for i, owner in enumerate(owners)]
    axes[0, 0].figure.legend(handles=handles, loc="outside upper right", ncols=len(owners))
    axes[-1, 0].set(xlabel="token slot in device memory")
    return list(axes[:, 0])


def usage_bars(named: Mapping[str, Sequence[float]], *, ax: Axes | None = None) -> Axes:
    """A stacked bar, in per cent of the memory, for each allocation; the parts are those of ``Usage``, in its order."""
    ax = ax or plt.subplots(figsize=(6.4, 0.55 * len(named) + 1.5))[1]
    left = [0.0] * len(named)
    for i, part in enumerate(field.name for field in fields(Usage)):
        sizes = [100 * parts[i] / sum(parts) for parts in named.values()]
        ax.barh(list(named), sizes, left=left, color=f"C{i}", label=part.replace("_", " "))
        left = [a + b for a, b in zip(left, sizes)]
    ax.set(xlabel="share of the cache memory (%)", xlim=(0, 100))
    ax.invert_yaxis()
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5, columnspacing=1.0, handlelength=1.2)
    return ax


def _colour(request: int) -> str:
    return f"C{request % 6}"
