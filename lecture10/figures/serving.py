"""Figures of serving: a request's time-line, who was served when, who holds which block and which slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from itertools import pairwise

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from ..checks import checked, each, instance, number, refused, sequence, text, values, whole
from ..serving.memory import Usage
from ..serving.trace import Frame
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


@checked(named=values(each(instance(Frame))), unit=text)
def places(named: Mapping[str, Sequence[Frame]], unit: str = "time (s)") -> list[Axes]:
    """One panel a run: a row for each place, in it who is served when; solid while a prompt is read, pale while tokens
    are generated, blank while the place idles. Short runs only: every step is drawn."""
    rows = {name: 1 + max(place for frame in frames for place, *_ in frame.places.values())
            for name, frames in named.items()}
    axes = plt.subplots(len(named), 1, figsize=(WIDTH, 0.9 * len(named) + 0.28 * sum(rows.values())), sharex=True,
                        squeeze=False, layout="constrained", height_ratios=[n + 1.5 for n in rows.values()])[1][:, 0]
    for ax, (name, frames) in zip(axes, named.items()):
        for frame in frames:
            for request, (place, _, generates) in frame.places.items():
                colour = (f"C{request % 7}", 0.35 if generates else 0.8)
                ax.barh(place, frame.end - frame.start, left=frame.start, height=0.9, color=colour, edgecolor=EDGE,
                        linewidth=0.5)
        for request, (start, end, place) in _spans(frames).items():
            ax.text((start + end) / 2, place, str(request), ha="center", va="center", fontsize=9)
        ax.set(title=name, ylabel="place", yticks=range(rows[name]))
        ax.invert_yaxis()
        ax.grid(False)
    axes[-1].set(xlabel=unit)
    return list(axes)


def _spans(frames: Sequence[Frame]) -> dict[int, tuple[float, float, int]]:
    """For every request the start of its first step, the end of its last one, and its last place."""
    found: dict[int, tuple[float, float, int]] = {}
    for frame in frames:
        for request, (place, *_) in frame.places.items():
            found[request] = (found.get(request, (frame.start,))[0], frame.end, place)
    return found


@checked(frames=each(instance(Frame)), ax=AXES)
def block_map(frames: Sequence[Frame], *, ax: Axes | None = None) -> Axes:
    """A row for each step, a cell for each block: the colour and the number of the request that it belongs to, all
    numbers where several share it, grey where it belongs to nobody and its content is kept, blank where it is free."""
    if not frames:
        raise refused("frames", frames, "at least one")
    ax = ax or plt.subplots(figsize=(WIDTH, 0.26 * len(frames) + 0.9), layout="constrained")[1]
    for row, frame in enumerate(frames):
        for block, owners in enumerate(frame.owners):
            colour = (f"C{owners[0] % 7}", 0.4) if owners else "0.85" if block in frame.cached else "none"
            ax.barh(row, 1, left=block, height=1, color=colour, edgecolor=EDGE, linewidth=0.5)
            ax.text(block + 0.5, row, "+".join(map(str, owners)), ha="center", va="center", fontsize=9)
    blocks = len(frames[0].owners)
    ax.set(xlabel="block", ylabel="step", xlim=(0, blocks), ylim=(len(frames) - 0.5, -0.5), yticks=range(len(frames)))
    ax.set_xticks([block + 0.5 for block in range(blocks)], range(blocks))
    ax.grid(False)
    return ax


def _piece(name: str, value: object) -> tuple[str, int, int, int]:
    parts = sequence(name, value)
    if len(parts) != 4:
        raise refused(name, value, "(owner, first slot, slots, tokens)")
    return (str(parts[0]), *(whole(f"{name}[{i}]", parts[i]) for i in (1, 2, 3)))


@checked(named=values(each(_piece)), slots=partial(whole, at_least=1, at_most=10**4))
def memory_maps(named: Mapping[str, Sequence[tuple[str, int, int, int]]], slots: int) -> list[Axes]:
    """One bar a memory: solid where a token is stored, pale where a slot is held but empty, blank where it is free.

    A memory is what ``serving.memory.pieces`` tells of it: (owner, first slot, slots, tokens in them).
    """
    owners = sorted({str(owner) for parts in named.values() for owner, *_ in parts})
    axes = plt.subplots(len(named), 1, figsize=(WIDTH, 0.9 * len(named) + 0.6), sharex=True, squeeze=False,
                        layout="constrained")[1]
    for ax, (name, parts) in zip(axes[:, 0], named.items()):
        for owner, start, held, tokens in parts:
            colour = f"C{owners.index(str(owner))}"
            ax.barh(0, tokens, left=start, height=1, color=(colour, 1.0))
            ax.barh(0, held - tokens, left=start + tokens, height=1, color=(colour, 0.3))
        ax.barh(0, slots, height=1, color="none", edgecolor=EDGE)
        ax.set(title=name, yticks=[], xticks=range(0, slots + 1, 16), xlim=(0, slots))
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
