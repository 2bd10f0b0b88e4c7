"""Parameters, cache, memory, latency and throughput: published values exactly, and by counting on small shapes."""

import json
from dataclasses import FrozenInstanceError
from importlib.resources import files
from itertools import product

import pytest
import sympy as sp

from lecture10 import (
    H100,
    TransformerStats,
    compute_transformer_stats,
    forward_pass,
    largest_batch,
    llama2_13b_config,
    reduce_kv_cache_size,
    throughput_limit,
)
from lecture10.hardware import Accelerator
from lecture10.notation import SYMBOLS, B, D, F, H, K, L, N, S, V, memory_bandwidth
from lecture10.stats import transformer_stats

DATA = files("lecture10") / "data"
POINTS = json.loads((DATA / "lecture_values.json").read_text(encoding="utf-8"))
BOOK = json.loads((DATA / "scaling_book.json").read_text(encoding="utf-8"))["tables"]["llama2_13b_v5e8"]
V5E_8 = Accelerator("8 TPU v5e", 8 * 197 * 10**12, 8 * 820 * 10**9, 8 * 16 * 10**9)
SMALL = [{"D": 6, "F": 5, "N": 4, "K": 2, "H": 3, "L": 2, "V": 7},
         {"D": 4, "F": 9, "N": 3, "K": 3, "H": 2, "L": 3, "V": 5}]


def weight_shapes(D, F, N, K, H, L, V):
    layer = [(D, N * H), (D, K * H), (D, K * H), (N * H, D), (D, F), (D, F), (F, D)]
    return [(V, D), *(L * layer), (D, V)]


# Six points, recomputed from the formulas outside the package

def test_the_default_configuration():
    assert llama2_13b_config() == {SYMBOLS[name]: int(value) for name, value in POINTS["config"].items()}
    assert B not in llama2_13b_config()


@pytest.mark.parametrize("row", POINTS["rows"], ids=lambda row: f"B={row['B']},K={row['K']}")
def test_every_number_of_the_six_points(row):
    stats = compute_transformer_stats(llama2_13b_config(B=row["B"], K=row["K"]))
    assert stats.num_params == row["num_params"]
    assert stats.parameter_size == row["parameter_bytes_bf16"]
    assert stats.kv_cache_size == row["kv_bytes_per_seq_S1024"]
    assert stats.kv_cache_size / 1024 == row["kv_bytes_per_token"]
    assert stats.memory == int(row["memory_bytes"])
    assert stats.latency == sp.Rational(int(row["memory_bytes"]), 3350 * 10**9)
    assert stats.throughput == row["B"] / stats.latency
    for exact, printed in ((stats.latency, row["latency_s"]), (stats.throughput, row["throughput_tok_s"])):
        assert float(exact) == pytest.approx(printed, rel=4e-16)  # the last bit of a double
    assert bool(stats.memory <= H100.memory_bytes) is row["fits_80GB"]


@pytest.mark.parametrize(("heads", "kv_bytes", "limit"), [(40, 2, 3618.01), (8, 2, 13759.4), (40, 1, 6614.10)])
def test_the_limit_of_the_throughput_is_reached_by_ever_larger_batches(heads, kv_bytes, limit):
    step = forward_pass(kv_bytes=kv_bytes).subs(llama2_13b_config(K=heads))
    found = throughput_limit(step)
    assert float(found) == pytest.approx(limit, rel=1e-5)
    rates = [float(batch / step.subs(B, batch).time(H100)) for batch in (64, 1024, 10**9)]
    assert rates == sorted(rates) and rates[-1] == pytest.approx(limit, rel=1e-5)
    assert found < H100.memory_bandwidth * B / (step.only("attention").bytes_transferred)  # the bytes alone
    with pytest.raises(ValueError, match="no step depends on B"):
        throughput_limit(step.subs(B, 64))


def test_fewer_key_value_heads():
    few = reduce_kv_cache_size(llama2_13b_config(B=64))
    assert few == compute_transformer_stats(llama2_13b_config(K=8, B=64)) and few.kv_cache_size == 167_772_160
    assert reduce_kv_cache_size({"K": 4}, 2).kv_cache_size == 8 * S * H * L
    with pytest.raises(ValueError, match=r"^kv_heads is 41: expected at most K = 40 of config$"):
        reduce_kv_cache_size(llama2_13b_config(), 41)


@pytest.mark.parametrize("name", ["memory", "latency", "throughput"])
def test_symbolic_in_the_batch_size(name):
    stats = compute_transformer_stats(llama2_13b_config())
    printed = sp.sympify(POINTS["symbolic_K40"][name], locals={"B": B}, rational=True)
    over, under = (sp.Poly(part, B).all_coeffs() for part in sp.fraction(sp.together(getattr(stats, name) / printed)))
    for mine, theirs in zip(over, under, strict=True):
        assert abs(mine / theirs - 1) < sp.Rational(1, 10**14)  # printed with 15 digits


