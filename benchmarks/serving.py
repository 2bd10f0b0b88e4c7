"""How fast the replay is: ``python benchmarks/serving.py``. With ``--fit`` the constants under which it meets the
published runs, with ``--paged`` the engine's steps on blocks beside the same steps on the plain cache; ``--beams``
writes which beam each one continues when the book's model searches (``lecture10/serving/data/beams.csv``)."""

from __future__ import annotations

import csv
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from lecture10 import H100, Deployment, load_model
from lecture10.engine.decoder import Engine, prefill
from lecture10.engine.kv_cache import KVCache
from lecture10.engine.weights import load_weights
from lecture10.serving.clock import Overhead
from lecture10.serving.paged import PagedCache, mixed_step
from lecture10.serving.published import BEAMS, Published, means, published
from lecture10.serving.replay import replay
from lecture10.serving.scheduler import chunked, continuous, prefill_first, static

REQUESTS, PROMPT, OUTPUT = 10_000, 512, 500


def speed() -> None:
    """Processor seconds to replay 10,000 requests of 500 output tokens, all at once and as a Poisson stream."""
    plan, rng = Deployment(load_model("llama-3-8b"), H100), random.Random(0)
    arrivals, now = [0.0], 0.0
    while len(arrivals) < REQUESTS:
        now += rng.expovariate(25)
        arrivals.append(now)
    for name, times in (("all at once", [0.0] * REQUESTS), ("25 a second", arrivals)):
        for policy in (static, continuous, prefill_first, chunked):
            start = time.process_time()
            run = replay([(at, PROMPT, OUTPUT) for at in times], plan, max_sequences=256, token_budget=2048,
                         blocks=30_000, policy=policy)
            print(f"{name:12} {policy.__name__:14} {time.process_time() - start:6.2f} s for {len(run.steps):,} steps, "
                  f"{run.throughput:,.0f} tokens/s simulated")


def distance(one: Published, overhead: Overhead) -> float:
    """Sum of squared relative errors of the four means."""
    wanted, found = means(one.measured), means(one.replay(overhead))
    return sum((found[name] / wanted[name] - 1) ** 2 for name in wanted)


def downhill(f: Callable[[Sequence[float]], float], start: Sequence[float], step: float, rounds: int) -> list[float]:
    """Pattern search: try each constant a step up and down, keep what is better, halve the step when nothing is."""
    best, value = list(start), f(start)
    for _ in range(rounds):
        trials = [[*best[:i], best[i] * factor, *best[i + 1:]] for i in range(len(best))
                  for factor in (1 + step, 1 / (1 + step))]
        found = min(((f(trial), trial) for trial in trials), key=lambda pair: pair[0])
        value, best, step = (*found, step) if found[0] < value else (value, best, step / 2)
    return best


def fit() -> None:
    """The three constants of every published run, four digits."""
    for one in published().values():
        def error(constants: Sequence[float], one: Published = one) -> float:
            bandwidth, compute, seconds = constants
            return distance(one, Overhead(min(1, bandwidth), min(1, compute), seconds))

        best = downhill(error, (0.8, 0.8, 0.002), 0.3, 14)
        overhead = Overhead(*(float(f"{constant:.4g}") for constant in np.minimum(best, 1)))
        print(one.name, overhead, f"error {distance(one, overhead):.2g}", means(one.replay(overhead)))


def on_blocks() -> None:
    """A step of several sequences on scattered blocks of 16, and a prompt, beside the plain cache; best of 12."""
    engine = Engine(load_weights())
    for batch, tokens, context in ((1, 1, 64), (4, 1, 100), (8, 1, 200), (8, 1, 500), (16, 1, 200), (1, 512, 512)):
        plain, before = KVCache.empty(engine.shape, batch, context), context - tokens
        table = np.random.default_rng(0).permutation(batch * -(-context // 16)).reshape(batch, -1).tolist()
        blocks = PagedCache(engine.shape, batch * len(table[0]), 16)
        parts = [([1] * tokens, before, blocks_of_one) for blocks_of_one in table]

        def contiguous(plain: KVCache = plain, batch: int = batch, tokens: int = tokens, before: int = before) -> None:
            plain.lengths[:] = before
            engine.forward(np.ones((batch, tokens), int), plain)

        def scattered(blocks: PagedCache = blocks, parts: list = parts) -> None:
            mixed_step(engine, blocks, parts)

        times = np.array([[clocked(work) for work in (contiguous, scattered)] for _ in range(12)]).min(axis=0)
        print(f"{batch} x {tokens} tokens at {context}: {1e3 * times[0]:.1f} ms, on blocks {1e3 * times[1]:.1f} ms, "
              f"{times[1] / times[0]:.2f}")


QUESTION = ("Explain to somebody who has never seen one how a printing press with movable type works. Say which "
            "parts it has and what each of them is for, how a page is set and inked, and how the paper is "
            "pressed onto it. Then compare it with copying a book by hand: how long did one copy take before, "
            "how many pages could two printers make in a day, and why did the price of books fall so quickly? "
            "Finish with the changes that followed in schools, in trade and in the sciences, and name a few "
            "places in which printing spread first. Give examples where you can, keep every paragraph short, "
            "avoid technical words that you have not explained before, and end with two questions that a careful "
            "reader could ask next about the history of books.")


def beams(widths: Sequence[int] = (2, 4, 6), output: int = 338) -> None:
    """For every width and step, which beam each of the best ones continues: the sums of log-probabilities decide."""
    engine = Engine(load_weights())
    prompt = engine.weights.tokenizer.encode(QUESTION).ids
    found = [(width, step, " ".join(map(str, parents))) for width in widths
             for step, parents in enumerate(searched(engine, prompt, width, output), 1)]
    with BEAMS.open("w", encoding="utf-8", newline="") as table:
        csv.writer(table, lineterminator="\n").writerows([("width", "step", "parents"), *found])
    print(f"{len(prompt)} tokens of a prompt, {output} of each answer: {len(found):,} steps in {BEAMS.name}")


def searched(engine: Engine, prompt: Sequence[int], width: int, output: int) -> Iterator[Sequence[int]]:
    """Beam search without an end: the parents of the ``width`` best texts after every token."""
    cache = KVCache.empty(engine.shape, width, len(prompt) + output)
    logits = np.concatenate([prefill(engine, prompt, cache.rows(slice(b, b + 1))) for b in range(width)])
    sums = np.full((width, 1), -np.inf)
    sums[0] = 0  # one text so far
    for _ in range(output):
        scores = sums + logits - logits.max(1, keepdims=True)
        scores -= np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
        best = np.argsort(-scores, axis=None, kind="stable")[:width]
        parents, tokens = np.divmod(best, logits.shape[1])
        yield parents.tolist()
        sums = scores.ravel()[best][:, None]
        cache.keys[:], cache.values[:] = cache.keys[:, parents], cache.values[:, parents]
        logits = engine.forward(tokens[:, None], cache)[:, -1]


def clocked(work: Callable[[], None]) -> float:
    """Seconds of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    {"--fit": fit, "--paged": on_blocks, "--beams": beams}.get(sys.argv[-1], speed)()
