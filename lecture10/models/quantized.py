"""Which weights of a folder are quantized and how: ``quantization_config`` and ``hf_quant_config.json`` as rules.

Notebook: book/Lecture10-Lab-Models.ipynb. Payload, scales, zero points and padding follow what the tool that writes the
folder stores; routers stay as they are in every folder that an engine loads. What is not understood is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import sympy as sp

from .compressed import packed
from .config import Config
from .formats import FP8_BLOCK, MXFP4, MXFP8, NF4, NF4_DOUBLE, NVFP4, TENSOR, Format, Scale, Size, integers
from .modules import Names

FLOATS: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of the number formats that ``dtype`` (formerly ``torch_dtype``) names."""
EVERYWHERE = Names(())


@dataclass(frozen=True)
class Storage:
    """How a folder keeps its weights: ``element`` bytes of what no rule covers, ``kv_bytes`` an element of the cache.

    ``rules`` are (modules, format) pairs, the first that fits counts; ``ignored`` modules keep ``element``; ``head``:
    the output matrix obeys the rules too; ``layer_bytes`` are the scales of the cache that each layer stores,
    ``buffer_bytes`` an element of what is no parameter.
    """

    element: int = 2
    kv_bytes: Size = 2
    rules: tuple[tuple[Names, Format], ...] = ()
    ignored: Names = EVERYWHERE
    head: bool = False
    layer_bytes: int = 0
    buffer_bytes: int = 4
    notes: tuple[str, ...] = field(default=(), compare=False)

    def format_of(self, module: str) -> Format | None:
        """The format of the matrix of ``module``; None: it is kept as it is."""
        if self.ignored.hold(module):
            return None
        return next((kept for names, kept in self.rules if names is EVERYWHERE or names.hold(module)), None)

    @cached_property
    def experts(self) -> frozenset[str]:
        """The numbers of single experts that the rules mention."""
        return self.ignored.experts.union(*(names.experts for names, _ in self.rules))


def storage(c: Config, beside: Config | None = None) -> Storage:
    """What ``c``, a config.json, and ``beside``, a hf_quant_config.json, say about formats.

    Raises ValueError naming the key for a method, a format or an option that is not understood.
    """
    element, note = _element(c)
    if c.given("quantization"):
        raise c.wrong("quantization", "quantization_config, which other libraries than MLX write")
    if c.given("compression_config"):
        raise c.wrong("compression_config", "quantization_config, its present name")
    q = c.part("quantization_config") if c.given("quantization_config") else None
    if q is None and beside is not None and beside.given("quantization"):
        q = beside.part("quantization")
    if q is None:
        return Storage(element, element, notes=(note,))
    method = _method(q)
    if not isinstance(method, str) or method not in METHODS:
        raise q.wrong("quant_method", f"one of {', '.join(METHODS)}")
    found = _with_small_experts(c, q, METHODS[method](q, element))
    kv_bytes, scale_bytes = _cache(q, element)
    names = " and ".join(dict.fromkeys(kept.name for _, kept in found.rules))
    said = f"{q.where}: {names}; other weights {8 * element}-bit"
    return replace(found, element=element, kv_bytes=kv_bytes, layer_bytes=scale_bytes, notes=(said, note))


def _element(c: Config) -> tuple[int, str]:
    for key in ("dtype", "torch_dtype"):
        if c.given(key):
            name = c.values[key]
            if not isinstance(name, str) or name.removeprefix("torch.") not in FLOATS:
                raise c.wrong(key, f"one of {', '.join(FLOATS)}")
            return FLOATS[name.removeprefix("torch.")], f"{key} = {name.removeprefix('torch.')}"
    return 2, "dtype is absent: 16 bits taken"


def _method(q: Config) -> object:
    """The library that wrote the folder; old files of bitsandbytes and those of NVIDIA do not name it."""
    if q.given("quant_method"):
        return q.values["quant_method"]
    if q.given("load_in_4bit") or q.given("load_in_8bit"):
        return "bitsandbytes"
    return "modelopt" if q.given("quant_algo") else None


