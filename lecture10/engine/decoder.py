"""A Llama-family decoder in NumPy, written to be read: prefill and generation through one ``forward``.

Notebook: book/Lecture10-Lab-Engine.ipynb. Shapes stand beside the lines in the book's letters: B sequences, T new
tokens each, S positions of context, D, F, N, K, G = N/K, H, L, V. Everything is float32; matrices are [out, in].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache as remember
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..checks import checked, each, function, instance, optional, real, refused, sequence, shown, text, whole
from .attention import Attend, attention, shared_attention
from .kv_cache import KVCache, LaterPositions
from .products import product
from .threads import THREADS, equal_shares, has_helpers, helpers, shares, spread
from .weights import Layer, Weights

GATE_BLOCK = 2**15  # elements of the MLP that are gated at a time
MANY_ROWS = 64  # tokens for each thread from which every thread runs the layers for its own
PREFILL_CHUNK = 512  # prompt tokens in one pass: bounds the memory of activations


def _token(name: str, value: object) -> object:
    if hasattr(value, "__len__"):
        raise refused(name, value, "a token")
    return value


_rows = each(each(_token))


def rms_norm(x: NDArray, gain: NDArray, epsilon: float) -> NDArray:  # [M, D] [D] -> [M, D]
    mean_square = np.vecdot(x, x)[:, None] / len(gain)  # [M, 1]
    return x / np.sqrt(mean_square + epsilon) * gain


def gated(gate: NDArray, up: NDArray) -> NDArray:  # [M, F] [M, F] -> [M, F]
    """silu(gate) * up with silu(z) = z / (1 + exp(-z)), written over ``gate``; a part at a time, to stay in cache."""
    z, u = (gate, up) if gate.flags.c_contiguous else (gate.T, up.T)  # as they lie in memory
    some = max(GATE_BLOCK // z.shape[1], 1)
    for start in range(0, len(z), some):
        part = z[start:start + some]
        e = np.exp(-part)  # inf for a very negative z gives the right limit, 0
        e += 1
        part /= e
        part *= u[start:start + some]
    return gate


@remember
def rotations(context: int, H: int, base: float) -> NDArray:  # -> [context, H/2] complex
    """exp(i·position·base^(-2j/H)): rotary embedding turns pair j of a head by this angle
    (GGUF stores pairs side by side). Engines on the same model share the table, so nobody writes to it."""
    frequencies = base ** (-np.arange(0, H, 2) / H)  # [H/2]
    table = np.exp(1j * np.outer(np.arange(context), frequencies)).astype(np.complex64)
    table.flags.writeable = False
    return table


Mix = Callable[[int, NDArray, NDArray, NDArray], NDArray]
"""(layer, q [B,T,N,H], k [B,T,K,H], v [B,T,K,H]) -> [B,T,N,H]"""


def _mix(attend: Attend, cache: KVCache | LaterPositions, layer: int, q: NDArray, k: NDArray, v: NDArray) -> NDArray:
    keys, values = cache.write(layer, k, v)  # [B, K, S, H] x2
    return shared_attention(q, cache.lengths, keys.shape[2], lambda some: (keys[some], values[some]), attend)


class Engine:
    """Runs a model. ``multiply`` is the product with a weight matrix; another one measures or quantizes. ``attend`` is
    ``attention``; another one sees less."""

    @checked(weights=instance(Weights), multiply=function, attend=function)
    def __init__(self, weights: Weights, multiply: Callable[[NDArray, NDArray], NDArray] = product,
                 attend: Attend = attention) -> None:
        self.weights, self.shape, self.multiply, self.attend = weights, weights.shape, multiply, attend
        self.rotations = rotations(self.shape.context_length, self.shape.H, self.shape.rope_base)  # [context, H/2]

    @checked(cache=instance(KVCache, LaterPositions), logits=whole)
    def forward(self, tokens: NDArray | Sequence[Sequence[int]], cache: KVCache, logits: int = 1) -> NDArray:
        """One pass of T new tokens of every sequence, [B, T] -> [B, logits, V]: scores of the next token after each of
        the last ``logits`` positions. The cache grows by T. Raises ValueError for tokens outside the vocabulary, no
        tokens, a batch that differs from the cache's, more tokens than fit, and more logits than tokens.
        """
        tokens = self._checked(tokens, cache, logits)  # [B, T]
        B, T = tokens.shape
        shared = B * T > 1 and self.multiply is product  # another one need not be safe in several threads
        with helpers(shared), np.errstate(over="ignore"):
            run = self._shared if B * T >= MANY_ROWS * THREADS and has_helpers() else self._layers
            x = run(tokens, cache)  # [B, T, D]
            cache.lengths += T
            scores = self.scores(x[:, T - logits:].reshape(B * logits, -1))  # [B·logits, V]
        return scores.reshape(B, logits, -1)

    def scores(self, x: NDArray) -> NDArray:  # [M, D] -> [M, V]
        """The logits after the layers' outputs ``x``."""
        return self.multiply(self._norm(x, self.weights.norm), self.weights.embedding)

    def _shared(self, tokens: NDArray, cache: KVCache) -> NDArray:  # [B, T] -> [B, T, D]
        """The layers for many tokens: the threads share the sequences,
        or the positions where there are fewer sequences."""
        (B, T), s = tokens.shape, self.shape
        if B >= THREADS:
            return np.concatenate(spread(lambda some: self._layers(tokens[some], cache.rows(some)), equal_shares(B)))
        # multiply-adds of a token, of each it sees
        own, seen = (2 * s.N + 2 * s.K) * s.H * s.D + 3 * s.D * s.F, 2 * s.N * s.H
        positions = shares(own + seen * (cache.lengths.max() + np.arange(T)))

        def run(part: tuple[slice, LaterPositions]) -> NDArray:  # -> [B, t, D]
            some, view = part
            with view:
                return self._layers(tokens[:, some], view)

        return np.concatenate(spread(run, list(zip(positions, LaterPositions.chain(cache, positions)))), axis=1)

    def _layers(self, tokens: NDArray, cache: KVCache | LaterPositions) -> NDArray:  # [B, T] -> [B, T, D]
        positions = cache.lengths[:, None] + np.arange(tokens.shape[1])  # [B, T]
        return self.layers(tokens, positions, partial(_mix, self.attend, cache))

    def layers(self, tokens: NDArray, positions: NDArray, mix: Mix) -> NDArray:  # [B, T] [B, T] -> [B, T, D]
        """All layers on tokens that stand at ``positions``; ``mix`` stores keys and values and does attention."""
        turn = self.rotations[positions][:, :, None]  # [B, T, 1, H/2]
        x = self.weights.embedding[tokens.ravel()]  # [BT, D]
        for i, layer in enumerate(self.weights.layers):
            x += self._attend(i, layer, x, turn, mix)  # [BT, D]
            x += self._mlp(layer, x)  # [BT, D]
        return x.reshape(*tokens.shape, -1)

    def _attend(self, i: int, layer: Layer, x: NDArray, turn: NDArray, mix: Mix) -> NDArray:
        s, (B, T) = self.shape, turn.shape[:2]
        qkv = self.multiply(self._norm(x, layer.attention_norm), layer.qkv)  # [BT, (N+2K)H]
        qkv = np.asanyarray(qkv, order="C").reshape(B, T, s.N + 2 * s.K, s.H)  # [B, T, N+2K, H]
        turned = qkv[:, :, :s.N + s.K].view(np.complex64)  # [B, T, N+K, H/2]: q and k, not v
        turned *= turn
        q, k, v = qkv[:, :, :s.N], qkv[:, :, s.N:s.N + s.K], qkv[:, :, s.N + s.K:]  # [B, T, N, H], [B, T, K, H] x2
        return self.multiply(mix(i, q, k, v).reshape(B * T, s.N * s.H), layer.output)  # [BT, D]

    def _mlp(self, layer: Layer, x: NDArray) -> NDArray:  # [M, D] -> [M, D]
        x = self._norm(x, layer.mlp_norm)  # [M, D]

        # what f of the width F add
        def some(gate: NDArray, up: NDArray, down: NDArray) -> NDArray:  # [f, D] [f, D] [D, f] -> [M, D]
            return self.multiply(gated(self.multiply(x, gate), self.multiply(x, up)), down)

        if not has_helpers():
            return some(layer.gate, layer.up, layer.down)
        return sum(spread(lambda f: some(layer.gate[f], layer.up[f], layer.down[:, f]), equal_shares(self.shape.F)))

    def _norm(self, x: NDArray, gain: NDArray) -> NDArray:  # [M, D] [D] -> [M, D]
        return rms_norm(x, gain, self.shape.norm_epsilon)

    def _checked(self, tokens: NDArray | Sequence[Sequence[int]], cache: KVCache, logits: int) -> NDArray:
        given = tokens
        try:
            if not isinstance(tokens, np.ndarray):  # NumPy fills the memory with a range that stands for a token
                tokens = _rows("tokens", tokens)
            tokens = np.asarray(tokens)
        except (ValueError, OverflowError):  # rows of different lengths, entries that are no tokens
            raise refused("tokens", given, "[B, T], as many tokens for each sequence") from None
        if tokens.ndim != 2 or tokens.shape[1] < 1:
            raise ValueError(f"tokens have shape {tokens.shape}: expected [B, T] with at least one token")
        if tokens.dtype.kind not in "iu":
            raise refused("tokens", given, f"integers below {self.shape.V}")
        if len(tokens) != len(cache.lengths):
            raise ValueError(f"tokens of {len(tokens)} sequences for a cache of {len(cache.lengths)}: "
                             "expected the same batch")
        if not (tokens.min() >= 0 and tokens.max() < self.shape.V):
            raise ValueError(f"tokens reach from {tokens.min()} to {tokens.max()}: "
                             f"expected integers below {self.shape.V}")
        if cache.lengths.max() + tokens.shape[1] > cache.capacity:
            raise ValueError(f"{cache.lengths.max()} tokens in the cache and {tokens.shape[1]} new ones: "
                             f"expected at most {cache.capacity} together")
        if not 1 <= logits <= tokens.shape[1]:
            raise refused("logits", logits, f"1 to {tokens.shape[1]}, the number of tokens")
        return tokens


