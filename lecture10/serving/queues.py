"""Every small queue through a scheduler, on a toy model whose cache shows who wrote what: nobody is lost, wronged or
overtaken, and everybody gets the tokens that it would get alone.

Notebook: book/Lecture10-Lab-Serving.ipynb.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np

from ..checks import checked, each, function, refused, whole
from .blocks import Blocks
from .scheduler import CHUNKS, Jobs, Policy, Scheduler, Step, chunked, longest_prefix
from .traces import BrokenRuleError, Cache, Tokens, content_keys, following, kind_of, require

MOST_STEPS = 200
"""Steps after which somebody has waited for ever: the small queues need far fewer."""


@dataclass
class Queue:
    """Requests (prompt, output tokens, step in which it comes) and the limits they are served under."""

    requests: tuple[tuple[Tokens, int, int], ...]
    blocks: int
    size: int
    max_sequences: int
    token_budget: int
    swap: bool


def iterable(name: str, value: object) -> Iterable[Queue]:
    """A rule: queues one after the other."""
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes)):
        raise refused(name, value, "queues, as small_queues makes them")
    return (queue if isinstance(queue, Queue) else _no_queue(name, queue) for queue in value)


def _no_queue(name: str, value: object) -> None:
    raise refused(f"an entry of {name}", value, "a Queue")


def alone(prompt: Tokens, output: int) -> Tokens:
    """What the toy model says after ``prompt``."""
    tokens = prompt
    for _ in range(output):
        tokens += (following(tokens),)
    return tokens


class Served:
    """``queue`` under ``policy``, step by step; every rule is held against every step."""

    def __init__(self, queue: Queue, policy: Policy, kind: type[Scheduler], blocks: type[Blocks]) -> None:
        prompts, outputs, self.arrival = zip(*queue.requests)
        self.queue, self.policy, self.tokens, self.away, self.order = queue, policy, list(prompts), {}, []
        self.cache = Cache(blocks(queue.blocks, queue.size))
        jobs = Jobs(self.arrival, list(map(len, prompts)), outputs,
                    [partial(self._key, number) for number in range(len(prompts))])
        self.scheduler = kind(jobs, self.cache.blocks, queue.max_sequences, queue.token_budget, policy, queue.swap)

    def _key(self, number: int, i: int) -> bytes:
        return content_keys(self.tokens[number], self.queue.size)[i]

    def run(self) -> int:
        """Serve all; returns the number of steps."""
        scheduler, come, steps = self.scheduler, 0, 0
        while come < len(self.tokens) or scheduler.running or scheduler.waiting:
            require(steps < MOST_STEPS, "everybody is served in the end")
            while come < len(self.tokens) and self.arrival[come] <= steps:
                scheduler.waiting.append(come)
                come += 1
            if scheduler.running or scheduler.waiting:
                self._step(steps)
            steps += 1
        for number, (prompt, output, _) in enumerate(self.queue.requests):
            require(self.tokens[number] == alone(prompt, output), "everybody gets the tokens that it would get alone")
        return steps

    def _step(self, now: int) -> None:
        scheduler, jobs, cache = self.scheduler, self.scheduler.jobs, self.cache
        step = scheduler.schedule()
        self._rules(step)
        for number, blocks in step.outs:
            self.away[number] = [list(cache.memory[block]) for block in blocks]
        for number, blocks in step.ins:
            for block, slots in zip(blocks, self.away.pop(number)):
                cache.memory[block] = slots
        for number, new in zip(step.numbers.tolist(), step.new.tolist()):
            start = int(jobs.computed[number])
            cache.write(cache.blocks.tables[number], start, self.tokens[number][:start + new])
        out = [number for number, new in zip(step.numbers.tolist(), step.new) if new == jobs.missing(number)]
        scheduler.advance(step, now, np.array([now + 1.0]))
        for number in out:
            self.tokens[number] += (following(self.tokens[number]),)
        cache.check()

    def _rules(self, step: Step) -> None:
        jobs, numbers = self.scheduler.jobs, step.numbers.tolist()
        require(len(numbers) > 0, "as long as somebody is there, somebody is served")
        require(len({*numbers}) == len(numbers) <= self.queue.max_sequences, "no more run than may, each once")
        require(bool((step.new >= 1).all()), "who is in a step computes a token at least")
        require(bool((step.new <= jobs.missing(step.numbers)).all()), "nobody computes more tokens than it has")
        if any(how == CHUNKS for *_, how in self.policy((), (), lambda _: 0)):
            require(step.tokens <= self.queue.token_budget, "a step keeps to its budget")
        self.order += [number for number in numbers if number not in self.order]
        if self.policy is not longest_prefix:
            require(self.order == sorted(self.order), "first come, first served")
            waiting = list(self.scheduler.waiting)
            require(waiting == sorted(waiting), "those who wait are in the order in which they came")


@checked(prompts=each(each(whole)), outputs=each(partial(whole, at_least=1)),
         requests=partial(whole, at_least=1, at_most=4))
def small_queues(prompts: Sequence[Tokens], outputs: Sequence[int], requests: int = 3, blocks: Iterable[int] = (3, 4),
                 budgets: Iterable[int] = (1, 3, 4), swap: Iterable[bool] = (False, True)) -> Iterator[Queue]:
    """Every queue of ``requests`` requests that come in the first two steps, under every limit given, that fits."""
    one = list(product(prompts, outputs, (0, 1)))
    for chosen, total, budget, away in product(product(one, repeat=requests), blocks, budgets, swap):
        comes = [step for *_, step in chosen]
        if comes == sorted(comes) and all(len(prompt) + output - 1 <= 2 * total for prompt, output, _ in chosen):
            yield Queue(chosen, total, 2, 2, budget, away)


@checked(queues=iterable, policy=function, kind=kind_of(Scheduler), blocks=kind_of(Blocks))
def first_fault(queues: Iterable[Queue], policy: Policy = chunked, kind: type[Scheduler] = Scheduler,
                blocks: type[Blocks] = Blocks) -> tuple[int, Queue | None, str | None]:
    """Serve all ``queues``: how many of them kept every rule, then the first that did not, and the rule."""
    served = 0
    for queue in queues:
        try:
            Served(queue, policy, kind, blocks).run()
        except (BrokenRuleError, ValueError, LookupError) as fault:
            return served, queue, str(fault) or repr(fault)
        served += 1
    return served, None, None
