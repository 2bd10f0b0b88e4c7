"""Compiled formulas give what substitution gives."""

import numpy as np
import pytest
import sympy as sp

from lecture10 import H100, compute_transformer_stats, forward_pass, largest_batch, llama2_13b_config, sweep
from lecture10.notation import B, K, S


@pytest.mark.parametrize("formula", [
    lambda: compute_transformer_stats(llama2_13b_config(S=S)).memory,
    lambda: compute_transformer_stats(llama2_13b_config(S=S)).latency,
    lambda: compute_transformer_stats(llama2_13b_config(S=S)).throughput,
    lambda: forward_pass(weight_bytes=sp.Rational(1, 2)).subs(llama2_13b_config(S=S, K=8)).time(H100),
    lambda: largest_batch(compute_transformer_stats(llama2_13b_config(S=S)), H100.memory_bytes),
    lambda: sp.Max(B, S),
])
def test_sweep_agrees_with_substitution(formula):
    formula = formula()  # only where the test runs: every worker reads this file
    batches, contexts = np.array([1, 64, 256, 1000]), np.array([1, 128, 1024, 8192, 131072])
    values = sweep(formula, {B: batches[:, None], S: contexts[None, :]})
    assert values.shape == (4, 5)
    for i, b in enumerate(batches):
        for j, s in enumerate(contexts):
            assert values[i, j] == pytest.approx(float(formula.subs({B: int(b), S: int(s)})), rel=1e-13)


def test_a_formula_without_some_of_the_symbols_has_the_full_shape():
    grid = {B: np.arange(1, 4)[:, None], S: np.arange(1, 6)[None, :]}
    assert np.array_equal(sweep(2 * B, grid), np.repeat([[2.0], [4.0], [6.0]], 5, axis=1))
    assert np.array_equal(sweep(sp.Integer(3), grid), np.full((3, 5), 3.0))


def test_a_range_is_an_array():
    assert sweep(2 * B, {B: range(1, 4)}).tolist() == [2, 4, 6]


def test_small_integers_do_not_overflow():
    big = np.array([2**20], dtype=np.int32)
    assert sweep(B * S, {B: big, S: big})[0] == 2.0**40


def test_a_million_points():
    throughput = compute_transformer_stats(llama2_13b_config(S=S)).throughput
    values = sweep(throughput, {B: np.arange(1, 1001)[:, None], S: np.arange(16, 16016, 16)[None, :]})
    assert values.shape == (1000, 1000)
    assert values[63, 63] == pytest.approx(2689.480742354489, rel=1e-14)  # B = 64, S = 1024
    assert (np.diff(values, axis=0) > 0).all()
    assert (np.diff(values, axis=1) < 0).all()


def test_symbols_without_values_are_named():
    with pytest.raises(ValueError, match=r"no values for \['K', 'S'\]"):
        sweep(B * K * S, {B: np.ones(3)})
