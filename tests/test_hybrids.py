"""Layers with a state, attention that chooses, shared caches: against published models, loops that count, and logs."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest
import sympy as sp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_formats import JUNK, config, damaged, places, read_or_refused

from lecture10 import H100, Deployment, load_model
from lecture10.counting_loops import Meter, convolution_loop, recurrence_loop, sparse_attention_loop
from lecture10.intensity import recurrence, short_convolution, when_large
from lecture10.models.bounds import assumptions
from lecture10.models.experts import MLP
from lecture10.models.families import DATA, FAMILIES
from lecture10.models.hybrids import HYBRIDS
from lecture10.models.layers import Attention, LatentAttention, Layer
from lecture10.models.mixer import Cached, State
from lecture10.models.modules import SPECIAL, matrices
from lecture10.models.names import HYBRID_NAMES
from lecture10.models.paged import kv_cache, pool
from lecture10.models.passes import Pass, Weights
from lecture10.models.recurrent import GatedDelta, Mamba2, ShortConvolution
from lecture10.models.sparse import CompressedAttention, Indexer, SparseAttention, entry_pairs
from lecture10.models.transformer import Transformer
from lecture10.models.windows import all_pairs, visible_pairs
from lecture10.notation import B, D, H, K, N, S, T

with (Path(__file__).parent / "data" / "hybrids.csv").open(encoding="utf-8", newline="") as table:
    ROWS = {row["name"]: row for row in csv.DictReader(table)}
SHIPPED = {name: json.loads((DATA / "configs" / f"{name}.json").read_text(encoding="utf-8")) for name in ROWS}
LOGS = json.loads((DATA / "cache_logs.json").read_text(encoding="utf-8"))
SMALL = st.integers(1, 4)
QUICK = settings(deadline=None, max_examples=30)


def log(engine: str, model: str) -> dict:
    [row] = [row for row in LOGS["rows"] if row["engine"] == engine and row["model"] == model]
    return row


# Published models

@pytest.mark.parametrize("name", ROWS)
def test_published_models_are_exact(name):
    row, model = ROWS[name], load_model(name, any_context=True)
    recurrent, convolution = model.state_elements
    counted = {"text_params": model.num_params, "active_params": model.num_active_params,
               "recurrent_elements_per_sequence": recurrent, "conv_elements_per_sequence": convolution,
               "state_bytes_per_sequence": model.state_bytes}
    lengths = [length for length in (4096, 131072, 1048576) if row[f"kv_bytes_{length}"]]
    for length in lengths:
        counted[f"kv_bytes_{length}"] = 2 * model.kv_cache_elements(length)
        counted[f"sequence_bytes_{length}"] = 2 * model.kv_cache_elements(length) + model.state_bytes
    assert counted == {column: int(row[column]) for column in counted}
    assert lengths and all(type(value) is int for value in counted.values())
    assert load_model(name).max_context == int(row["max_position"])


@pytest.mark.parametrize("name", ROWS)
def test_what_grows_and_what_a_window_holds(name):
    kept = [(number, cached) for number, layer in load_model(name).layers if layer.attention is not None
            for cached in layer.attention.caches]
    row = ROWS[name]
    growing = sum(Fraction(number * cached.elements, cached.ratio) for number, cached in kept if cached.window is None)
    keys = sum(Fraction(number * cached.elements, cached.ratio) for number, cached in kept
               if cached.name == "indexer keys")
    local = [(number * cached.elements, cached.window) for number, cached in kept if cached.window is not None]
    assert growing == Fraction(row["kv_elements_per_token_global"])
    assert keys == Fraction(row["of_which_indexer"] or 0)
    assert sum(elements for elements, _ in local) == int(row["kv_elements_per_token_local"])
    assert {window for _, window in local} == ({int(row["local_window"])} if row["local_window"] else set())


def test_parts_that_see_are_counted_apart():
    for name in ("qwen3.5-27b", "qwen3.5-397b-a17b"):
        sees = int(ROWS[name]["total_params"]) - int(ROWS[name]["text_params"])
        assert f"counted: the language model; vision_config: {sees:,} parameters, not in these numbers" in load_model(
            name).notes


def test_folders_with_several_formats():
    plain, indexed = load_model("deepseek-v3.2"), 61 * (1536 * 8192 + 7168 * 128)
    scales = 61 * 4 * (12 * 64 + 56)
    rest = 61 * 2 * (7168 * 64 + 2 * 128)
    assert plain.weight_bytes() == 673150611808 + indexed + scales + rest  # DeepSeek-V3's folder without its MTP layer
    small = load_model("deepseek-v4-pro")
    experts = 61 * 384 * 3 * 7168 * 3072
    assert {f.name for _, layer in small.layers for _, kept, _ in layer.stored.parts for f in kept if f} == {
        "mxfp4", "fp8 128x128"}
    assert experts * Fraction(17, 32) < small.weight_bytes() < experts * Fraction(17, 32) * Fraction(106, 100)
    shared = next(line for line in small.weight_table().rows if line[0] == "shared experts")
    assert shared[1] == "fp8 128x128" and shared[3] == 8 + Fraction(8, 128 * 128)  # a scale of one byte a tile
    mixed, dense = load_model(config("qwen3.6-27b-nvfp4")), 64 * 3 * 5120 * 17408
    assert mixed.num_params == load_model("qwen3.5-27b").num_params and mixed.kv_bytes == 1
    row = next(line for line in mixed.weight_table().rows if line[0] == "MLP")
    assert row[1:3] == ("nvfp4a16", dense) and row[4] * 10**9 == Fraction(9, 16) * dense + 64 * 3 * 4


def test_formats_of_names_that_are_not_known_are_refused():
    quantized = SHIPPED["gemma-4-26b-a4b"]["text_config"] | {
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    with pytest.raises(ValueError, match=r"^quantization_config: how folders of gemma4_text keep their experts is not"):
        load_model(quantized)


def test_halves_that_stand_alone():
    model = load_model("nemotron-h-56b")
    assert {(layer.attention is None, layer.mlp is None) for _, layer in model.layers} == {(True, False), (False, True)}
    assert sum(number for number, _ in model.layers) == 118
    with pytest.raises(ValueError, match=r"^mlp is None: expected an MLP or a MixtureOfExperts, since attention"):
        Layer(None, None)


@pytest.mark.parametrize(("name", "change", "complaint"), [
    ("qwen3-next-80b-a3b", {"linear_num_value_heads": 33}, "linear_num_value_heads = 33: expected a multiple of"),
    ("qwen3-next-80b-a3b", {"mamba_ssm_dtype": "int8"}, "mamba_ssm_dtype = 'int8': expected one of float32"),
    ("qwen3-next-80b-a3b", {"layer_types": ["full_attention"] * 48}, "layer_types = .*: expected the pattern"),
    ("qwen3-next-80b-a3b", {"full_attention_interval": 0}, "full_attention_interval = 0: expected a whole number"),
    ("kimi-linear-48b-a3b", {"linear_attn_config": {}}, "linear_attn_config.full_attn_layers is missing"),
    ("kimi-linear-48b-a3b", {"num_hidden_layers": 28}, "linear_attn_config.kda_layers = .*: expected all layers of 28"),
    ("nemotron-3-nano-30b-a3b", {"hybrid_override_pattern": "MEX"}, "hybrid_override_pattern = 'MEX': expected a list"),
    ("nemotron-3-nano-30b-a3b", {"num_hidden_layers": 51}, "num_hidden_layers = 51: expected 52, as many as"),
    ("nemotron-3-nano-30b-a3b", {"n_groups": 7}, "n_groups = 7: expected a divisor of mamba_num_heads = 64"),
    ("nemotron-3-nano-30b-a3b", {"sliding_window": 4096}, "sliding_window = 4096: expected null"),
    ("nemotron-3-ultra-550b-a55b", {"layers_block_type": [None]}, r"layers_block_type = \[None\]: expected a list of"),
    ("lfm2-1.2b", {"full_attn_idxs": [16]}, r"full_attn_idxs = \[16\]: expected a list of layers between 0 and 15"),
    ("lfm2-1.2b", {"block_ffn_dim_multiplier": "1"}, "block_ffn_dim_multiplier = '1': expected a number"),
    ("lfm2-8b-a1b", {"conv_L_cache": 1}, "conv_L_cache = 1: expected a whole number between 2"),
    ("deepseek-v3.2", {"indexer_types": ["shared"] * 61}, "indexer_types = .*: expected as many .* the first one full"),
    ("deepseek-v3.2", {"index_topk_freq": 4}, "index_topk_freq = 4: expected null or 1, indexer_types"),
    ("deepseek-v3.2", {"index_topk_pattern": "FS"}, "index_topk_pattern = 'FS': expected null, indexer_types"),
    ("glm-5", {"index_topk_freq": 4, "indexer_types": ["full"] * 78}, "indexer_types = .*: expected the pattern that"),
    ("deepseek-v4-pro", {"compress_ratios": [8] * 61}, "compress_ratios = .*: expected a list of 0, 4 or 128"),
    ("deepseek-v4-pro", {"num_nextn_predict_layers": None}, "compress_ratios = .*: expected a list of 0, 4 or 128 for"),
    ("deepseek-v4-pro", {"o_groups": 3}, "o_groups = 3: expected a divisor of num_attention_heads = 128"),
    ("deepseek-v4-pro", {"expert_dtype": "fp8"}, "expert_dtype = 'fp8': expected \"fp4\""),
])
def test_contradictions(name, change, complaint):
    with pytest.raises(ValueError, match=f"^{complaint}"):
        load_model(SHIPPED[name] | change)


def test_ratios_are_those_of_the_layers_whether_or_not_the_file_lists_more():
    values = SHIPPED["deepseek-v4-pro"]
    alone = values | {"num_nextn_predict_layers": 0, "compress_ratios": values["compress_ratios"][:61]}
    assert load_model(alone).num_params == load_model(values).num_params


def test_the_width_of_lfm2_is_adjusted_as_its_class_does():
    """transformers 5.24: two thirds, and rounded up to a multiple only where there is a multiplier."""
    values = {key: value for key, value in SHIPPED["lfm2-1.2b"].items() if key != "block_auto_adjust_ff_dim"}
    for change, width in (({}, 8192), ({"block_ffn_dim_multiplier": None}, 8192), ({"block_ff_dim": 12291}, 8448),
                          ({"block_ff_dim": 12291, "block_ffn_dim_multiplier": None}, 8194)):
        assert {layer.mlp.hidden for _, layer in load_model(values | change).layers} == {width}


INDEXED = {"layer_types": ["indexed_attention"] * 61}
COMPRESSED = {0: "sliding_attention", 4: "compressed_sparse_attention", 128: "heavily_compressed_attention"}
SAVED_V4 = {"compress_rates": {COMPRESSED[4]: 4, COMPRESSED[128]: 128},
            "mlp_layer_types": ["hash_moe"] * 3 + ["moe"] * 58,
            "quantization_config": SHIPPED["deepseek-v4-pro"]["quantization_config"] | {"expert_dtype": "fp4"},
            "layer_types": [COMPRESSED[ratio] for ratio in SHIPPED["deepseek-v4-pro"]["compress_ratios"][:61]]}
SAVED_M3 = {"model_type": "minimax_m3_vl_text", "index_n_heads": 4, "index_head_dim": 128, "index_block_size": 128,
            "index_topk_blocks": 16, "index_local_blocks": 1,
            "layer_types": ["full_attention"] * 3 + ["minimax_m3_sparse"] * 57,
            "mlp_layer_types": ["dense"] * 3 + ["sparse"] * 57}


def saved(name: str, gone: tuple[str, ...], come: dict) -> dict:
    """The file of ``name`` as transformers 5.24 saves it: which keys go and which come."""
    part = SHIPPED[name].get("text_config", SHIPPED[name])
    text = {key: value for key, value in part.items() if key not in gone} | come
    return SHIPPED[name] | {"text_config": text} if "text_config" in SHIPPED[name] else text


@pytest.mark.parametrize(("name", "gone", "come"), [
    ("deepseek-v3.2", (), INDEXED | {"mlp_layer_types": ["dense"] * 3 + ["sparse"] * 58, "head_dim": 64}),
    ("deepseek-v3.2", (), {"layer_types": ["deepseek_sparse_attention"] * 61}),  # its name in earlier versions
    ("glm-5", (), {"layer_types": ["indexed_attention"] * 78, "indexer_types": ["full"] * 78}),
    ("deepseek-v4-pro", ("compress_ratios",), SAVED_V4),
    ("deepseek-v4-pro", ("compress_ratios", "expert_dtype"), SAVED_V4),
    ("deepseek-v4-pro", (), SAVED_V4),
    ("minimax-m3", ("sparse_attention_config", "moe_layer_freq"), SAVED_M3),
    ("minimax-m3", (), SAVED_M3)])
def test_files_that_transformers_5_24_saves_say_the_same_in_other_keys(name, gone, come):
    assert replace(load_model(saved(name, gone, come)), notes=(), name=name) == replace(load_model(name), notes=())


@pytest.mark.parametrize(("name", "gone", "come", "complaint"), [
    ("deepseek-v3.2", (), {"layer_types": ["full_attention"] * 61}, "layer_types = .*: expected a list of indexed_att"),
    ("deepseek-v3.2", (), {"layer_types": ["indexed_attention"]}, "layer_types = .*: expected as many as num_hidden_l"),
    ("deepseek-v3", (), INDEXED, "layer_types = .*: expected a list of full_attention"),
    ("deepseek-v4-pro", ("compress_ratios",), {}, "compress_ratios is missing: expected a list of 0, 4 or 128 for 61 la"
     "yers, or layer_types and compress_rates"),
    ("deepseek-v4-pro", ("compress_ratios",), {"layer_types": SAVED_V4["layer_types"]}, "compress_rates is missing: exp"
     'ected {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128}'),
    ("deepseek-v4-pro", ("compress_ratios",), SAVED_V4 | {"compress_rates": {COMPRESSED[4]: 8}}, "compress_rates = "),
    ("deepseek-v4-pro", ("compress_ratios",), SAVED_V4 | {"layer_types": ["full_attention"] * 61}, "layer_types = .*: "
     "expected a list of sliding_attention or compressed_sparse_attention or heavily_compressed_attention"),
    ("deepseek-v4-pro", (), SAVED_V4 | {"layer_types": [COMPRESSED[4]] * 61}, "layer_types = .*: expected the pattern"),
    ("deepseek-v4-pro", (), {"mlp_layer_types": ["dense"] * 61}, "mlp_layer_types = .*: expected a list of hash_moe o"),
    ("deepseek-v4-pro", (), {"compress_rates": {}}, r"compress_rates = \{\}: expected \{"),
    ("deepseek-v4-pro", ("compress_ratios",), SAVED_V4 | {"compress_rate_hca": 64}, "compress_rate_hca = 64: expected 1"
     "28 or null"),
    ("deepseek-v4-pro", (), {"quantization_config": SAVED_V4["quantization_config"] | {"expert_dtype": "fp8"}},
     'quantization_config.expert_dtype = .fp8.: expected "fp4"'),
    ("minimax-m3", ("moe_layer_freq",), {}, "text_config.moe_layer_freq is missing: expected a list of 60 zeros and"),
    ("minimax-m3", (), {"mlp_layer_types": ["sparse"] * 60}, "text_config.mlp_layer_types = .*: expected the pattern th"
     "at moe_layer_freq describes"),
    ("minimax-m3", (), SAVED_M3 | {"layer_types": ["full_attention"] * 60}, "text_config.layer_types = .*: expected t"),
    ("minimax-m3", (), {"index_head_dim": 64}, "text_config.index_head_dim = 64: expected 128, as sparse_index_dim sa"),
    ("minimax-m3", ("sparse_attention_config",), {**SAVED_M3, "index_topk_blocks": None}, "text_config.index_topk_block"
     "s = None: expected a whole number"),
    ("minimax-m3", ("sparse_attention_config",), {}, "text_config.sparse_attention_config is missing: expected a mapp"),
])
def test_what_a_saved_file_does_not_say_or_says_twice_is_refused(name, gone, come, complaint):
    values = saved(name, gone, come) if name in SHIPPED else config(name) | come
    with pytest.raises(ValueError, match=f"^{complaint}"):
        load_model(values)


@pytest.mark.parametrize("name", ["gemma-4-26b-a4b", "gemma-4-e2b"])
def test_gemma_4_as_transformers_5_24_writes_its_global_layers(name):
    before = SHIPPED[name]["text_config"]
    groups = before["num_global_key_value_heads"]
    layer = {"head_dim": before["global_head_dim"]} | ({"num_key_value_heads": groups} if groups else {})
    text = {key: value for key, value in before.items() if "global" not in key}
    each = {f"{i:02}": layer for i, kind in enumerate(before["layer_types"]) if kind == "full_attention"}
    model = load_model(SHIPPED[name] | {"text_config": text | {"per_layer_config": each}})
    assert replace(model, name=name, notes=()) == replace(load_model(name), notes=())
    assert not any("global_head_dim" in note for note in model.notes)
    last = max(each)
    for wrong in (each | {last: layer | {"head_dim": 256}}, each | {"00": layer}, {"x": layer},
                  {key: layer | {"x": 1} for key in each}, {key: each[key] for key in each if key != last}):
        with pytest.raises(ValueError, match=r"^text_config.per_layer_config = .*: expected head_dim and num_key"):
            load_model(SHIPPED[name] | {"text_config": text | {"per_layer_config": wrong}})


def test_one_layer_may_own_the_cache_of_all():
    values = SHIPPED["gemma-4-e2b"]["text_config"] | {
        "num_hidden_layers": 2, "layer_types": ["full_attention"] * 2, "num_kv_shared_layers": 1}
    assert load_model(values).kv_cache_elements(7) == 2 * 512 * 7


def test_layers_without_an_indexer_use_the_choice_of_the_one_before():
    values = SHIPPED["deepseek-v3.2"]
    own, half = load_model(values), load_model(values | {"indexer_types": ["full", "shared"] * 30 + ["full"]})
    [indexer] = {weights.num_params for _, layer in own.layers for weights in layer.weights
                 if weights.operation == "indexer projections"}
    assert own.num_params - half.num_params == 30 * indexer
    assert own.kv_cache_elements(9) - half.kv_cache_elements(9) == 30 * 9 * 128
    scored = [model.forward(Pass(2, 1, 4096)).only("indexer").bytes_transferred for model in (own, half)]
    assert scored[1] / scored[0] == sp.Rational(31, 61)


@pytest.mark.parametrize(("offset", "own"), [({"index_skip_topk_offset": 3}, {0, 1, 2, 6, 10}), ({}, {0, 1, 5, 9})])
def test_files_that_also_say_every_which_layer_has_an_indexer(offset, own):  # GLM-5.2; transformers 5.24 takes 2
    text = SHIPPED["glm-5"] | {"num_hidden_layers": 11} | {
        "indexer_types": ["full" if i in own else "shared" for i in range(11)]}
    assert load_model(text | {"index_topk_freq": 4} | offset) == load_model(text)


@pytest.mark.parametrize(("name", "change", "complaint"), [
    ("gemma-4-e2b", {"num_kv_shared_layers": 35}, "num_kv_shared_layers = 35: expected layers before them"),
    ("gemma-4-26b-a4b", {"num_global_key_value_heads": 3}, "num_global_key_value_heads = 3: expected a divisor"),
    ("gemma-4-26b-a4b", {"attention_bias": True}, "attention_bias = True: expected false"),
    ("minimax-m3", {"moe_layer_freq": [1]}, r"moe_layer_freq = \[1\]: expected a list of 60 zeros and ones"),
    ("minimax-m3", {"use_qk_norm": False}, "use_qk_norm = False: expected true"),
    ("minimax-m3", {"attention_output_gate": True}, "attention_output_gate = True: expected false"),
    ("minimax-m3", {"qk_norm_type": "per_layer"}, "qk_norm_type = 'per_layer': expected \"per_head\""),
])
def test_contradictions_in_a_part(name, change, complaint):
    nested = SHIPPED[name]
    with pytest.raises(ValueError, match=rf"^text_config\.{complaint}"):
        load_model(nested | {"text_config": nested["text_config"] | change})


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(sorted(SHIPPED)), data=st.data())
def test_damaged_files_are_refused_in_one_line_or_counted(name, data):
    values = damaged(SHIPPED[name], data.draw(st.sampled_from(places(SHIPPED[name]))), data.draw(JUNK))
    model = read_or_refused(values)
    assert model is None or (model.weight_bytes() > 0 and model.kv_cache_elements(3) >= 0)


def test_all_families_of_these_are_published():
    assert {*HYBRIDS} <= {*FAMILIES}
    kinds = {values.get("text_config", values).get("model_type", "minimax_m3") for values in SHIPPED.values()}
    assert kinds == {*HYBRIDS}


# Layers against loops that count

def numbers(*shape: int, first: int = 1) -> list:
    return [numbers(*shape[1:], first=first + i) for i in range(shape[0])] if shape else Fraction(first % 5 - 2, 3)


def counted(mixer: object, run: Pass) -> tuple[int, int]:
    steps = mixer.steps(run)
    return tuple(sum(int(getattr(step, what)) for step in steps) for what in ("flops", "bytes_transferred"))


@pytest.mark.parametrize("kind", range(3))
@settings(deadline=None, max_examples=10)
@given(tokens=SMALL, groups=SMALL, per_group=SMALL, key=SMALL, value=SMALL, kernel=st.integers(2, 4),
       state_bytes=st.sampled_from([2, 4]), batch=SMALL)
def test_states_as_loops_count_them(tokens, groups, per_group, key, value, kernel, kind, state_bytes, batch):
    heads = groups * per_group
    mixer = (GatedDelta(3, heads, groups, key, value, kernel, recurrent_bytes=state_bytes),
             GatedDelta(3, heads, heads, key, value, kernel, rank=2, recurrent_bytes=state_bytes),
             Mamba2(3, heads, value, key, groups, kernel, recurrent_bytes=state_bytes))[kind]
    shared = heads if kind == 1 else groups
    meter, beta = Meter(), numbers(tokens, heads) if kind != 2 else None
    convolution_loop(meter, numbers(tokens, mixer.channels), numbers(mixer.channels, kernel),
                     numbers(kernel - 1, mixer.channels))
    inputs = numbers(tokens, shared, key), numbers(tokens, shared, key), numbers(tokens, heads, value)
    _, state = recurrence_loop(meter, *inputs, numbers(tokens, heads, key), beta, numbers(heads, key, value),
                               state_bytes=state_bytes)
    passing = Meter()  # what comes in and goes out for every token is counted with the projections, if at all
    for rows in (*inputs, numbers(tokens, heads, value), *(numbers(tokens, mixer.channels),) * 2):
        passing.move(rows)
    assert counted(mixer, Pass(batch, tokens, tokens + 3)) == (
        batch * meter.flops, batch * (meter.bytes_transferred - passing.bytes_transferred))
    stored = Meter()
    stored.move(state, state_bytes)
    stored.move(numbers(kernel - 1, mixer.channels))
    assert mixer.state.num_bytes == stored.bytes_transferred


def test_the_delta_rule_answers_what_it_was_told():
    keys = [[[1, 0]], [[0, 1]], [[1, 0]]]
    values = [[[5, 7]], [[2, 3]], [[1, 1]]]
    hold = [[[1, 1]]] * 3
    outputs, state = recurrence_loop(Meter(), keys, keys, values, hold, [[1]] * 3, [[[0, 0], [0, 0]]])
    assert outputs == values and state == [[[1, 1], [2, 3]]]  # the third token overwrites the first one's value
    _, state = recurrence_loop(Meter(), keys, keys, values, hold, None, [[[0, 0], [0, 0]]])
    assert state == [[[6, 8], [2, 3]]]  # without the correction they add up
    decay, before = [[[Fraction(1, 2)] * 2]], [[[4, 2], [0, 0]]]
    halved, _ = recurrence_loop(Meter(), keys[:1], keys[:1], values[:1], decay, None, before)
    assert halved == [[[7, 8]]]


@QUICK
@given(batch=SMALL, tokens=SMALL, channels=SMALL, kernel=st.integers(2, 4))
def test_a_convolution_between_gates(batch, tokens, channels, kernel):
    meter, mixer = Meter(), ShortConvolution(3, channels, kernel)
    outputs, kept = convolution_loop(meter, numbers(tokens, channels), numbers(channels, kernel),
                                     numbers(kernel - 1, channels))
    inside = meter.bytes_transferred - 2 * 2 * tokens * channels
    assert counted(mixer, Pass(batch, tokens, tokens)) == (batch * meter.flops, batch * inside)
    assert len(kept) * channels == mixer.state.convolution and len(outputs) == tokens
    biases = 3 * channels + channels + 3  # into the gates and the convolution, of the convolution, back to the width
    assert replace(mixer, bias=True).weights[0].num_params == mixer.weights[0].num_params + biases


@QUICK
@given(heads=SMALL, latent=SMALL, rope=SMALL, index_heads=SMALL, index_dim=SMALL, kept=SMALL, past=st.integers(0, 5),
       tokens=SMALL, batch=SMALL)
def test_an_indexer_and_what_it_keeps(heads, latent, rope, index_heads, index_dim, kept, past, tokens, batch):
    large = 9  # expanded keys and values are dearer, so that the absorbed form is chosen
    mixer = SparseAttention(LatentAttention(3, heads, latent, rope, large * latent, large * latent), kept,
                            Indexer(3, 2, index_heads, index_dim))
    meter, context = Meter(), past + tokens
    cache = numbers(context, latent + rope)
    sparse_attention_loop(meter, numbers(tokens, heads, latent + rope), cache, cache, latent=latent, kept=kept,
                          index=(numbers(tokens, index_heads, index_dim), numbers(tokens, index_heads),
                                 numbers(context, index_dim)))
    flops, moved = counted(mixer, Pass(batch, tokens, context, pairs=visible_pairs))
    assert flops == batch * meter.flops
    if tokens == 1:
        assert moved == batch * meter.bytes_transferred
    assert mixer.kv_elements(context) == context * (latent + rope + index_dim)


@pytest.mark.parametrize("kind", range(3))
@settings(deadline=None, max_examples=10)
@given(heads=SMALL, size=SMALL, index_heads=SMALL, index_dim=SMALL, kept=SMALL, window=SMALL, ratio=st.integers(2, 4),
       past=st.integers(0, 9), tokens=SMALL, batch=SMALL)
def test_windows_beside_compressed_entries(heads, size, index_heads, index_dim, kept, window, ratio, kind, past, tokens,
                                           batch):
    mixer = CompressedAttention(3, heads, size, 2, 1, 2, window)
    if kind:
        mixer = replace(mixer, ratio=ratio)
    if kind == 2:
        mixer = replace(mixer, kept=kept, indexer=Indexer(3, 2, index_heads, index_dim))
    meter, context = Meter(), past + tokens
    entries = context // ratio if kind else 0
    index = (numbers(tokens, index_heads, index_dim), numbers(tokens, index_heads), numbers(entries, index_dim))
    sparse_attention_loop(meter, numbers(tokens, heads, size), numbers(context, size), numbers(entries, size),
                          latent=size, window=window, ratio=ratio if kind else context + 1, kept=kept,
                          index=index if kind == 2 and entries else None)
    flops, moved = counted(mixer, Pass(batch, tokens, context, pairs=visible_pairs))
    assert flops == batch * meter.flops
    if tokens == 1:
        assert moved == batch * meter.bytes_transferred
    keys = index_dim * entries if kind == 2 else 0
    assert mixer.kv_elements(context) == min(context, window) * size + entries * size + keys


@QUICK
@given(groups=SMALL, per_group=SMALL, size=SMALL, index_heads=SMALL, index_dim=SMALL, kept=SMALL,
       past=st.integers(0, 6))
def test_blocks_of_grouped_attention(groups, per_group, size, index_heads, index_dim, kept, past):
    """MiniMax-M3, one step: every index head meets every key; a group reads and uses the positions that it keeps."""
    mixer = SparseAttention(Attention(3, groups * per_group, groups, size), kept,
                            Indexer(3, 3, index_heads, index_dim, weighted=False))
    flops, moved, context = 0, 0, past + 1
    for _ in product(range(index_heads), range(context), range(index_dim)):
        flops += 2
    for _ in product(range(groups), range(min(kept, context)), range(size)):
        moved += 2 * 2
        flops += per_group * 2 * 2
    moved += 2 * context * index_dim
    assert counted(mixer, Pass(1, 1, context)) == (flops, moved)
    assert replace(mixer, indexer=None).caches == mixer.caches[:1]


@QUICK
@given(context=st.integers(1, 30), ratio=SMALL, kept=st.none() | SMALL, data=st.data())
def test_pairs_with_entries(context, ratio, kept, data):
    tokens = data.draw(st.integers(1, context))
    seen = [p // ratio for p in range(context - tokens + 1, context + 1)]
    assert entry_pairs(context, tokens, ratio, kept) == sum(seen if kept is None else (min(e, kept) for e in seen))


def test_a_dense_kernel_meets_what_the_last_query_meets():
    mixer = CompressedAttention(3, 2, 5, 2, 1, 2, 4, 2)
    dense, visible = (mixer.steps(Pass(1, 6, 8, pairs=rule))[0].flops for rule in (all_pairs, visible_pairs))
    assert dense == 4 * 2 * 5 * 6 * (min(8, 6 + 4 - 1) + 4) and visible < dense


def test_shared_caches_are_read_and_not_stored():
    own = Attention(4, 2, 1, 8)
    shared = replace(own, kv_projections=0)
    run = Pass(2, 1, 9)
    assert shared.steps(run) == own.steps(run) and (own.kv_elements(9), shared.kv_elements(9)) == (144, 0)
    assert own.weights[0].each - shared.weights[0].each == 2 * 4 * 8
    assert own.weights[0].each - replace(own, kv_projections=1).weights[0].each == 4 * 8


# In symbols

def same(a: object, b: object) -> bool:
    return sp.simplify(a - b) == 0


def test_intensities_of_states_in_symbols():
    delta, plain = recurrence(corrected=True), recurrence(corrected=False)
    assert same(delta.flops, 7 * B * T * N * H**2) and same(plain.flops, 5 * B * T * N * H**2)
    state = delta.as_step("state", "read M", "write M")
    assert state.subs(T=1).intensity == sp.Rational(7, 8)
    assert plain.as_step("state", "read M", "write M").subs(T=1).intensity == sp.Rational(5, 8)
    assert same(state.intensity, 7 * T / 8)
    assert when_large(delta.subs(T=1).intensity, H) == sp.Rational(7, 8)
    assert short_convolution(kernel=4).as_step("c", "read the last columns").subs(T=1).intensity == sp.Rational(4, 3)


def test_layers_in_symbols_give_the_numbers_of_released_ones():
    symbolic = GatedDelta(D, N, K, H, H)
    assert same(symbolic.state.recurrent, N * H**2) and same(symbolic.state.convolution, 3 * (2 * K + N) * H)
    [step] = symbolic.steps(Pass(B, 1, S))
    mixers = [layer.attention for _, layer in load_model("qwen3-next-80b-a3b").layers]
    released = next(mixer for mixer in mixers if isinstance(mixer, GatedDelta))
    sizes = {D: 2048, N: 32, K: 16, H: 128}
    assert released.steps(Pass(B, 1, S))[0].flops == step.flops.subs(sizes)
    assert released.state.recurrent == symbolic.state.recurrent.subs(sizes)
    limit = sp.limit((step.flops / step.bytes_transferred).subs(K, N), H, sp.oo)
    assert limit == sp.Rational(7, 8)


def test_the_indexer_in_symbols():
    mixer = SparseAttention(LatentAttention(D, N, 512, 64, 128, 128, 1536), 2048, Indexer(D, 1536, 64, 128))
    scoring, using = mixer.steps(Pass(B, 1, S, pairs=visible_pairs))
    assert same(scoring.flops, 2 * B * S * 64 * 129) and same(scoring.bytes_transferred, 2 * B * S * 128)
    assert same(using.bytes_transferred, 2 * B * sp.Min(S, 2048) * 576)
    assert same(mixer.kv_elements(S), (576 + 128) * S)


# Deployments

def test_a_state_takes_memory_and_is_moved_twice_a_step():
    model = load_model("qwen3-next-80b-a3b")
    plan = Deployment(model, H100.times(4), 1)
    assert plan.stored_state() == model.state_bytes == 77266944
    assert plan.stored_cache(4096) == 2 * model.kv_cache_elements(4096) + model.state_bytes == 177930240
    free = plan.accelerator.capacity - plan.stored_weights()
    assert plan.largest_batch(4096) == free // 177930240
    assert plan.device_memory(3, 4096) == model.weight_bytes() + 3 * 177930240
    step = plan.cost(5, 1, 4096)
    assert step.only("recurrence").bytes_transferred == 5 * 2 * model.state_bytes
    assert plan.cost(5, 1, 65536).only("recurrence") == step.only("recurrence")
    assert plan.cost(1, 512, 512).only("recurrence").bytes_transferred == 2 * model.state_bytes
    assert any("States are read and written once" in line for line in assumptions(plan))


def test_the_symbolic_step_of_every_model_gives_its_numbers():
    for name in ("deepseek-v4-pro", "gemma-4-e2b", "nemotron-3-nano-30b-a3b", "minimax-m3"):
        plan = Deployment(load_model(name), H100)
        step = plan.step_time(B, 1, S)
        for batch, context in ((1, 3), (4, 5000)):
            numeric = float(plan.step_time(batch, 1, context))
            assert float(step.subs({B: batch, S: context})) == pytest.approx(numeric, rel=1e-12)


@pytest.mark.parametrize(("name", "devices", "near"), [
    ("qwen3-next-80b-a3b", 32, "expected 16"), ("lfm2-1.2b", 3, "expected 2 or 4"),
    ("nemotron-3-nano-30b-a3b", 64, "expected 32"), ("deepseek-v4-pro", 32, "expected 16")])
def test_states_and_groups_are_divided_whole(name, devices, near):
    with pytest.raises(ValueError, match=f"^devices = {devices}: {near}"):
        Deployment(load_model(name), H100, devices)


@pytest.mark.parametrize(("whole", "divided"), [
    (CompressedAttention(8, 4, 2, 2, 2, 2, 3), "heads groups"), (GatedDelta(8, 4, 2, 2, 2), "heads key_heads"),
    (Mamba2(8, 4, 2, 2, 2), "heads groups"), (Mamba2(8, 4, 2, 2, 1), "heads"), (ShortConvolution(8, 4, 3), "channels")])
def test_what_a_device_holds_of_heads_and_groups(whole, divided):
    assert whole.share(2) == replace(whole, **{name: getattr(whole, name) // 2 for name in divided.split()})
    assert whole.share(3) is None


def test_what_devices_share_and_what_each_copies():
    model = load_model("qwen3-next-80b-a3b")
    one, four = (Deployment(model, H100, n) for n in (1, 4))
    assert four.stored_state() == one.stored_state() / 4
    for operation in ("recurrence", "attention"):
        whole, part = (plan.device_cost(2, 1, 999).only(operation) for plan in (one, four))
        assert part.flops == whole.flops / 4
    assert four.traffic(1) == {"all-reduce": 2 * sp.Rational(3, 4) * 2 * 2 * 2048 * 48}
    choosing = [Deployment(load_model("deepseek-v3.2"), H100, n) for n in (1, 8)]
    indexers = [plan.device_cost(2, 1, 9999).only("indexer") for plan in choosing]
    assert indexers[0] == indexers[1]
    assert choosing[0].stored_cache(100) == choosing[1].stored_cache(100)
    halves = Deployment(load_model("nemotron-3-nano-30b-a3b"), H100, 2)
    assert halves.traffic(1) == {"all-reduce": 2 * sp.Rational(1, 2) * 2 * 2688 * 52}
    apart = Deployment(load_model("nemotron-3-nano-30b-a3b"), H100, 2, attention="data-parallel")
    assert apart.traffic(1) == {"gather, scatter": 2 * sp.Rational(1, 2) * 2 * 2688 * 23}
    assert apart.stored_state() == load_model("nemotron-3-nano-30b-a3b").state_bytes


# Three sizes of a cache, and lines of logs

def test_lines_of_llama_cpp():
    row = log("llama.cpp", "qwen3.5-27b")
    model = load_model(row["model"])
    assert (kv_cache(model, row["cells"]).live - model.state_bytes) / 2**20 == row["kv_mib"]
    assert row["sequences"] * 4 * sum(model.state_elements) / 2**20 == row["recurrent_mib"]


def test_lines_of_vllm():
    row = log("vLLM", "qwen3.5-4b")
    model = load_model(row["model"])
    assert pool(model).block_size == row["block_tokens"]
    state = max(layer.state.num_bytes for _, layer in model.layers)
    page = pool(model).block_bytes // 8
    assert round(100 * (page - state) / state, 2) == row["padding_percent"]
    row = log("vLLM 0.19", "qwen3.5-27b")
    cut = pool(load_model(row["model"]))
    assert (cut.block_size, cut.growing, cut.fixed) == (784, 1, 3)
    fitting = [blocks for blocks in range(4000) if cut.reported(blocks) == row["reported_tokens"]
               and round(blocks / cut.blocks(row["context"]), 2) == row["concurrency"]]
    assert fitting == [row["blocks"]]
    row = log("vLLM 0.19", "llama-3-8b")
    cut = pool(load_model(row["model"]))
    assert cut.reported(row["blocks"]) == row["reported_tokens"]
    free = row["utilization"] * row["device_bytes"] - load_model(row["model"]).weight_bytes()
    assert row["blocks"] * cut.block_bytes < free  # the rest: activations, graphs


def test_what_a_calculator_reports_as_engines_reserve():
    row = log("hf-mem 0.5", "gpt-oss-20b")
    sizes = kv_cache(load_model(row["model"]), row["context"])
    assert round(row["sequences"] * sizes.live / 2**30, 2) == row["live_gib"]
    assert row["sequences"] * sizes.allocated / 2**30 == row["allocated_gib"]


def test_how_much_smaller_the_cache_of_deepseek_v4_is():
    formats, context = LOGS["stored_bytes_per_entry"], 2**20
    before, after = load_model("deepseek-v3.2", any_context=True), load_model("deepseek-v4-pro")
    stored = [kv_cache(model, context, 128, formats[model.name]).live for model in (before, after)]
    plain = [kv_cache(model, context, 128).live for model in (before, after)]
    assert (round(stored[0] / stored[1], 2), round(plain[0] / plain[1], 2)) == (9.55, 8.71)


def brute_blocks(layers: list[tuple[int, int]], context: int, block: int) -> int:
    """Blocks handed out one token at a time: (window, kept bytes) of each layer, full pages for all."""
    held = 0
    for _ in layers:
        free = 0
        for _ in range(context):
            if free == 0:
                held, free = held + 1, block
            free -= 1
    return held


@QUICK
@given(layers=st.lists(st.sampled_from([None, 2, 5]), min_size=1, max_size=4), context=st.integers(1, 40), block=SMALL)
def test_sizes_of_a_small_model(layers, context, block):
    model = Transformer(4, 5, tuple((1, Layer(Attention(4, 2, 1, 3, window=w), MLP(4, 6))) for w in layers))
    sizes = kv_cache(model, context, block)
    assert sizes.allocated == brute_blocks(layers, context, block) * block * 12
    assert sizes.live == sum(12 * min(context, w or context) for w in layers) <= sizes.allocated
    assert sizes.reported == -(-context // block) * block


@QUICK
@given(caching=SMALL, keeping=st.integers(1, 9), heads=SMALL, key=st.integers(1, 60), context=st.integers(1, 90))
@example(caching=3, keeping=4, heads=1, key=9, context=40)
def test_pages_of_a_small_hybrid(caching, keeping, heads, key, context):
    delta, attention = GatedDelta(4, heads, heads, key, key), Attention(4, 2, 1, 3)
    model = Transformer(4, 5, ((caching, Layer(attention, MLP(4, 6))), (keeping, Layer(delta, MLP(4, 6)))))
    cut = pool(model, 2)
    page = cut.block_size * 12
    assert page >= delta.state.num_bytes > page - 2 * 12  # the smallest that holds a state
    group = cut.block_bytes // page
    few, many = sorted((caching, keeping))
    assert group == (many if many < 1.5 * few else few)
    assert cut.blocks(context) == -(-caching // group) * -(-context // cut.block_size) + -(-keeping // group)
    assert kv_cache(model, context, 2).live <= kv_cache(model, context, 2).allocated


def test_caches_that_cannot_be_cut():
    with pytest.raises(ValueError, match=r"^block_size is 16: expected a multiple of 128, the positions of an entry"):
        pool(load_model("deepseek-v4-pro"))
    with pytest.raises(ValueError, match=r"^entry_bytes is \['latents'\]: expected names of what the model caches"):
        kv_cache(load_model("deepseek-v3.2"), 9, entry_bytes={"latents": 1})
    alone = Transformer(4, 5, ((2, Layer(ShortConvolution(4, 4, 3), MLP(4, 6))),), name="a")
    with pytest.raises(ValueError, match=r"^model is 'a': expected a model that caches keys and values"):
        pool(alone)
    assert Cached("a", 3, ratio=4).entries(11) == 2 and State(3, 5).num_bytes == 22
    assert Layer(None, MLP(4, 6), beside=(Weights("b", ((1, 2),)),)).weights[-1].operation == "b"


def called(place: str, *names: str) -> set[str]:
    return {f"{place}.{name}" for name in names}


ENDS, NUMBERED = ("gate_proj", "up_proj", "down_proj"), ("w1", "w2", "w3")
QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")
QWEN = (called("linear_attn", "in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj")
        | called("self_attn", *QKVO))
EXPERTS = called("mlp.experts.*", *ENDS) | called("mlp.shared_expert", *ENDS)
LFM2 = (called("self_attn", *QKVO[:3], "out_proj") | called("conv", "in_proj", "out_proj")
        | called("feed_forward", *NUMBERED))


@pytest.mark.parametrize(("name", "names"), [
    ("qwen3.5-27b", QWEN | called("mlp", *ENDS)), ("qwen3.5-35b-a3b", QWEN | EXPERTS),
    ("qwen3-next-80b-a3b", called("linear_attn", "in_proj_qkvz", "in_proj_ba", "out_proj") | called("self_attn", *QKVO)
     | EXPERTS),
    ("nemotron-3-ultra-550b-a55b", called("mixer", *QKVO, "in_proj", "out_proj", "fc1_latent_proj", "fc2_latent_proj")
     | called("mixer.experts.*", *ENDS[1:]) | called("mixer.shared_experts", *ENDS[1:])),
    ("deepseek-v4-pro", {None} | called("self_attn", "q_a_proj", "q_b_proj", "kv_proj", "o_a_proj", "o_b_proj",
                                        "compressor.indexer.q_b_proj")
     | called("mlp.experts.*", *ENDS) | called("mlp.shared_experts", *ENDS)),
    ("minimax-m3", called("self_attn", *QKVO, "index_q_proj", "index_k_proj") | called("mlp", *ENDS)
     | called("block_sparse_moe.experts.*", *NUMBERED) | called("block_sparse_moe.shared_experts", *ENDS)),
    ("lfm2-1.2b", LFM2), ("lfm2-8b-a1b", LFM2 | called("feed_forward.experts.*", *NUMBERED))])
def test_matrices_are_called_what_the_reference_calls_them(name, names):
    """The modules of transformers 5.24, or of the folders that it renames; experts one by one."""
    assert {one for weights, own in named(name) if weights.operation != "router" for one in own} == names


def named(name: str) -> list[tuple[Weights, tuple[str | None, ...]]]:
    """Every operation of every kind of layer with the names of its matrices."""
    family = (SHIPPED[name] | SHIPPED[name].get("text_config", {}))["model_type"].removesuffix("_vl")
    return [(weights, matrices(family, layer).get(weights.operation, ())) for _, layer in load_model(name).layers
            for weights in layer.weights]


UNNAMED = {"gemma-3n-e4b": {"AltUp and LAuReL"}, "gemma-4-26b-a4b": {"experts"}}


@pytest.mark.parametrize("name", ROWS)
def test_every_matrix_has_a_name_but_those_that_no_folder_keeps(name):
    found = [(weights, own) for weights, own in named(name) if weights.shapes and weights.operation != "router"]
    assert {weights.operation for weights, own in found if not own} == UNNAMED.get(name, set())
    assert all(len(own) in (0, len(weights.shapes)) for weights, own in found)


def test_names_are_those_of_known_families():
    assert {*SPECIAL, *HYBRID_NAMES} <= {*FAMILIES}
