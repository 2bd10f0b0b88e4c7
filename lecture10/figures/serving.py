"""Figures of serving: a request's time-line, who was served when, who holds which slot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import groupby, pairwise

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from ..checks import checked, each, instance, number, optional, refused, text, values, whole
from ..serving.batching import Schedule
from ..serving.memory import Memory, Usage
from .style import AXES, WIDTH, known

EDGE = "0.5"


@checked(times=each(known), ax=AXES)
def request_timeline(times: Sequence[object], *, ax: Axes | None = None) -> Axes:
    """One request on a time axis (ms): prefill as one bar, every further token as another, TTFT and latency marked.

    ``times`` are the seconds at which the output tokens appear, as ``token_times`` returns them; at least two.
    """
    if len(times) < 2:
        raise refused("times", times, "at least two")
    ax = ax or plt.subplots(figsize=(WIDTH, 2.2))[1]
    ms = [1e3 * float(time) for time in times]
    ax.barh(0, ms[0], color="C0", edgecolor=EDGE, label="prefill")
    for i, (start, end) in enumerate(pairwise(ms)):
        ax.barh(0, end - start, left=start, color="C1", edgecolor=EDGE, label="generation step" if i == 0 else None)
    ax.plot(ms, [0.55] * len(ms), "v", color="C2", label="token appears")
    for start, end, word in ((0, ms[0], "TTFT"), (ms[-2], ms[-1], "latency")):
        ax.annotate("", (start, -0.6), (end, -0.6), arrowprops={"arrowstyle": "<->", "color": EDGE})
        ax.text((start + end) / 2, -0.72, word, ha="center", va="top")
    ax.set(xlabel="time since the request arrived (ms)", yticks=[], ylim=(-1.15, 1.7))
    ax.spines["left"].set_visible(False)
    ax.legend(loc="upper center", ncols=3, columnspacing=1.0)
    return ax


@checked(named=values(instance(Schedule)))
def schedules(named: Mapping[str, Schedule]) -> list[Axes]:
    """One panel a schedule: a row for each slot, a coloured cell for each step that serves a request,
    blank where it idles."""
    axes = plt.subplots(len(named), 1, figsize=(WIDTH, 1.9 * len(named)), sharex=True, squeeze=False,
                        layout="constrained")[1][:, 0]
    for ax, (name, schedule) in zip(axes, named.items()):
        for slot, row in enumerate(schedule.rows):
            for step, request in enumerate(row):
                pale = "none" if request is None else (f"C{request % 6}", 0.4)  # dark digits stay readable on it
                ax.barh(slot, 1, left=step, height=0.9, color=pale, edgecolor=EDGE, linewidth=0.5)
                if request is not None:
                    ax.text(step + 0.5, slot, str(request), ha="center", va="center", fontsize=9)
        ax.set(title=f"{name}: {schedule.steps} steps, {schedule.idle} idle", ylabel="slot",
               yticks=range(len(schedule.rows)))
        ax.invert_yaxis()
        ax.grid(False)
    axes[-1].set(xlabel="step")
    return list(axes)


@checked(named=values(each(optional(text))), stored=values(whole))
def memory_maps(named: Mapping[str, Memory], stored: Mapping[str, int]) -> list[Axes]:
    """One bar a memory: solid where a token is stored, pale where a slot is held but empty, blank where it is free.

    ``stored[owner]`` is the number of tokens that ``owner`` has stored so far; they fill its slots from the left.
    """
    owners = sorted({owner for memory in named.values() for owner in memory if owner is not None})
    if missing := set(owners) - stored.keys():
        raise ValueError(f"no entry for {sorted(missing)} in stored: expected the tokens of every owner")
    axes = plt.subplots(len(named), 1, figsize=(WIDTH, 0.9 * len(named) + 0.6), sharex=True, squeeze=False,
                        layout="constrained")[1]
    for ax, (name, memory) in zip(axes[:, 0], named.items()):
        start = 0
        for (owner, holds), slots in groupby(_held(memory, stored)):
            length = len(list(slots))
            if owner is not None:
                ax.barh(0, length, left=start, height=1, color=(f"C{owners.index(owner)}", 1.0 if holds else 0.3))
            start += length
        ax.barh(0, len(memory), height=1, color="none", edgecolor=EDGE)
        ax.set(title=name, yticks=[], xticks=range(0, len(memory) + 1, 16), xlim=(0, len(memory)))
        ax.grid(False)
    handles = [plt.Rectangle((0, 0), 1, 1, color=f"C{i}", label=owner) for i, owner in enumerate(owners)]
    axes[0, 0].figure.legend(handles=handles, loc="outside upper right", ncols=len(owners))
    axes[-1, 0].set(xlabel="token slot in device memory")
    return list(axes[:, 0])


@checked(named=values(each(number)), ax=AXES)
def usage_bars(named: Mapping[str, Sequence[float]], *, ax: Axes | None = None) -> Axes:
    """A stacked bar, in per cent of the memory, for each allocation; the parts are those of ``Usage``, in its order."""
    for name, parts in named.items():
        if len(parts) != len(fields(Usage)) or not sum(parts) > 0:
            raise refused(f"named[{name!r}]", parts, "a number for each field of Usage, not all of them 0")
    ax = ax or plt.subplots(figsize=(WIDTH, 0.5 * len(named) + 1.5), layout="constrained")[1]
    left = [0.0] * len(named)
    for i, part in enumerate(field.name for field in fields(Usage)):
        sizes = [100 * parts[i] / sum(parts) for parts in named.values()]
        ax.barh(list(named), sizes, left=left, color=f"C{i}", label=part.replace("_", " "))
        left = [a + b for a, b in zip(left, sizes)]
    ax.set(xlabel="share of the cache memory (%)", xlim=(0, 100))
    ax.invert_yaxis()
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, columnspacing=1.0, handlelength=1.2)
    return ax


def _held(memory: Memory, stored: Mapping[str, int]) -> Iterator[tuple[str | None, bool]]:
    """For every slot its owner, and whether a token is in it."""
    seen = Counter()
    for owner in memory:
        seen[owner] += 1
        yield owner, owner is not None and seen[owner] <= stored[owner]
