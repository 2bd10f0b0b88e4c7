"""A short run step by step, for looking at: who computed what in which place, and which block was whose.

Notebook: book/Lecture10-Lab-Serving.ipynb.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np

from ..checks import checked, function, instance, whole
from .blocks import Blocks
from .clock import Clock, ticks
from .replay import jobs_of, requests_rule, simulate
from .run import Run
from .scheduler import Policy, Scheduler, Step


@dataclass(frozen=True)
class Frame:
    """One step: from ``start`` to ``end`` (s), ``places[request]`` = (place, new tokens, whether it only generates),
    ``owners[block]`` the requests in whose tables a block stands, ``cached`` the blocks that are kept without one."""

    start: float
    end: float
    places: dict[int, tuple[int, int, bool]]
    owners: tuple[tuple[Hashable, ...], ...]
    cached: frozenset[int]


@checked(scheduler=instance(Scheduler), clock=function)
def recorded(scheduler: Scheduler, clock: Clock) -> tuple[Run, list[Frame]]:
    """Serve all jobs of ``scheduler`` and keep every step. A request takes the first free place and keeps it."""
    seen: list[tuple[float, dict, tuple, frozenset]] = []
    held: dict[int, int] = {}

    def watch(start: float, step: Step) -> None:
        running, jobs, blocks = {*scheduler.running}, scheduler.jobs, scheduler.blocks
        for number in [number for number in held if number not in running]:
            del held[number]
        for number in [number for number in scheduler.running if number not in held]:
            held[number] = next(place for place in count() if place not in held.values())
        old = [bool(jobs.computed[n] >= jobs.prompt[n] and new == 1) for n, new in zip(step.numbers, step.new)]
        places = {int(n): (held[int(n)], int(new), was) for n, new, was in zip(step.numbers, step.new, old)}
        owners = tuple(tuple(name for name, table in blocks.tables.items() if block in table)
                       for block in range(blocks.total))
        seen.append((start, places, owners, frozenset(blocks.cached)))

    run = simulate(scheduler, clock, watch)
    return run, [Frame(start, float(end), *rest) for (start, *rest), end in zip(seen, np.atleast_1d(run.steps.end))]


@checked(requests=requests_rule, policy=function, max_sequences=partial(whole, at_least=1))
def short_run(requests: Sequence[tuple[float, int, int]], policy: Policy,
              max_sequences: int) -> tuple[Run, list[Frame]]:
    """``recorded`` with a second for every step and with as much memory and budget as the ``requests`` can use."""
    jobs = jobs_of(requests, 16)
    most = int(jobs.most.sum()) + 16 * len(jobs)
    return recorded(Scheduler(jobs, Blocks(most // 16 + 1), max_sequences, most, policy), ticks)
