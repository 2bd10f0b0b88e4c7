"""Released models, exact to the last unit, and every damaged configuration refused by name."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import brute_force
import numpy as np
import pytest
import sympy as sp
from configs import FAMILIES as RANDOM_FAMILIES
from configs import configs
from hypothesis import given, settings
from hypothesis import strategies as st

from lecture10 import H100, Deployment, known_models, llama2_13b_config, load_model
from lecture10.models.experts import MixtureOfExperts
from lecture10.models.families import DATA, FAMILIES
from lecture10.models.hybrids import HYBRIDS
from lecture10.models.layers import Attention
from lecture10.models.passes import Pass
from lecture10.models.transformer import lecture_transformer
from lecture10.models.windows import all_pairs
from lecture10.notation import B, H, K, S, T, V
from lecture10.stats import forward_pass, transformer_stats

with (Path(__file__).parent / "data" / "models.csv").open(encoding="utf-8", newline="") as table:
    PUBLISHED = list(csv.DictReader(table))
SHIPPED = {row["name"]: json.loads((DATA / "configs" / f"{row['name']}.json").read_text(encoding="utf-8"))
           for row in PUBLISHED}


@pytest.mark.parametrize("row", PUBLISHED, ids=[row["name"] for row in PUBLISHED])
def test_released_models_are_exact(row):
    model = load_model(row["name"])
    counted = {
        "total_params": model.num_params,
        "active_params": model.num_active_params,
        "embedding_plus_lm_head": model.embedding_params,
        "kv_elements_per_token": model.kv_cache_elements(1),
        "prefill_b1_t512_flops": model.matmul_flops(1, 512, 512),
        "prefill_b1_t512_last_logit_flops": model.matmul_flops(1, 512, 512, logits="last"),
        "decode_b8_s513_flops": model.matmul_flops(8, 1, 513),
    }
    if row["decode_b1_s1025_flops"]:
        counted["decode_b1_s1025_flops"] = model.matmul_flops(1, 1, 1025)
    if row["window"]:
        counted["kv_elements_at_two_windows"] = model.kv_cache_elements(2 * int(row["window"]))
    assert counted == {column: int(row[column]) for column in counted}
    assert all(type(value) is int for value in counted.values())
    assert known_models()[row["name"]] == row["hub_id"]


def test_every_family_is_counted_by_hand_too():
    assert set(RANDOM_FAMILIES) == set(FAMILIES) - set(HYBRIDS)


def test_learned_positions_end():
    with pytest.raises(ValueError, match="context is 1025: expected at most positions = 1024"):
        load_model("gpt2").matmul_flops(1, 1, 1025)
    with pytest.raises(ValueError, match="context is 1025: expected at most positions = 1024"):
        load_model("gpt2").kv_cache_elements(1025)


def test_a_file_in_the_current_folder_is_named_after_it(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps(SHIPPED["gpt2"]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_model("config.json").name == tmp_path.name


@pytest.mark.parametrize("context", [0, -1, 1.5, True, "8", None])
def test_impossible_contexts(context):
    with pytest.raises(ValueError, match=r"^context is .*: expected a positive"):
        load_model("llama-3-8b").kv_cache_elements(context)


def test_logits_for_all_or_the_last():
    with pytest.raises(ValueError, match=r'^logits is .first.: expected one of all, last'):
        load_model("llama-3-8b").matmul_flops(1, 1, 1, logits="first")


def test_lecture_model_is_the_released_one_without_norms():
    config = llama2_13b_config(B=1)
    released, lecture = load_model("llama-2-13b"), lecture_transformer()
    width, layers = 5120, 40
    assert released.num_params == lecture.num_params.subs(config) + (2 * layers + 1) * width
    assert released.kv_cache_elements(1024) * 2 == transformer_stats().kv_cache_size.subs(config)


@pytest.mark.parametrize(("tokens", "logits"), [(1, None), (T, None), (T, 1)])
def test_lecture_pass_and_general_pass_have_the_same_steps(tokens, logits):
    run = Pass(B, tokens, S, logits=logits, weight_bytes=K, kv_bytes=H, embedding_rows=V)  # bytes: any symbol
    general = {step.name: step for step in lecture_transformer().forward(run)}
    special = {step.name: step for step in forward_pass(tokens, weight_bytes=K, kv_bytes=H, logits=logits)}
    assert general.keys() == special.keys()
    for name, step in special.items():
        assert sp.expand(step.flops - general[name].flops) == 0
        assert sp.expand(step.bytes_transferred - general[name].bytes_transferred) == 0


@pytest.mark.parametrize("family", RANDOM_FAMILIES)
@settings(deadline=None, max_examples=15)
@given(data=st.data(), batch=st.integers(1, 4), tokens=st.integers(1, 6), past=st.integers(0, 12), last=st.booleans())
def test_agrees_with_a_list_of_all_tensors(family, data, batch, tokens, past, last):
    config = data.draw(configs(family))
    model, context = load_model(config), tokens + past
    assert model.num_params == brute_force.num_params(config)
    assert model.num_active_params == brute_force.num_params(config, active=True)
    assert model.kv_cache_elements(context) == brute_force.kv_elements(config, context)
    flops = model.matmul_flops(batch, tokens, context, logits="last" if last else "all")
    assert flops == brute_force.flops(config, batch, tokens, context, last=last)
    assert model.weight_bytes(2) == 2 * model.num_params


@pytest.mark.parametrize("source", ["file", "folder", "text"])
def test_sources(tmp_path, source):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(SHIPPED["qwen3-8b"]), encoding="utf-8")
    model = load_model({"file": file, "folder": tmp_path, "text": str(file)}[source])
    assert model.num_params == load_model("qwen3-8b").num_params
    assert model.name == tmp_path.name


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([-10**40, 10**8, 10**40]), st.floats(),
    st.text(max_size=3), st.lists(st.integers() | st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2))


@settings(deadline=None)  # the largest models have tens of thousands of tensors
@given(name=st.sampled_from(sorted(SHIPPED)), data=st.data())
def test_damaged_configurations_are_refused_by_key_or_count_as_written(name, data):
    config = dict(SHIPPED[name])
    for key in data.draw(st.lists(st.sampled_from(sorted(config)), min_size=1, max_size=3, unique=True)):
        if data.draw(st.booleans()):
            del config[key]
        else:
            config[key] = data.draw(JUNK)
    try:
        model = load_model(config)
    except ValueError as error:
        assert any(str(error).startswith(key) for key in {**SHIPPED[name], "model_type": ""}), error
    else:
        assert model.num_params == brute_force.num_params(config)
        assert model.kv_cache_elements(3) == brute_force.kv_elements(config, 3)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("value", ["absent", None, True, 0, -1, 1.5, 1e300, float("nan"), "12", [], {}, 10**30],
                         ids=repr)
def test_sizes_that_count_have_no_substitute(name, value):
    config = SHIPPED[name]
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "n_embd", "n_head", "n_layer",
             "n_positions", "kv_lora_rank", "qk_rope_head_dim",
             "num_experts_per_tok", "num_local_experts", "num_experts", "n_routed_experts")
    for key in sizes:
        if key in config:
            damaged = {k: v for k, v in config.items() if k != key} | ({} if value == "absent" else {key: value})
            with pytest.raises(ValueError, match=f"^{key} (is missing|= .*): expected "):
                load_model(damaged)


@pytest.mark.parametrize(("name", "change", "complaint"), [
    ("llama-3-8b", {"num_key_value_heads": 5},
     "num_key_value_heads = 5: expected a divisor of num_attention_heads = 32"),
    ("llama-3-8b", {"hidden_size": 4100}, "hidden_size = 4100: expected a multiple of num_attention_heads = 32"),
    ("llama-3-8b", {"model_type": "rwkv"}, "model_type = 'rwkv': expected one of llama, mistral, .* or of"),
    ("llama-3-8b", {"architectures": ["LlamaForSequenceClassification"]}, "architectures = "),
    ("mixtral-8x7b", {"num_experts_per_tok": 9}, "num_experts_per_tok = 9: expected a whole number between 1 and 8"),
    ("gpt-oss-20b", {"num_hidden_layers": 23}, "layer_types = .*: expected as many as num_hidden_layers = 23"),
    ("gpt-oss-20b", {"experts_per_token": 2}, "experts_per_token = 2: expected 4"),
    ("gpt-oss-20b", {"layer_types": ["linear_attention"] * 24},
     "layer_types = .*: expected a list of sliding_attention"),
    ("gemma-2-2b", {"layer_types": ["full_attention"] * 26}, "layer_types = .*: expected the pattern"),
    ("qwen3-30b-a3b", {"use_sliding_window": True}, "use_sliding_window = True: expected false"),
    ("qwen3-30b-a3b", {"mlp_only_layers": [48]}, "mlp_only_layers = .*: expected a list of layers between 0 and 47"),
    ("deepseek-v3", {"first_k_dense_replace": 62},
     "first_k_dense_replace = 62: expected a whole number between 0 and 61"),
    ("deepseek-v3", {"num_key_value_heads": 64}, "num_key_value_heads = 64: expected 128"),
    ("deepseek-v3", {"moe_layer_freq": 2}, "moe_layer_freq = 2: expected 1"),
    ("gpt2", {"n_head": 11}, "n_embd = 768: expected a multiple of n_head = 11"),
    ("phi-3-mini-4k", {"attention_bias": True}, "attention_bias = True: expected false"),
])
def test_contradictions(name, change, complaint):
    with pytest.raises(ValueError, match=f"^{complaint}"):
        load_model(SHIPPED[name] | change)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"model_type": "llama"', "[" * 10**5, '{"model_type": NaN}',
                                  "\x00"])
def test_unreadable_files(tmp_path, text):
    file = tmp_path / "config.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"expected"):
        load_model(file)


def test_wrong_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"no model 'lama-3-8b'.*'llama-3-8b'"):
        load_model("lama-3-8b")


def test_what_is_not_said_of_a_pass_is_one_token_in_two_bytes_with_all_logits():
    model = load_model("llama-3-8b")
    assert Pass() == Pass(B, T, S, None, 2, 2, None, None, all_pairs)
    run = model.forward(Pass(3, 2, 7))
    assert run.without("attention").bytes_transferred == 2 * (model.num_params - (model.vocabulary - 6) * model.width)
    assert run.only("attention").bytes_transferred == 2 * 3 * model.kv_cache_elements(7)
    assert run.only("output embedding").flops == 2 * 6 * model.width * model.vocabulary


def test_what_is_not_said_of_a_step_is_one_token_of_every_sequence_over_the_context():
    plan = Deployment(load_model("gpt2"), H100)
    assert plan.cost(3, context=9) == plan.cost(3, 1, 9)
    assert plan.step_time(3, context=9) == plan.step_time(3, 1, 9)
    assert plan.cost().subs({B: 3, S: 9}) == plan.cost(3, 1, 9)
    assert sp.simplify(plan.step_time().subs({B: 3, S: 9}) - plan.step_time(3, 1, 9)) == 0


def test_weights_have_two_bytes_unless_told():
    model = load_model("qwen2.5-7b")
    assert model.weight_bytes() == 2 * model.num_params
    assert model.weight_bytes(1, embedding_bytes=2) == model.num_params + model.embedding_params


@pytest.mark.parametrize(("step", "sparse"), [(1, 48), (2, 24), (3, 16), ("absent", 48), (None, 48)])
def test_experts_stand_in_every_layer_unless_told(step, sparse):
    config = {**SHIPPED["qwen3-30b-a3b"], "decoder_sparse_step": step}
    if step == "absent":
        del config["decoder_sparse_step"]
    model = load_model(config)
    assert sum(n for n, layer in model.layers if isinstance(layer.mlp, MixtureOfExperts)) == sparse
    assert model.num_params == brute_force.num_params({**config, "decoder_sparse_step": 48 // sparse})


def test_numpy_integers_are_sizes():
    config = {key: np.int64(value) if type(value) is int else value for key, value in SHIPPED["llama-3-8b"].items()}
    assert load_model(config).num_params == load_model("llama-3-8b").num_params
    flops = load_model("llama-3-8b").matmul_flops(np.int64(2), np.int32(3), np.uint8(4))
    assert flops == load_model("llama-3-8b").matmul_flops(2, 3, 4)
    assert type(flops) is int


@pytest.mark.parametrize(("heads", "kv_heads", "window", "kind"), [
    (8, 8, None, "MHA"), (8, 2, None, "GQA"), (8, 1, None, "MQA"), (1, 1, None, "MHA"), (8, 2, 7, "local 7 GQA")])
def test_attention_is_named_by_its_heads_and_window(heads, kv_heads, window, kind):
    assert Attention(16, heads, kv_heads, 2, window).kind == kind
