"""Shortcuts on a small random model: each against the same thing done slowly, and what it leaves as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lecture10.engine import shortcuts, weights
from lecture10.engine.attention import attention
from lecture10.engine.decoder import Engine
from lecture10.engine.kv_cache import KVCache
from lecture10.engine.quantization import Scheme

SHAPE = weights.Shape(D=8, F=6, N=4, K=2, H=4, L=3, V=11, context_length=32, rope_base=1e4, norm_epsilon=1e-5)


def random_weights(seed: int = 0) -> weights.Weights:
    rng, s = np.random.default_rng(seed), SHAPE
    sizes = (s.D,), ((s.N + 2 * s.K) * s.H, s.D), (s.D, s.N * s.H), (s.D,), (s.F, s.D), (s.F, s.D), (s.D, s.F)
    layers = [weights.Layer(*(rng.normal(size=size).astype(np.float32) for size in sizes)) for _ in range(s.L)]
    return weights.Weights(s, tuple(layers), np.ones(s.D, np.float32), rng.normal(size=(s.V, s.D)).astype(np.float32),
                           None, 0)


MODEL = random_weights()
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]


def logits(model: weights.Weights, kind: type[KVCache] = KVCache, attend: object = attention) -> np.ndarray:
    return Engine(model, attend=attend).forward([TOKENS], kind.empty(model.shape, 1, len(TOKENS)), len(TOKENS))[0]


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return np.allclose(a, b, rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(window=st.integers(1, 7), sinks=st.integers(0, 4), tokens=st.integers(1, 5), past=st.integers(0, 5),
       seed=st.integers(0, 99))
def test_a_window_and_sinks_query_by_query(window, sinks, tokens, past, seed):
    rng = np.random.default_rng(seed)
    q, keys, values = (rng.normal(size=size) for size in ((1, tokens, 4, 3), (1, 2, past + tokens, 3),
                                                          (1, 2, past + tokens, 3)))
    found = shortcuts.windowed(window, sinks)(q, keys, values, np.array([past]))
    for t, n in np.ndindex(tokens, 4):
        own = past + t
        seen = [s for s in range(own + 1) if s > own - window or s < sinks]
        scores = np.exp([q[0, t, n] @ keys[0, n // 2, s] / 3**0.5 for s in seen])
        mixed = sum(p * values[0, n // 2, s] for p, s in zip(scores / scores.sum(), seen))
        assert close(found[0, t, n], mixed)


def test_a_window_as_long_as_the_text_changes_nothing():
    assert close(logits(MODEL), logits(MODEL, attend=shortcuts.windowed(len(TOKENS))))
    assert close(logits(MODEL), logits(MODEL, attend=shortcuts.windowed(1, len(TOKENS))))
    assert not close(logits(MODEL), logits(MODEL, attend=shortcuts.windowed(3)))


def test_layers_that_are_dropped_do_nothing():
    silent = [replace(layer, output=0 * layer.output, down=0 * layer.down) if i == 1 else layer
              for i, layer in enumerate(MODEL.layers)]
    dropped = shortcuts.without_layers(MODEL, [1])
    assert close(logits(dropped), logits(replace(MODEL, layers=tuple(silent)))) and dropped.shape.L == 2
    with pytest.raises(ValueError, match=r"^dropped is 3: expected at most the last layer = 2"):
        shortcuts.without_layers(MODEL, [3])
    with pytest.raises(ValueError, match=r"^dropped is .*: expected at least one layer that stays"):
        shortcuts.without_layers(MODEL, [0, 1, 2])


def test_heads_that_are_dropped_add_nothing():
    few = shortcuts.with_fewer_heads(MODEL, 1)
    silent = []
    for layer in MODEL.layers:
        output = layer.output.reshape(8, 2, 2, 4).copy()
        for k in range(2):
            norms = [np.linalg.norm(output[:, k, g]) for g in range(2)]
            output[:, k, int(np.argmin(norms))] = 0
        silent.append(replace(layer, output=output.reshape(8, 16)))
    assert close(logits(few), logits(replace(MODEL, layers=tuple(silent)))) and few.shape.N == 2
    assert close(logits(shortcuts.with_fewer_heads(MODEL, 2)), logits(MODEL))
    with pytest.raises(ValueError, match=r"^kept is 3: expected at most the queries of a group = 2"):
        shortcuts.with_fewer_heads(MODEL, 3)


def test_one_mean_head_is_what_equal_heads_already_were():
    def equal(layer: weights.Layer) -> weights.Layer:
        kv = layer.qkv[16:].reshape(2, 2, 4, 8).copy()
        kv[:, 1] = kv[:, 0]
        return replace(layer, qkv=np.concatenate([layer.qkv[:16], kv.reshape(16, 8)]))

    same = replace(MODEL, layers=tuple(map(equal, MODEL.layers)))
    pooled = shortcuts.with_one_kv_head(same)
    assert close(logits(pooled), logits(same)) and pooled.shape.K == 1
    assert KVCache.empty(pooled.shape, 1, 1).bytes_per_token * 2 == KVCache.empty(SHAPE, 1, 1).bytes_per_token


def test_rounded_caches():
    fine, coarse = (shortcuts.rounded_cache(Scheme(bits, group)) for bits, group in ((8, "row"), (4, 2)))
    plain = logits(MODEL)
    assert 0 < np.abs(logits(MODEL, fine) - plain).max() < np.abs(logits(MODEL, coarse) - plain).max()
    assert fine.empty(SHAPE, 1, 1).bytes_per_token == 2 * 3 * 2 * (4 + 2)
    assert coarse.empty(SHAPE, 1, 1).bytes_per_token == 2 * 3 * 2 * (2 + 2 * 2)


def test_shared_caches_read_what_the_first_layer_wrote():
    kind = shortcuts.shared_cache(2)
    cache = kind.empty(SHAPE, 1, len(TOKENS))
    Engine(MODEL).forward([TOKENS], cache)
    assert not cache.keys[1].any() and cache.keys[0].any() and cache.keys[2].any()
    assert kind.empty(SHAPE, 1, 1).bytes_per_token * 3 == KVCache.empty(SHAPE, 1, 1).bytes_per_token * 2
    assert not close(logits(MODEL, kind), logits(MODEL))
    alone = shortcuts.without_layers(MODEL, [1, 2])
    assert close(logits(alone, kind), logits(alone))
