"""The lecture's intensities as published, the sharper ones, and both against real loops that count."""

from __future__ import annotations

import json
import math
from importlib.resources import files

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from lecture10 import (
    H100,
    arithmetic_intensity_of_inference,
    attention,
    causal_pairs,
    critical_size,
    latent_attention,
    matmul,
    mlp,
    review_of_arithmetic_intensity,
    unfused_mlp,
    when_large,
)
from lecture10.counting_loops import (
    Meter,
    attention_loop,
    latent_attention_loop,
    matmul_loop,
    mlp_loop,
    unfused_mlp_loop,
)
from lecture10.notation import SYMBOLS, B, D, F, G, H, K, N, S, T

LECTURE = {item["id"]: item for item in json.loads(
    (files("lecture10") / "data" / "lecture_values.json").read_text(encoding="utf-8"))["items"]}
SMALL = st.integers(1, 4)
PASS = {"batch": SMALL, "context": SMALL, "tokens": SMALL, "kv_bytes": st.sampled_from([1, 2]), "causal": st.booleans()}
QUICK = settings(deadline=None, max_examples=60)


def published(item: str, field: str = "value") -> sp.Expr:
    return sp.sympify(LECTURE[item][field], locals=dict(SYMBOLS))


def same(a: object, b: object) -> bool:
    return sp.simplify(a - b) == 0


# The lecture, symbol by symbol

def test_matrix_product_as_in_the_lecture() -> None:
    cost = review_of_arithmetic_intensity()
    assert cost.flops == 2 * B * D * F
    assert same(cost.bytes_transferred, 2 * B * D + 2 * D * F + 2 * B * F)
    assert same(cost.intensity, published("matmul_intensity"))
    assert when_large(cost.intensity, D, F) == published("matmul_intensity", "limit") == B


def test_h100_ridge_as_in_the_lecture() -> None:
    assert float(H100.intensity) == LECTURE["h100_intensity"]["value"]
    assert round(H100.intensity) == LECTURE["h100_intensity"]["rounded"] == 295


def test_mlp_as_in_the_lecture() -> None:
    cost = arithmetic_intensity_of_inference()["mlp"]
    assert cost.flops == 6 * B * T * D * F
    assert same(cost.bytes_transferred, 4 * B * T * D + 4 * B * T * F + 6 * D * F)
    assert same(cost.intensity, published("mlp_intensity"))
    assert when_large(cost.intensity, D, F) == published("mlp_intensity", "limit") == B * T


def test_attention_as_in_the_lecture() -> None:
    cost = arithmetic_intensity_of_inference()["attention"]
    assert cost.flops == 4 * B * S * T * D
    assert same(cost.bytes_transferred, 4 * B * S * D + 4 * B * T * D)
    assert same(cost.intensity, published("attention_intensity"))
    assert cost.intensity.subs(T, S).simplify() == published("attention_prefill") == S / 2
    generation = cost.intensity.subs(T, 1)
    assert same(generation, S / (S + 1))
    assert sp.simplify(1 - generation).is_positive
    assert B not in cost.intensity.free_symbols


# Sharper than the lecture

def test_grouped_queries_multiply_the_generation_intensity() -> None:
    intensity = attention(query_width=G * K * H, kv_width=K * H).intensity
    assert same(intensity, G * S * T / (G * T + S))
    assert when_large(intensity.subs(T, 1), S) == G
    assert same(intensity.subs(T, S), G * S / (G + 1))


def test_causal_mask_halves_the_prefill() -> None:
    causal = attention(pairs=causal_pairs()).intensity.subs(T, S)
    assert same(causal, (S + 1) / 4)
    assert round(critical_size(S / 2, S, H100.intensity)) == 590
    assert math.isclose(critical_size(causal.simplify(), S, H100.intensity), 1179.9, abs_tol=0.05)


@pytest.mark.parametrize(("cost", "crossover"), [(mlp(), 312), (unfused_mlp(), 327)])
def test_mlp_crossover_of_llama_2_13b(cost, crossover) -> None:
    intensity = cost.intensity.subs({T: 1, D: 5120, F: 13824})
    assert round(critical_size(intensity, B, H100.intensity)) == crossover


def test_unfused_mlp_moves_more_bytes() -> None:
    assert same(unfused_mlp().bytes_transferred - mlp().bytes_transferred, 4 * B * T * F + 2 * B * T * D)
    assert unfused_mlp().flops == mlp().flops


