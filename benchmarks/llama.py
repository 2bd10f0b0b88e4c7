"""Llama-2-13B's shape in plain PyTorch with random bf16 weights: what ``accelerator.py`` times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as fn
from torch.nn.attention.bias import causal_lower_right

BF16 = torch.bfloat16


@dataclass(frozen=True)
class Shape:
    """Sizes of the model, and where it runs."""

    width: int = 5120
    hidden: int = 13824
    heads: int = 40
    kv_heads: int = 40
    head_dim: int = 128
    layers: int = 40
    vocabulary: int = 32000
    device: str = "cuda"

    def random(self, *sizes: int) -> torch.Tensor:
        return torch.empty(sizes, device=self.device, dtype=BF16).normal_(0, 0.02)


class Layer:
    """The matrices of one layer; applied to x it leaves out norms and rotary embedding."""

    def __init__(self, shape: Shape) -> None:
        self.shape, wide = shape, shape.heads * shape.head_dim
        both = wide + 2 * shape.kv_heads * shape.head_dim
        self.qkv, self.out = shape.random(both, shape.width), shape.random(shape.width, wide)
        self.gate_up, self.down = shape.random(2 * shape.hidden, shape.width), shape.random(shape.width, shape.hidden)
        self.weights = sum(w.numel() for w in (self.qkv, self.out, self.gate_up, self.down))

    def cache(self, batch: int, context: int) -> tuple[torch.Tensor, torch.Tensor]:
        sizes = (batch, self.shape.kv_heads, context, self.shape.head_dim)
        return self.shape.random(*sizes), self.shape.random(*sizes)

    def mlp(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = (x @ self.gate_up.T).chunk(2, -1)
        return (fn.silu(gate) * up) @ self.down.T

    def __call__(self, x: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:  # [B, T, D] -> [B, T, D]
        (batch, tokens, _), context = x.shape, k.shape[2]
        q, new_k, new_v = self.split(x @ self.qkv.T, batch, tokens)
        k[:, :, context - tokens:], v[:, :, context - tokens:] = new_k, new_v
        x = x + attend(q, k, v).transpose(1, 2).reshape(batch, tokens, -1) @ self.out.T
        return x + self.mlp(x)

    def split(self, qkv: torch.Tensor, batch: int, tokens: int) -> tuple[torch.Tensor, ...]:
        """Queries, keys and values, [B, heads, T, H] each."""
        heads, kv = self.shape.heads, self.shape.kv_heads
        return qkv.view(batch, tokens, heads + 2 * kv, -1).transpose(1, 2).split((heads, kv, kv), 1)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """[B, N, T, H] [B, K, S, H] [B, K, S, H] -> [B, N, T, H]: the T queries are the last of S positions."""
    tokens, context = q.shape[2], k.shape[2]
    hidden = None if tokens in (1, context) else causal_lower_right(tokens, context)
    return fn.scaled_dot_product_attention(q, k, v, attn_mask=hidden, is_causal=tokens == context > 1,
                                           enable_gqa=k.shape[1] < q.shape[1])


@dataclass(frozen=True)
class Part:
    """Sequences of a pass with ``tokens`` new tokens each, the last of ``context``; all parts share the products."""

    batch: int
    tokens: int
    context: int


class Llama:
    """All layers, norms, rotary embedding, embedding and head; the cache of every part is filled at random."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.layers = [Layer(shape) for _ in range(shape.layers)]
        self.embedding, self.head = (shape.random(shape.vocabulary, shape.width) for _ in range(2))
        rates = 10000 ** (-torch.arange(0, shape.head_dim, 2, device=shape.device) / shape.head_dim)
        angles = torch.arange(8193, device=shape.device)[:, None] * rates
        self.cos, self.sin = angles.cos().to(BF16), angles.sin().to(BF16)

    def rotate(self, x: torch.Tensor, start: int) -> torch.Tensor:  # [B, heads, T, H]
        cos, sin = (each[start:start + x.shape[2]] for each in (self.cos, self.sin))
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)

    def prepare(self, parts: list[Part], every: bool) -> Callable[[], torch.Tensor]:
        """The pass over ``parts`` as a call; logits for every token or for the last one of each sequence."""
        tokens = torch.randint(self.shape.vocabulary, (sum(p.batch * p.tokens for p in parts),),
                               device=self.shape.device)
        caches = [[one.cache(p.batch, p.context) for p in parts] for one in self.layers]
        return partial(self.forward, tokens, parts, caches, every)

    def forward(self, tokens, parts, caches, every) -> torch.Tensor:  # [rows] -> [rows or sequences, V]
        counts = [p.batch * p.tokens for p in parts]
        x = fn.embedding(tokens, self.embedding)
        for one, of_layer in zip(self.layers, caches):
            pieces = (fn.rms_norm(x, x.shape[-1:]) @ one.qkv.T).split(counts)
            x = x + torch.cat([self.attention(one, *each) for each in zip(pieces, parts, of_layer)]) @ one.out.T
            x = x + one.mlp(fn.rms_norm(x, x.shape[-1:]))
        if not every:
            x = torch.cat([rows.view(p.batch, p.tokens, -1)[:, -1] for rows, p in zip(x.split(counts), parts)])
        return fn.rms_norm(x, x.shape[-1:]) @ self.head.T

    def attention(self, one: Layer, qkv, part: Part, cache) -> torch.Tensor:
        start, (k, v) = part.context - part.tokens, cache
        q, new_k, new_v = one.split(qkv, part.batch, part.tokens)
        k[:, :, start:], v[:, :, start:] = self.rotate(new_k, start), new_v
        return attend(self.rotate(q, start), k, v).transpose(1, 2).reshape(part.batch * part.tokens, -1)
