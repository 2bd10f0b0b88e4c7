"""The book's engine as a server: a cache in blocks, steps that mix prompts and generation, the scheduler of the replay.

Notebook: book/Lecture10-Lab-Serving.ipynb. Shapes in the book's letters, and M = tokens of all sequences in a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..checks import checked, instance, refused
from ..engine.attention import attention, shared_attention
from ..engine.decoder import Engine
from ..engine.products import product
from ..engine.threads import has_helpers, helpers, shares, spread
from ..engine.weights import Shape
from .blocks import Blocks, block_size, content_keys, number_of_blocks
from .replay import requests_rule
from .run import Run, Steps
from .scheduler import Jobs, Policy, Scheduler, Step, chunked


class PagedCache:
    """Keys and values in ``blocks`` blocks of ``size`` tokens; which block is whose, the tables say."""

    @checked(shape=instance(Shape), blocks=number_of_blocks, size=block_size)
    def __init__(self, shape: Shape, blocks: int, size: int) -> None:
        dims = (shape.L, shape.K, blocks, size, shape.H)
        try:
            self.keys, self.values = np.zeros(dims, np.float32), np.zeros(dims, np.float32)
        except (MemoryError, ValueError):
            raise refused("blocks", blocks, "a cache that fits into memory") from None
        self.size = size

    def write(self, layer: int, blocks: NDArray, slots: NDArray, k: NDArray, v: NDArray) -> None:
        """Store positions, each in its slot of its block: [n] [n] [n, K, H] [n, K, H]."""
        self.keys[layer][:, blocks, slots], self.values[layer][:, blocks, slots] = k.swapaxes(0, 1), v.swapaxes(0, 1)

    def read(self, layer: int, tables: NDArray) -> tuple[NDArray, NDArray]:  # [B, blocks] -> [B, K, S, H] x2
        """All positions of sequences, gathered from their blocks."""
        B, S = len(tables), tables.shape[1] * self.size
        return tuple(np.take(part[layer], tables, axis=1).reshape(part.shape[1], B, S, -1).swapaxes(0, 1)
                     for part in (self.keys, self.values))

    def contents(self, blocks: Sequence[int]) -> tuple[NDArray, NDArray]:
        """A copy of what is in ``blocks``, for the host."""
        return self.keys[:, :, blocks].copy(), self.values[:, :, blocks].copy()

    def restore(self, blocks: Sequence[int], contents: tuple[NDArray, NDArray]) -> None:
        """Write what was copied into ``blocks``."""
        self.keys[:, :, blocks], self.values[:, :, blocks] = contents


Part = tuple[Sequence[int], int, Sequence[int]]
"""(new tokens, positions before them, table) of one sequence in a step."""


def mixed_step(engine: Engine, cache: PagedCache, parts: Sequence[Part]) -> NDArray:  # -> [len(parts), V]
    """One pass over the new tokens of several sequences; logits after the last token of each.

    Products run over the rows of all. Those that add one token share an attention, as in a batch: each then reads as
    many positions as the longest of them; every piece of a prompt has one of its own.
    """
    new = [len(tokens) for tokens, *_ in parts]
    ends = np.cumsum(new)
    rows = np.concatenate([np.asarray(tokens) for tokens, *_ in parts])[None]  # [1, M]
    positions = np.concatenate([start + np.arange(n) for (_, start, _), n in zip(parts, new)])[None]  # [1, M]
    singles = [(end - 1, start, table) for (_, start, table), n, end in zip(parts, new, ends) if n == 1]
    pieces = [(slice(end - n, end), start, np.asarray(table)) for (_, start, table), n, end in zip(parts, new, ends)
              if n > 1]
    mix = partial(_mixed, cache, _batch(singles, cache.size), pieces)
    with helpers(rows.size > 1 and engine.multiply is product), np.errstate(over="ignore"):
        x = engine.layers(rows, positions, mix)[0]  # [M, D]
        return engine.scores(x[ends - 1])


def _batch(singles: Sequence[tuple], size: int) -> tuple[NDArray, NDArray, NDArray] | None:
    """Rows, lengths and tables of the sequences that add one token; a shorter table is filled up with its first
    block, whose surplus positions are masked."""
    if not singles:
        return None
    rows, lengths, tables = zip(*singles)
    width = max(lengths) // size + 1
    padded = [[*table[:width], *[table[0]] * (width - len(table[:width]))] for table in tables]
    return np.array(rows), np.array(lengths), np.array(padded)


def _mixed(cache: PagedCache, batch: tuple | None, pieces: Sequence[tuple], layer: int, q: NDArray, k: NDArray,
           v: NDArray) -> NDArray:  # [1, M, N, H] [1, M, K, H] x2 -> [1, M, N, H]
    y = np.empty_like(q)
    if batch is not None:
        rows, lengths, tables = batch
        last = tables[np.arange(len(rows)), lengths // cache.size]
        cache.write(layer, last, lengths % cache.size, k[0, rows], v[0, rows])
        mixed = shared_attention(q[0, rows][:, None], lengths, tables.shape[1] * cache.size,
                                 lambda some: cache.read(layer, tables[some]))
        y[0, rows] = mixed[:, 0]
    for some, start, table in pieces:
        at = np.arange(start, start + some.stop - some.start)
        cache.write(layer, table[at // cache.size], at % cache.size, k[0, some], v[0, some])
        keys, values = cache.read(layer, table[None, :at[-1] // cache.size + 1])  # [1, K, S, H]

        def part_of(part: slice, some: slice = some, start: int = start, keys: NDArray = keys,
                    values: NDArray = values) -> None:
            seen = start + part.stop
            y[:, some][:, part] = attention(q[:, some][:, part], keys[:, :, :seen], values[:, :, :seen],
                                            np.array([start + part.start]))

        spread(part_of, shares(1.0 + at) if has_helpers() else [slice(0, len(at))])
    return y


class Server:
    """Serves ``requests`` (arrival in s, tokens of the prompt, output) on ``engine`` as ``replay`` does on its clock;
    ``outputs`` are the greedy tokens of each.

    ``log`` lists (new tokens, context) of the sequences of every step. Raises ValueError as ``replay``, for prompts
    that are no tokens of the model, and texts longer than it allows.
    """

    @checked(engine=instance(Engine), requests=requests_rule, blocks=number_of_blocks, block_size=block_size)
    def __init__(self, engine: Engine, requests: Sequence[tuple[float, Sequence[int], int]], *, max_sequences: int,
                 token_budget: int, blocks: int, block_size: int = 16, policy: Policy = chunked, swap: bool = False,
                 sharing: bool = True) -> None:
        for i, (_, prompt, output) in enumerate(requests):
            if isinstance(prompt, int) or not {*prompt} <= {*range(engine.shape.V)}:
                raise refused(f"requests[{i}][1]", prompt, f"tokens below {engine.shape.V}")
            if len(prompt) + output > engine.shape.context_length:
                raise refused(f"requests[{i}]", (len(prompt), output), f"at most {engine.shape.context_length} tokens")
        arrival, self.prompts, outputs = zip(*requests)
        self.engine, self.tokens, self.away = engine, [list(prompt) for prompt in self.prompts], {}
        jobs = Jobs(arrival, list(map(len, self.prompts)), outputs,
                    [partial(self._key, number, block_size) for number in range(len(requests))])
        self.cache = PagedCache(engine.shape, blocks, block_size)
        self.scheduler = Scheduler(jobs, Blocks(blocks, block_size, sharing), max_sequences, token_budget, policy, swap)
        self.log: list[list[tuple[int, int]]] = []

    @property
    def outputs(self) -> list[list[int]]:
        return [tokens[len(prompt):] for tokens, prompt in zip(self.tokens, self.prompts)]

    def _key(self, number: int, size: int, i: int) -> bytes:
        return content_keys(self.tokens[number][:(i + 1) * size], size)[-1]

    def step(self) -> Step:
        """Compose the next step, move blocks, compute it, and append the tokens that it generates."""
        jobs, scheduler = self.scheduler.jobs, self.scheduler
        step = scheduler.schedule()
        for number, blocks in step.outs:
            self.away[number] = self.cache.contents(blocks)
        for number, blocks in step.ins:
            self.cache.restore(blocks, self.away.pop(number))
        parts = []
        for number, new in zip(step.numbers.tolist(), step.new.tolist()):
            start = int(jobs.computed[number])
            parts.append((self.tokens[number][start:start + new], start, scheduler.blocks.tables[number]))
        self.log.append([(len(tokens), start + len(tokens)) for tokens, start, _ in parts])
        following = mixed_step(self.engine, self.cache, parts).argmax(axis=-1)
        for number, new, token in zip(step.numbers.tolist(), step.new.tolist(), following.tolist()):
            if new == jobs.missing(number):
                self.tokens[number].append(token)
        return step

    def run(self, clock: Callable[[], float] = time.perf_counter) -> Run:
        """Serve all requests; waits for none: a request that has not arrived by then arrives when nobody runs."""
        scheduler, jobs, steps, come, begun = self.scheduler, self.scheduler.jobs, Steps(), 0, clock()
        skipped = 0.0
        while come < len(jobs) or scheduler.running or scheduler.waiting:
            now = clock() - begun + skipped
            if not (scheduler.running or scheduler.waiting):
                skipped, now = skipped + max(0.0, jobs.arrival[come] - now), max(now, float(jobs.arrival[come]))
            while come < len(jobs) and jobs.arrival[come] <= now:
                scheduler.waiting.append(come)
                come += 1
            step = self.step()
            end = clock() - begun + skipped
            steps.add(now, np.array([end]), step.tokens, len(step.numbers), np.array([scheduler.blocks.used]))
            scheduler.advance(step, now, np.array([end]))
        return Run.of(jobs, steps)
