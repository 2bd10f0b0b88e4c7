"""Accelerators, the time of a step, and the published measurements that no bound may fall below."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from lecture10 import BYTES, H100, Accelerator, Deployment, accelerators, load_model, sweep
from lecture10.measurements.published import BOUNDS, deployment, measurements
from lecture10.models.experts import MLP
from lecture10.models.layers import Attention, Layer
from lecture10.models.passes import Pass, distinct_experts
from lecture10.models.transformer import Transformer
from lecture10.models.windows import Chunk, all_pairs, reach, visible_pairs
from lecture10.notation import B, S, T

SIMPLE = Accelerator("unit", 1000, 10, 10**12, link_bandwidth=7)


def test_h100_is_the_lectures():
    assert (H100.peak_flops, H100.memory_bandwidth, H100.memory_bytes) == (989 * 10**12, 3350 * 10**9, 80 * 10**9)
    assert accelerators()["H100 SXM"] == H100


@pytest.mark.parametrize("name", accelerators())
def test_accelerators_are_plausible(name):
    card = accelerators()[name]
    assert card.source
    assert 10**13 <= card.peak_flops <= 10**16
    assert 10**11 <= card.memory_bandwidth <= 10**13
    assert 10 * 10**9 <= card.memory_bytes <= 300 * 10**9
    assert 20 <= card.intensity <= 650
    assert card.memory_bytes / card.memory_bandwidth < 1  # all of the memory is read in less than a second
    peaks = list(card.peaks.values())
    assert all(1 <= narrow / wide <= 4 for wide, narrow in itertools.pairwise(peaks))
    assert card.link_bandwidth is None or card.link_bandwidth < card.memory_bandwidth
    assert all(type(value) is not float and value.is_Integer
               for value in (*peaks, card.memory_bandwidth, card.memory_bytes))


def test_peak_of_narrow_arithmetic():
    assert H100.computing_in("fp8").peak_flops == 1979 * 10**12
    with pytest.raises(ValueError, match="'H100 SXM' has no fp4 peak: expected one of 16-bit, fp8, int8"):
        H100.computing_in("fp4")


def _near(window, query, key):
    if isinstance(window, Chunk):
        return query // window.size == key // window.size
    return window is None or query - key < window


@given(past=st.integers(0, 12), tokens=st.integers(1, 8),
       window=st.none() | st.integers(1, 10) | st.integers(1, 10).map(Chunk))
def test_pairs_against_a_mask(past, tokens, window):
    context = past + tokens
    near = [(q, k) for q in range(past, context) for k in range(context) if _near(window, q, k)]
    assert visible_pairs(context, tokens, window) == sum(k <= q for q, k in near)
    held = {k for q, k in near if k < context}
    assert all_pairs(context, tokens, window) == tokens * len(held)
    assert reach(context, tokens, window) == len(held)


@pytest.mark.parametrize(("window", "counts"), [(4, [1, 10, 10 + 5 * 4]), (Chunk(4), [1, 10, 2 * 10 + 1])])
def test_pairs_stay_symbolic(window, counts):
    pairs = visible_pairs(S, S, window)
    assert [pairs.subs(S, n) for n in (1, 4, 9)] == counts


def test_a_sequence_finds_room_for_its_fullest_chunk():
    layer = Layer(Attention(4, 2, 1, 2, window=Chunk(8)), MLP(4, 6))
    model = Transformer(4, 5, ((3, layer),))
    assert [model.kv_cache_elements(n) // (3 * 2 * 2) for n in (1, 8, 9, 16, 17)] == [1, 8, 1, 8, 1]
    for context in range(1, 20):
        live = [model.kv_cache_elements(n) for n in range(1, context + 1)]
        assert model.most_cache_elements(context) == max(live)
    assert Deployment(model, SIMPLE).stored_cache(17) == 2 * 3 * 2 * 2 * 8
    assert layer.attention.kind == "local chunk 8 MQA"


def test_halves_that_run_in_parallel_are_added_up_once():
    layers = (Layer(Attention(8, 2, 2, 2), MLP(8, 4), parallel=parallel) for parallel in (True, False))
    one, two = (Deployment(Transformer(8, 5, ((3, layer),)), H100, 2) for layer in layers)
    assert 2 * one.traffic(3, 1)["all-reduce"] == two.traffic(3, 1)["all-reduce"]
    assert one.cost(3, 1, 9) == two.cost(3, 1, 9)


@pytest.mark.parametrize(("experts", "used", "rows"), [(3, 1, 2), (4, 2, 3), (5, 3, 2), (4, 4, 2)])
def test_distinct_experts_against_all_outcomes(experts, used, rows):
    picks = list(itertools.combinations(range(experts), used))
    outcomes = [len(set().union(*choice)) for choice in itertools.product(picks, repeat=rows)]
    exact = Fraction(sum(outcomes), len(outcomes))
    assert sp.Rational(exact) == distinct_experts(B, sp.Integer(experts), used).subs(B, rows)
    assert math.isclose(distinct_experts(rows, experts, used), exact)


@pytest.mark.parametrize("name", ["llama-3-8b", "gemma-2-2b", "mixtral-8x7b", "deepseek-v2-lite"])
def test_step_time_is_the_sum_of_the_slower_sides(name):
    plan = Deployment(load_model(name), SIMPLE, weight_bytes=BYTES["int8"], kv_bytes=BYTES["fp8"])
    slower = sum(max(step.flops / 1000, step.bytes_transferred / 10) for step in plan.cost(3, 1, 100))
    assert math.isclose(plan.step_time(3, 1, 100), slower)
    rows = plan.operations(3, 1, 100)
    assert math.isclose(sum(row[3] for row in rows), slower)
    shown = plan.table(3, 1, 100).rows
    assert [row[1:4] for row in shown] == [(f / 1e9, b / 1e9, 1e3 * t) for _, f, b, t, _ in rows]
    assert math.isclose(sum(row[4] for row in shown), 100)


def _weights_read(model, batch):
    """Bytes of a decode step at one byte a weight, the cache left out."""
    return Deployment(model, H100, weight_bytes=1).cost(batch, 1, 50).without("attention").bytes_transferred


def test_one_token_reads_every_weight_once_but_the_embedding():
    model = load_model("llama-3-8b")
    assert _weights_read(model, 1) == model.num_params - (model.vocabulary - 1) * model.width


def test_learned_positions_are_looked_up_too():
    model = load_model("gpt2")  # tied: the matrix of the output embedding is the one that is looked up
    assert _weights_read(model, 3) == model.num_params - (model.positions - 3) * model.width + 3 * model.width


def test_mixture_reads_the_active_weights_for_one_token_and_all_for_many():
    model = load_model("mixtral-8x7b")
    assert _weights_read(model, 1) == model.num_active_params - (model.vocabulary - 1) * model.width
    assert math.isclose(_weights_read(model, 500), model.num_params - (model.vocabulary - 500) * model.width)


def test_latent_attention_takes_the_cheaper_form():
    layer = load_model("deepseek-v3").layers[0][1].attention
    whole, chunk, last = (layer.steps(Pass(1, *sizes))[0].flops for sizes in ((6, 6), (600, 700), (1, 700)))
    assert whole == 2 * 6 * 6 * 128 * (128 + 64 + 128)
    assert chunk == 2 * 600 * 700 * 128 * (128 + 64 + 128) + 2 * 100 * 512 * 128 * (128 + 128)
    assert last == 2 * 700 * 128 * (512 + 64 + 512)


def test_latent_attention_in_chunks_is_continuous_and_its_symbols_agree_with_numbers():
    layer = load_model("deepseek-v2-lite").layers[0][1].attention
    form = layer.steps(Pass(B, T, S, pairs=visible_pairs))[0].flops
    a, e, again = 512 + 64 + 512, 128 + 64 + 128, 512 * (128 + 128)
    for context in (1, 2, 40, 4096):
        for tokens in {1, 2, context // 3, context // 2, context - 1, context} & set(range(1, context + 1)):
            pairs = sum(range(context - tokens + 1, context + 1))
            least = 2 * 3 * 16 * min(pairs * a, pairs * e + (context - tokens) * again)
            assert layer.steps(Pass(3, tokens, context, pairs=visible_pairs))[0].flops == least
            assert form.subs({B: 3, T: tokens, S: context}) == least
    whole, all_but_one = (layer.steps(Pass(1, tokens, 4096, pairs=visible_pairs))[0].flops for tokens in (4096, 4095))
    assert math.isclose(all_but_one, whole, rel_tol=1e-3)


def test_a_chunk_of_the_largest_model_is_no_dearer_than_the_prompt():
    plan = Deployment(load_model("deepseek-v3"), accelerators()["H200 SXM"], 8, "fp8", "fp8")
    times = [1e3 * float(plan.step_time(1, tokens, 4096)) for tokens in (4096, 4095)]
    assert round(times[0], 1) == 70.1 and 0.999 < times[1] / times[0] < 1


@given(devices=st.sampled_from([2, 4, 8, 16]), elements=st.integers(1, 5))
def test_all_reduce_against_a_ring(devices, elements):
    """Every device adds a chunk to what its neighbour sends, until all have the sum; the busiest link is counted."""
    data = [[Fraction(d * 10 + i) for i in range(devices * elements)] for d in range(devices)]
    chunks = [range(c * elements, (c + 1) * elements) for c in range(devices)]
    sent = 0
    for phase, turn in itertools.product(("reduce", "gather"), range(devices - 1)):
        messages = []
        for d in range(devices):
            chunk = chunks[(d - turn + (phase == "gather")) % devices]
            messages.append((d, chunk, [data[d][i] for i in chunk]))
        sent += elements
        for d, chunk, values in messages:
            for i, value in zip(chunk, values):
                data[(d + 1) % devices][i] = value + (data[(d + 1) % devices][i] if phase == "reduce" else 0)
    assert all(row == data[0] for row in data) and data[0][0] == sum(10 * d for d in range(devices))
    model = load_model("llama-3-8b")
    plan = Deployment(model, SIMPLE, devices=devices)
    values = 2 * 32 * 5 * model.width  # two all-reduces in each of 32 layers, batch 5
    assert plan.all_reduce_time(5) == sp.Rational(sent, devices * elements) * 2 * values / 7


def test_devices_share_the_work_evenly():
    one, four = (Deployment(load_model("llama-3-8b"), H100, devices=n) for n in (1, 4))
    assert four.step_time(8, 1, 1000) == one.step_time(8, 1, 1000) / 4 + four.all_reduce_time(8)


def test_generation_time_adds_up_the_steps():
    plan = Deployment(load_model("gemma-2-2b"), H100)
    steps = [plan.step_time(2, 1, context) for context in range(4091, 4101)]
    assert math.isclose(plan.generation_time(2, 4090, 11), sum(steps))


def test_generation_needs_possible_sizes():
    plan = Deployment(load_model("gpt2"), H100)
    assert plan.generation_time(2, 0, 1) == 0 < plan.generation_time(np.int64(2), 0, np.int32(2))
    for sizes, complaint in (((1, 1000, 500), "context is 1499: expected at most positions = 1024"),
                             ((0, 5, 5), "batch is 0: expected"), ((-1, 5, 5), "batch is -1"),
                             ((1, -1, 5), "prompt is -1: expected a whole number of at least 0"),
                             ((1, 5, 0), "generated is 0: expected a whole number of at least 1"),
                             ((1.5, 5, 5), "batch is 1.5: expected")):
        with pytest.raises(ValueError, match=complaint):
            plan.generation_time(*sizes)
    for sizes in ((-1,), (0, 1), (1, -1), (1, True)):
        with pytest.raises(ValueError, match="expected a positive whole number"):
            plan.all_reduce_time(*sizes)


def test_numpy_integers_are_integers():
    model, many = load_model("llama-3-8b"), np.int64(2**40)  # more FLOPs than an int64 holds
    plan, same = Deployment(model, H100, np.int64(2), np.int64(1)), Deployment(model, H100, 2, 1)
    assert plan.step_time(many, np.int16(8000), np.uint16(8000)) == same.step_time(2**40, 8000, 8000)
    assert plan.stats(np.int64(3), np.uint16(100)) == same.stats(3, 100)
    assert model.kv_cache_elements(np.int16(8000)) == 65536 * 8000


def test_formats_by_name():
    model = load_model("gpt2")
    assert Deployment(model, H100, 1, "int8", "fp8", "bf16") == Deployment(model, H100, 1, 1, 1, 2)


@pytest.mark.parametrize("name", ["llama-3-8b", "gemma-2-2b", "gpt-oss-20b", "deepseek-v3"])
@pytest.mark.parametrize("devices", [1, 8])
def test_the_floor_is_below_every_layout(name, devices):
    model = load_model(name)
    for batch, tokens, context in ((1, 1, 1), (1, 1, 5000), (64, 1, 1000), (3, 700, 700)):
        plain = Deployment(model, H100, devices)
        floor = plain.floor_time(batch, tokens, context)
        other = Deployment(model, H100, devices, attention="data-parallel")
        in_switch = plain.step_time(batch, tokens, context) - (
            plain.all_reduce_time(batch, tokens) - plain.all_reduce_time(batch, tokens, in_switch=True))
        assert floor <= min(in_switch, other.step_time(batch, tokens, context)) and in_switch <= plain.step_time(
            batch, tokens, context)


def test_the_floor_is_the_larger_of_two_sums():
    plan = Deployment(load_model("mixtral-8x7b"), SIMPLE, 2)
    cost, one = plan.cost(5, 1, 300), plan.cost(1, 1, 1)
    fewest = one.only("experts", "input embedding") + cost.without("experts", "input embedding")
    assert plan.floor_time(5, 1, 300) == max(cost.flops / 2000, fewest.bytes_transferred / 20)


def test_a_switch_that_adds_up_gets_every_value_once():
    plan = Deployment(load_model("llama-3-8b"), H100, 8)
    assert plan.all_reduce_time(4, in_switch=True) == 2 * 32 * 4 * 4096 * 2 / H100.link_bandwidth
    assert plan.all_reduce_time(4) / plan.all_reduce_time(4, in_switch=True) == sp.Rational(7, 4)


def test_largest_batch_fits_and_one_more_does_not():
    plan = Deployment(load_model("llama-2-13b"), H100)
    most = plan.largest_batch(1024)
    assert plan.stats(most, 1024).memory <= H100.driver_bytes < plan.stats(most + 1, 1024).memory
    assert Deployment(load_model("llama-2-70b"), H100).largest_batch(1024) == 0


def test_quantized_weights_keep_their_embeddings():
    model = load_model("qwen2.5-7b")
    plan = Deployment(model, H100, weight_bytes=BYTES["int4"], embedding_bytes=2)
    inside = model.num_params - model.embedding_params
    assert plan.stats(1, 1).parameter_size == sp.Rational(inside, 2) + 2 * model.embedding_params


@pytest.mark.parametrize("name", ["gpt-oss-20b", "deepseek-v2-lite"])
def test_compiled_formula_is_the_formula(name):
    plan = Deployment(load_model(name), H100)
    batch, context = np.array([[1], [300]]), np.array([[5, 130, 4000]])
    fast = sweep(plan.step_time(B, 1, S), {B: batch, S: context})
    slow = [[float(plan.step_time(int(b), 1, int(s))) for s in context[0]] for b in batch[:, 0]]
    assert np.allclose(fast, slow, rtol=1e-12)


@pytest.mark.parametrize(("change", "complaint"), [
    ({"devices": 0}, "devices is 0: expected a whole number of at least 1"),
    ({"devices": 1.5}, "devices is 1.5: expected a whole number"),
    ({"devices": 2, "accelerator": accelerators()["Gaudi 3"]},
     "devices = 2: expected 1, no link bandwidth of 'Gaudi 3'"),
    ({"arithmetic": "4-bit"}, "'H100 SXM' has no 4-bit peak"),
    ({"arithmetic": "fp8", "accelerator": accelerators()["A100 SXM 80GB"]}, "no fp8 peak, of that width only int8"),
    ({"arithmetic": "int4", "accelerator": accelerators()["B200 HGX"]}, "no int4 peak, of that width only fp4"),
    ({"weight_bytes": "int3"}, "weight_bytes is 'int3': expected bytes per element or one of fp32, bf16"),
    ({"kv_bytes": -1}, "kv_bytes is -1: expected bytes per element"),
    ({"embedding_bytes": True}, "embedding_bytes is True: expected bytes per element"),
    ({"devices": True}, "devices is True: expected a whole number"),
    ({"attention": "pipeline"}, "attention is 'pipeline': expected one of tensor-parallel, data-parallel"),
])
def test_impossible_deployments(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        Deployment(**{"model": load_model("gpt2"), "accelerator": H100} | change)


@pytest.mark.parametrize(("sizes", "complaint"), [
    ((0, 1, 5), "batch is 0: expected a positive"), ((1, 6, 5), "tokens is 6: expected at most context = 5"),
    ((1, 1, 2.5), "context is 2.5: expected a positive whole number"), ((1, True, 5), "tokens is True: expected"),
])
def test_impossible_passes(sizes, complaint):
    with pytest.raises(ValueError, match=complaint):
        Deployment(load_model("llama-3-8b"), H100).step_time(*sizes)
    with pytest.raises(ValueError, match=complaint):
        Pass(*sizes)


def test_every_measurement_stays_below_its_bound():
    assert len(measurements()) == 179
    assert {row.metric for row in measurements()} == set(BOUNDS)
    each = {(row.group, row.model, row.metric, row.precision): row for row in measurements()}  # the notebook: all rows
    assert not [(row, row.fraction) for row in each.values() if not 0.05 < row.fraction < 1]


def test_a_generation_of_llama_cpp_starts_empty():
    row = next(row for row in measurements() if row.metric == "tg128 tok/s")
    steps = [deployment(row).step_time(1, 1, context) for context in range(1, 129)]
    assert math.isclose(row.bound, 128 / sum(steps))


def test_a_request_counts_its_prefill_as_the_first_token():
    row = next(row for row in measurements() if row.generated and row.prompt > 1)
    plan = deployment(replace(row, generated=3))
    seconds = sum(plan.step_time(1, *pass_) for pass_ in ((6144, 6144), (1, 6145), (1, 6146)))
    assert row.prompt == 6144 and math.isclose(replace(row, generated=3).bound, 3 / seconds)


def test_bounds_are_not_loose():
    for metric, near in (("tg128 tok/s", 0.85), ("pp512 tok/s", 0.75), ("decode tok/s", 0.6)):
        assert any(row.fraction > near for row in measurements() if row.metric == metric)


def test_speculation_beats_the_plain_bound():
    [row] = [row for row in measurements() if row.metric == "decode tok/s (speculative)"]
    assert replace(row, metric="decode tok/s").bound < row.tokens_per_second < row.bound
    target, draft = deployment(row), deployment(row, load_model("llama-2-7b"))
    round_time = 4 * draft.step_time(1, 1, 1) + target.step_time(1, 5, 5)  # 4 drafted, all accepted, and one more
    assert row.batch == 1 and math.isclose(row.bound, 5 / round_time)


@pytest.mark.parametrize(("milliseconds", "devices", "attention"), [
    (20, 1, "tensor-parallel"), (5, 1, "tensor-parallel"), (10**6, 1, "tensor-parallel"), (12, 4, "data-parallel")])
def test_largest_batch_within_a_time_is_the_last_that_keeps_it(milliseconds, devices, attention):
    plan = Deployment(load_model("llama-3-8b"), H100, devices, attention=attention)
    limit, fits = milliseconds / 1e3, int(plan.largest_batch(4096))
    found = plan.largest_batch_within(limit, 4096)
    assert 0 <= found <= fits
    assert all(plan.step_time(batch, 1, 4096) <= limit for batch in {1, found} if batch <= found)
    assert found == fits or plan.step_time(found + 1, 1, 4096) > limit


@pytest.mark.parametrize("seconds", [0, -1, "1", None, math.nan])
def test_a_time_that_is_none_is_refused(seconds):
    with pytest.raises(ValueError, match=r"^seconds is .*: expected a number above 0$"):
        Deployment(load_model("gpt2"), H100).largest_batch_within(seconds, 100)