def test_formulas():
    stats = transformer_stats()
    assert sp.expand(stats.num_params - (2 * V * D + 3 * D * F * L + (2 * D * N * H + 2 * D * K * H) * L)) == 0
    assert sp.expand(stats.parameter_size - 2 * stats.num_params) == 0
    assert stats.kv_cache_size == S * (K * H) * L * 2 * 2
    assert sp.expand(stats.memory - (B * stats.kv_cache_size + stats.parameter_size)) == 0
    assert sp.simplify(stats.latency - stats.memory / memory_bandwidth) == 0
    assert sp.simplify(stats.throughput - B / stats.latency) == 0


def test_memory_is_what_one_generation_step_moves():
    assert sp.expand(transformer_stats().memory - forward_pass(1).bytes_transferred) == 0


def test_published_size_differs_by_the_norms():
    """meta-llama/Llama-2-13b-hf, counted by the reference implementation.

    Two norms a layer and a last one, D weights each.
    """
    config = llama2_13b_config()
    norms = ((2 * L + 1) * D).subs(config)
    assert norms == 414_720
    assert compute_transformer_stats(config).num_params + norms == 13_015_864_320


# Counting

@pytest.mark.parametrize("shape", SMALL)
def test_parameters_by_adding_up_the_matrices(shape):
    assert compute_transformer_stats(shape).num_params == sum(a * b for a, b in weight_shapes(**shape))


@pytest.mark.parametrize("shape", SMALL)
def test_cache_by_storing_it(shape):
    cache = [2 for _ in product(range(5), range(shape["L"]), ("key", "value"), range(shape["K"]), range(shape["H"]))]
    assert compute_transformer_stats({**shape, "S": 5}).kv_cache_size == sum(cache)


def count_flops(shape, batch, tokens, context, head_tokens):
    """Runs the loops of a forward pass and adds 2 for each multiply-add."""
    flops = 0
    *layers, head = weight_shapes(**shape)[1:]  # the input embedding is looked up
    for (rows, columns), positions in [*((w, tokens) for w in layers), (head, head_tokens)]:
        for _ in product(range(batch), range(positions), range(rows), range(columns)):
            flops += 2
    for _ in product(range(shape["L"]), range(batch), range(shape["N"]), range(tokens), range(context),
                     range(shape["H"])):
        flops += 2  # query times key
        flops += 2  # weight times value
    return flops


@pytest.mark.parametrize("shape", SMALL)
@pytest.mark.parametrize("batch, tokens, context, logits", [(1, 4, 4, None), (2, 4, 4, 1), (3, 1, 5, None),
                                                            (2, 2, 7, None)])
def test_forward_pass_flops_by_running_the_loops(shape, batch, tokens, context, logits):
    cost = forward_pass(tokens, logits=logits).subs(
        {SYMBOLS[k]: v for k, v in {**shape, "B": batch, "S": context}.items()})
    assert cost.flops == count_flops(shape, batch, tokens, context, logits or tokens)


@pytest.mark.parametrize("shape", SMALL)
def test_forward_pass_bytes_by_element_sizes(shape):
    cost = forward_pass(3, weight_bytes=sp.Rational(1, 2), kv_bytes=1)
    cost = cost.subs({SYMBOLS[k]: v for k, v in {**shape, "B": 2, "S": 5}.items()})
    elements = 2 * 5 * shape["L"] * 2 * shape["K"] * shape["H"]
    assert cost.bytes_transferred == sp.Rational(sum(a * b for a, b in weight_shapes(**shape)), 2) + elements
    assert cost.only("attention").bytes_transferred == elements


@pytest.mark.parametrize("tokens, logits, batch, context, flops", [
    (512, None, 1, 512, 13_374_796_595_200),
    (512, 1, 1, 512, 13_207_352_115_200),
    (1, None, 1, 1025, 26_542_899_200),
    (1, None, 8, 513, 208_987_750_400),
])
def test_forward_pass_flops_of_the_reference_implementation(tokens, logits, batch, context, flops):
    """Llama-2-13B, transformers 5.23 on the meta device, counted by FlopCounterMode of torch; dense attention."""
    assert forward_pass(tokens, logits=logits).subs(llama2_13b_config(B=batch, S=context)).flops == flops


def test_pairs_replace_the_dense_count():
    dense, causal = forward_pass(S), forward_pass(S, pairs=S * (S + 1) / 2)
    assert sp.simplify(dense.only("attention").flops / causal.only("attention").flops - 2 * S / (S + 1)) == 0
    assert dense.without("attention") == causal.without("attention")


def test_step_names():
    assert [step.name for step in forward_pass()] == ["input embedding", "attention projections", "attention", "MLP",
                                                      "output embedding"]


# Time, capacity, limits

@pytest.mark.parametrize("heads", [40, 8])
@pytest.mark.parametrize("batch", [1, 64, 256])
def test_arithmetic_is_not_the_limit_at_the_lectures_points(batch, heads):
    config = llama2_13b_config(B=batch, K=heads)
    assert forward_pass().subs(config).time(H100) == compute_transformer_stats(config).latency


