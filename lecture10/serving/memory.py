"""Cache memory before paging: every request in one piece, with the three kinds of waste; and the same count for blocks.

Notebook: book/Lecture10-Main.ipynb and Lecture10-Lab-Serving.ipynb. Slots hold one token each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import sympy as sp

from ..checks import checked, each, flag, function, hashable, instance, optional, pair, pairs, refused, values, whole
from .blocks import Blocks
from .clock import ticks
from .replay import simulate
from .scheduler import Jobs, Scheduler, Step, continuous

_AT_LEAST_1 = partial(whole, at_least=1)


class Contiguous:
    """``slots`` slots; a request lies in one piece at the first place where it fits, ``pieces[name]`` = (start, slots).

    ``buddy``: as a buddy allocator does it, a piece takes up the next power of two and begins at a multiple of that.
    """

    @checked(slots=_AT_LEAST_1, buddy=flag)
    def __init__(self, slots: int, buddy: bool = False) -> None:
        self.slots, self.buddy = slots, buddy
        self.pieces: dict[Hashable, tuple[int, int]] = {}

    @checked(slots=_AT_LEAST_1)
    def place(self, name: str, slots: int) -> int | None:
        """Where ``name`` now lies; None, and nothing changed, if it fits nowhere."""
        size = self._taken(slots)
        for start, length in self.holes():
            begin = -(-start // size) * size if self.buddy else start
            if begin + size <= start + length:
                self.pieces[name] = (begin, slots)
                return begin
        return None

    @checked(name=hashable)
    def release(self, name: str) -> None:
        """Give back what ``name`` holds. Raises ValueError when it holds nothing."""
        if name not in self.pieces:
            raise refused("name", name, f"one of {sorted(map(str, self.pieces))}")
        del self.pieces[name]

    def holes(self) -> Iterator[tuple[int, int]]:
        """(start, slots) of every run of free slots, in order."""
        end = 0
        for start, length in [*sorted(self.pieces.values()), (self.slots, 0)]:
            if start > end:
                yield end, start - end
            end = start + self._taken(length)

    def _taken(self, slots: int) -> int:
        return next_power_of_two(slots) if self.buddy and slots else slots


@checked(tokens=_AT_LEAST_1)
def next_power_of_two(tokens: int) -> int:
    """The smallest power of two that is at least ``tokens``."""
    return 1 << (tokens - 1).bit_length()


@checked(token_states=whole, reserved=whole, internal=whole, external=whole, free=whole)
@dataclass(frozen=True)
class Usage:
    """Slots of a cache memory by what they are good for (the terms of Kwon et al., arXiv 2309.06180, section 3.1).

    ``token_states``: hold a token. ``reserved``: kept for tokens that the same request will still produce.
    ``internal``: held by a request that will never fill them. ``external``: free, but in holes too small to use, or
    behind a request, where a buddy allocator rounded up. ``free``: usable at once. The five add up to the memory.
    """

    token_states: int = 0
    reserved: int = 0
    internal: int = 0
    external: int = 0
    free: int = 0

    @property
    def slots(self) -> int:
        return sum(vars(self).values())

    @property
    def share(self) -> sp.Rational:
        """Part of the memory that holds tokens, exact. Raises ValueError for a memory without slots."""
        if not self.slots:
            raise ValueError("the memory has 0 slots: expected at least one, a share of nothing is undefined")
        return sp.Rational(self.token_states, self.slots)

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@checked(memory=instance(Contiguous, Blocks), requests=values(pair(whole, whole)), wanted=_AT_LEAST_1)
def usage(memory: Contiguous | Blocks, requests: Mapping[Hashable, tuple[int, int]], wanted: int = 1) -> Usage:
    """What the slots of ``memory`` are good for when ``requests[name]`` = (tokens stored now, tokens when finished).

    Free slots in holes with less than ``wanted`` are external fragmentation; blocks have none, since any block will do.
    Sharing is not counted: every request's blocks are its own. Raises ValueError when a request stores more tokens than
    it holds slots, or than it will have.
    """
    if isinstance(memory, Blocks):
        held = {name: len(table) * memory.size for name, table in memory.tables.items()}
        holes = [memory.available * memory.size]
    else:
        held = {name: slots for name, (_, slots) in memory.pieces.items()}
        holes = [slots for _, slots in memory.holes()]
    if held.keys() != requests.keys():
        raise refused("requests", sorted(map(str, requests)), f"those that hold slots, {sorted(map(str, held))}")
    for name, (now, final) in requests.items():
        if now > min(held[name], final):
            raise refused(f"requests[{name!r}]", (now, final), f"at most {held[name]} tokens now, as it holds slots")
    tokens = sum(now for now, _ in requests.values())
    kept = sum(min(held[name], final) for name, (_, final) in requests.items())
    fitting = wanted if isinstance(memory, Contiguous) else 1
    free = sum(slots for slots in holes if slots >= fitting)
    external = memory.slots - sum(held.values()) - free if isinstance(memory, Contiguous) else 0
    return Usage(tokens, kept - tokens, sum(held.values()) - kept, external, free)


@checked(memory=instance(Contiguous, Blocks), stored=values(whole))
def pieces(memory: Contiguous | Blocks, stored: Mapping[Hashable, int]) -> list[tuple[Hashable, int, int, int]]:
    """What a map of ``memory`` shows: (owner, first slot, slots, tokens in them); ``stored`` tokens fill a request's
    slots in order."""
    if isinstance(memory, Contiguous):
        return [(name, start, slots, min(slots, stored[name])) for name, (start, slots) in memory.pieces.items()]
    size = memory.size
    return [(name, block * size, size, min(size, max(0, stored[name] - i * size)))
            for name, table in memory.tables.items() for i, block in enumerate(table)]


@checked(requests=pairs(_AT_LEAST_1, _AT_LEAST_1), slots=_AT_LEAST_1, reserve=function, buddy=flag, warm_up=whole)
def served_in_one_piece(requests: Sequence[tuple[int, int]], slots: int, reserve: Callable[[int, int], int],
                        buddy: bool = False, warm_up: int = 0) -> tuple[Usage, int, int]:
    """A queue that never empties, first come, first served, each in a piece of ``reserve(prompt, output)`` slots: the
    usage and the number of those that run, summed over the steps, and how many there were.

    Every step adds a token to all that run; who is done leaves a hole. Free slots are external fragmentation: the next
    in the queue does not fit into them. Steps before ``warm_up`` requests have left, and after the last has joined, are
    not counted. Raises ValueError for a request that never fits.
    """
    memory, waiting, running, left = Contiguous(slots, buddy), deque(enumerate(requests)), {}, 0
    total, batch, steps = Usage(), 0, 0
    while waiting:
        name, (prompt, output) = waiting[0]
        size = reserve(prompt, output)
        if memory.place(name, size) is not None:
            running[name] = (prompt, prompt + output)
            waiting.popleft()
            continue
        if not running:
            raise refused(f"requests[{name}]", (prompt, output), f"one that fits into {slots} slots, not {size}")
        stay = min(final - now for now, final in running.values()) + 1  # steps until somebody leaves
        if left >= warm_up:
            total += _over(usage(memory, running, slots), stay, len(running))
            batch, steps = batch + stay * len(running), steps + stay
        running = {other: (now + stay, final) for other, (now, final) in running.items()}
        for other in [other for other, (now, final) in running.items() if now > final]:
            del running[other]
            memory.release(other)
            left += 1
    return total, batch, steps


def _over(first: Usage, steps: int, running: int) -> Usage:
    """The sum over ``steps`` steps in each of which ``running`` requests add a token to their reserved slots."""
    added = running * steps * (steps - 1) // 2
    return Usage(steps * first.token_states + added, steps * first.reserved - added,
                 *(steps * part for part in (first.internal, first.external, first.free)))


@checked(requests=pairs(_AT_LEAST_1, _AT_LEAST_1), blocks=_AT_LEAST_1, size=_AT_LEAST_1, warm_up=whole)
def served_in_blocks(requests: Sequence[tuple[int, int]], blocks: int, size: int = 16,
                     warm_up: int = 0) -> tuple[Usage, int, int]:
    """The same queue with paging: a request joins when its prompt fits, and the last one makes room for those before.

    Every ``LOOKED_AT``-th step is counted, with the tokens that it stores. Raises ValueError for a request that never
    fits.
    """
    prompts, outputs = zip(*requests)
    jobs, found = Jobs([0] * len(prompts), prompts, outputs), [Usage(), 0, 0]
    scheduler = Scheduler(jobs, Blocks(blocks, size, sharing=False), len(prompts), max(prompts), continuous)

    def watch(now: float, step: Step) -> None:
        if now % LOOKED_AT == 0 and scheduler.waiting and np.isfinite(jobs.last).sum() >= warm_up:
            stored = (jobs.computed[step.numbers] + step.new).tolist()
            held = dict(zip(step.numbers.tolist(), zip(stored, jobs.most[step.numbers].tolist())))
            found[:] = found[0] + usage(scheduler.blocks, held), found[1] + len(held), found[2] + 1

    simulate(scheduler, ticks, watch)
    return tuple(found)


LOOKED_AT = 16


@checked(requests=pairs(_AT_LEAST_1, _AT_LEAST_1), samples=_AT_LEAST_1, parents=optional(each(each(whole))),
         size=_AT_LEAST_1)
def saved_by_sharing(requests: Sequence[tuple[int, int]], samples: int,
                     parents: Sequence[Sequence[int]] | None = None, size: int = 16) -> sp.Rational:
    """The part of the blocks that ``samples`` outputs of one prompt save, over all steps of all ``requests``, (prompt,
    output): 1 - blocks in use / blocks when every output has its own.

    Samples share the blocks of the prompt until they write into them. With ``parents`` the outputs are the beams of a
    search: ``parents[step]`` tells for each beam which of those before it goes on in it, and what nobody continues is
    given back. Raises ValueError for a search that is shorter than an output, or not of ``samples`` beams.
    """
    longest = max(output for _, output in requests)
    if parents is not None and (len(parents) < longest or any(len(step) != samples or max(step) >= samples
                                                              for step in parents)):
        raise refused("parents", parents, f"{samples} beams below {samples} in each of at least {longest} steps")
    used, alone = 0, 0
    for prompt, output in requests:
        blocks, names = Blocks(samples * (-(-(prompt + output) // size) + 1), size, sharing=False), [0] * samples
        blocks.admit(0, prompt, prompt, str)
        blocks.fill(0, prompt, str)
        for step in range(1, output + 1):
            if parents is not None or step == 1:
                before, names = names, range(step * samples, (step + 1) * samples)
                for beam, name in enumerate(names):
                    blocks.fork(before[parents[step - 1][beam] if parents else 0], name)
                for name in {*before}:
                    blocks.release(name)
            for name in names:
                blocks.grow(name, prompt + step)
                blocks.fill(name, 1, str)
            used, alone = used + blocks.used, alone + samples * blocks.needed(prompt + step)
    return 1 - sp.Rational(used, alone)
