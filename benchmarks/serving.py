"""The replay's speed, and the constants under which it meets the published runs: ``python benchmarks/serving.py
[--fit]``."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from lecture10 import H100, Deployment, load_model
from lecture10.serving.clock import Overhead
from lecture10.serving.published import Published, means, published
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


if __name__ == "__main__":
    fit() if "--fit" in sys.argv else speed()
