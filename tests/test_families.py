"""Models of 2026, exact to the last unit, and what their files trap a reader with."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import brute_force
import pytest
from configs import FAMILIES as RANDOM_FAMILIES
from configs import configs
from hypothesis import given, settings
from hypothesis import strategies as st
from test_formats import JUNK, config

from lecture10 import H100, Deployment, known_models, load_model
from lecture10.models.defaults import WRITTEN_AS_DIFFERENCE
from lecture10.models.passes import Pass
from lecture10.models.windows import Chunk

with (Path(__file__).parent / "data" / "models_2026.csv").open(encoding="utf-8", newline="") as table:
    ROWS = list(csv.DictReader(table))
NAMES = [row["name"] for row in ROWS]
CONTEXTS = (4096, 131072, 1048576)
PATTERNS = ("sliding_window_pattern", "layer_switch", "global_attn_every_n_layers", "no_rope_layer_interval")


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_published_counts_are_exact(row):
    model = load_model(row["name"])
    layers = [(count, layer.attention) for count, layer in model.layers]
    local = [(count, attention) for count, attention in layers if getattr(attention, "window", None) is not None]
    everywhere = sum(count * attention.kv_elements(1) for count, attention in layers)
    near = sum(count * attention.kv_elements(1) for count, attention in local)
    counted = {
        "max_position": model.max_context, "text_params": model.num_params, "active_params": model.num_active_params,
        "routed_expert_params": sum(count * weights.num_params for count, layer in model.layers
                                    for weights in layer.weights if weights.operation == "experts"),
        "embedding_params": model.width * model.vocabulary,
        "output_matrix_params": 0 if model.tied else model.head.num_params, "num_hidden_layers": model.num_layers,
        "kv_elements_per_token_global": everywhere - near, "kv_elements_per_token_local": near,
        "local_layers": sum(count for count, _ in local),
    }
    assert counted == {column: int(row[column]) for column in counted}
    assert str(model.tied) == row["tied"]
    windows = {attention.window for _, attention in local}
    sizes = {window.size if isinstance(window, Chunk) else window for window in windows}
    assert sizes == ({int(row["local_window"])} if row["local_window"] else set())
    assert known_models()[row["name"]] == row["hub_id"]


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_caches_are_exact_and_a_step_reads_them(row):
    model = load_model(row["name"])
    for context in CONTEXTS:
        if row[f"kv_bytes_{context}"]:
            cache = 2 * model.kv_cache_elements(context)
            assert cache == int(row[f"kv_bytes_{context}"])
            assert model.forward(Pass(3, 1, context)).only("attention").bytes_transferred == 3 * cache
        else:
            with pytest.raises(ValueError, match=f"^context is {context}: expected at most max_context = "):
                model.kv_cache_elements(context)


@pytest.mark.parametrize("row", [row for row in ROWS if row["total_params"] != row["text_params"]],
                         ids=lambda row: row["name"])
def test_what_sees_is_counted_apart(row):
    sees = int(row["total_params"]) - int(row["text_params"])
    said = f"counted: the language model; vision_config: {sees:,} parameters, not in these numbers"
    unknown = "counted: the language model"  # no vision_config in the file
    assert (said if "vision_config" in config(row["name"]) else unknown) in load_model(row["name"]).notes


def counts(model) -> tuple:
    contexts = [context for context in (1, 5000, 131072) if context <= model.max_context]
    return (model.num_params, model.num_active_params, model.max_context, model.weight_bytes(), model.kv_bytes,
            *map(model.kv_cache_elements, contexts))


def as_version_5(values: dict, word: str, types: list[str]) -> dict:
    """A file as transformers 5 saves it: dtype, rope_parameters, layer_types in place of patterns."""
    new = {key: value for key, value in values.items() if key not in (*PATTERNS, "no_rope_layers", "torch_dtype",
                                                                      "rope_theta", "rope_scaling", "layer_types")}
    rope = (values.get("rope_scaling") or {"rope_type": "default"}) | {"rope_theta": values.get("rope_theta")}
    per_kind = {"sliding_attention": {"rope_type": "default", "rope_theta": 1e4}, "full_attention": rope}
    return new | {"dtype": values.get("torch_dtype", values.get("dtype")), "layer_types": types,
                  "rope_parameters": per_kind if word in types else rope}


@pytest.mark.parametrize("name", [name for name in NAMES if "kv_lora_rank" not in str(config(name))])
def test_files_of_transformers_5_are_the_same_models(name):
    values = config(name)
    text = values.get("text_config", values)
    own = text | {"model_type": text.get("model_type", "gemma3_text")}
    word = "chunked_attention" if own["model_type"] == "llama4_text" else "sliding_attention"
    model = load_model(name)
    local = {window for _, layer in model.layers if (window := layer.attention.window) is not None}
    far = 2 * max((getattr(window, "size", window) for window in local), default=1)
    kind = {"ministral3": "mistral", "granite": "llama"}.get(own["model_type"], own["model_type"])
    types = [word if local and not brute_force.near(own | {"model_type": kind}, i, far, 0) else "full_attention"
             for i in range(model.num_layers)]
    new = as_version_5(text, word, types)
    assert counts(load_model(values | {"text_config": new, "dtype": new["dtype"] or values.get("torch_dtype")}
                             if text is not values else new)) == counts(model)


@pytest.mark.parametrize("name", [name for name in NAMES if "text_config" in config(name)])
def test_a_text_config_alone_is_the_same_model(name):
    values = config(name)
    alone = {"model_type": "gemma3_text"} | values["text_config"]
    assert counts(load_model(alone)) == counts(load_model(name))


def test_experts_under_another_name_are_not_filled_in():
    values = config("qwen3-vl-30b-a3b")
    values["text_config"]["num_local_experts"] = values["text_config"].pop("num_experts")  # as transformers 5 saves it
    assert counts(load_model(values)) == counts(load_model("qwen3-vl-30b-a3b"))


def test_the_top_says_whether_qwen3_vl_moe_is_tied():
    values = config("qwen3-vl-30b-a3b")
    values["text_config"]["tie_word_embeddings"] = True  # what transformers 5 saves, beside false at the top
    assert counts(load_model(values)) == counts(load_model("qwen3-vl-30b-a3b"))


def test_step_as_transformers_5_names_its_sizes():
    names = {"num_attention_groups": "num_key_value_heads", "moe_num_experts": "n_routed_experts",
             "moe_top_k": "num_experts_per_tok"}
    values = config("step-3.7-flash")
    text = {names.get(key, key): value for key, value in values["text_config"].items()
            if key not in ("attention_other_setting", "moe_layers_enum", "use_head_wise_attn_gate")}
    text |= {"num_sliding_attention_heads": 96, "layer_types": text["layer_types"][:45],
             "mlp_layer_types": ["dense"] * 3 + ["sparse"] * 42}
    assert counts(load_model(values | {"text_config": text})) == counts(load_model("step-3.7-flash"))


def test_mimo_as_transformers_5_counts_its_window():
    assert counts(load_model(config("mimo-v2-flash", sliding_window=129))) == counts(load_model("mimo-v2-flash"))


def test_dense_layers_as_transformers_5_names_them():
    values = config("glm-4.5-air", mlp_layer_types=["dense"] + ["sparse"] * 45)
    assert counts(load_model(values)) == counts(load_model("glm-4.5-air"))
    del values["first_k_dense_replace"]
    assert counts(load_model(values)) == counts(load_model("glm-4.5-air"))
    with pytest.raises(ValueError, match=r"^mlp_layer_types = .*: expected the pattern that first_k_dense_replace"):
        load_model(values | {"first_k_dense_replace": 2})


def test_a_part_that_sees_may_leave_out_what_its_class_has():
    values = config("qwen3-vl-8b")
    del values["vision_config"]["num_position_embeddings"]
    model = load_model(values)
    assert any("vision_config.num_position_embeddings = 2304" in note for note in model.notes)
    assert any("576,388,336 parameters" in note for note in model.notes)


def text_config(**changes: object) -> dict:
    return {"text_config": changes}


def changed(name: str, change: dict) -> dict:
    values = config(name)
    inside = {key: values[key] | part for key, part in change.items() if key == "text_config"}
    return values | change | inside


@pytest.mark.parametrize(("name", "change", "complaint"), [
    ("mistral-small-3.1-24b", {"tie_word_embeddings": True} | text_config(tie_word_embeddings=False),
     "tie_word_embeddings = True: expected false, as text_config says; only the weights tell which is right: true in "
     "both places where they lack lm_head.weight, else false"),
    ("gemma-3-4b", text_config(sliding_window=None), "text_config.sliding_window = None: expected a whole number"),
    ("command-r7b", {"use_embedding_sharing": False}, "use_embedding_sharing = False: expected true"),
    ("command-r7b", {"use_parallel_block": False}, "use_parallel_block = False: expected true"),
    ("command-r7b", {"layer_switch": 3}, "sliding_window_pattern = 4: expected 3, as layer_switch says"),
    ("command-r7b", {"order_of_interleaved_layers": "global_attn_first"}, "order_of_interleaved_layers = "),
    ("starcoder2-3b", {"hidden_size": 6144, "num_attention_heads": 48},
     "tie_word_embeddings is missing: expected true or false"),
    ("starcoder2-3b", {"mlp_type": "gated"}, 'mlp_type = .gated.: expected "default"'),
    ("starcoder2-3b", {"norm_type": "rms_norm"}, "norm_type = "),
    ("exaone-4.0-32b", {"sliding_window": None}, "layer_types = .*: expected the pattern that the other keys describe"),
    ("exaone-4.0-32b", {"sliding_window_pattern": "LLG"}, "layer_types = .*: expected the pattern"),
    ("exaone-4.0-32b", {"sliding_window_pattern": "LLLX"}, "sliding_window_pattern = 'LLLX': expected a whole number"),
    ("olmo-3-7b", {"layer_types": ["sliding_attention"] * 31}, "layer_types = .*: expected as many as num_hidden_la"),
    ("qwen1.5-moe-a2.7b", {"use_sliding_window": True}, "use_sliding_window = True: expected false"),
    ("smollm3-3b", {"use_sliding_window": True}, "use_sliding_window = True: expected false"),
    ("minimax-m2.5", {"shared_intermediate_size": 512}, "shared_intermediate_size = 512: expected 0 or null"),
    ("minimax-m2.5", {"qk_norm_type": "per_head"}, 'qk_norm_type = .per_head.: expected "per_layer"'),
    ("minimax-m2.5", {"attn_type_list": [0] * 62}, "attn_type_list = "),
    ("minimax-m2.5", {"use_qk_norm": False}, "use_qk_norm = False: expected true"),
    ("command-r7b", {"use_qk_norm": True}, "use_qk_norm = True: expected false"),
    ("llama-4-scout", text_config(attention_chunk_size=None), "text_config.attention_chunk_size = None: expected"),
    ("llama-4-scout", text_config(moe_layers=[1, 3]), r"text_config.moe_layers = \[1, 3\]: expected"),
    ("llama-4-scout", text_config(no_rope_layers=[1, 0]), "text_config.no_rope_layers = .*: expected a list of 48"),
    ("mimo-v2-flash", {"sliding_window": 64}, "sliding_window = 64: expected 128 or 129, as sliding_window_size says"),
    ("mimo-v2-flash", {"attention_chunk_size": 64}, "attention_chunk_size = 64: expected 128 or null"),
    ("mimo-v2-flash", {"hybrid_layer_pattern": [0, 1]}, "hybrid_layer_pattern = .*: expected a list of 48 zeros and"),
    ("mimo-v2-flash", {"layer_types": ["full_attention"] * 48}, "layer_types = .*: expected the pattern"),
    ("mimo-v2-flash", {"n_shared_experts": 1}, "n_shared_experts = 1: expected null or 0"),
    ("mimo-v2-flash", {"v_head_dim": None}, "v_head_dim = None: expected a whole number"),
    ("step-3.7-flash", text_config(attention_other_setting=None), "text_config.attention_other_setting = None: exp"),
    ("step-3.7-flash", text_config(moe_layers_enum="3,45"), "text_config.moe_layers_enum = '3,45': expected whole"),
    ("step-3.7-flash", text_config(layer_types=["full_attention"] * 46), "text_config.layer_types = .*: expected as"),
    ("step-3.7-flash", text_config(moe_every_n_layer=2), "text_config.moe_every_n_layer = 2: expected 1"),
    ("trinity-nano", {"num_dense_layers": 57}, "num_dense_layers = 57: expected a whole number between 0 and 56"),
    ("kimi-k2", {"num_key_value_heads": 8}, "num_key_value_heads = 8: expected 64"),
    ("laguna-s-2.1", {"num_attention_heads_per_layer": [7] * 48}, "num_attention_heads_per_layer = .*: expected mult"),
    ("glm-4.5-air", {"n_shared_experts": "one"}, "n_shared_experts = 'one': expected null or a whole number"),
])
def test_traps_are_refused_by_name(name, change, complaint):
    with pytest.raises(ValueError, match=f"^{complaint}"):
        load_model(changed(name, change))


@pytest.mark.parametrize(("name", "change", "more"), [
    ("command-r", {"use_qk_norm": True}, 40 * (64 + 64) * 128),
    ("phi-3.5-moe", {"lm_head_bias": False}, -32064),
    ("phi-3.5-moe", {"attention_bias": False}, -32 * (4096 + 2 * 1024 + 4096)),
    ("glm-4.5-air", {"use_qk_norm": True}, 46 * 2 * 128),
    ("glm-4.5-air", {"attention_bias": False}, -46 * (96 + 2 * 8) * 128),
    ("qwen1.5-moe-a2.7b", {"qkv_bias": False}, -24 * 3 * 2048),
    ("qwen1.5-moe-a2.7b", {"intermediate_size": 1}, 0),
    ("llama-4-scout", text_config(interleave_moe_layer_step=2, intermediate_size_mlp=16384),
     -24 * (16 * 3 * 5120 * 8192 + 3 * 5120 * 8192 + 16 * 5120) + 24 * 3 * 5120 * 16384),
    ("gpt-neox-20b", {"attention_bias": False}, -44 * 4 * 6144),
    ("starcoder2-3b", {"use_bias": False}, -30 * (3072 + 2 * 256 + 3072 + 12288 + 3072)),
    ("starcoder2-3b", {"tie_word_embeddings": False}, 49152 * 3072),
    ("step-3.7-flash", text_config(use_head_wise_attn_gate=False), -4096 * (33 * 96 + 12 * 64)),
    ("mimo-v2-flash", {"add_full_attention_sink_bias": True}, 9 * 64),
    ("trinity-nano", {"num_shared_experts": 0}, -54 * 3 * 1024 * 256),
    ("mistral-small-3.1-24b", text_config(tie_word_embeddings=True), -671_088_640),
    ("granite-3.3-8b", {"tie_word_embeddings": False}, 201_355_264),
])
def test_keys_that_change_the_count(name, change, more):
    assert load_model(changed(name, change)).num_params - load_model(name).num_params == more


def test_a_bias_of_the_output_is_none_unless_the_file_says_so():
    values = config("phi-3.5-moe")
    del values["lm_head_bias"]
    assert load_model("phi-3.5-moe").num_params - load_model(values).num_params == 32064


@pytest.mark.parametrize(("name", "key"), [("trinity-nano", "global_attn_every_n_layers = 4"),
                                           ("command-r7b", "sliding_window_pattern = 4"),
                                           ("olmo-3-7b", "sliding_window_pattern = 4"),
                                           ("exaone-4.0-32b", "sliding_window_pattern = 4")])
def test_a_pattern_of_the_class_is_filled_in_and_said(name, key):
    values = {k: value for k, value in config(name).items() if k not in (*PATTERNS, "layer_types")}
    model = load_model(values)
    assert counts(model) == counts(load_model(name))
    assert any(key in note for note in model.notes)


def test_predictions_of_further_tokens_are_said_not_to_be_counted():
    for name, key in (("glm-4.5-air", "num_nextn_predict_layers"), ("minimax-m2.5", "num_mtp_modules"),
                      ("step-3.7-flash", "num_nextn_predict_layers")):
        assert f"{key}: what predicts further tokens is not counted" in load_model(name).notes


def test_heads_that_differ_between_layers_are_shared_layer_by_layer():
    model = load_model("mimo-v2-flash")
    on_eight = Deployment(model, H100, 8).stored_cache(4096)  # 4 heads in 9 layers: copied; 8 in 39: one each
    assert on_eight == 2 * (9 * 4096 + 39 * 128) * (192 + 128)
    with pytest.raises(ValueError, match=r"^devices = 6: expected 4 or 8"):
        Deployment(model, H100, 6)


@pytest.mark.parametrize("family", [family for family in RANDOM_FAMILIES if family not in WRITTEN_AS_DIFFERENCE])
@settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_damaged_files_are_refused_by_key_or_count_as_written(family, data):
    whole = data.draw(configs(family))
    values = dict(whole)
    key = data.draw(st.sampled_from(sorted(values.keys() - {"model_type"})))
    if data.draw(st.booleans()):
        del values[key]
    else:
        values[key] = data.draw(JUNK)
    try:
        model = load_model(values)
    except ValueError as error:
        assert any(str(error).startswith(name) for name in (*whole, "tie_word_embeddings", "n_shared_experts")), error
    else:
        assert model.num_params == brute_force.num_params(values), json.dumps(values)
        assert model.kv_cache_elements(3) == brute_force.kv_elements(values, 3)
