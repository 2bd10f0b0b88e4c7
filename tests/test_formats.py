"""Formats of weights: the algebra against tensors written down one by one, and published folders to the byte."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from lecture10 import H100, Deployment, load_model
from lecture10.models import families
from lecture10.models.config import Config
from lecture10.models.formats import (
    FP8_BLOCK,
    MXFP4,
    NF4,
    NF4_DOUBLE,
    NVFP4,
    Format,
    Scale,
    Stored,
    integers,
    weight_format,
)
from lecture10.models.load import read
from lecture10.models.passes import Pass
from lecture10.models.quantized import storage
from lecture10.models.transformer import Transformer

DATA, SHIPPED = Path(__file__).parent / "data", families.DATA / "configs"
with (DATA / "quantized.csv").open(encoding="utf-8", newline="") as table:
    FOLDERS = list(csv.DictReader(table))
SIZES = st.integers(1, 6).map(lambda n: 128 * n)


def config(name: str, **changes: object) -> dict:
    """A config.json that comes with the package, or of ``DATA``."""
    [path] = [place for place in (SHIPPED / f"{name}.json", DATA / "configs" / f"{name}.json") if place.is_file()]
    return json.loads(path.read_text(encoding="utf-8")) | changes


def folder(name: str) -> tuple[Config, Config | None]:
    """A config.json of ``DATA`` and its hf_quant_config.json, if there is one."""
    if name == "deepseek-v3-awq-g64":
        awq = {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm", "zero_point": True}
        return Config(config("deepseek-r1-fp8-blocks", torch_dtype="float16", quantization_config=awq)), None
    beside = DATA / "configs" / f"{name}.hf_quant_config.json"
    return Config(config(name)), Config.load(beside) if beside.exists() else None


@pytest.mark.parametrize("row", FOLDERS, ids=[row["config"] for row in FOLDERS])
def test_published_folders_to_the_byte(row):
    model = read(*folder(row["config"]))
    assert model.weight_bytes() == int(row["weight_bytes"])
    assert type(model.weight_bytes()) is int
    assert model.kv_bytes == int(row["kv_bytes"])


def test_bits_come_out_of_the_algebra():
    g = sp.Symbol("g", positive=True)
    assert MXFP4.bits_per_weight == sp.Rational(17, 4)
    assert NVFP4.bits_per_weight == sp.Rational(9, 2)
    assert integers(8, 64).bits_per_weight == sp.Rational(33, 4)
    assert (integers(8, 64).name, integers(8, None).name) == ("int8 g64", "int8")
    assert FP8_BLOCK.bits_per_weight == 8 + sp.Rational(4 * 8, 128 * 128)
    assert NF4.bits_per_weight == sp.Rational(9, 2)
    assert NF4_DOUBLE.bits_per_weight == 4 + sp.Rational(1, 8) + sp.Rational(32, 64 * 256)
    assert integers(4, g, zero_points=4).bits_per_weight == 4 + 20 / g
    assert sp.solve(sp.Eq(integers(8, g).bits_per_weight, 16), g) == [2]
    assert sp.solve(sp.Eq(integers(4, g, zero_points=4).bits_per_weight, 16), g) == [sp.Rational(5, 3)]


@given(inputs=st.integers(1, 40), outputs=st.integers(1, 40), i=st.integers(1, 9), o=st.integers(1, 9))
def test_groups_are_those_that_a_walk_over_the_matrix_meets(inputs, outputs, i, o):
    cells = [(row, column) for row in range(outputs) for column in range(inputs)]
    tiles = {(row // o, column // i) for row, column in cells}
    assert Scale(3, i, o).num_bytes(inputs, outputs) == 3 * len(tiles)
    assert Scale(3, i, flat=True).num_bytes(inputs, outputs) == 3 * len({n // i for n in range(len(cells))})
    assert Scale(3, None, 1).num_bytes(inputs, outputs) == 3 * outputs
    assert Scale(3, 1).num_bytes(inputs, outputs) == 3 * inputs
    assert Scale(3).num_bytes(inputs, outputs) == 3


def kept_as(q: dict, module: str = "model.layers.0.mlp.up_proj") -> Format:
    return storage(Config({"torch_dtype": "bfloat16", "quantization_config": q})).format_of(module)


def group(**weights: object) -> dict:
    return {"quant_method": "compressed-tensors", "format": weights.pop("format"), "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}


LAYOUTS = {
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 64},
            lambda i, o: [(i * o // 8, 4), (i // 64 * o // 8, 4), (i // 64 * o, 2)]),
    "gptq": ({"quant_method": "gptq", "bits": 8, "group_size": 32},
             lambda i, o: [(i // 4 * o, 4), (i // 32 * o // 4, 4), (i // 32 * o, 2), (i, 4)]),
    "gptq, one group": ({"quant_method": "gptq", "bits": 4, "group_size": -1},
                        lambda i, o: [(i // 8 * o, 4), (o // 8, 4), (o, 2), (i, 4)]),
    "fp8 tiles": ({"quant_method": "fp8", "weight_block_size": [128, 128]},
                  lambda i, o: [(i * o, 1), (math.ceil(i / 128) * math.ceil(o / 128), 4)]),
    "fp8 static": ({"quant_method": "fp8", "activation_scheme": "static"}, lambda i, o: [(i * o, 1), (2, 4)]),
    "fp8 dynamic": ({"quant_method": "fp8", "activation_scheme": "dynamic"}, lambda i, o: [(i * o, 1), (1, 4)]),
    "fbgemm": ({"quant_method": "fbgemm_fp8"}, lambda i, o: [(i * o, 1), (o, 4), (1, 4)]),
    "nf4": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, lambda i, o: [(i * o // 2, 1), (i * o // 64, 4)]),
    "nf4 double": ({"load_in_4bit": True, "bnb_4bit_use_double_quant": True},
                   lambda i, o: [(i * o // 2, 1), (i * o // 64, 1), (math.ceil(i * o / 64 / 256), 4)]),
    "bitsandbytes int8": ({"load_in_8bit": True}, lambda i, o: [(i * o, 1), (o, 4)]),
    "modelopt fp8": ({"quant_method": "modelopt", "quant_algo": "FP8"}, lambda i, o: [(i * o, 1), (2, 4)]),
    "modelopt nvfp4": ({"quant_algo": "NVFP4"}, lambda i, o: [(i * o // 2, 1), (i * o // 16, 1), (2, 4)]),
    "packed int4": (group(format="pack-quantized", type="int", num_bits=4, strategy="group", group_size=32),
                    lambda i, o: [(i // 8 * o, 4), (i // 32 * o, 2), (2, 4)]),
    "packed int4 with zero points": (
        group(format="pack-quantized", type="int", num_bits=4, strategy="group", group_size=32, symmetric=False),
        lambda i, o: [(i // 8 * o, 4), (i // 32 * o, 2), (i // 32 * o // 8, 4), (2, 4)]),
    "int8 channel": (group(format="int-quantized", type="int", num_bits=8, strategy="channel"),
                     lambda i, o: [(i * o, 1), (o, 2)]),
    "float8 blocks": (group(format="float-quantized", type="float", num_bits=8, strategy="block",
                            block_structure=[128, 128]), lambda i, o: [(i * o, 1), (i * o // 128**2, 2)]),
    "mxfp4": (group(format="mxfp4-pack-quantized", type="float", num_bits=4, group_size=32),
              lambda i, o: [(i * o // 2, 1), (i * o // 32, 1)]),
    "nvfp4, 16-bit inputs": (group(format="nvfp4-pack-quantized", type="float", num_bits=4, group_size=16),
                             lambda i, o: [(i * o // 2, 1), (i * o // 16, 1), (1, 4)]),
}
"""quantization_config, and the tensors (elements, bytes of one) that its writer stores for inputs × outputs."""


@pytest.mark.parametrize("name", LAYOUTS)
@given(inputs=SIZES, outputs=SIZES)
def test_layouts_are_those_of_their_writers(name, inputs, outputs):
    q, tensors = LAYOUTS[name]
    assert kept_as(q).matrix_bytes(inputs, outputs) == sum(count * size for count, size in tensors(inputs, outputs))


def test_odd_sizes_are_padded():
    assert MXFP4.matrix_bytes(33, 5) == 5 * (32 + 2)
    assert FP8_BLOCK.matrix_bytes(129, 1) == 129 + 2 * 4


@pytest.mark.parametrize(("q", "module", "quantized"), [
    ({"quant_method": "fp8"}, "model.layers.0.self_attn.q_proj", True),
    ({"quant_method": "fp8", "modules_to_not_convert": ["model.layers.0"]}, "model.layers.0.self_attn.q_proj", False),
    ({"quant_method": "fp8", "modules_to_not_convert": ["model.layers.0"]}, "model.layers.10.self_attn.q_proj", True),
    ({"quant_method": "fp8", "modules_to_not_convert": ["gate"]}, "model.layers.0.mlp.gate_proj", True),
    ({"quant_method": "fp8", "ignored_layers": ["gate_proj"]}, "model.layers.0.mlp.gate_proj", False),
    ({"quant_method": "awq", "bits": 4, "group_size": 64, "modules_to_not_convert": ["self_attn"]},
     "model.layers.3.self_attn.q_proj", False),
    ({"quant_method": "fp8", "modules_to_not_convert": ["model.layers.*.self_attn"]},
     "model.layers.3.self_attn.o_proj", False),
    ({"quant_method": "fp8", "modules_to_not_convert": [r"model\.layers\.\d+\.mlp"]},
     "model.layers.3.mlp.up_proj", False),
    ({"quant_algo": "FP8", "exclude_modules": ["language_model.model.layers.3.mlp*"]},
     "model.layers.3.mlp.up_proj", False),
    ({"quant_method": "mxfp4"}, "model.layers.3.mlp.experts.down_proj", True),
    ({"quant_method": "mxfp4"}, "model.layers.3.self_attn.q_proj", False),
    ({"quant_method": "gptq", "bits": 4, "group_size": 64, "dynamic": {"-:.*mlp": {}}},
     "model.layers.3.mlp.up_proj", False),
    (group(format="int-quantized", type="int", num_bits=8, strategy="channel") | {"ignore": ["re:.*self_attn.*"]},
     "model.layers.3.self_attn.o_proj", False),
    (group(format="int-quantized", type="int", num_bits=8, strategy="channel")
     | {"ignore": ["re:model.language_model.*self_attn.*"]}, "model.layers.3.self_attn.o_proj", False),
    (group(format="int-quantized", type="int", num_bits=8, strategy="channel") | {"ignore": ["model.layers.3.mlp"]},
     "model.layers.3.mlp.up_proj", True),
    ({"quant_algo": "MIXED_PRECISION", "quantized_layers": {"model.layers.3.mlp": {"quant_algo": "NVFP4"}}},
     "model.layers.3.self_attn.q_proj", False),
    ({"quant_algo": "MIXED_PRECISION", "quantized_layers": {"model.layers.3.mlp": {"quant_algo": "NVFP4"}}},
     "model.layers.3.mlp.up_proj", True),
])
def test_which_modules_are_quantized(q, module, quantized):
    assert (kept_as(q, module) is not None) is quantized


def test_a_listed_module_that_the_model_does_not_have_is_said():
    listed = ["lm_head", "model.layers.0.mlp.gate", "model.layers.40.mlp", "model.layers.3.self_attn.o_proj"]
    q = {"quant_method": "fp8", "modules_to_not_convert": listed}
    assert "none of this model" not in str(load_model(config("llama-7b-v1", quantization_config=q)).notes)
    q["modules_to_not_convert"] = [*listed, "model.layers.3.self_attn.qkv_proj"]
    assert ("listed and none of this model: model.layers.3.self_attn.qkv_proj, 1 such modules"
            in load_model(config("llama-7b-v1", quantization_config=q)).notes)


def test_layers_and_single_experts_may_differ():
    one = {f"model.layers.{i}.mlp": {"quant_algo": algo} for i, algo in enumerate(("FP8", "NVFP4"))}
    q = {"quant_algo": "MIXED_PRECISION", "quantized_layers": one}
    model = load_model(config("llama-7b-v1", num_hidden_layers=3, quantization_config=q))
    plain = load_model(config("llama-7b-v1", num_hidden_layers=3))
    matrix = 4096 * 11008
    assert plain.weight_bytes() - model.weight_bytes() == 3 * (matrix - 8) + 3 * (matrix * 23 // 16 - 8)
    assert [count for count, _ in model.layers] == [1, 1, 1]
    single = {"quant_method": "fp8", "modules_to_not_convert": ["model.layers.0.mlp.experts.7"]}
    with pytest.raises(ValueError, match=r"^quantization_config: the experts of model.layers.0.mlp.experts.* differ"):
        load_model(config("qwen3-moe-saved-by-transformers-5", quantization_config=single))


@pytest.mark.parametrize("name", ["gpt-oss-20b-mxfp4", "llama-3.1-8b-gptq-int4", "deepseek-r1-fp8-blocks"])
def test_a_pass_that_needs_all_weights_reads_what_is_stored(name):
    model = load_model(config(name))
    width, vocabulary = model.width, model.vocabulary
    read_once = model.forward(Pass(10**6, 1, 1, weight_bytes=None, embedding_rows=vocabulary)).without("attention")
    assert round(read_once.bytes_transferred) == model.weight_bytes()
    once = Deployment(model, H100).cost(1, 1, 1)
    assert once.only("output embedding").bytes_transferred == 2 * width * vocabulary
    assert once.only("input embedding").bytes_transferred == 2 * width


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("bfloat16", 2), ("torch.float16", 2), (None, 2)])
@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_plain_files_are_stored_as_their_dtype_says(key, dtype, size):
    model = load_model(config("qwen3-moe-saved-by-transformers-5") | {"dtype": None, key: dtype})
    assert (model.weight_bytes(), model.kv_bytes) == (size * model.num_params, size)


def test_the_table_of_weights_adds_up():
    model = load_model(config("gpt-oss-20b-mxfp4"))
    table = model.weight_table()
    rows = {row[0]: row[1:] for row in table.rows}
    assert sum(gb for *_, gb in rows.values()) * 10**9 == model.weight_bytes()
    assert sum(params for _, params, _, _ in rows.values()) == model.num_params
    matrices, biases = 24 * 32 * 3 * 2880**2, 24 * 32 * 3 * 2880
    bits = (sp.Rational(17, 4) * matrices + 16 * biases) / (matrices + biases)
    assert rows["experts"][:3] == ("mxfp4, 16-bit", matrices + biases, bits)
    assert rows["attention projections"][0] == "16-bit"
    assert {row[:2] for row in load_model("gpt2").weight_table(1, 2).rows if "embedding" in row[0]} == {
        ("output embedding", "16-bit")}


def test_what_is_asked_for_comes_instead_and_is_said():
    model = load_model(config("gpt-oss-20b-mxfp4"))
    stored = Deployment(model, H100)
    assert (stored.weight_bytes, stored.kv_bytes, stored.overridden) == (None, 2, ())
    assert stored.stats(1, 64).parameter_size == 13761264768
    asked = Deployment(model, H100, weight_bytes="int8", kv_bytes="fp8", embedding_bytes=2)
    assert asked.overridden == ("weights: 1 bytes an element, as asked", "KV cache: 1 bytes an element, as asked",
                                "embeddings: 2 bytes an element, as asked")
    assert asked.stats(1, 64).parameter_size == model.num_params + model.embedding_params
    assert Deployment(model, H100, weight_bytes="NVFP4").overridden == ("weights: nvfp4, as asked",)
    llama = load_model(config("llama-3.3-70b-fp8-dynamic"))
    assert llama.weight_bytes(1, 2) == 72655052800  # the scales left out, norms in one byte


def test_a_format_that_is_asked_for_leaves_embeddings_routers_and_norms_alone():
    model = load_model(config("qwen3-moe-saved-by-transformers-5"))
    [(count, layer)] = model.layers
    quantized = {"attention projections", "experts"}
    matrices = sum(count * w.copies * sum(i * o for i, o in w.shapes) for w in layer.weights
                   if w.operation in quantized)
    assert model.weight_bytes(MXFP4) == matrices * sp.Rational(17, 32) + 2 * (model.num_params - matrices)


@pytest.mark.parametrize("value", ["int9", "", True, 0, -1, float("nan"), float("inf"), [], "x" * 10**6, b"int8"])
def test_what_is_no_format(value):
    with pytest.raises(ValueError, match=r"^weight_bytes is .*: expected bytes per element or one of fp32, ") as caught:
        weight_format("weight_bytes", value)
    assert len(str(caught.value)) < 300
    with pytest.raises(ValueError, match=r"^kv_bytes is .mxfp4.: expected bytes"):
        Deployment(load_model("gpt2"), H100, kv_bytes="mxfp4")


@pytest.mark.parametrize(("q", "size"), [
    ({"kv_cache_quant_algo": "NVFP4"}, sp.Rational(9, 16)), ({"kv_cache_quant_algo": "int8"}, 1),
    ({"kv_cache_scheme": {"num_bits": 8, "strategy": "tensor"}}, 1), ({}, 2)])
def test_the_format_of_the_cache(q, size):
    assert load_model(config("llama-7b-v1", quantization_config={"quant_algo": "FP8", **q})).kv_bytes == size


@pytest.mark.parametrize(("q", "complaint"), [
    ({}, "quant_method is missing: expected one of fp8, "),
    ({"quant_method": "hqq"}, "quant_method = 'hqq': expected one of fp8, "),
    ({"quant_method": ["fp8"]}, "quant_method = "),
    ({"quant_method": "fp8", "fmt": "e5m2"}, "fmt = 'e5m2': expected"),
    ({"quant_method": "fp8", "weight_block_size": [128]}, "weight_block_size = .*: expected a list of 2"),
    ({"quant_method": "fp8", "modules_to_not_convert": "lm_head"}, "modules_to_not_convert = .*: expected a list"),
    ({"quant_method": "fp8", "modules_to_not_convert": ["re:("]}, "modules_to_not_convert = .*: expected names"),
    ({"quant_method": "awq", "bits": 3, "group_size": 64}, "bits = 3: expected"),
    ({"quant_method": "awq", "bits": 4, "group_size": 0}, "group_size = 0: expected"),
    ({"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemv"}, "version = 'gemv': expected"),
    ({"quant_method": "gptq", "bits": 5, "group_size": 64}, "bits = 5: expected 2, 3, 4 or 8"),
    ({"quant_method": "gptq", "bits": 4, "group_size": 64, "dynamic": {"+:a": {}}}, "dynamic = .*: expected only"),
    ({"quant_method": "gptq", "bits": 4, "group_size": 64, "checkpoint_format": "marlin"}, "checkpoint_format = "),
    ({"quant_method": "gptq", "bits": 4, "group_size": 64, "modules_in_block_to_quantize": [["self_attn.q_proj"]]},
     "modules_in_block_to_quantize = .*: expected null, every linear layer"),
    ({"load_in_4bit": True, "load_in_8bit": True}, "load_in_4bit = True: expected true, or load_in_8bit"),
    ({"load_in_4bit": True, "bnb_4bit_quant_type": "af4"}, "bnb_4bit_quant_type = 'af4': expected"),
    ({"quant_algo": "W4A8_AWQ"}, "quant_algo = 'W4A8_AWQ': expected one of FP8, NVFP4, .*MIXED_PRECISION"),
    ({"quant_algo": "FP8", "kv_cache_quant_algo": "FP6"}, "kv_cache_quant_algo = 'FP6': expected null or one of FP8"),
    ({"quant_method": "fp8", "kv_cache_scheme": {"num_bits": 8, "strategy": "channel"}},
     "kv_cache_scheme.strategy = 'channel': expected"),
    ({"quant_algo": "MIXED_PRECISION"}, "quantized_layers is missing"),
    (group(format="marlin-24", type="int", num_bits=4), "config_groups.group_0: 4-bit 'int' in format 'marlin-24'"),
    (group(format="float-quantized", type="float", num_bits=8, strategy="token"),
     "config_groups.group_0.weights.strategy = 'token': expected tensor, channel, group or block"),
    (group(format="pack-quantized", type="int", num_bits=4, strategy="group"),
     "config_groups.group_0.weights.group_size is missing"),
])
def test_a_format_that_is_not_understood_is_refused_by_name(q, complaint):
    with pytest.raises(ValueError, match=rf"^quantization_config\.{complaint}"):
        load_model(config("llama-7b-v1", quantization_config=q))


JUNK = st.one_of(st.none(), st.booleans(), st.integers(-3, 200), st.just(10**40), st.floats(), st.text(max_size=5),
                 st.lists(st.integers() | st.text(max_size=3), max_size=3),
                 st.dictionaries(st.text(max_size=2), st.integers() | st.none(), max_size=2))


def places(value: object, path: tuple = ()) -> list[tuple]:
    """The paths of all values inside a mapping, list by list and key by key."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [found for key, part in inside for found in places(part, (*path, key))]


