"""A CUDA accelerator against the book's two rates: ``python benchmarks/accelerator.py FOLDER`` (needs only PyTorch).

Writes products.csv, layer.csv, llama13b.csv and mixed.csv with the columns of ``lecture10/measurements/data``, so that
``lecture10.timings("FOLDER/llama13b.csv")`` puts the book's bound beside every row. All in bf16 with random weights of
Llama-2-13B's shape: single products (fp8 and int8 too), one layer and its attention, whole passes as CUDA graphs, and
steps that decode and read a prompt together. ``--only NAME`` makes one file; ``--tiny`` runs small shapes on the CPU.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from llama import BF16, Layer, Llama, Part, Shape, attend

TINY = Shape(width=64, hidden=96, heads=8, kv_heads=8, head_dim=8, layers=2, vocabulary=50, device="cpu")


def seconds(work: Callable[[], object], device: str, runs: int, flush: bool = True) -> list[float]:
    """Sorted times of ``runs`` after three that do not count; ``flush`` first writes more than the caches hold."""
    filler = torch.empty(64 << 20 if flush and device == "cuda" else 1, dtype=torch.int32, device=device)
    times = []
    for _ in range(runs + 3):
        if flush:
            filler.zero_()
        times.append(_once(work, device))
    return sorted(times[3:])


def _once(work: Callable[[], object], device: str) -> float:
    if device == "cpu":
        began = time.perf_counter()
        work()
        return time.perf_counter() - began
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    stop.record()
    torch.cuda.synchronize()
    return start.elapsed_time(stop) / 1e3


def milliseconds(times: list[float]) -> tuple[float, float, int]:
    """Median, minimum and number."""
    return 1e3 * statistics.median(times), 1e3 * times[0], len(times)


# Single products


def products(shape: Shape, tiny: bool) -> Iterator[tuple]:
    """A weight matrix times ``rows`` rows in each format that the device has, a copy and a sum."""
    counts = (1, 32) if tiny else (1, 2, 4, 8, 16, 32, 48, *range(64, 384, 32), 384, 448, 512, 576, 640, 768, 896, 1024,
                                   1280, 1536, 2048, 3072, 4096, 8192, 16384)
    for inner, columns in ((64, 96),) if tiny else ((5120, 27648), (16384, 16384)):
        weights = shape.random(columns, inner)
        for rows in counts:
            for name, work in _in_formats(shape.random(rows, inner), weights):
                yield "product", name, rows, inner, columns, *milliseconds(seconds(work, shape.device, 15))
    many = 1 << (10 if tiny else 30)
    here, there = (torch.empty(many, dtype=BF16, device=shape.device) for _ in range(2))
    for name, work in (("copy", lambda: there.copy_(here)), ("sum", lambda: here.sum(dtype=torch.float32))):
        yield name, "bf16", 1, many, 1, *milliseconds(seconds(work, shape.device, 15))


def _in_formats(x: torch.Tensor, w: torch.Tensor) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "bf16", lambda: x @ w.T
    if x.device.type == "cuda" and torch.cuda.get_device_capability() >= (8, 9) and len(x) >= 16:
        x8, w8, one = x.to(torch.float8_e4m3fn), w.to(torch.float8_e4m3fn), torch.ones((), device=x.device)
        yield "fp8", lambda: torch._scaled_mm(x8, w8.T, scale_a=one, scale_b=one, out_dtype=BF16)
    if len(x) >= 32:
        xi, wi = ((127 * each).clamp(-127, 127).to(torch.int8) for each in (x, w))
        yield "int8", lambda: torch._int_mm(xi, wi.T)


# One layer, whose FLOPs and bytes are counted here


def layer(shape: Shape, tiny: bool) -> Iterator[tuple]:
    one, width = Layer(shape), shape.width
    best = lambda work: seconds(work, shape.device, 2 if tiny else 20)[0]  # noqa: E731
    batches, contexts = ([1, 2], [4, 8]) if tiny else ([2**i for i in range(12)], [512, 1024, 2048, 4096])
    for batch in batches:
        x, w = shape.random(batch, width), one.gate_up
        yield "matmul", batch, 1, 0, best(lambda x=x, w=w: x @ w.T), 2 * batch * w.numel(), \
            2 * (w.numel() + batch * sum(w.shape))
    for context in contexts:
        x, (k, v) = shape.random(1, context, width), one.cache(1, context)
        yield "prefill layer", 1, context, context, best(partial(one, x, k, v)), \
            2 * context * one.weights + 2 * context * (context + 1) * width, 2 * (one.weights + k.numel() + v.numel())
        for batch in [b for b in batches if b <= 64]:
            x, (k, v) = shape.random(batch, 1, width), one.cache(batch, context)
            flops, cached = 4 * batch * context * width, 2 * (k.numel() + v.numel())
            yield "decode layer", batch, 1, context, best(partial(one, x, k, v)), \
                2 * batch * one.weights + flops, 2 * one.weights + cached
            q = shape.random(batch, shape.heads, 1, shape.head_dim)
            yield "decode attention", batch, 1, context, best(partial(attend, q, k, v)), flops, cached


# Whole passes


def timed(model: Llama, parts: list[Part], runs: int, every: bool = False) -> tuple[float, float, int]:
    work, device = model.prepare(parts, every), model.shape.device
    return milliseconds(seconds(captured(work) if device == "cuda" else work, device, runs, flush=False))


def captured(work: Callable[[], object]) -> Callable[[], object]:
    """``work`` as one CUDA graph, so that launching its kernels costs nothing."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def passes(kv_heads: int, tiny: bool) -> Iterator[tuple[str, int, int, int]]:
    """(what, B, T, S) of the whole model's passes that are timed."""
    if tiny:
        yield from (("prefill", 1, 4, 4), ("decode", 2, 1, 5), ("pass", 2, 3, 6))
        return
    yield from (("prefill", 1, prompt, prompt) for prompt in (128, 256, 512, 1024, 2048, 4096))
    batches = (1, 2, 4, 8, 16, 32, 48, 56, 60, 64) + ((96, 128, 192, 256) if kv_heads == 8 else ())
    yield from (("decode", batch, 1, 1024) for batch in batches)
    yield from (("decode", 1, 1, context) for context in (512, 2048, 4096, 8192))
    if kv_heads == 8:
        yield from (("decode short", batch, 1, 128) for batch in (64, 128, 256, 448))
        return
    yield from (("pass", batch, tokens, 1024) for batch in (1, 8, 32)
                for tokens in (2, 3, 4, 5, 6, 8, 9, 12, 16, 32, 64))