@pytest.mark.parametrize("overrides, weight_bytes, memory_ms, one_ms, steps_ms", [
    ({"K": 8, "B": 256}, sp.Rational(1, 2), "14.51", "14.51", "18.63"),
    ({"K": 8, "B": 512, "S": 128}, 2, "9.97", "11.62", "14.87"),
])
def test_memory_alone_is_too_fast_for_large_batches(overrides, weight_bytes, memory_ms, one_ms, steps_ms):
    cost = forward_pass(weight_bytes=weight_bytes).subs(llama2_13b_config(**overrides))
    seconds = H100.memory_time(cost.bytes_transferred), cost.as_step("all").time(H100), cost.time(H100)
    assert [f"{float(1000 * t):.2f}" for t in seconds] == [memory_ms, one_ms, steps_ms]


def test_capacity_and_limit_of_throughput():
    mha, gqa = (compute_transformer_stats(llama2_13b_config(K=heads)) for heads in (40, 8))
    assert (largest_batch(mha, H100.memory_bytes), largest_batch(gqa, H100.memory_bytes)) == (64, 341)
    assert largest_batch(mha, 26 * 10**9) == 0
    assert largest_batch(mha, mha.memory.subs(B, 64)) == 64
    assert largest_batch(mha, mha.memory.subs(B, 64) - 1) == 63
    assert sp.limit(mha.throughput, B, sp.oo) == H100.memory_bandwidth / mha.kv_cache_size
    assert sp.floor(sp.limit(mha.throughput, B, sp.oo)) == 3993
    with pytest.raises(ValueError, match="memory_bytes is 0"):
        largest_batch(mha, 0)


# The JAX scaling book

@pytest.mark.parametrize("table, cache", [("MHA_K40", sp.Rational("6.7e9")), ("GMQA_K8", sp.Rational("1.34e9"))])
@pytest.mark.parametrize("i", range(6))
def test_every_printed_digit_of_the_scaling_book(table, cache, i):
    row = BOOK[table][i]
    stats = TransformerStats.of_sizes(13 * 10**9, 26 * 10**9, cache).subs(
        {B: row["batch"], memory_bandwidth: V5E_8.memory_bandwidth})
    assert (row["batch"] * cache, stats.memory) == tuple(
        sp.Rational(str(row[key])) * 10**9 for key in ("kv_GB_as_printed", "total_GB_as_printed"))
    assert round(float(1000 * stats.latency), 2) == row["step_ms"]
    assert round(float(stats.throughput), 2) == row["tokens_per_s"]


def test_the_scaling_books_cache_unrounded():
    exact = compute_transformer_stats(llama2_13b_config(S=8192)).kv_cache_size
    assert exact == BOOK["assumptions"]["kv_bytes_per_seq_exact"]
    assert compute_transformer_stats(llama2_13b_config(S=8192, K=8)).kv_cache_size * 5 == exact


def test_batch_16_fits_binary_but_not_decimal_gigabytes():
    rounded = TransformerStats.of_sizes(13 * 10**9, 26 * 10**9, sp.Rational("6.7e9"))
    assert largest_batch(rounded, 128 * 10**9) == 15
    assert largest_batch(rounded, 128 * 2**30) == 16


# The record and its input

def test_what_the_configuration_leaves_open_stays_symbolic():
    assert compute_transformer_stats({}) == transformer_stats().subs({})
    assert compute_transformer_stats({}).throughput.free_symbols == {B, S, D, F, N, K, H, L, V, memory_bandwidth}
    assert compute_transformer_stats({"S": 1024, K: 8}).kv_cache_size == 4 * 1024 * 8 * H * L
    assert compute_transformer_stats({"B": 3}).subs({"S": 7}) == compute_transformer_stats({"B": 3, "S": 7})
    whole = llama2_13b_config(B=3)
    for part in ({}, {B: 3}, {K: 40, S: 1024}, llama2_13b_config(), {**llama2_13b_config(), memory_bandwidth: 7}):
        expected = compute_transformer_stats({**whole, **part})
        assert compute_transformer_stats(part).subs(whole) == expected


def test_overrides_replace_and_add():
    assert llama2_13b_config(K=8, B=64) == {**llama2_13b_config(), K: 8, B: 64}
    assert llama2_13b_config(S=S)[S] == S


def test_the_record_is_immutable():
    stats = compute_transformer_stats(llama2_13b_config())
    with pytest.raises(FrozenInstanceError):
        stats.memory = 0


def test_the_record_renders_as_a_table():
    markdown = compute_transformer_stats(llama2_13b_config(B=1))._repr_markdown_()
    assert "| num_params | 13,015,449,600 |" in markdown
    assert "| latency | 0.008021 |" in markdown


@pytest.mark.parametrize("call", [compute_transformer_stats, lambda config: llama2_13b_config(**config),
                                  transformer_stats().subs])
@pytest.mark.parametrize("config, message", [
    ({"B": 0}, "B is 0"), ({"K": 7, "N": 40}, "N = 40 is not a multiple of K = 7"),
    ({"hidden": 5120}, "unknown symbol 'hidden'"),
])
def test_bad_configurations(call, config, message):
    with pytest.raises(ValueError, match=message):
        call(config)
