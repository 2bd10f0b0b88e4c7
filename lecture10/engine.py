"""A Llama-family decoder in NumPy, written to be read: prefill and generation through one ``forward``.

Notebook: book/Lecture10-Lab-Engine.ipynb. Shapes stand beside the lines in the book's letters: B sequences, T new tokens
each, S positions of context, D, F, N, K, G = N/K, H, L, V. Everything is float32; matrices are [out, in].
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache as remember

import numpy as np
from numpy.typing import NDArray

from .weights import Layer, Shape, Weights

BLAS_THREADS = int(os.environ.get("OPENBLAS_NUM_THREADS") or os.cpu_count() or 1)
SMALL_PRODUCT = 600_000  # multiply-adds up to which OpenBLAS (AVX-512), on one thread, takes matrices as they lie, without packing
FEW_ROWS = 24 if BLAS_THREADS == 1 else 3  # below this many rows small products on one thread beat packed ones on all
BLOCK_OUTPUTS = 768  # outputs whose packed weights stay in cache
MANY_ROWS = 64  # from here on packing a matrix costs little beside multiplying it
QUERY_BLOCK = 64  # queries whose scores are computed at a time
GATE_BLOCK = 2**15  # elements of the MLP that are gated at a time
PREFILL_CHUNK = 512  # prompt tokens in one pass: bounds the memory of activations


@dataclass
class KVCache:
    """The keys and values of B sequences, each of its own length; ``lengths`` counts the positions filled."""

    keys: NDArray  # [L, B, K, capacity, H]
    values: NDArray  # [L, B, K, capacity, H]
    lengths: NDArray  # [B]

    @classmethod
    def empty(cls, shape: Shape, batch: int, capacity: int) -> KVCache:
        """Room for ``capacity`` positions of ``batch`` sequences. Raises ValueError beyond the model's context length."""
        if not 1 <= capacity <= shape.context_length:
            raise ValueError(f"capacity is {capacity} tokens: expected 1 to {shape.context_length}, the model's context length")
        if batch < 1:
            raise ValueError(f"batch is {batch}: expected at least one sequence")
        dims = (shape.L, batch, shape.K, capacity, shape.H)
        return cls(np.zeros(dims, np.float32), np.zeros(dims, np.float32), np.zeros(batch, int))

    @property
    def capacity(self) -> int:
        return self.keys.shape[3]

    @property
    def bytes_per_token(self) -> int:
        """Bytes that one position of one sequence takes: 2·L·K·H elements."""
        return (self.keys.nbytes + self.values.nbytes) // (self.keys.shape[1] * self.capacity)

    def row(self, b: int) -> KVCache:
        """Sequence b alone; what is written to it is written here."""
        return replace(self, keys=self.keys[:, b:b + 1], values=self.values[:, b:b + 1], lengths=self.lengths[b:b + 1])

    def write(self, layer: int, k: NDArray, v: NDArray) -> tuple[NDArray, NDArray]:  # [B,T,K,H] x2 -> [B,K,S,H] x2
        """Store the new positions of one layer; returns all filled ones, up to the longest sequence."""
        new = k.shape[1]
        for b, start in enumerate(self.lengths):
            self.keys[layer, b, :, start:start + new] = k[b].swapaxes(0, 1)  # [K, T, H]
            self.values[layer, b, :, start:start + new] = v[b].swapaxes(0, 1)  # [K, T, H]
        filled = self.lengths.max() + new
        return self.keys[layer, :, :, :filled], self.values[layer, :, :, :filled]


def product(x: NDArray, w: NDArray) -> NDArray:  # [M, in] [out, in] -> [M, out]
    """x Wᵀ. BLAS first copies both matrices into a layout of its own, and for a few rows copying W costs more than multiplying
    it. That copy is cheapest where W stands first and the block of outputs being copied stays in cache, or is left out
    altogether for small products on one thread. A result W xᵀ lies column after column.
    """
    (rows, width), out = x.shape, len(w)
    if rows == 1:
        return (w @ x[0])[None]
    if rows >= MANY_ROWS and out <= 2 * width:
        return x @ w.T
    most = SMALL_PRODUCT // x.size if rows < FEW_ROWS else BLOCK_OUTPUTS if rows < MANY_ROWS else out
    blocks = w.reshape(-1, block_size(out, most), width)  # [blocks, block, in]
    return (blocks @ x.T).reshape(out, rows).T