def _cache(q: Config, element: int) -> tuple[Size, int]:
    """Bytes of a cached element, and of the scales that a layer stores for its keys and values."""
    if q.given("kv_cache_quant_algo"):
        sizes = {"FP8": sp.Integer(1), "INT8": sp.Integer(1), "NVFP4": NVFP4.bits_per_weight / 8}
        name = q.values["kv_cache_quant_algo"]
        if not isinstance(name, str) or name.upper() not in sizes:
            raise q.wrong("kv_cache_quant_algo", f"null or one of {', '.join(sizes)}")
        return sizes[name.upper()], 8
    if q.given("kv_cache_scheme"):
        scheme = q.part("kv_cache_scheme")
        scheme.demand("strategy", ("tensor", None), "one scale for keys and one for values")
        return sp.Rational(scheme.size("num_bits", at_most=16), 8), 2 * element
    return element, 0


def _ignored(q: Config, *keys: str, whole: bool = False) -> Names:
    entries = [entry for key in keys if q.given(key) for entry in q.strings(key)]
    return Names.of(q, keys[0], entries, whole)


def _everywhere(kept: Format, ignored: Names, head: bool = False) -> Storage:
    return Storage(rules=((EVERYWHERE, kept),), ignored=ignored, head=head)


def _fp8(q: Config, element: int) -> Storage:
    """Tiles with an fp32 scale, or a scale for a matrix, and one for its inputs unless these are scaled on the way."""
    q.demand("fmt", ("e4m3", "float8_e4m3fn", None), "8-bit floats with 3 bits of mantissa")
    q.demand("activation_scheme", ("dynamic", "static", None), "how inputs are scaled")
    q.demand("dequantize", (False, None), "weights in the format that is stored")
    static = q.values.get("activation_scheme") == "static"
    if q.given("weight_block_size"):
        rows, columns = q.sizes("weight_block_size", 2)
        kept = Format(f"fp8 {rows}x{columns}", 8, (Scale(4, columns, rows),))
        kept = FP8_BLOCK if kept == FP8_BLOCK else kept
    else:
        kept = Format("fp8 per tensor", 8, (TENSOR,) * (1 + static))
    return _everywhere(kept, _ignored(q, "modules_to_not_convert", "ignored_layers"))


def _with_small_experts(c: Config, q: Config, found: Storage) -> Storage:
    """DeepSeek-V4: ``expert_dtype`` beside the format of the rest, and scales of all that are powers of two.

    transformers 5.24 (DeepseekV4Config) writes it into the quantization_config ``q`` too.
    """
    saying = [part for part in (c, q) if part.given("expert_dtype")]
    if not saying:
        return found
    for part in saying:
        part.demand("expert_dtype", ("fp4",), "the format of experts that is known")
    if [kept for _, kept in found.rules] != [FP8_BLOCK]:
        raise saying[0].wrong("expert_dtype", "quantization_config with fp8 in blocks of 128 x 128 beside it")
    experts = Names.of(saying[0], "expert_dtype", ["mlp.experts"])
    tiles = Format("fp8 128x128", 8, (Scale(1, 128, 128),))
    return replace(found, rules=((experts, MXFP4), (EVERYWHERE, tiles)))


def _fbgemm(q: Config, element: int) -> Storage:
    return _everywhere(Format("fp8 per channel", 8, (Scale(4, None, 1), TENSOR)), _ignored(q, "modules_to_not_convert"))


def _mxfp4(q: Config, element: int) -> Storage:
    q.demand("dequantize", (False, None), "weights in the format that is stored")
    experts = Names.of(q, "quant_method", ["mlp.experts"])
    return Storage(rules=((experts, MXFP4),), ignored=_ignored(q, "modules_to_not_convert"))


def _awq(q: Config, element: int) -> Storage:
    """AutoAWQ's layout for GEMM: packed zero points and fp16 scales for each group and output; fp16 otherwise."""
    q.demand("version", ("gemm", "GEMM", None), "the layout whose bytes are known")
    bits = q.size("bits" if q.given("bits") else "w_bit", at_least=4, at_most=4)
    group = _group(q, "group_size" if q.given("group_size") else "q_group_size")
    kept = integers(bits, group, zero_points=bits)
    return replace(_everywhere(kept, _ignored(q, "modules_to_not_convert")), buffer_bytes=2)