def llama13b(shape: Shape, tiny: bool) -> Iterator[tuple]:
    for kv_heads in (8,) if tiny else (40, 8):
        model = Llama(replace(shape, kv_heads=kv_heads))
        for what, *sizes in passes(kv_heads, tiny):
            yield from _fitting(what, kv_heads, *sizes, time=partial(
                timed, model, [Part(*sizes)], 2 if tiny else 20, every=what == "pass"))
        del model  # the next one is built before the name is bound anew


def mixed(shape: Shape, tiny: bool) -> Iterator[tuple]:
    for kv_heads in (2,) if tiny else (8, 40):
        model = Llama(replace(shape, kv_heads=kv_heads))
        for what, batch, context, chunk, cached in _mixtures(kv_heads, tiny):
            parts = [Part(batch, 1, context)] * (batch > 0) + [Part(1, chunk, cached + chunk)] * (chunk > 0)
            yield from _fitting(what, kv_heads, batch, context, chunk, cached,
                                time=partial(timed, model, parts, 2 if tiny else 12))
        del model


def _mixtures(kv_heads: int, tiny: bool) -> Iterator[tuple[str, int, int, int, int]]:
    if tiny:
        yield from (("mixed", 2, 5, 4, 3), ("prefix", 0, 1, 4, 4))
        return
    for batch in (0, 32, 128) if kv_heads == 8 else (0, 32):
        for chunk in (0, 64, 128, 256, 512, 1024, 2048, 4096):
            if batch + chunk:
                yield "mixed", batch, 1024, chunk, 0
        yield from (("mixed", batch, 1024, chunk, cached) for cached in (2048, 6144) for chunk in (512, 2048))
    yield from (("prefix", 0, 1, 8192 - cached, cached) for cached in (0, 4096, 6144, 7168, 7680, 8064, 8191))


def _fitting(*sizes: object, time: Callable[[], tuple]) -> Iterator[tuple]:
    """The row, or none where the memory does not hold it."""
    try:
        times = time()
    except RuntimeError as error:  # OutOfMemoryError is one
        if not _out_of_memory(error):
            raise
        times = None
    if times:
        yield *sizes, *times
    else:  # here the tensors of the failed call are gone
        print(*sizes, "does not fit", flush=True)
        torch.cuda.empty_cache()


def _out_of_memory(error: BaseException) -> bool:
    """Also where the end of a graph's capture failed in turn."""
    return any(isinstance(each, torch.OutOfMemoryError) for each in (error, error.__context__))


FILES = {
    "products": (products, ("what", "format", "rows", "inner", "columns", "ms_median", "ms_min", "runs")),
    "layer": (layer, ("operation", "B", "T", "S", "seconds", "flops", "bytes")),
    "llama13b": (llama13b, ("what", "K", "B", "T", "S", "ms_median", "ms_min", "runs")),
    "mixed": (mixed, ("what", "K", "B", "S", "chunk", "cached", "ms_median", "ms_min", "runs"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=FILES, help="one file instead of all four")
    parser.add_argument("--tiny", action="store_true", help="small shapes on the CPU: it runs, nothing is measured")
    arguments = parser.parse_args()
    if not arguments.tiny and (not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0)):
        parser.error("no CUDA card that computes in bf16 (capability 8.0): --tiny runs on the CPU")
    shape = TINY if arguments.tiny else Shape()
    device = "CPU, tiny shapes" if arguments.tiny else torch.cuda.get_device_name()
    about = device, torch.__version__, torch.version.cuda or "", datetime.date.today().isoformat()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in [arguments.only] if arguments.only else FILES:
        measure, columns = FILES[name]
        with (arguments.folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file, torch.inference_mode():
            table = csv.writer(file)
            table.writerow((*columns, "device", "torch", "cuda", "date"))
            try:
                for row in measure(shape, arguments.tiny):
                    table.writerow((*row, *about))
                    file.flush()
            except torch.OutOfMemoryError:
                print(f"{name}.csv ends here: the rest does not fit", flush=True)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
