"""Who goes into the next step, with how many tokens, and who has to make room: one loop, policies as small functions.

Notebook: book/Lecture10-Lab-Serving.ipynb. A request has tokens, its prompt and what it has generated so far, of which
some are in the cache. A step computes tokens that are missing there; the step that computes the last one generates the
next. Reading a prompt, generating, and starting again after a preemption are this one rule. Requests are numbers; what
is known of them stands in arrays, so that a step costs no loop over those who just go on.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ..checks import checked, flag, function, instance, whole
from .blocks import Blocks, Key

WHOLE, WHILE_ROOM, CHUNKS = "whole prompts", "whole prompts while the budget lasts", "chunks"
Turn = tuple[Sequence[int], Iterable[int], str]
"""Who goes on, then who may join in which order, and how prompts are cut: they go in whole and the token budget does
not count, or whole as long as some of it is left, or in chunks that keep to it."""

Policy = Callable[[Sequence[int], Sequence[int], Callable[[int], float]], list[Turn]]
"""(running, waiting, number → claim) → turns; one is only taken when those before it could serve nobody. The claim is
the number of a request's tokens that are cached, without limit when ``PATIENCE`` others have overtaken it."""

PATIENCE = 8


def static(running: Sequence[int], waiting: Sequence[int], claim: Callable[[int], float]) -> list[Turn]:
    """A batch is filled when the one before it has ended entirely."""
    return [(running, () if running else waiting, WHOLE)]


def continuous(running: Sequence[int], waiting: Sequence[int], claim: Callable[[int], float]) -> list[Turn]:
    """Iteration-level scheduling (Orca): whoever finds a place joins the next step, with the whole prompt."""
    return [(running, waiting, WHOLE)]


def prefill_first(running: Sequence[int], waiting: Sequence[int], claim: Callable[[int], float]) -> list[Turn]:
    """Prompts before everything: as long as one can be read, nobody generates (vLLM in its first years)."""
    return [((), waiting, WHILE_ROOM), (running, (), WHOLE)]


def chunked(running: Sequence[int], waiting: Sequence[int], claim: Callable[[int], float]) -> list[Turn]:
    """Those who run before everything; what the budget leaves goes to prompts, in chunks (Sarathi-Serve, vLLM today).
    """
    return [(running, waiting, CHUNKS)]


def longest_prefix(running: Sequence[int], waiting: Sequence[int], claim: Callable[[int], float]) -> list[Turn]:
    """As ``chunked``, but of those who wait the one with the longest cached prefix joins first (SGLang)."""
    return [(running, sorted(waiting, key=claim, reverse=True), CHUNKS)]


class Jobs:
    """An entry for every request: tokens of its ``prompt`` and its ``output``; ``received``, how many of the prompt
    come with their cache; ``computed`` in the cache, ``generated`` so far; times in s, NaN until they happen."""

    def __init__(self, arrival: Sequence[float], prompt: Sequence[int], output: Sequence[int],
                 keys: Sequence[Key] | None = None, received: Sequence[int] | None = None) -> None:
        self.arrival = np.array(arrival, float)
        self.prompt, self.output = np.array(prompt, int), np.array(output, int)
        self.received = np.zeros_like(self.prompt) if received is None else np.array(received, int)
        self.computed, self.generated, self.room, self.cached = np.zeros((4, len(self.prompt)), int)
        self.preempted, self.overtaken = np.zeros((2, len(self.prompt)), int)
        self.scheduled, self.first, self.last = np.full((3, len(self.prompt)), np.nan)
        self.runs = np.zeros(len(self.prompt), bool)
        self.keys = keys or [partial(_own, number) for number in range(len(self.prompt))]

    def __len__(self) -> int:
        return len(self.prompt)

    def missing(self, some: NDArray | int) -> NDArray:
        """Tokens that are known and not in the cache."""
        return self.prompt[some] + self.generated[some] - self.computed[some]

    @property
    def most(self) -> NDArray:
        """Tokens in the cache at the end: all but the last one generated, which is never read."""
        return self.prompt + self.output - 1


