"""The engine beside the bare products it consists of, transformers and llama.cpp.

``python benchmarks/engine.py [--peers] [ROUNDS]``

Every quantity is measured once a round, side by side, and the best of all rounds counts: other work on the machine can
only make a time longer. ``--peers`` needs ``pip install torch transformers accelerate`` and, if it is to be shown,
``llama-cpp-python``; all get the threads that NumPy's BLAS has.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from lecture10.engine.decoder import Engine
from lecture10.engine.kv_cache import KVCache
from lecture10.engine.weights import Weights, _default_path, load_weights

PROMPT, FEW, SQUARE = 512, (2, 4, 8), 2048
REST_S = 0.1  # in which the waiting threads of the one measured before go to sleep
THREADS = int(os.environ.get("OPENBLAS_NUM_THREADS") or os.cpu_count())


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def own_work(weights: Weights) -> dict[str, Callable[[], object]]:
    """The engine's passes and what they are compared with.

    Every pass starts from 64 cached positions, prefill from none.
    """
    engine, rng = Engine(weights), np.random.default_rng(0)
    tokens = rng.integers(0, weights.shape.V, (1, PROMPT))
    cache = KVCache.empty(weights.shape, 1, PROMPT + 64)
    vectors = {w.shape[1]: rng.standard_normal(w.shape[1], dtype=np.float32) for w in weights.matrices()}
    square = rng.standard_normal((SQUARE, SQUARE), dtype=np.float32)

    def forward(count: int, start: int, logits: int) -> Callable[[], object]:
        def run() -> None:
            cache.lengths[:] = start
            engine.forward(tokens[:, :count], cache, logits)
        return run

    return {"load": load_weights,
            "matrix-vector products": lambda: [w @ vectors[w.shape[1]] for w in weights.matrices()],
            "matrix-matrix product": lambda: square @ square,
            "1 token": forward(1, 64, 1),
            **{f"{count} tokens": forward(count, 64, count) for count in FEW},
            f"{PROMPT} tokens": forward(PROMPT, 0, 1)}


def transformers_work(path: str) -> dict[str, Callable[[], object]]:
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    torch.set_num_threads(THREADS)
    folder, name = os.path.split(path)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    tokens = torch.randint(0, model.config.vocab_size, (1, PROMPT))

    @torch.inference_mode()
    def run(count: int, past: object) -> object:
        return model(tokens[:, :count], past_key_values=past, use_cache=True, logits_to_keep=1).past_key_values

    past = run(64, DynamicCache(config=model.config))

    def one() -> None:
        run(1, past)
        past.crop(-1)  # back to the same 64 cached positions

    return {"transformers, 1 token": one,
            f"transformers, {PROMPT} tokens": lambda: run(PROMPT, DynamicCache(config=model.config))}


def llama_work(path: str) -> dict[str, Callable[[], object]]:
    from llama_cpp import Llama

    model = Llama(path, n_ctx=PROMPT + 128, n_batch=PROMPT, n_ubatch=PROMPT, n_threads=THREADS, n_threads_batch=THREADS,
                  verbose=False)
    tokens = np.random.default_rng(0).integers(3, 49152, PROMPT).tolist()

    def evaluate(count: int, start: int) -> Callable[[], object]:
        def run() -> None:
            model.n_tokens = start
            model._ctx.kv_cache_seq_rm(-1, start, -1)
            model.eval(tokens[:count])
        return run

    evaluate(64, 0)()
    return {"llama.cpp Q4_1, 1 token": evaluate(1, 64), f"llama.cpp Q4_1, {PROMPT} tokens": evaluate(PROMPT, 0)}


def ratios(best: dict[str, float], weights: Weights) -> list[tuple[str, float, str]]:
    shape, matrices = weights.shape, sum(w.size for w in list(weights.matrices())[:-1])
    useful = (2 * PROMPT * matrices + 2 * shape.V * shape.D
              + 4 * PROMPT * (PROMPT + 1) // 2 * shape.N * shape.H * shape.L)
    rate, square = useful / best[f"{PROMPT} tokens"], 2 * SQUARE**3 / best["matrix-matrix product"]
    bare = best["matrix-vector products"]
    rows = [("bare matrix-vector products / decode step", bare / best["1 token"], "at least 0.85"),
            (f"prefill / matrix product ({rate / 1e9:.0f} of {square / 1e9:.0f} GFLOP/s)", rate / square,
             "at least 0.6")]
    rows += [(f"pass over {count} tokens / pass over 1", best[f"{count} tokens"] / best["1 token"], "at most 2.2")
             for count in FEW]
    for name, goal in (("1 token", "at least 1"), (f"{PROMPT} tokens", "at least 0.9")):
        goals = {"transformers": goal, "llama.cpp Q4_1": "shown"}
        rows += [(f"{peer}, {name} / engine", best[f"{peer}, {name}"] / best[name], goals[peer])
                 for peer in goals if f"{peer}, {name}" in best]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rounds", nargs="?", type=int, default=10)
    parser.add_argument("--peers", action="store_true", help="measure transformers and llama.cpp too")
    arguments = parser.parse_args()
    weights, path = load_weights(), str(_default_path())
    work = own_work(weights)
    if arguments.peers:
        work |= transformers_work(path)
        try:
            work |= llama_work(path)
        except ImportError:
            print("llama-cpp-python is not installed: left out")
    best: dict[str, float] = {}
    for _ in tqdm(range(arguments.rounds), unit="round", disable=None):
        for name, run in work.items():
            run()  # warm: the neighbours' caches are not measured
            time.sleep(REST_S)
            best[name] = min(best.get(name, float("inf")),
                             *(seconds(run) for _ in range(1 if f"{PROMPT} " in name else 3)))
    for name, time_s in best.items():
        print(f"{name:42}{1e3 * time_s:10.1f} ms")
    for name, ratio, goal in ratios(best, weights):
        print(f"{name:62}{ratio:8.2f}   {goal}")


if __name__ == "__main__":
    main()