@remember
def block_size(outputs: int, most: int) -> int:
    """The largest divisor of ``outputs`` that is at most ``most``."""
    return max(size for size in range(1, min(outputs, max(most, 1)) + 1) if outputs % size == 0)


def rms_norm(x: NDArray, gain: NDArray, epsilon: float) -> NDArray:  # [M, D] [D] -> [M, D]
    mean_square = np.vecdot(x, x)[:, None] / np.float32(len(gain))  # [M, 1]
    return x / np.sqrt(mean_square + np.float32(epsilon)) * gain


def gated(gate_up: NDArray) -> NDArray:  # [M, 2F] -> [M, F]
    """silu(gate) * up with silu(z) = z / (1 + exp(-z)), written over ``gate``; some columns at a time, to stay in cache."""
    middle = gate_up.shape[1] // 2
    gate, up = gate_up.T[:middle], gate_up.T[middle:]  # [F, M] each
    some = max(GATE_BLOCK // len(gate_up), 1)
    with np.errstate(over="ignore"):  # exp(-z) = inf gives the right limit, 0
        for start in range(0, middle, some):
            z = gate[start:start + some]  # [f, M]
            e = np.exp(-z)
            e += 1
            z /= e
            z *= up[start:start + some]
    return gate.T


def rotations(shape: Shape) -> NDArray:  # -> [context, H/2] complex
    """exp(i·position·base^(-2j/H)): rotary embedding turns pair j of a head by this angle (GGUF stores pairs side by side)."""
    frequencies = shape.rope_base ** (-np.arange(0, shape.H, 2) / shape.H)  # [H/2]
    return np.exp(1j * np.outer(np.arange(shape.context_length), frequencies)).astype(np.complex64)


def attention(q: NDArray, keys: NDArray, values: NDArray, lengths: NDArray) -> NDArray:
    """Causal softmax(q Kᵀ/√H) V of T new tokens: [B,T,N,H] [B,K,S,H] [B,K,S,H] [B] -> [B,T,N,H].

    Query t of sequence b sees positions 0 … lengths[b] + t. Queries go in blocks, so that scores stay in cache and a block
    skips the keys that all of it must not see.
    """
    (B, T, N, H), K = q.shape, keys.shape[1]
    grouped = (q * np.float32(H ** -0.5)).reshape(B, T, K, N // K, H).transpose(0, 2, 3, 1, 4)  # [B, K, G, T, H]
    out = np.empty_like(q)  # [B, T, N, H]
    for start in range(0, T, QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, T)
        block, seen = grouped[:, :, :, start:stop], lengths.max() + stop
        scores = block.reshape(B, K, -1, H) @ keys[:, :, :seen].swapaxes(2, 3)  # [B, K, G·t, S]
        _mask(scores.reshape(B, K, N // K, stop - start, seen), lengths + start)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        total = np.einsum("bkts->bkt", scores)  # [B, K, G·t]: three times as fast as scores.sum(axis=-1)
        mixed = scores @ values[:, :, :seen] / total[..., None]  # [B, K, G·t, H]
        out[:, start:stop] = mixed.reshape(B, N, stop - start, H).swapaxes(1, 2)  # [B, t, N, H]
    return out


def _mask(scores: NDArray, lengths: NDArray) -> None:  # [B, K, G, T, S] [B]
    """Set to minus infinity, in place, what lies after each query's own position; all see the first min(lengths) + 1."""
    (tokens, context), common = scores.shape[3:], lengths.min() + 1
    if common < context:
        own = lengths[:, None, None] + np.arange(tokens)[:, None]  # [B, T, 1]
        hidden = np.arange(common, context) > own  # [B, T, S - common]
        np.copyto(scores[..., common:], -np.inf, where=hidden[:, None, None])


class Engine:
    """Runs a model. ``multiply`` is the product with a weight matrix; another one measures or quantizes."""

    def __init__(self, weights: Weights, multiply: Callable[[NDArray, NDArray], NDArray] = product) -> None:
        self.weights, self.shape, self.multiply = weights, weights.shape, multiply
        self.rotations = rotations(weights.shape)  # [context, H/2]

    def forward(self, tokens: NDArray | Sequence[Sequence[int]], cache: KVCache, logits: int = 1) -> NDArray:
        """One pass of T new tokens of every sequence, [B, T] -> [B, logits, V]: scores of the next token after each of the
        last ``logits`` positions. The cache grows by T. Raises ValueError for tokens outside the vocabulary, no tokens,
        a batch that differs from the cache's, and more tokens than fit.
        """
        tokens = self._checked(tokens, cache, logits)  # [B, T]
        B, T = tokens.shape
        positions = cache.lengths[:, None] + np.arange(T)  # [B, T]
        turn = self.rotations[positions][:, :, None]  # [B, T, 1, H/2]
        x = self.weights.embedding[tokens.ravel()]  # [BT, D]
        for i, layer in enumerate(self.weights.layers):
            x = x + self._attend(i, layer, x, turn, cache)  # [BT, D]
            x += self._mlp(layer, x)  # [BT, D]
        cache.lengths += T
        last = x.reshape(B, T, -1)[:, T - logits:].reshape(B * logits, -1)  # [B·logits, D]
        scores = self.multiply(self._norm(last, self.weights.norm), self.weights.embedding)  # [B·logits, V]
        return scores.reshape(B, logits, -1)

    def _attend(self, i: int, layer: Layer, x: NDArray, turn: NDArray, cache: KVCache) -> NDArray:  # [BT, D] -> [BT, D]
        s, (B, T) = self.shape, turn.shape[:2]
        qkv = self.multiply(self._norm(x, layer.attention_norm), layer.qkv)  # [BT, (N+2K)H]
        qkv = np.asanyarray(qkv, order="C").reshape(B, T, s.N + 2 * s.K, s.H)  # [B, T, N+2K, H]
        qkv[:, :, :s.N + s.K].view(np.complex64)[...] *= turn  # q and k, not v
        q, k, v = qkv[:, :, :s.N], qkv[:, :, s.N:s.N + s.K], qkv[:, :, s.N + s.K:]  # [B, T, N, H], [B, T, K, H] x2
        y = attention(q, *cache.write(i, k, v), cache.lengths)  # [B, T, N, H]
        return self.multiply(y.reshape(B * T, s.N * s.H), layer.output)  # [BT, D]

    def _mlp(self, layer: Layer, x: NDArray) -> NDArray:  # [M, D] -> [M, D]
        gate_up = self.multiply(self._norm(x, layer.mlp_norm), layer.gate_up)  # [M, 2F]
        return self.multiply(gated(gate_up), layer.down)  # [M, D]

    def _norm(self, x: NDArray, gain: NDArray) -> NDArray:  # [M, D] [D] -> [M, D]
        return rms_norm(x, gain, self.shape.norm_epsilon)

    def _checked(self, tokens: NDArray | Sequence[Sequence[int]], cache: KVCache, logits: int) -> NDArray:
        tokens = np.asarray(tokens)
        if tokens.ndim != 2 or tokens.shape[1] < 1:
            raise ValueError(f"tokens have shape {tokens.shape}: expected [B, T] with at least one token")
        if len(tokens) != len(cache.lengths):
            raise ValueError(f"tokens of {len(tokens)} sequences for a cache of {len(cache.lengths)}: expected the same batch")
        if not (tokens.dtype.kind in "iu" and tokens.min() >= 0 and tokens.max() < self.shape.V):
            raise ValueError(f"tokens reach from {tokens.min()} to {tokens.max()}: expected integers below {self.shape.V}")
        if cache.lengths.max() + tokens.shape[1] > cache.capacity:
            raise ValueError(f"{cache.lengths.max()} tokens in the cache and {tokens.shape[1]} new ones: "
                             f"expected at most {cache.capacity} together")
        if not 1 <= logits <= tokens.shape[1]:
            raise ValueError(f"logits is {logits}: expected 1 to {tokens.shape[1]}, the number of tokens")
        return tokens


def greedy(logits: NDArray) -> NDArray:  # [B, V] -> [B]
    """The most probable token."""
    return logits.argmax(axis=-1)


def sampler(seed: int, temperature: float = 1.0, top_p: float = 1.0) -> Callable[[NDArray], NDArray]:
    """A function [B, V] -> [B] that draws from softmax(logits / temperature), cut to the smallest set of tokens whose
    probabilities reach ``top_p``. Raises ValueError for a temperature not above 0 (use ``greedy``) or top_p outside (0, 1].
    """
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature is {temperature}: expected a number above 0; the limit 0 is `greedy`")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}: expected a number above 0, at most 1")
    rng = np.random.default_rng(seed)

    def draw(logits: NDArray) -> NDArray:  # [B, V] -> [B]
        scaled = logits.astype(float) / temperature  # [B, V]
        order = np.argsort(-scaled, axis=-1, kind="stable")  # [B, V]
        p = np.exp(np.take_along_axis(scaled, order, -1) - scaled.max(axis=-1, keepdims=True))  # [B, V], falling
        before = (p / p.sum(axis=-1, keepdims=True)).cumsum(axis=-1) - p / p.sum(axis=-1, keepdims=True)  # [B, V]
        p[before >= top_p] = 0
        total = p.cumsum(axis=-1)  # [B, V]
        rank = (total <= rng.random((len(p), 1)) * total[:, -1:]).sum(axis=-1, keepdims=True)  # [B, 1]
        return np.take_along_axis(order, rank, -1)[:, 0]  # [B]

    return draw


def generate(engine: Engine, prompts: Sequence[Sequence[int]], max_tokens: int,
             choose: Callable[[NDArray], NDArray] = greedy) -> Iterator[NDArray]:
    """Yield the next token of every sequence, [B], until all have ended or ``max_tokens`` are out.

    Prompts may differ in length: each is prefilled on its own, then all generate together; one that has ended repeats the
    end token. Raises ValueError for an empty prompt and when prompt and answer together exceed the context length.
    """
    if not prompts or not all(map(len, prompts)):
        raise ValueError("empty prompt: expected at least one token in every prompt")
    longest, context = max(map(len, prompts)), engine.shape.context_length
    if max_tokens < 1 or longest + max_tokens > context:
        raise ValueError(f"a prompt of {longest} tokens and max_tokens={max_tokens}: expected at least 1 new token and "
                         f"at most {context} together, the model's context length")
    cache, eos = KVCache.empty(engine.shape, len(prompts), longest + max_tokens), engine.weights.eos
    tokens = choose(np.concatenate([prefill(engine, prompt, cache.row(b)) for b, prompt in enumerate(prompts)]))  # [B]
    yield tokens
    for _ in range(max_tokens - 1):
        if (ended := tokens == eos).all():
            return
        following = choose(engine.forward(tokens[:, None], cache)[:, -1])  # [B]
        tokens = np.where(ended, eos, following)  # [B]
        yield tokens


def prefill(engine: Engine, prompt: Sequence[int], cache: KVCache) -> NDArray:  # [P] -> [1, V]
    """Read a prompt into the cache of one sequence, in chunks; returns the logits of what follows it."""
    for start in range(0, len(prompt), PREFILL_CHUNK):
        logits = engine.forward([prompt[start:start + PREFILL_CHUNK]], cache)  # [1, 1, V]
    return logits[:, -1]


def chat(question: str) -> str:
    """The question in the dialogue form that SmolLM2-Instruct was trained on (the template in its GGUF file)."""
    system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    return (f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")


def complete(engine: Engine, prompt: str, max_tokens: int, choose: Callable[[NDArray], NDArray] = greedy) -> str:
    """The text that follows ``prompt``. Raises ValueError as ``generate``."""
    tokenizer = engine.weights.tokenizer
    tokens = [int(token[0]) for token in generate(engine, [tokenizer.encode(prompt).ids], max_tokens, choose)]
    return tokenizer.decode(tokens)