def _own(number: int, i: int) -> tuple[int, int]:
    return number, i


@dataclass
class Step:
    """``new`` tokens of every one of ``numbers``. Before it blocks go to the host, ``outs`` (number, blocks), and come
    back, ``ins``, in this order."""

    numbers: NDArray = field(default_factory=lambda: np.zeros(0, int))
    new: NDArray = field(default_factory=lambda: np.zeros(0, int))
    outs: list[tuple[int, list[int]]] = field(default_factory=list)
    ins: list[tuple[int, list[int]]] = field(default_factory=list)
    preempted: bool = False

    @property
    def tokens(self) -> int:
        return int(self.new.sum())

    @property
    def moved(self) -> int:
        """Blocks that go to the host or come back."""
        return sum(len(blocks) for _, blocks in self.outs + self.ins)


_AT_LEAST_1 = partial(whole, at_least=1)


class Scheduler:
    """Serves the ``jobs`` that ``waiting`` lists. ``swap``: the cache of a preempted request goes to the host; else it
    is computed again.

    Those who run are in the order in which they came, and the last one makes room when blocks run out: the first can
    always go on, so everybody ends. A request that does not fit holds back those behind it.
    """

    @checked(jobs=instance(Jobs), blocks=instance(Blocks), max_sequences=_AT_LEAST_1, token_budget=_AT_LEAST_1,
             policy=function, swap=flag)
    def __init__(self, jobs: Jobs, blocks: Blocks, max_sequences: int, token_budget: int, policy: Policy = chunked,
                 swap: bool = False) -> None:
        most = int(jobs.most.argmax()) if len(jobs) else 0
        if len(jobs) and (needed := blocks.needed(int(jobs.most[most]))) > blocks.total:
            raise ValueError(f"blocks is {blocks.total}: expected at least {needed}, for the {jobs.most[most]:,} "
                             f"tokens that request {most} stores")
        self.jobs, self.blocks, self.max_sequences, self.token_budget = jobs, blocks, max_sequences, token_budget
        self.policy, self.swap = policy, swap
        self.running: list[int] = []
        self.waiting: deque[int] = deque()

    def schedule(self) -> Step:
        """Compose the next step and make room for it."""
        step = Step()
        for running, waiting, how in self.policy(self.running, self.waiting, self._claim):
            self._go_on(np.fromiter(running, int, len(running)), how, step)
            self._join(waiting, how, step)
            if len(step.numbers):
                break
        return step

    def _claim(self, number: int) -> float:
        if self.jobs.overtaken[number] >= PATIENCE:
            return math.inf
        tokens = int(self.jobs.prompt[number] + self.jobs.generated[number])
        return len(self.blocks.found(tokens, self.jobs.keys[number])) * self.blocks.size

    def _go_on(self, running: NDArray, how: str, step: Step) -> None:
        """Tokens for those who run, and room for them: the last ones are preempted until there is."""
        jobs, new = self.jobs, self.jobs.missing(running)
        if how == CHUNKS and new.sum() > self.token_budget:
            new = np.clip(self.token_budget - (np.cumsum(new) - new), 0, new)
        after = jobs.computed[running] + new
        beyond = after > jobs.room[running]
        for number, tokens in zip(running[beyond].tolist(), after[beyond].tolist()):
            while jobs.runs[number] and not self._grow(number, tokens):
                self._preempt(self.running[-1], step)
        goes = jobs.runs[running] & (new > 0)
        step.numbers, step.new = running[goes], new[goes]

    def _grow(self, number: int, tokens: int) -> bool:
        room = self.blocks.grow(number, tokens) is not None
        self.jobs.room[number] = len(self.blocks.tables[number]) * self.blocks.size
        return room

    def _preempt(self, number: int, step: Step) -> None:
        """``number`` waits again, before all others: it keeps what it has generated, and loses its blocks."""
        jobs = self.jobs
        self._enter(number, int(jobs.computed[number]))
        if self.swap:
            step.outs.append((number, self.blocks.swap_out(number)))
        else:
            self.blocks.release(number)
            jobs.computed[number] = 0
        jobs.runs[number] = False
        jobs.preempted[number] += 1
        self.running.remove(number)
        self.waiting.appendleft(number)
        step.preempted = True

    def _join(self, waiting: Iterable[int], how: str, step: Step) -> None:
        """Admit those who wait, in order, until places, blocks or the budget are used up; nobody takes in this step
        what was just given up."""
        if step.preempted or not waiting:
            return
        joined, left = [], self.token_budget - step.tokens
        for number in list(islice(waiting, self.max_sequences - len(self.running))):
            most = int(self.jobs.missing(number))
            most = min(most, left) if how == CHUNKS else most
            if how != WHOLE and left < 1:
                break
            if (new := (self._swap_in if number in self.blocks.swapped else self._admit)(number, most, step)) is None:
                break
            joined.append((number, new))
            left -= new
            if place := self.waiting.index(number):
                self.jobs.overtaken[list(islice(self.waiting, place))] += 1
            del self.waiting[place]
            self.running.append(number)
            self.jobs.runs[number] = True
            self.jobs.room[number] = len(self.blocks.tables[number]) * self.blocks.size
        if joined:
            numbers, new = np.array(joined, int).T
            step.numbers, step.new = np.concatenate((step.numbers, numbers)), np.concatenate((step.new, new))

    def _admit(self, number: int, most: int, step: Step) -> int | None:
        jobs, blocks, key = self.jobs, self.blocks, self.jobs.keys[number]
        received = int(jobs.received[number])
        most = int(jobs.missing(number)) if received else most  # its cache needs room at once
        new = blocks.admit(number, int(jobs.prompt[number] + jobs.generated[number]), most, key)
        if new is None:
            return None
        cached = blocks.stored[number]
        jobs.cached[number] += cached
        if received > cached:
            blocks.fill(number, received - cached, key)
            new -= received - cached
        jobs.computed[number] = blocks.stored[number]
        return new

    def _swap_in(self, number: int, most: int, step: Step) -> int | None:
        computed = int(self.jobs.computed[number])
        if self.blocks.needed(computed + most) > self.blocks.available:
            return None
        step.ins.append((number, self.blocks.swap_in(number)))
        self.blocks.grow(number, computed + most)
        return most

    def _enter(self, number: int, computed: int) -> None:
        """Tell the blocks how much is written in them: done when a block is full, and before it is left."""
        if more := computed - self.blocks.stored[number]:
            self.blocks.fill(number, more, self.jobs.keys[number])

    def advance(self, step: Step, start: float, ends: NDArray) -> list[int]:
        """The step has been computed, once for each of ``ends`` (s); returns those who generated their last token."""
        jobs, size, numbers, steps = self.jobs, self.blocks.size, step.numbers, len(ends)
        new, before = step.new + (steps - 1), jobs.computed[numbers]
        after = before + new
        beyond = after > jobs.room[numbers]
        for number, tokens in zip(numbers[beyond].tolist(), after[beyond].tolist()):
            self._grow(number, tokens)
        jobs.computed[numbers] = after
        full = before // size != after // size
        for number, tokens in zip(numbers[full].tolist(), after[full].tolist()):
            self._enter(number, tokens)
        jobs.scheduled[numbers] = np.fmin(jobs.scheduled[numbers], start)
        out = numbers[jobs.missing(numbers) <= 0]
        jobs.first[out] = np.fmin(jobs.first[out], ends[0])
        jobs.generated[out] += steps
        ended = out[jobs.generated[out] >= jobs.output[out]]
        jobs.last[ended], jobs.runs[ended] = ends[-1], False
        for number in ended.tolist():
            self.blocks.release(number)
        if len(ended):
            self.running = [number for number in self.running if jobs.runs[number]]
        return ended.tolist()