def _scores(name: str, value: object) -> NDArray:  # [B, V]
    if not isinstance(value, np.ndarray) or value.ndim != 2 or value.size == 0 or value.dtype.kind != "f":
        raise refused(name, value, "an array of floats [B, V]")
    return value


@checked(logits=_scores)
def greedy(logits: NDArray) -> NDArray:  # [B, V] -> [B]
    """The most probable token."""
    return logits.argmax(axis=-1)


_temperature = partial(real, expected="a number above 0; the limit 0 is `greedy`")
_share = partial(real, at_most=1)


@checked(logits=_scores, temperature=_temperature, top_p=_share)
def probabilities(logits: NDArray, temperature: float = 1.0, top_p: float = 1.0) -> NDArray:  # [B, V] -> [B, V]
    """softmax(logits / temperature), cut to the smallest set of tokens whose probabilities reach ``top_p``.

    Raises ValueError for a temperature not above 0 (use ``greedy``) or top_p outside (0, 1].
    """
    scaled = logits.astype(float) / temperature  # [B, V]
    p = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    for row in p if top_p < 1 else ():
        likely = np.flatnonzero(row >= (1 - top_p) / len(row))  # all others together stay below 1 - top_p
        order = likely[np.argsort(-row[likely], kind="stable")]
        kept = order[:np.searchsorted(row[order].cumsum(), top_p) + 1]
        kept_p = row[kept] / row[kept].sum()
        row[:] = 0
        row[kept] = kept_p
    return p