def damaged(values: dict, path: tuple, junk: object) -> dict:
    values = json.loads(json.dumps(values))
    *way, last = path
    part = values
    for key in way:
        part = part[key]
    part[last] = junk
    return values


def read_or_refused(values: dict) -> Transformer | None:
    """The model, or None where the file is refused in a line that begins with one of its keys."""
    try:
        return load_model(values)
    except ValueError as error:
        assert "\n" not in str(error)
        assert any(str(error).startswith(key) for key in {**values, "model_type": ""})
        return None


@settings(deadline=None, max_examples=300)
@given(name=st.sampled_from(sorted(LAYOUTS)), data=st.data())
def test_damaged_formats_are_counted_or_refused_in_one_line(name, data):
    q = LAYOUTS[name][0]
    path = data.draw(st.sampled_from(places(q)))
    values = config("qwen3-moe-saved-by-transformers-5", num_hidden_layers=2, quantization_config=q)
    try:
        model = load_model(damaged(values, ("quantization_config", *path), data.draw(JUNK)))
    except ValueError as error:
        assert str(error).startswith("quantization_config")
        assert "\n" not in str(error)
    else:
        assert model.weight_bytes() > model.num_params / 4


def test_bytes_an_element_are_the_simplest_format():
    assert Stored(3).num_bytes("MLP", ((5, 7), (2, 3)), 4) == 3 * (35 + 6 + 4)
    assert Format("8 bits", 8).matrix_bytes(5, 7) == 35
    with pytest.raises(ValueError, match=r"^bits is 65: expected"):
        Format("x", 65)