def test_latent_attention_approaches_the_ridge() -> None:
    latent, rope = sp.symbols("d_c d_r", positive=True)
    intensity = latent_attention(heads=N, latent=latent, rope=rope).intensity
    limit = when_large(intensity.subs(T, 1), S)
    assert same(limit, N * (2 * latent + rope) / (latent + rope))
    assert math.isclose(limit.subs({N: 128, latent: 512, rope: 64}), 241.8, abs_tol=0.05)


def test_int8_weights_halve_the_critical_batch() -> None:
    assert when_large(matmul(weight_bytes=1).intensity, D, F) == 2 * B
    assert when_large(mlp(weight_bytes=1).intensity, D, F) == 2 * B * T


def test_experts_multiply_the_critical_batch() -> None:
    experts, chosen = sp.symbols("E k", positive=True)
    assert same(when_large((experts * mlp(B * T * chosen / experts)).intensity, D, F), B * T * chosen / experts)


# Real loops that count

def ones(*shape: int) -> list:
    return [ones(*shape[1:]) for _ in range(shape[0])] if shape else 1


def counted(loop, *tensors, times: int = 1, **options) -> tuple[int, int]:
    meter = Meter()
    for _ in range(times):
        loop(meter, *tensors, **options)
    return meter.flops, meter.bytes_transferred


def totals(cost) -> tuple[int, int]:
    return cost.flops, cost.bytes_transferred


@QUICK
@given(SMALL, SMALL, SMALL, st.sampled_from([1, 2, 4]))
def test_matmul_counts_as_a_loop_does(rows, inner, columns, weight_bytes) -> None:
    loop = counted(matmul_loop, ones(rows, inner), ones(inner, columns), weight_bytes=weight_bytes)
    assert loop == totals(matmul(rows, inner, columns, weight_bytes=weight_bytes))
    assert loop == totals(matmul(weight_bytes=weight_bytes).subs({B: rows, D: inner, F: columns}))


@QUICK
@given(SMALL, SMALL, SMALL, st.sampled_from([1, 2]))
@pytest.mark.parametrize(("loop", "cost"), [(mlp_loop, mlp), (unfused_mlp_loop, unfused_mlp)])
def test_mlp_counts_as_a_loop_does(loop, cost, tokens, width, hidden, weight_bytes) -> None:
    tensors = ones(tokens, width), ones(width, hidden), ones(width, hidden), ones(hidden, width)
    assert (counted(loop, *tensors, weight_bytes=weight_bytes)
            == totals(cost(tokens, width, hidden, weight_bytes=weight_bytes)))


@QUICK
@given(**PASS, kv_heads=SMALL, group=SMALL, head=SMALL, value=SMALL)
def test_attention_counts_as_a_loop_does(batch, context, tokens, kv_bytes, causal, kv_heads, group, head,
                                         value) -> None:
    tokens, keys, values = min(tokens, context), ones(context, kv_heads, head), ones(context, kv_heads, value)
    loop = counted(attention_loop, ones(tokens, group * kv_heads, head), keys, values, causal=causal,
                   kv_bytes=kv_bytes, times=batch)  # every sequence brings its own keys and values
    assert loop == totals(attention(
        batch, context, tokens, query_width=group * kv_heads * head, kv_width=kv_heads * head, kv_bytes=kv_bytes,
        values_per_key=sp.Rational(value, head), pairs=causal_pairs(context, tokens) if causal else None))


@QUICK
@given(**PASS, heads=SMALL, latent=SMALL, rope=SMALL)
def test_latent_attention_counts_as_a_loop_does(batch, context, tokens, kv_bytes, causal, heads, latent, rope) -> None:
    tokens = min(tokens, context)
    loop = counted(latent_attention_loop, ones(tokens, heads, latent + rope), ones(context, latent + rope), latent,
                   causal=causal, kv_bytes=kv_bytes, times=batch)
    assert loop == totals(latent_attention(
        batch, context, tokens, heads=heads, latent=latent, rope=rope, kv_bytes=kv_bytes,
        pairs=causal_pairs(context, tokens) if causal else None))


