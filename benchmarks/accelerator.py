"""A CUDA accelerator against the book's two rates: ``python benchmarks/accelerator.py OUT.csv`` (needs only PyTorch).

bf16: a matrix product against its rows B; one Llama-2-13B-shaped layer (D=5120, F=13824, N=K=40, H=128) in prefill
against S and in decode against B and S; attention alone at B=1 and in batches. Each row holds the best time of several
runs and the FLOPs and bytes that the book's formulas give; device, versions and date stand in every row. ``--tiny``
runs small shapes on the CPU.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as fn

Row = tuple[str, int, int, int, float, int, int]  # operation, B, T, S, seconds, FLOPs, bytes


def seconds(work: Callable[[], object], cuda: bool, rounds: int) -> float:
    """The best of ``rounds``; caches are emptied before each by writing more than they hold."""
    flush = torch.empty(64 << 20 if cuda else 1, dtype=torch.int32, device="cuda" if cuda else "cpu")
    best = float("inf")
    for _ in range(rounds + 3):
        flush.zero_()
        if cuda:
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            stop.record()
            torch.cuda.synchronize()
            best = min(best, start.elapsed_time(stop) / 1e3)
        else:
            began = time.perf_counter()
            work()
            best = min(best, time.perf_counter() - began)
    return best


class Layer:
    """One Llama-shaped layer with random weights, without norms and rotary embedding."""

    def __init__(self, width: int, hidden: int, heads: int, device: str) -> None:
        self.heads, self.device, self.width = heads, device, width
        dims = {"qkv": (3 * width, width), "out": (width, width), "gate_up": (2 * hidden, width),
                "down": (width, hidden)}
        self.w = {name: torch.randn(shape, device=device, dtype=torch.bfloat16) / 64 for name, shape in dims.items()}
        self.weights = sum(w.numel() for w in self.w.values())

    def random(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, device=self.device, dtype=torch.bfloat16)

    def cache(self, batch: int, context: int) -> tuple[torch.Tensor, torch.Tensor]:
        dims = (batch, self.heads, context, self.width // self.heads)
        return self.random(*dims), self.random(*dims)  # [B, N, S, H] x2

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """[B, N, T, H] [B, N, S, H] [B, N, S, H] -> [B, N, T, H], causal in prefill (T = S)."""
        return fn.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1)

    def __call__(self, x: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:  # [B, T, D] -> [B, T, D]
        (batch, tokens, width), context = x.shape, k.shape[2]
        q, new_k, new_v = ((x @ self.w["qkv"].T).view(batch, tokens, 3, self.heads, -1)
                           .permute(2, 0, 3, 1, 4))  # [B,N,T,H] x3
        k[:, :, context - tokens:], v[:, :, context - tokens:] = new_k, new_v
        x = x + self.attend(q, k, v).transpose(1, 2).reshape(batch, tokens, width) @ self.w["out"].T
        gate, up = (x @ self.w["gate_up"].T).chunk(2, -1)
        return x + (fn.silu(gate) * up) @ self.w["down"].T


def measure(tiny: bool) -> Iterator[Row]:
    cuda, rounds = not tiny, 2 if tiny else 20
    layer = Layer(*((64, 96, 4) if tiny else (5120, 13824, 40)), "cpu" if tiny else "cuda")
    width, w = layer.width, layer.w["gate_up"]
    batches, contexts = ([1, 2], [4, 8]) if tiny else ([2**i for i in range(12)], [512, 1024, 2048, 4096])
    for batch in batches:
        x = layer.random(batch, width)
        yield "matmul", batch, 1, 0, seconds(lambda x=x: x @ w.T, cuda, rounds), 2 * batch * w.numel(), \
            2 * (w.numel() + batch * sum(w.shape))
    for context in contexts:
        x, (k, v) = layer.random(1, context, width), layer.cache(1, context)
        flops = 2 * context * layer.weights + 2 * context * (context + 1) * width
        yield "prefill layer", 1, context, context, seconds(lambda x=x, k=k, v=v: layer(x, k, v), cuda, rounds), \
            flops, 2 * (layer.weights + k.numel() + v.numel())
        for batch in [b for b in batches if b <= 64]:
            x, (k, v) = layer.random(batch, 1, width), layer.cache(batch, context)
            attention, cache_bytes = 4 * batch * context * width, 2 * (k.numel() + v.numel())
            yield "decode layer", batch, 1, context, seconds(lambda x=x, k=k, v=v: layer(x, k, v), cuda, rounds), \
                2 * batch * layer.weights + attention, 2 * layer.weights + cache_bytes
            q = layer.random(batch, layer.heads, 1, width // layer.heads)
            yield "decode attention", batch, 1, context, \
                seconds(lambda q=q, k=k, v=v: layer.attend(q, k, v), cuda, rounds), attention, cache_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--tiny", action="store_true",
                        help="small shapes on the CPU: the script runs, nothing is measured")
    arguments = parser.parse_args()
    device = "CPU, tiny shapes" if arguments.tiny else torch.cuda.get_device_name()
    about = (device, torch.__version__, torch.version.cuda or "", datetime.date.today().isoformat())
    with open(arguments.out, "w", newline="", encoding="utf-8") as file, torch.inference_mode():
        table = csv.writer(file)
        table.writerow(["operation", "B", "T", "S", "seconds", "flops", "bytes", "device", "torch", "cuda", "date"])
        table.writerows((*row, *about) for row in measure(arguments.tiny))


if __name__ == "__main__":
    main()