@checked(seed=whole, temperature=_temperature, top_p=_share)
def sampler(seed: int, temperature: float = 1.0, top_p: float = 1.0) -> Callable[[NDArray], NDArray]:
    """A function [B, V] -> [B] that draws from ``probabilities``. Raises as they do."""
    rng = np.random.default_rng(seed)

    @checked(logits=_scores)
    def draw(logits: NDArray) -> NDArray:  # [B, V] -> [B]
        p = probabilities(logits, temperature, top_p)  # [B, V]
        order = np.argsort(-p, axis=-1, kind="stable")  # [B, V]
        total = np.take_along_axis(p, order, -1).cumsum(axis=-1)  # [B, V]
        rank = (total <= rng.random((len(p), 1)) * total[:, -1:]).sum(axis=-1, keepdims=True)  # [B, 1]
        return np.take_along_axis(order, rank, -1)[:, 0]  # [B]

    return draw


@checked(engine=instance(Engine), prompts=each(sequence), max_tokens=whole, choose=function,
         cache=optional(instance(KVCache)))
def generate(engine: Engine, prompts: Sequence[Sequence[int]], max_tokens: int,
             choose: Callable[[NDArray], NDArray] = greedy, cache: KVCache | None = None) -> Iterator[NDArray]:
    """Yield the next token of every sequence, [B], until all have ended or ``max_tokens`` are out.

    Prompts may differ in length: each is prefilled on its own, then all generate together; one that has ended repeats
    the end token. An empty ``cache`` that is given holds prompts and answers afterwards. Raises ValueError for an empty
    prompt, and when prompt and answer together exceed the context length or the room in ``cache``.
    """
    if not prompts or not all(map(len, prompts)):
        raise ValueError("empty prompt: expected at least one token in every prompt")
    longest, context = max(map(len, prompts)), engine.shape.context_length
    if max_tokens < 1 or longest + max_tokens > context:
        raise ValueError(f"a prompt of {longest} tokens and max_tokens={shown(max_tokens)}: expected at least 1 new "
                         f"token and at most {context} together, the model's context length")
    if cache is None:
        cache = KVCache.empty(engine.shape, len(prompts), longest + max_tokens)
    if cache.lengths.any() or len(cache.lengths) != len(prompts) or cache.capacity < longest + max_tokens:
        raise ValueError(f"a cache of {len(cache.lengths)} sequences that holds {cache.lengths.max()} of "
                         f"{cache.capacity} positions: expected an empty one of {len(prompts)} sequences "
                         f"with room for {longest + max_tokens}")
    eos = engine.weights.eos
    tokens = choose(np.concatenate([prefill(engine, prompt, cache.rows(slice(b, b + 1)))
                                    for b, prompt in enumerate(prompts)]))  # [B]
    yield tokens
    for _ in range(max_tokens - 1):
        if (ended := tokens == eos).all():
            return
        following = choose(engine.forward(tokens[:, None], cache)[:, -1])  # [B]
        tokens = np.where(ended, eos, following)  # [B]
        yield tokens


