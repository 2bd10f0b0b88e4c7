"""Parameters of the parts that see, which stand beside a language model and are not in its numbers.

Notebook: book/Lecture10-Lab-Models.ipynb. Counted as the reference implementations build them (transformers 5.24, and
Moonshot's for Kimi); a tower that is not here is named as not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .config import Config

_QWEN3_VL = {"hidden_size": 1152, "intermediate_size": 4304, "out_hidden_size": 3584, "in_channels": 3,
             "temporal_patch_size": 2, "patch_size": 16, "spatial_merge_size": 2, "depth": 27,
             "num_position_embeddings": 2304, "deepstack_visual_indexes": [8, 16, 24]}
DEFAULTS: Mapping[str, Mapping[str, object]] = {"qwen3_vl": _QWEN3_VL, "qwen3_vl_moe": _QWEN3_VL}
"""What the library transformers takes for sizes that a vision_config leaves out, where copies of files do."""


def vision_params(top: Config, width: int) -> int | None:
    """Tower and projector of the multimodal file ``top`` with a language model of ``width``; None: not known how.

    Raises ValueError naming the key of a size that is wrong.
    """
    family = top.values.get("model_type")
    if family not in TOWERS or not isinstance(top.values.get("vision_config"), Mapping):
        return None
    part = top.part("vision_config")
    absent = {key: size for key, size in DEFAULTS.get(family, {}).items() if key not in part.values}
    top.filled |= {f"vision_config.{key}": size for key, size in absent.items()}
    part.values = {**part.values, **absent}
    return TOWERS[family](part, top, width)


def _linear(inputs: int, outputs: int, bias: bool = True) -> int:
    return inputs * outputs + (outputs if bias else 0)


def _block(width: int, hidden: int) -> int:
    """Attention and an MLP of two products with biases, and two layer norms."""
    return 4 * _linear(width, width) + _linear(width, hidden) + _linear(hidden, width) + 4 * width


def _siglip(v: Config, top: Config, text: int) -> int:
    width, patch = v.size("hidden_size"), v.size("patch_size")
    v.demand("vision_use_head", (False,), "the tower that Gemma 3 uses")
    positions = (v.size("image_size") // patch) ** 2
    embedding = _linear(3 * patch**2, width) + positions * width
    layers = v.size("num_hidden_layers") * _block(width, v.size("intermediate_size"))
    return embedding + layers + 2 * width + width * text + width


def _pixtral(v: Config, top: Config, text: int) -> int:
    width, hidden = v.size("hidden_size"), v.size("intermediate_size")
    layer = 4 * width**2 + 3 * width * hidden + 2 * width
    tower = 3 * v.size("patch_size") ** 2 * width + width + v.size("num_hidden_layers") * layer
    bias, merged = top.flag("multimodal_projector_bias", False), top.size("spatial_merge_size") ** 2
    projector = width + merged * width**2 + _linear(width, text, bias) + _linear(text, text, bias)
    return tower + projector


def _qwen3_vl(v: Config, top: Config, text: int) -> int:
    width, hidden, out = v.size("hidden_size"), v.size("intermediate_size"), v.size("out_hidden_size")
    kernel = v.size("in_channels") * v.size("temporal_patch_size") * v.size("patch_size") ** 2
    merged = v.size("spatial_merge_size") ** 2 * width
    merger = _linear(merged, merged) + _linear(merged, out)
    deep = v.values.get("deepstack_visual_indexes") or []
    if not isinstance(deep, list):
        raise v.wrong("deepstack_visual_indexes", "a list of layers")
    return (_linear(kernel, width) + v.size("num_position_embeddings") * width + v.size("depth") * _block(width, hidden)
            + merger + 2 * width + len(deep) * (merger + 2 * merged))


def _qwen2_5_vl(v: Config, top: Config, text: int) -> int:
    width, hidden, out = v.size("hidden_size"), v.size("intermediate_size"), v.size("out_hidden_size")
    kernel = v.size("in_chans" if v.given("in_chans") else "in_channels") * 2 * v.size("patch_size") ** 2
    merged = v.size("spatial_merge_size") ** 2 * width
    layer = _linear(width, 3 * width) + _linear(width, width) + 2 * _linear(width, hidden) + _linear(hidden, width)
    return (kernel * width + v.size("depth") * (layer + 2 * width) + width + _linear(merged, merged)
            + _linear(merged, out))


def _llama4(v: Config, top: Config, text: int) -> int:
    """Patches through a product without bias, a class token, two norms outside the layers, two products that merge."""
    width, hidden, patch = v.size("hidden_size"), v.size("intermediate_size"), v.size("patch_size")
    positions = (v.size("image_size") // patch) ** 2 + 1
    embedding = v.size("num_channels") * patch**2 * width + width + positions * width
    into, out = v.size("projector_input_dim"), v.size("projector_output_dim")
    merger = hidden * into + into * out
    layers = v.size("num_hidden_layers") * _block(width, hidden)
    return embedding + layers + 4 * width + merger + v.size("vision_output_dim") * text


def _kimi(v: Config, top: Config, text: int) -> int:
    width, patch = v.size("vt_hidden_size"), v.size("patch_size")
    height, across = v.sizes("merge_kernel_size", 2)
    merged = height * across * width
    embedding = _linear(3 * patch**2, width) + v.size("init_pos_emb_height") * v.size("init_pos_emb_width") * width
    layers = v.size("vt_num_hidden_layers") * _block(width, v.size("vt_intermediate_size"))
    return embedding + layers + 2 * width + 2 * width + _linear(merged, merged) + _linear(merged, text)


TOWERS: Mapping[str, Callable[[Config, Config, int], int]] = {
    "gemma3": _siglip, "llama4": _llama4, "mistral3": _pixtral, "qwen2_5_vl": _qwen2_5_vl, "qwen3_vl": _qwen3_vl,
    "qwen3_vl_moe": _qwen3_vl, "qwen3_5": _qwen3_vl, "qwen3_5_moe": _qwen3_vl, "kimi_k25": _kimi}
"""How to count each multimodal ``model_type``."""
