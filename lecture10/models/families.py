"""Released models, read from their Hugging Face ``config.json``, as ``Transformer``s with exact numbers.

Notebook: book/Lecture10-Lab-Models.ipynb. Each family follows its reference implementation in the library transformers,
the defaults that its files rely on included. Where a default would guess at a size, the key is required instead.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path

from ..checks import refused, shown
from .config import MAX_LAYERS, Config
from .layers import MLP, Attention, LatentAttention, MixtureOfExperts
from .transformer import Layer, Transformer

DATA = files("lecture10.models") / "data"
LOCAL, GLOBAL = "sliding_attention", "full_attention"


def known_models() -> dict[str, str]:
    """Names of the configurations that come with the package, and the Hugging Face repository each was taken from."""
    with (DATA / "models.csv").open(encoding="utf-8", newline="") as table:
        return {row["name"]: row["hub_id"] for row in csv.DictReader(table)}


def load_model(source: str | Path | Mapping[str, object]) -> Transformer:
    """The model that ``source`` describes: a mapping, a file, a folder with a ``config.json``,
    or one of ``known_models``.

    Families: see ``FAMILIES``. Raises ValueError naming the key for anything missing, of the wrong type, out of range,
    contradictory or not supported, and naming the nearest known model when ``source`` is neither a file nor a name.
    """
    if isinstance(source, Mapping):
        return _read(Config(source))
    try:
        path = Path(source) / "config.json" if Path(source).is_dir() else Path(source)
        exists = path.exists()
    except (TypeError, OSError):  # no path, or none that the file system takes
        raise refused("source", source, "a config.json, its folder, the name of a known model, or a mapping") from None
    if str(source) in known_models() and not exists:
        path = Path(str(DATA / "configs" / f"{source}.json"))
    elif not exists:
        near = get_close_matches(str(source).lower(), known_models(), n=1, cutoff=0.4)
        hint = f", such as {near[0]!r}" if near else f": {', '.join(known_models())}"
        raise ValueError(f"no model {shown(str(source))}: expected a config.json or a known model{hint}")
    name = path.resolve().parent.name if path.name == "config.json" else path.stem
    return replace(_read(Config.load(path)), name=name)


def _read(config: Config) -> Transformer:
    family = config.values.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        raise config.wrong("model_type", f"one of {', '.join(FAMILIES)}")
    if config.given("architectures"):
        named = config.values["architectures"]
        if not isinstance(named, list) or not any(str(n).endswith(("ForCausalLM", "LMHeadModel")) for n in named):
            raise config.wrong("architectures", "a language model, named ...ForCausalLM or ...LMHeadModel")
    config.demand("is_encoder_decoder", (False,), "decoders only")
    return replace(FAMILIES[family](config), name=family)


def _llama(c: Config) -> Transformer:
    bias = c.flag("attention_bias", False)
    mlp = MLP(c.size("hidden_size"), c.size("intermediate_size"), bias=c.flag("mlp_bias", False))
    return _assemble(c, _grouped(c, qkv_bias=bias, output_bias=bias), mlp, _all_alike(c, None))


def _mistral(c: Config) -> Transformer:
    return _assemble(c, _grouped(c), _gated(c), _all_alike(c, c.size_or_null("sliding_window")))


def _mixtral(c: Config) -> Transformer:
    experts = _experts(c, _gated(c), "num_local_experts", "num_experts_per_tok")
    return _assemble(c, _grouped(c), experts, _all_alike(c, c.size_or_null("sliding_window")))


def _phi3(c: Config) -> Transformer:
    c.demand("attention_bias", (False,), "phi3 has no biases")
    return _mistral(c)


def _qwen2(c: Config) -> Transformer:
    return _assemble(c, _grouped(c, qkv_bias=True), _gated(c), _late_windows(c))


def _qwen3_attention(c: Config) -> Attention:
    bias, head_dim = c.flag("attention_bias", False), c.size("head_dim")
    return _grouped(c, qkv_bias=bias, output_bias=bias, norm_params=2 * head_dim)


def _qwen3(c: Config) -> Transformer:
    return _assemble(c, _qwen3_attention(c), _gated(c), _late_windows(c))


def _qwen3_moe(c: Config) -> Transformer:
    c.demand("use_sliding_window", (False,), "local layers are not defined for qwen3_moe")
    windows, every = _all_alike(c, None), c.size("decoder_sparse_step") if c.given("decoder_sparse_step") else 1
    dense = c.values["mlp_only_layers"] if c.given("mlp_only_layers") else []
    if not isinstance(dense, list) or not all(type(i) is int and 0 <= i < len(windows) for i in dense):
        raise c.wrong("mlp_only_layers", f"a list of layers between 0 and {len(windows) - 1}")
    moe = _experts(c, _gated(c, "moe_intermediate_size"), "num_experts", "num_experts_per_tok")
    sparse = [i not in dense and (i + 1) % every == 0 for i in range(len(windows))]
    mlp = None if all(sparse) else _gated(c)  # only then is intermediate_size in use
    return _assemble(c, _qwen3_attention(c), [moe if s else mlp for s in sparse], windows)


def _gemma2(c: Config) -> Transformer:
    bias, local = c.flag("attention_bias", False), c.size("sliding_window")
    attention = _grouped(c, explicit_head_dim=True, qkv_bias=bias, output_bias=bias)
    return _assemble(c, attention, _gated(c), _windows(c, local, lambda i: i % 2 == 0), norms=4, tied=True)


def _gemma3(c: Config) -> Transformer:
    bias, local, head_dim = c.flag("attention_bias", False), c.size("sliding_window"), c.size("head_dim")
    every = (c.size("sliding_window_pattern") if c.given("sliding_window_pattern") or not c.given("layer_types")
             else None)
    windows = _windows(c, local, lambda i: (i + 1) % every != 0 if every else None)
    attention = _grouped(c, qkv_bias=bias, output_bias=bias, norm_params=2 * head_dim)
    return _assemble(c, attention, _gated(c), windows, norms=4, tied=True)


def _gpt_oss(c: Config) -> Transformer:
    bias, heads = c.flag("attention_bias", True), c.size("num_attention_heads")
    if c.given("experts_per_token"):
        c.demand("experts_per_token", (c.size("num_experts_per_tok"),), "as num_experts_per_tok says")
    attention = _grouped(c, explicit_head_dim=True, qkv_bias=bias, output_bias=bias, sinks=heads)
    expert = replace(_gated(c), bias=True)
    moe = replace(_experts(c, expert, "num_local_experts", "num_experts_per_tok"), router_bias=True)
    if not c.given("layer_types"):
        raise c.wrong("layer_types", f"a list of {LOCAL} or {GLOBAL}")
    return _assemble(c, attention, moe, _windows(c, c.size("sliding_window"), lambda i: None))


def _deepseek(c: Config) -> Transformer:
    width, heads = c.size("hidden_size"), c.size("num_attention_heads")
    c.demand("num_key_value_heads", (heads, None), "as num_attention_heads says: latent attention has no groups")
    c.demand("moe_layer_freq", (1,), "experts in every layer after the dense ones")
    attention = LatentAttention(width, heads, latent=c.size("kv_lora_rank"), rope=c.size("qk_rope_head_dim"),
                                nope=c.size("qk_nope_head_dim"), value=c.size("v_head_dim"),
                                query_latent=c.size_or_null("q_lora_rank"), bias=c.flag("attention_bias", False))
    windows, hidden = _all_alike(c, None), c.size("moe_intermediate_size")
    dense = c.size("first_k_dense_replace", at_least=0, at_most=len(windows))
    shared = c.size_or_null("n_shared_experts", at_least=0) or 0
    moe = replace(_experts(c, MLP(width, hidden), "n_routed_experts", "num_experts_per_tok"),
                  shared=MLP(width, shared * hidden) if shared else None)
    return _assemble(c, attention, [_gated(c)] * dense + [moe] * (len(windows) - dense), windows)


def _gpt2(c: Config) -> Transformer:
    width, heads, layers = c.size("n_embd"), c.size("n_head"), c.size("n_layer", at_most=MAX_LAYERS)
    if width % heads:
        raise c.wrong("n_embd", f"a multiple of n_head = {heads}")
    c.demand("add_cross_attention", (False,), "decoders only")
    attention = Attention(width, heads, heads, width // heads, qkv_bias=True, output_bias=True)
    mlp = MLP(width, c.size("n_inner") if c.given("n_inner") else 4 * width, gated=False, bias=True)
    return Transformer(width, c.size("vocab_size"), ((layers, Layer(attention, mlp, norm_params=4 * width)),),
                       tied=c.flag("tie_word_embeddings", True), positions=c.size("n_positions"), norm_params=2 * width)


FAMILIES: Mapping[str, Callable[[Config], Transformer]] = {
    "llama": _llama, "mistral": _mistral, "mixtral": _mixtral, "qwen2": _qwen2, "qwen3": _qwen3,
    "qwen3_moe": _qwen3_moe, "gemma2": _gemma2, "gemma3_text": _gemma3, "phi3": _phi3, "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek, "gpt_oss": _gpt_oss, "gpt2": _gpt2,
}
"""How to read each ``model_type``."""


def _grouped(c: Config, *, explicit_head_dim: bool = False, **details: object) -> Attention:
    width, heads = c.size("hidden_size"), c.size("num_attention_heads")
    groups = c.size("num_key_value_heads", what="num_attention_heads for multi-head attention, or a divisor of it,")
    if heads % groups:
        raise c.wrong("num_key_value_heads", f"a divisor of num_attention_heads = {heads}")
    if explicit_head_dim or c.given("head_dim"):
        return Attention(width, heads, groups, c.size("head_dim"), **details)
    if width % heads:
        raise c.wrong("hidden_size", f"a multiple of num_attention_heads = {heads}, since head_dim is not given")
    return Attention(width, heads, groups, width // heads, **details)


def _gated(c: Config, key: str = "intermediate_size") -> MLP:
    return MLP(c.size("hidden_size"), c.size(key))


def _experts(c: Config, expert: MLP, how_many: str, per_token: str) -> MixtureOfExperts:
    experts = c.size(how_many)
    return MixtureOfExperts(expert, experts, c.size(per_token, at_most=experts))


def _windows(c: Config, local: int | None, rule: Callable[[int], bool | None]) -> list[int | None]:
    """The window of every layer: what ``layer_types`` says, else ``rule`` (layer → is it local; None: no rule)."""
    layers = range(c.size("num_hidden_layers", at_most=MAX_LAYERS))
    if not c.given("layer_types"):
        return [local if rule(i) else None for i in layers]
    types = c.names("layer_types", (LOCAL, GLOBAL))
    if len(types) != len(layers):
        raise c.wrong("layer_types", f"as many as num_hidden_layers = {len(layers)}")
    if any(rule(i) not in (None, types[i] == LOCAL) for i in layers):
        raise c.wrong("layer_types", "the pattern that the other keys describe")
    return [local if kind == LOCAL else None for kind in types]


def _all_alike(c: Config, window: int | None) -> list[int | None]:
    return _windows(c, window, lambda i: window is not None)


def _late_windows(c: Config) -> list[int | None]:
    """Qwen: from layer ``max_window_layers`` on, and only if ``use_sliding_window``."""
    if not c.flag("use_sliding_window", False):
        return _all_alike(c, None)
    start = c.size("max_window_layers", at_least=0)
    return _windows(c, c.size("sliding_window"), lambda i: i >= start)


def _assemble(c: Config, attention: Attention | LatentAttention, mlps: object, windows: list[int | None], *,
              norms: int = 2, tied: bool | None = None) -> Transformer:
    width = c.size("hidden_size")
    mlps = mlps if isinstance(mlps, list) else [mlps] * len(windows)
    layers: Iterable[Layer] = (Layer(attention if window is None else replace(attention, window=window), mlp,
                                     norms * width)
                               for window, mlp in zip(windows, mlps))
    return Transformer(width, c.size("vocab_size"), tuple((n, layer) for layer, n in Counter(layers).items()),
                       tied=c.flag("tie_word_embeddings", tied), norm_params=width)
