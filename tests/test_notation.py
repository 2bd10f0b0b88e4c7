"""Configurations: what is taken, and one clear error for everything else."""

from fractions import Fraction

import numpy as np
import pytest
import sympy as sp

from lecture10 import NOTATION, SYMBOLS
from lecture10.notation import B, D, F, G, H, K, L, N, S, T, V, bindings, memory_bandwidth, peak_flops, symbol_of


def test_every_symbol_is_positive_named_and_explained():
    assert list(SYMBOLS) == ["B", "S", "T", "D", "F", "N", "K", "G", "H", "L", "V", "memory_bandwidth", "peak_flops"]
    assert list(SYMBOLS.values()) == [B, S, T, D, F, N, K, G, H, L, V, memory_bandwidth, peak_flops]
    assert all(symbol.is_positive for symbol in NOTATION)
    assert all(english and chinese for english, chinese in NOTATION.values())
    with pytest.raises(TypeError):
        NOTATION[B] = ("", "")


def test_symbol_of_a_name():
    assert symbol_of("K") is K
    assert symbol_of(K) is K
    with pytest.raises(ValueError, match="unknown symbol 'k': expected one of B, S, T"):
        symbol_of("k")


def test_symbols_and_names_mean_the_same():
    assert bindings({"B": 64, K: 8}) == bindings({B: 64, "K": 8}) == {B: 64, K: 8}


@pytest.mark.parametrize("value", [8, 8.0, 1e0 * 8, Fraction(16, 2), sp.Integer(8), sp.Float(8), np.int64(8),
                                   np.float64(8)])
def test_whole_numbers_of_every_kind_become_integers(value):
    size = bindings({"B": value})[B]
    assert size.is_Integer
    assert size == 8


def test_rates_need_not_be_whole():
    assert bindings({memory_bandwidth: 3.35e12, "peak_flops": sp.Rational(1, 3)}) == {
        memory_bandwidth: 3.35e12, peak_flops: sp.Rational(1, 3)}


def test_expressions_in_open_symbols_stay():
    assert bindings({D: N * H, "B": 2 * T}) == {D: N * H, B: 2 * T}
    assert bindings({S: S}) == {S: S}  # an override that opens a size again


@pytest.mark.parametrize("value", [0, -1, 1.5, Fraction(3, 2), float("nan"), float("inf"), True, False, "8", "S", "",
                                   None, (8,), [8], sp.nan, sp.oo, sp.zoo, sp.I, sp.pi, -S, sp.Symbol("B"), sp.true,
                                   {8: 1}], ids=repr)
def test_values_that_are_no_size(value):
    with pytest.raises(ValueError, match=r"^B is .*: expected a (positive quantity|whole number)$"):
        bindings({"B": value})


@pytest.mark.parametrize("value", [0, -3.35e12, float("nan"), float("inf"), True, "3.35e12", None])
def test_values_that_are_no_rate(value):
    with pytest.raises(ValueError, match=r"^memory_bandwidth is .*: expected a positive quantity$"):
        bindings({memory_bandwidth: value})


@pytest.mark.parametrize("key", ["hidden_size", "b", "", "lambda", sp.Symbol("B"), sp.Symbol("X", positive=True),
                                 B * S, 1, None])
def test_keys_that_are_no_symbol(key):
    with pytest.raises(ValueError, match=r"unknown symbol .* in config: expected one of B, S, T"):
        bindings({key: 1})


def test_values_with_a_symbol_the_book_does_not_have():
    with pytest.raises(ValueError, match=r"S = 2\*P uses \['P'\]"):
        bindings({S: 2 * sp.Symbol("P", positive=True)})


def test_values_that_depend_on_another_entry():
    with pytest.raises(ValueError, match=r"N = 2\*K uses \['K'\]"):
        bindings({N: 2 * K, K: 8})
    with pytest.raises(ValueError, match=r"K = 2\*K uses \['K'\]"):
        bindings({K: 2 * K})


def test_duplicates():
    with pytest.raises(ValueError, match="B is given twice"):
        bindings({B: 1, "B": 1})


@pytest.mark.parametrize("heads, groups, shown", [(40, 7, "N = 40 is not a multiple of K = 7"),
                                                  (8, 40, "N = 8 .* K = 40"),
                                                  (3 * K / 2, None, r"N = 3\*K/2 is not a multiple of K = K"),
                                                  (None, 2 * N, r"N = N is not a multiple of K = 2\*N")])
def test_heads_that_cannot_be_grouped(heads, groups, shown):
    config = {symbol: value for symbol, value in ((N, heads), (K, groups)) if value is not None}
    with pytest.raises(ValueError, match=shown):
        bindings(config)


def test_heads_that_can():
    for config in ({N: 40, K: 8}, {N: 40, K: 40}, {N: 40}, {K: 8}, {N: 4 * K}, {N: G * K}):
        assert bindings(config) == config


def test_names_of_several_words_are_not_typeset_as_subscripts():
    assert sp.latex(B / memory_bandwidth) == r"\frac{B}{\text{memory bandwidth}}"
