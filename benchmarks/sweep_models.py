"""A million (batch, context) points of released models, compiled against substituted.

``python benchmarks/sweep_models.py``

Every figure is the best of several runs. Substitution runs on a sample of the points and is
extrapolated to all of them.
"""

from __future__ import annotations

import random

import numpy as np
from sweep import BATCHES, CONTEXTS, POINTS, best, substitute

from lecture10 import H100, Deployment, load_model, sweep
from lecture10.notation import B, S

MODELS = ("llama-3-8b", "gemma-2-2b", "gpt-oss-20b", "deepseek-v3")
SAMPLE = 50


def main() -> None:
    grid = {B: np.array(BATCHES, dtype=float)[:, None], S: np.array(CONTEXTS, dtype=float)[None, :]}
    rng = random.Random(0)
    sample = [{B: rng.choice(BATCHES), S: rng.choice(CONTEXTS)} for _ in range(SAMPLE)]
    columns = (f"{'formula':>10}{f'compiled, {POINTS:,}':>22}{f'subs, {SAMPLE} points':>18}"
               f"{'extrapolated':>16}{'ratio':>10}")
    print(f"{'decode step of':16}{columns}")
    for name in MODELS:
        plan = Deployment(load_model(name), H100)
        formula = plan.step_time()
        build = best(lambda plan=plan: plan.step_time())
        compiled = best(lambda formula=formula: sweep(formula, grid))
        substituted = best(lambda formula=formula: substitute(formula, sample))
        total = substituted * POINTS / SAMPLE
        print(f"{name:16}{build:>8.3f} s{compiled:>20.3f} s{substituted:>16.3f} s{total:>14.0f} s"
              f"{total / compiled:>10,.0f}")


if __name__ == "__main__":
    main()