@checked(engine=instance(Engine), prompt=sequence, cache=instance(KVCache))
def prefill(engine: Engine, prompt: Sequence[int], cache: KVCache) -> NDArray:  # [P] -> [1, V]
    """Read a prompt into the cache of one sequence, in chunks; returns the logits of what follows it.

    Raises ValueError for an empty prompt, and as ``Engine.forward``.
    """
    if not prompt:
        raise ValueError("empty prompt: expected at least one token")
    for start in range(0, len(prompt), PREFILL_CHUNK):
        logits = engine.forward([prompt[start:start + PREFILL_CHUNK]], cache)  # [1, 1, V]
    return logits[:, -1]


@checked(question=text)
def chat(question: str) -> str:
    """The question in the dialogue form that SmolLM2-Instruct was trained on (the template in its GGUF file)."""
    system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    return (f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")


@checked(engine=instance(Engine), prompt=text, max_tokens=whole, choose=function, cache=optional(instance(KVCache)))
def complete(engine: Engine, prompt: str, max_tokens: int, choose: Callable[[NDArray], NDArray] = greedy,
             cache: KVCache | None = None) -> str:
    """The text that follows ``prompt``. Raises ValueError as ``generate``."""
    tokenizer = engine.weights.tokenizer
    tokens = [int(token[0]) for token in generate(engine, [tokenizer.encode(prompt).ids], max_tokens, choose, cache)]
    return tokenizer.decode(tokens)
