"""Requests through a scheduler on the roofline's clock: what a server would do at best, step by step.

Notebook: book/Lecture10-Lab-Serving.ipynb. Steps in which nothing changes but the contexts, which grow by one, are
computed together; the result is that of one step after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..checks import checked, function, instance, optional, real, refused, sequence, whole
from ..models.deployment import Deployment
from .blocks import Blocks, block_size, content_keys, number_of_blocks
from .clock import BOUND, Clock, Overhead, compiled
from .run import Run, Steps
from .scheduler import Jobs, Policy, Scheduler, Step, chunked

MOST_AT_ONCE = 2**20
"""Sequences times steps whose contexts are laid out together."""

_AT_LEAST_1 = partial(whole, at_least=1)
_TOKENS = partial(whole, at_least=1, at_most=10**9)


def _clock(name: str, value: object) -> Deployment | Clock:
    if not (isinstance(value, Deployment) or callable(value)):
        raise refused(name, value, "a Deployment, or a clock such as ticks")
    return value


def requests_rule(name: str, value: object) -> tuple[tuple, ...]:
    """(arrival, prompt, output) in order of arrival; a prompt is a length, or the tokens themselves."""
    found = []
    for i, entry in enumerate(sequence(name, value)):
        request = sequence(f"{name}[{i}]", entry)
        if len(request) != 3:
            raise refused(f"{name}[{i}]", entry, "(arrival in s, prompt, output)")
        arrival, prompt, output = request
        if isinstance(arrival, bool) or not isinstance(arrival, (int, float, np.number)) or not 0 <= arrival < np.inf:
            raise refused(f"{name}[{i}][0]", arrival, "seconds, at least 0")
        if found and arrival < found[-1][0]:
            raise refused(f"{name}[{i}][0]", arrival, f"at least {found[-1][0]}, requests in order of arrival")
        length = _TOKENS(f"{name}[{i}][1]", len(prompt) if isinstance(prompt, Sequence) else prompt)
        found.append((float(arrival), prompt if isinstance(prompt, Sequence) else length,
                      _TOKENS(f"{name}[{i}][2]", output)))
    if not found:
        raise refused(name, value, "at least one request")
    return tuple(found)


@checked(requests=requests_rule, deployment=_clock, max_sequences=_AT_LEAST_1, token_budget=_AT_LEAST_1,
         blocks=number_of_blocks, block_size=block_size, policy=function, overhead=instance(Overhead),
         host_link=optional(real))
def replay(requests: Iterable[tuple[float, int | Sequence[int], int]], deployment: Deployment | Clock, *,
           max_sequences: int, token_budget: int, blocks: int, block_size: int = 16, policy: Policy = chunked,
           overhead: Overhead = BOUND, host_link: float | None = None) -> Run:
    """Serve ``requests``, (arrival in s, prompt, output) in order of arrival, and tell when what happened.

    A prompt is its number of tokens, then unlike every other, or the tokens themselves, of which the start may be
    cached. At most ``max_sequences`` run at a time, whose caches lie in ``blocks`` blocks of ``block_size`` tokens; a
    step computes up to ``token_budget`` tokens as ``policy`` says and lasts ``deployment.step_time`` of exactly its
    tokens and contexts, with ``overhead``. By default that is the bound: data-sheet peaks, no time between steps, one
    position of logits a sequence; a real engine is slower.

    A request that has to make room loses its cache and computes it again. With ``host_link``, bytes/s of all devices to
    their hosts, it is moved there and back instead, before the step begins and with nothing beside it.
    Raises ValueError for requests that are none or out of order, sizes below 1, blocks that cannot hold the largest
    request, and a ``host_link`` of a clock that knows no bytes.
    """
    if host_link is not None and not isinstance(deployment, Deployment):
        raise refused("host_link", host_link, "None, since the clock does not say how large a block is")
    clock = compiled(deployment, overhead) if isinstance(deployment, Deployment) else deployment
    moving = 0.0 if host_link is None else float(deployment.stored_cache(block_size)) / host_link
    return simulate(Scheduler(jobs_of(requests, block_size), Blocks(blocks, block_size), max_sequences, token_budget,
                              policy, host_link is not None), clock, moving=moving)


def jobs_of(requests: Sequence[tuple[float, int | Sequence[int], int]], size: int) -> Jobs:
    """The requests as jobs: full blocks within a prompt of tokens are found by these, all others are their own."""
    arrival, prompts, output = zip(*requests)
    known = [() if isinstance(prompt, int) else content_keys(prompt, size) for prompt in prompts]
    lengths = [prompt if isinstance(prompt, int) else len(prompt) for prompt in prompts]
    return Jobs(arrival, lengths, output, [partial(_key, known[number], number) for number in range(len(known))])


def _key(known: Sequence[bytes], number: int, i: int) -> Hashable:
    return known[i] if i < len(known) else (number, i)


def simulate(scheduler: Scheduler, clock: Clock, watch: Callable[[float, Step], None] | None = None,
             moving: float = 0) -> Run:
    """Serve all jobs of ``scheduler``, in order of arrival. ``watch`` sees every step with its start, one by one. A
    block that goes to the host or comes back takes ``moving`` seconds."""
    jobs, now, steps, come, quickest = scheduler.jobs, 0.0, Steps(), 0, math.inf
    arrival = jobs.arrival
    while come < len(jobs) or scheduler.running or scheduler.waiting:
        if not (scheduler.running or scheduler.waiting):
            now = max(now, float(arrival[come]))
        while come < len(jobs) and arrival[come] <= now:
            scheduler.waiting.append(come)
            come += 1
        step = scheduler.schedule()
        contexts = jobs.computed[step.numbers] + step.new
        joins = come < len(jobs) and len(scheduler.running) < scheduler.max_sequences
        soon = 1 + int((arrival[come] - now) / quickest) if joins else MOST_AT_ONCE  # a guess: later ones are cut off
        grown = scheduler.blocks.used + stretch(step, scheduler, soon if watch is None else 1)  # [k]
        seconds = clock(step.new, contexts, len(grown))  # [k]
        quickest = min(quickest, float(seconds[0]))
        ends = now + moving * step.moved + seconds.cumsum()  # [k]
        if joins:
            ends = ends[:ends.searchsorted(arrival[come]) + 1]
        if watch is not None:
            watch(now, step)
        steps.add(now, ends, step.tokens, len(step.numbers), grown[:len(ends)])
        scheduler.advance(step, now, ends)
        now = float(ends[-1])
    return Run.of(jobs, steps)


def stretch(step: Step, scheduler: Scheduler, most: int) -> NDArray:
    """How many more blocks are in use in the 1st, 2nd, … k-th of up to ``most`` equal steps without a change between.

    That is so while every sequence that runs generates, none ends and blocks suffice: nobody who waits can then join,
    since no place and no block becomes free. Arrivals are the caller's to look at.
    """
    jobs, numbers = scheduler.jobs, step.numbers
    if step.preempted or not len(numbers) == len(scheduler.running) == step.tokens \
            or (jobs.missing(numbers) != 1).any():
        return np.zeros(1, int)
    k = min(int((jobs.output[numbers] - jobs.generated[numbers]).min()), most, max(1, MOST_AT_ONCE // len(numbers)))
    room, size = jobs.room[numbers] - jobs.computed[numbers], scheduler.blocks.size  # room: [n], at least 1
    begun = np.bincount(room, minlength=k)[:k]  # blocks that are begun in each step: a sequence's first,
    for step_of_next in range(size, k, size):
        begun[step_of_next:step_of_next + size] += begun[step_of_next - size:step_of_next][:k - step_of_next]
    grown = begun.cumsum()  # [k]
    return grown[:grown.searchsorted(scheduler.blocks.available, side="right")]