def _gptq(q: Config, element: int) -> Storage:
    """Zero points and fp16 scales for each group and output, and the group of every input in 32 bits."""
    q.demand("checkpoint_format", ("gptq", "gptq_v2", None), "the layout whose bytes are known")
    q.demand("is_marlin_format", (False, None), "the layout whose bytes are known")
    q.demand("modules_in_block_to_quantize", (None,), "every linear layer of the blocks")
    bits, group = q.size("bits", at_least=2, at_most=8), _group(q, "group_size")
    if bits not in (2, 3, 4, 8):
        raise q.wrong("bits", "2, 3, 4 or 8")
    dynamic = q.part("dynamic").values if q.given("dynamic") else {}
    if not all(entry.startswith("-:") for entry in dynamic):
        raise q.wrong("dynamic", "only modules that are left out, written -:name")
    kept = integers(bits, group, zero_points=bits)
    kept = Format(kept.name, bits, (*kept.scales, Scale(4, 1)))
    ignored = Names.of(q, "dynamic", ["re:" + entry[2:] for entry in dynamic])
    return _everywhere(kept, ignored, head=q.flag("lm_head", False))


def _bitsandbytes(q: Config, element: int) -> Storage:
    """4 bits with a scale for 64 weights, or 8 bits with a scale for an output; the output matrix is left out."""
    four, eight = (q.flag(key, False) for key in ("load_in_4bit", "load_in_8bit"))
    if four == eight:
        raise q.wrong("load_in_4bit", "true, or load_in_8bit, and not both")
    q.demand("bnb_4bit_quant_type", ("nf4", "fp4", None), "a 4-bit format of bitsandbytes")
    q.demand("llm_int8_has_fp16_weight", (False, None), "weights in the format that is stored")
    double = q.flag("bnb_4bit_use_double_quant", False)
    kept = Format("int8 rows", 8, (Scale(4, None, 1),)) if eight else NF4_DOUBLE if double else NF4
    return _everywhere(kept, _ignored(q, "llm_int8_skip_modules"), head=q.given("llm_int8_skip_modules"))


def _modelopt(q: Config, element: int) -> Storage:
    """NVIDIA's Model Optimizer: one algorithm for all linear layers, or one for each of ``quantized_layers``."""
    ignored = _ignored(q, "exclude_modules", "ignore")
    if q.values.get("quant_algo") != "MIXED_PRECISION":
        return _everywhere(_algorithm(q), ignored, head=True)
    modules: dict[Format, list[str]] = {}
    for module, details in q.part("quantized_layers").parts():
        modules.setdefault(_algorithm(details), []).append(module)
    rules = tuple((Names.of(q, "quantized_layers", names), kept) for kept, names in modules.items())
    return Storage(rules=rules, ignored=ignored, head=True)


def _algorithm(q: Config) -> Format:
    known = {"FP8": Format("fp8 per tensor", 8, (TENSOR, TENSOR)), "NVFP4": NVFP4,
             "W4A16_NVFP4": Format("nvfp4a16", 4, NVFP4.scales[:2], padding=16), "MXFP8": MXFP8}
    name = q.values.get("quant_algo")
    if not isinstance(name, str) or name not in known:
        raise q.wrong("quant_algo", f"one of {', '.join(known)}, MIXED_PRECISION")
    if "NVFP4" in name:
        q.demand("group_size", (16, None), "as the format has it")
    return known[name]


def _group(q: Config, key: str) -> int | None:
    """Inputs that share a scale; None: all of them, which files write as -1."""
    return None if q.values.get(key) == -1 else q.size(key)


def _compressed(q: Config, element: int) -> Storage:
    """Groups of modules with a format each; an ignored name means that module, not what is inside it."""
    q.demand("sparsity_config", (None, {}), "dense weights")
    rules = tuple((_targets(group), packed(group, q.values.get("format"), element))
                  for _, group in q.part("config_groups").parts())
    return Storage(rules=rules, ignored=_ignored(q, "ignore", whole=True), head=True)


def _targets(group: Config) -> Names:
    names = group.strings("targets")
    return EVERYWHERE if "Linear" in names else Names.of(group, "targets", names, whole=True)


METHODS: Mapping[str, Callable[[Config, int], Storage]] = {
    "fp8": _fp8, "fbgemm_fp8": _fbgemm, "mxfp4": _mxfp4, "awq": _awq, "gptq": _gptq, "bitsandbytes": _bitsandbytes,
    "compressed-tensors": _compressed, "modelopt": _modelopt, "modelopt_fp4": _modelopt,
}
"""How to read each ``quant_method``."""
