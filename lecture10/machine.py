"""The reader's own machine as an accelerator: two rates, measured, and the time of the engine's passes beside the prediction.

Notebook: book/Lecture10-Lab-Engine.ipynb. Every time is the best of several: other work can only make a pass slower.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .cost import Cost
from .engine import Engine, KVCache
from .hardware import Accelerator
from .notation import SYMBOLS, B, S
from .stats import forward_pass
from .weights import Shape, Weights

FLOAT32 = 4  # bytes


def seconds(work: Callable[[], object], rounds: int = 5) -> float:
    """The shortest time of ``rounds`` runs."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def machine_class() -> str:
    """CPU, cores and the BLAS that NumPy multiplies with: what a timing depends on."""
    info = Path("/proc/cpuinfo")  # Linux only; elsewhere the name that Python knows
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "one a core")
    cpu = names[0] if names else platform.processor() or "unnamed CPU"
    return (f"{cpu} ({platform.machine()}), {os.cpu_count()} cores, NumPy {np.__version__}, {blas['name']} {blas['version']}, "
            f"BLAS threads: {threads}")


def measured_machine(weights: Weights, square: int = 2048, rounds: int = 7) -> Accelerator:
    """This machine: peak = float32 product of two ``square`` matrices, bandwidth = every weight matrix times one vector.

    Both are what NumPy reaches, not what the maker of the chip promises; memory_bytes is the weights' size.
    """
    rng = np.random.default_rng(0)
    matrix, matrices = rng.standard_normal((square, square), dtype=np.float32), list(weights.matrices())
    vectors = {w.shape[1]: rng.standard_normal(w.shape[1], dtype=np.float32) for w in matrices}
    weight_bytes = sum(w.nbytes for w in matrices)
    peak = 2 * square**3 / seconds(lambda: matrix @ matrix, rounds)
    bandwidth = weight_bytes / seconds(lambda: [w @ vectors[w.shape[1]] for w in matrices], rounds)
    return Accelerator("this machine", peak, bandwidth, weight_bytes, source=machine_class())


def pass_cost(shape: Shape, batch: int, tokens: int, context: int, logits: int = 1, element_bytes: int = FLOAT32) -> Cost:
    """The book's cost of one pass for a model whose embedding is tied (read once, for the logits)."""
    sizes = {SYMBOLS[name]: getattr(shape, name) for name in "DFNKHLV"}
    cost = forward_pass(tokens, weight_bytes=element_bytes, kv_bytes=element_bytes, logits=logits)
    return cost.without("input embedding").subs({**sizes, B: batch, S: context})


def pass_seconds(engine: Engine, batch: int, tokens: int, context: int, logits: int = 1, rounds: int = 3) -> float:
    """The measured time of one pass of ``tokens`` new tokens a sequence that fills ``context`` positions."""
    cache = KVCache.empty(engine.shape, batch, context)
    new = np.random.default_rng(0).integers(0, engine.shape.V, (batch, tokens))

    def run() -> None:
        cache.lengths[:] = context - tokens
        engine.forward(new, cache, logits)

    run()  # the first pass touches fresh memory
    return seconds(run, rounds)


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The power k for which values grow like sizes^k: the slope of a straight line through their logarithms."""
    return float(np.polyfit(np.log(np.asarray(sizes, float)), np.log(np.asarray(values, float)), 1)[0])


def progress(work: Iterable, total: int | None = None) -> Iterable:
    """A progress bar in a terminal and in JupyterLab, nothing where outputs are kept or compared."""
    return tqdm(work, total=total, leave=False, disable=False if "JPY_SESSION_NAME" in os.environ else None)
