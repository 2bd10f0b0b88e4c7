"""The reader's own machine as an accelerator: two rates, measured,
and the time of the engine's passes beside the prediction.

Notebook: book/Lecture10-Lab-Engine.ipynb. Rates and single passes are the best of several (``seconds``, ``swept``):
other work can only make them slower. A request and a generation are timed as they run, once.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..cost import Cost
from ..hardware import Accelerator
from ..models.experts import MLP
from ..models.layers import Attention, Layer
from ..models.passes import Pass
from ..models.transformer import Transformer
from ..table import Table
from .attention import QUERY_BLOCK, attention
from .decoder import Engine, generate
from .kv_cache import KVCache
from .threads import THREADS
from .weights import Shape, Weights

FLOAT32 = 4  # bytes
REST_S = 0.1  # in which the threads of BLAS, which keep a core busy for a moment after each product, go to sleep


def seconds(work: Callable[[], object], rounds: int = 5) -> float:
    """The shortest time of ``rounds`` runs."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def machine_class() -> dict[str, str]:
    """CPU, cores, the BLAS that NumPy multiplies with and its threads: what a timing depends on."""
    info = Path("/proc/cpuinfo")  # Linux only; elsewhere the name that Python knows
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {"CPU": names[0] if names else platform.processor() or "unnamed", "architecture": platform.machine(),
            "cores": str(os.cpu_count()), "NumPy": np.__version__, "BLAS": f"{blas['name']} {blas['version']}",
            "threads": str(THREADS)}


def measured_machine(weights: Weights, square: int = 1536, rounds: int = 4) -> Accelerator:
    """This machine: peak = float32 product of two ``square`` matrices,
    bandwidth = every weight matrix times one vector.

    Both are what NumPy reaches, not what the maker of the chip promises; memory_bytes is the weights' size.
    """
    rng = np.random.default_rng(0)
    matrix, matrices = rng.standard_normal((square, square), dtype=np.float32), list(weights.matrices())
    vectors = {w.shape[1]: rng.standard_normal(w.shape[1], dtype=np.float32) for w in matrices}
    weight_bytes = sum(w.nbytes for w in matrices)
    peak = 2 * square**3 / seconds(lambda: matrix @ matrix, rounds)
    bandwidth = weight_bytes / seconds(lambda: [w @ vectors[w.shape[1]] for w in matrices], rounds)
    source = ", ".join(f"{name} {value}" for name, value in machine_class().items())
    return Accelerator("this machine", peak, bandwidth, weight_bytes, source=source)


def transformer(shape: Shape) -> Transformer:
    """The book's description of a model in a GGUF file: grouped attention, gated MLP, two norms a layer,
    tied embeddings."""
    layer = Layer(Attention(shape.D, shape.N, shape.K, shape.H), MLP(shape.D, shape.F), norm_params=2 * shape.D)
    return Transformer(shape.D, shape.V, ((shape.L, layer),), tied=True, norm_params=shape.D)


def pairs_in_blocks(context: int, tokens: int, window: None = None) -> int:
    """Query-key pairs that the engine computes: each block of queries meets all keys that its last query sees."""
    stops = [min(start + QUERY_BLOCK, tokens) for start in range(0, tokens, QUERY_BLOCK)]
    return sum((stop - start) * (context - tokens + stop) for start, stop in zip([0, *stops], stops))


def pass_cost(shape: Shape, batch: int, tokens: int, context: int, logits: int = 1,
              element_bytes: int = FLOAT32) -> Cost:
    """The book's cost of one pass: ``tokens`` new positions of ``batch`` sequences that then hold ``context``."""
    return transformer(shape).forward(Pass(batch, tokens, context, logits=logits, weight_bytes=element_bytes,
                                           kv_bytes=element_bytes, pairs=pairs_in_blocks))


def step_cost(shape: Shape, parts: Sequence[tuple[int, int]], element_bytes: int = FLOAT32) -> Cost:
    """The cost of one step over several sequences, (new tokens, context with them) each, logits for one position each.

    Those that add a single token form a batch, which computes and reads up to the longest of them, as the engine does.
    """
    singles = [context for new, context in parts if new == 1]
    batches = [(len(singles), 1, max(singles))] if singles else []
    passes = [Pass(*sizes, logits=1, weight_bytes=element_bytes, kv_bytes=element_bytes, pairs=pairs_in_blocks)
              for sizes in [*batches, *((1, new, context) for new, context in parts if new > 1)]]
    return transformer(shape).forward(*passes)


