"""A million (B, S) points compiled against substituted one by one, and what importing costs.

``python benchmarks/sweep.py``

Every figure is the best of several runs. Substitution runs on a sample of the points and is
extrapolated to all of them.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import sympy as sp
from sympy.core.cache import clear_cache

from lecture10 import H100, compute_transformer_stats, forward_pass, llama2_13b_config, sweep
from lecture10.notation import B, S

BATCHES, CONTEXTS = range(1, 1001), range(16, 16016, 16)
POINTS = len(BATCHES) * len(CONTEXTS)
SAMPLE = 300
REPEATS = 5


def best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def substitute(formula: sp.Expr, points: list[dict]) -> list[float]:
    """Point by point, without SymPy remembering the points of an earlier run."""
    clear_cache()
    return [float(formula.subs(point)) for point in points]


def main() -> None:
    config = llama2_13b_config(S=S)
    formulas = {"latency": compute_transformer_stats(config).latency,
                "throughput": compute_transformer_stats(config).throughput,
                "max(compute, memory)": forward_pass().subs(config).time(H100)}
    grid = {B: np.array(BATCHES)[:, None], S: np.array(CONTEXTS)[None, :]}
    rng = random.Random(0)
    sample = [{B: rng.choice(BATCHES), S: rng.choice(CONTEXTS)} for _ in range(SAMPLE)]
    print(f"{'formula':22}{f'compiled, {POINTS:,}':>22}{f'subs, {SAMPLE} points':>20}{'extrapolated':>16}{'ratio':>10}")
    for name, formula in formulas.items():
        compiled = best(lambda formula=formula: sweep(formula, grid))
        substituted = best(lambda formula=formula: substitute(formula, sample))
        total = substituted * POINTS / SAMPLE
        print(f"{name:22}{compiled:>20.3f} s{substituted:>18.3f} s{total:>14.0f} s{total / compiled:>10,.0f}")
    print()
    for statement in ("import sympy", "import lecture10"):
        seconds = best(lambda statement=statement: subprocess.run([sys.executable, "-c", statement], check=True))
        print(f"{statement:22}{seconds:.3f} s")


if __name__ == "__main__":
    main()
