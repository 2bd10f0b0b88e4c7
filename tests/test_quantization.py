"""Quantization rounds as its formula says, counts its bytes, and the decomposition keeps outliers exact."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from lecture10.engine.decoder import Engine
from lecture10.engine.kv_cache import KVCache
from lecture10.engine.quantization import Int8KVCache, Int8Product, Scheme, perplexity
from lecture10.engine.weights import Shape, load_weights

W = np.random.default_rng(0).standard_normal((6, 128), dtype=np.float32)


@pytest.mark.parametrize(("bits", "group"), [(8, None), (8, "row"), (4, 32), (3, 64), (4, 256), (2, 128)])
def test_rounding_stays_within_half_a_step_on_a_grid(bits: int, group: object) -> None:
    scheme = Scheme(bits, group)
    rounded, levels = scheme(W), 2 ** (bits - 1) - 1
    for before, after in zip(scheme.groups(W), scheme.groups(rounded)):
        step = np.abs(before).max() / levels
        assert np.abs(after - before).max() <= step * 0.5001
        np.testing.assert_allclose(after / step, np.rint(after / step), atol=1e-3)
        assert len(np.unique(np.rint(after / step))) <= 2 * levels + 1


@pytest.mark.parametrize(("bits", "group", "bytes_"),
                         [(8, None, 768 + 2), (8, "row", 768 + 12), (4, 32, 384 + 48), (3, 128, 288 + 12)])
def test_bytes_are_codes_and_scales(bits: int, group: object, bytes_: int) -> None:
    assert Scheme(bits, group).bytes(W) == bytes_


def test_finer_groups_lose_less() -> None:
    errors = [np.square(Scheme(4, group)(W) - W).mean() for group in (None, "row", 64, 32)]
    assert errors == sorted(errors, reverse=True)


def test_outlier_columns_are_multiplied_exactly() -> None:
    x = np.random.default_rng(1).uniform(-1, 1, (5, 128)).astype(np.float32)
    x[2, 7] = 80.0
    plain = Int8Product(math.inf)
    split = plain.at(6.0)
    error = [np.abs(multiply(x, W) - x @ W.T)[2].max() for multiply in (plain, split)]
    assert error[1] < error[0] / 5
    assert (plain.outliers, split.outliers, split.columns) == (0, 1, 128)
    assert plain.rounded is split.rounded and len(plain.rounded) == 1
    only = np.zeros((1, 128), np.float32)
    only[0, 3] = 50
    np.testing.assert_array_equal(Int8Product(6.0)(only, W), only @ W.T)


def test_int8_cache_rounds_each_head_and_costs_its_bytes() -> None:
    shape = Shape(D=8, F=8, N=2, K=2, H=4, L=1, V=8, context_length=8, rope_base=1e4, norm_epsilon=1e-5)
    cache, k = Int8KVCache.empty(shape, 1, 8), np.random.default_rng(0).standard_normal((1, 3, 2, 4)).astype(np.float32)
    keys, _ = cache.write(0, k, k)
    assert 0 < np.abs(keys[0].swapaxes(0, 1) - k[0]).max() <= np.abs(k).max() / 127 * 0.501
    assert cache.bytes_per_token == 2 * 2 * (4 + 2)
    assert isinstance(cache.rows(slice(0, 1)), Int8KVCache)  # generation prefills row by row
    assert KVCache.empty(shape, 1, 8).bytes_per_token == 2 * 2 * 4 * 4


def test_perplexity_is_the_mean_surprise() -> None:
    weights = load_weights()
    engine = Engine(replace(weights, shape=replace(weights.shape, L=2), layers=weights.layers[:2]))
    tokens = engine.weights.tokenizer.encode("The capital of France is Paris").ids
    surprise = []
    for n in range(1, len(tokens)):
        scores = engine.forward([tokens[:n]], KVCache.empty(engine.shape, 1, n))[0, 0].astype(float)
        surprise.append(np.log(np.exp(scores - scores.max()).sum()) - (scores[tokens[n]] - scores.max()))
    assert perplexity(engine, tokens) == pytest.approx(math.exp(np.mean(surprise)), rel=1e-4)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: Scheme(1, None), "bits is 1"), (lambda: Scheme(4, 0), "group is 0"),
    (lambda: Scheme(4, "column"), "group is 'column'"),
    (lambda: Scheme(4, 33)(W), "group is 33: expected a divisor of 768"),
    (lambda: Int8Product(0), "threshold is 0"),
])
def test_bad_schemes_are_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