def predicted_seconds(machine: Accelerator, shape: Shape, batch: int, tokens: int, context: int,
                      only: str | None = None) -> float:
    """The lower bound for one pass: max(FLOPs / peak, bytes / bandwidth), summed over its operations,
    or of ``only`` one."""
    cost = pass_cost(shape, batch, tokens, context)
    return float((cost.only(only) if only else cost).time(machine))


def beside(label: str, sizes: Sequence[int], measured: Sequence[float], predicted: Sequence[float],
           **more: Sequence[float]) -> Table:
    """Measured and predicted seconds side by side, in ms, with their ratio; ``more`` columns by name."""
    rows = [(size, 1e3 * m, 1e3 * p, m / p, *rest)
            for size, m, p, *rest in zip(sizes, measured, predicted, *more.values())]
    return Table((label, "实测 (ms)", "预测 (ms)", "实测 / 预测", *more), rows)


def filled_cache(shape: Shape, batch: int, capacity: int) -> KVCache:
    """A cache whose memory is there: before it is written to it is only promised, and the pass would pay for it."""
    cache = KVCache.empty(shape, batch, capacity)
    for part in (cache.keys, cache.values):
        part.fill(0)
    return cache


def pass_seconds(engine: Engine, batch: int, tokens: int, context: int, cache: KVCache | None = None) -> float:
    """The time of one pass of ``tokens`` new tokens a sequence that fills ``context`` positions, run once; in the first
    sequences of ``cache`` where one is given."""
    cache = filled_cache(engine.shape, batch, context) if cache is None else cache.rows(slice(batch))
    new = np.random.default_rng(0).integers(0, engine.shape.V, (batch, tokens))

    cache.lengths[:] = context - tokens
    if THREADS > 1:
        time.sleep(REST_S)
    return seconds(lambda: engine.forward(new, cache), rounds=1)


def step_totals(steps: Sequence[int], times: Sequence[float]) -> list[float]:
    """The time after which 1, 2, … tokens are out, when step n of ``steps`` takes its time of ``times`` and those
    between lie on straight lines."""
    return np.cumsum(np.interp(range(1, steps[-1] + 1), steps, times)).tolist()


def parts_seconds(engine: Engine, tokens: int, context: int, layers: int, rounds: int = 3) -> tuple[float, float]:
    """The time that one pass spends in its MLPs and in attention: measured on ``layers`` layers, scaled to all."""
    s, chosen = engine.shape, engine.weights.layers[:layers]
    x, q = np.ones((tokens, s.D), np.float32), np.ones((1, tokens, s.N, s.H), np.float32)
    keys, values = np.ones((2, layers, 1, s.K, context, s.H), np.float32)
    before = np.array([context - tokens])
    mlp = seconds(lambda: [engine._mlp(layer, x) for layer in chosen], rounds)
    mixing = seconds(lambda: [attention(q, k, v, before) for k, v in zip(keys, values)], rounds)
    return mlp * s.L / layers, mixing * s.L / layers


def token_seconds(engine: Engine, prompt: Sequence[int], tokens: int,
                  cache: KVCache | None = None) -> tuple[list[float], list[int]]:
    """The time since the request at which each of its tokens appears, the first after prefill, then one a step;
    and the tokens. ``cache`` as in ``generate``."""
    times, made, start = [], [], time.perf_counter()
    for token in generate(engine, [prompt], tokens, cache=cache):
        times.append(time.perf_counter() - start)
        made.append(int(token[0]))
    return times, made


def swept(measure: Callable[[int], float], sizes: Sequence[int], sweeps: int = 2) -> list[float]:
    """``measure`` of every size, the best of several sweeps: a burst of other work then never spoils one size alone."""
    return np.min([[measure(size) for size in progress(sizes)] for _ in range(sweeps)], axis=0).tolist()


def crossing(sizes: Sequence[float], ratios: Sequence[float]) -> float:
    """Where ``ratios``, which rise with the size, reach 1:
    on straight lines between the logarithms of the points given."""
    return float(np.exp(np.interp(0, np.log(ratios), np.log(sizes))))


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The power k for which values grow like sizes^k: the slope of a straight line through their logarithms."""
    return float(np.polyfit(np.log(np.asarray(sizes, float)), np.log(np.asarray(values, float)), 1)[0])


def progress(work: Iterable, total: int | None = None) -> Iterable:
    """A progress bar in a terminal and in JupyterLab, nothing where outputs are kept or compared."""
    return tqdm(work, total=total, leave=False, disable=False if "JPY_SESSION_NAME" in os.environ else None)
