"""Request times, and generation with and without a cache, against counting by hand."""

from functools import cache

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from lecture10 import (
    H100,
    Accelerator,
    compute_transformer_stats,
    forward_pass,
    generation_cost,
    llama2_13b_config,
    token_times,
)
from lecture10.notation import B, D, F, H, K, L, N, S, V

n, p = sp.symbols("n p", integer=True, positive=True)
sizes = st.integers(1, 7)


@cache
def symbolic_cost(cached):
    return generation_cost(p, n, cached=cached)


def passes(prompt, tokens, cached):
    """For every pass the positions it processes and, for each of them, those it attends to."""
    stored = 0
    for total in range(prompt, prompt + tokens):
        new = range(stored, total)
        yield [(position, range(position + 1)) for position in new]
        stored = total if cached else 0


def counted_flops(prompt, tokens, cached):
    """Multiply-adds, each 2 FLOPs, of one sequence, one weight and one query–key pair at a time."""
    weights = L * (2 * D * N * H + 2 * D * K * H + 3 * D * F)
    total = 0
    for one_pass in passes(prompt, tokens, cached):
        for _, seen in one_pass:
            total += 2 * weights + sum(2 * (2 * N * H * L) for _ in seen)
        total += 2 * D * V
    return sp.expand(B * total)


@given(prompt=sizes, tokens=sizes, cached=st.booleans())
@settings(max_examples=6, deadline=None)
def test_generation_flops_are_those_of_a_counting_loop(prompt, tokens, cached):
    cost = generation_cost(sp.Integer(prompt), sp.Integer(tokens), **({} if cached else {"cached": False}))
    assert sp.expand(cost.flops) == counted_flops(prompt, tokens, cached)


@given(prompt=sizes, tokens=sizes)
@settings(max_examples=4, deadline=None)
def test_symbolic_sums_hold_at_every_integer(prompt, tokens):
    for cached in (True, False):
        symbolic = symbolic_cost(cached).subs({p: prompt, n: tokens})
        exact = generation_cost(sp.Integer(prompt), sp.Integer(tokens), cached=cached)
        assert sp.expand(symbolic.flops - exact.flops) == 0
        assert sp.expand(symbolic.bytes_transferred - exact.bytes_transferred) == 0


def test_generation_from_one_token_has_the_closed_forms_of_the_pairs():
    with_cache, without = (generation_cost(sp.Integer(1), n, cached=cached) for cached in (True, False))
    per_pair = 4 * B * N * H * L
    assert sp.expand(with_cache.only("attention").flops - per_pair * n * (n + 1) / 2) == 0
    assert sp.expand(without.only("attention").flops - per_pair * n * (n + 1) * (n + 2) / 6) == 0
    assert sp.expand(with_cache.only("MLP").flops - 6 * B * D * F * L * n) == 0
    assert sp.expand(without.only("MLP").flops - 6 * B * D * F * L * n * (n + 1) / 2) == 0


def test_cache_reads_grow_to_the_mean_context_of_the_run():
    prompt, tokens = sp.Integer(100), sp.Integer(31)
    read = generation_cost(prompt, tokens).only("attention").bytes_transferred
    assert sp.expand(read / tokens - 4 * B * K * H * L * (prompt + (tokens - 1) / sp.Integer(2))) == 0


def test_token_times_are_one_prefill_and_then_steps_over_a_growing_cache():
    config = llama2_13b_config(B=1)
    first, second, third = token_times(config, 1024, 3, H100)
    assert token_times(config, 1, 1, H100) == (forward_pass(1, logits=1).subs({**config, S: 1}).time(H100),)
    assert first == forward_pass(1024, logits=1).subs(config).time(H100)
    assert second - first == forward_pass(1).subs({**config, S: 1025}).time(H100)
    assert third - second == forward_pass(1).subs({**config, S: 1026}).time(H100)
    assert float(second - first) == pytest.approx(
        float(compute_transformer_stats(llama2_13b_config(B=1)).latency), rel=1e-3)


def test_token_times_on_slow_arithmetic_count_logits_once_and_one_token_a_step():
    config, slow = llama2_13b_config(B=1), Accelerator("slow arithmetic", 10**9, 10**15, 10**12)
    first, second = token_times(config, 8, 2, slow)
    weights = compute_transformer_stats(config).num_params - 2 * 32000 * 5120
    pairs, embedding = 4 * 40 * 128 * 40, 2 * 32000 * 5120 // 2
    assert first == pytest.approx((8 * 2 * weights + 64 * pairs + 2 * embedding) / 10**9, rel=1e-3)
    assert second - first == pytest.approx((2 * weights + 9 * pairs + 2 * embedding) / 10**9, rel=1e-3)


@pytest.mark.parametrize(("arguments", "message"), [
    ((llama2_13b_config(), 8, 1), "config leaves B open"),
    ((llama2_13b_config(B=1), 0, 1), "prompt is 0"),
    ((llama2_13b_config(B=1), 8, 1.5), "tokens is 1.5"),
    ((llama2_13b_config(B=1), "x", 1), "prompt is 'x'"),
])
def test_token_times_name_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        token_times(*arguments, H100)