@given(st.integers(1, 8), st.integers(0, 8))
def test_causal_pairs_are_those_of_the_mask(tokens, before) -> None:
    context = tokens + before
    assert causal_pairs(context, tokens) == sum(key <= query for query in range(before, context)
                                                for key in range(context))


# The loops compute what they are named after

def test_matmul_loop_multiplies() -> None:
    assert matmul_loop(Meter(), [[1, 2], [3, 4]], [[5, 6, 7], [8, 9, 10]]) == [[21, 24, 27], [47, 54, 61]]


def test_both_mlp_loops_agree() -> None:
    tensors = [[1, -2]], [[1, 0, 2], [3, 1, -1]], [[2, -1, 1], [0, 1, 1]], [[1, 2], [3, 4], [-1, 1]]
    x, u, g = 1, [-5, -2, 4], [2, -3, -1]
    gated = [a * b * x / (1 + math.exp(-b)) for a, b in zip(u, g)]
    expected = [gated[0] + 3 * gated[1] - gated[2], 2 * gated[0] + 4 * gated[1] + gated[2]]
    for loop in (mlp_loop, unfused_mlp_loop):
        assert loop(Meter(), *tensors)[0] == pytest.approx(expected)


def test_attention_loop_masks_groups_and_averages() -> None:
    q, k = [[[0.0], [0.0]], [[0.0], [3.0]]], [[[1.0]], [[2.0]], [[3.0]]]
    v = [[[0.0, 1.0]], [[2.0, 1.0]], [[4.0, 1.0]]]
    weights = [math.exp(3 * key[0][0]) for key in k]
    sharp = sum(w * value[0][0] for w, value in zip(weights, v)) / sum(weights)
    assert attention_loop(Meter(), q, k, v) == [[[2, 1], [2, 1]], [[2, 1], pytest.approx([sharp, 1])]]
    assert attention_loop(Meter(), q, k, v, causal=True)[0] == [[1, 1], [1, 1]]


def test_absorbed_latent_attention_is_attention_with_one_shared_head() -> None:
    q, cache = [[[1.0, -1.0, 0.5], [0.0, 2.0, 1.0]]], [[0.5, 1.0, -1.0], [2.0, 0.0, 1.0]]
    shared = attention_loop(Meter(), q, [[row] for row in cache], [[row[:2]] for row in cache])
    assert latent_attention_loop(Meter(), q, cache, 2) == shared


# Limits, crossings, bad input

def test_limit_that_depends_on_proportions_is_refused() -> None:
    with pytest.raises(ValueError, match="depends on their proportion"):
        when_large(S * T / (S + T) / T, S, T)


@pytest.mark.parametrize("intensity", [B / (B + 1), (B - 1) * (B - 3) + 2])
def test_critical_size_wants_exactly_one_crossing(intensity) -> None:
    with pytest.raises(ValueError, match="positive solutions for B: expected exactly one"):
        critical_size(intensity, B, 2)


@pytest.mark.parametrize(("call", "name"), [
    *((lambda bad, n=n: matmul(**{n: bad}), n) for n in ("rows", "inner", "columns", "weight_bytes")),
    *((lambda bad, n=n: mlp(**{n: bad}), n) for n in ("tokens", "width", "hidden", "weight_bytes")),
    *((lambda bad, n=n: unfused_mlp(**{n: bad}), n) for n in ("tokens", "width", "hidden", "weight_bytes")),
    *((lambda bad, n=n: attention(**{n: bad}), n)
      for n in ("batch", "context", "tokens", "query_width", "kv_width", "pairs", "kv_bytes")),
    *((lambda bad, n=n: causal_pairs(**{n: bad}), n) for n in ("context", "tokens")),
    *((lambda bad, n=n: latent_attention(**{"heads": 8, "latent": 4, "rope": 2, n: bad}), n)
      for n in ("batch", "context", "tokens", "heads", "latent", "rope", "pairs", "kv_bytes")),
])
@pytest.mark.parametrize("bad", [0, -3, -B, math.nan, math.inf, "many", [2]], ids=str)
def test_sizes_must_be_positive(call, name, bad) -> None:
    with pytest.raises(ValueError, match=f"^{name} is .*: expected a positive size"):
        call(bad)


def test_a_pass_cannot_hold_more_tokens_than_the_context() -> None:
    with pytest.raises(ValueError, match="tokens is 5: expected at most context = 4"):
        causal_pairs(4, 5)
