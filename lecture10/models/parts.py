"""What a ``config.json`` says about the parts that families share: heads, MLPs, experts, windows, the order of layers.

Notebook: book/Lecture10-Lab-Models.ipynb. Every function takes the file and returns a part of a ``Transformer``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .config import MAX_LAYERS, Config
from .experts import MLP, MixtureOfExperts
from .layers import Attention, Layer
from .transformer import Transformer
from .windows import Window

LOCAL, GLOBAL = "sliding_attention", "full_attention"
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
"""What files call the number of experts; versions of the library transformers write it differently."""


def grouped(c: Config, *, heads: str = "num_attention_heads", kv_heads: str = "num_key_value_heads",
            head_dim: str = "head_dim", explicit_head_dim: bool = False, **details: object) -> Attention:
    """Multi-head, grouped or multi-query attention; ``details`` are further fields of ``Attention``."""
    width, number = c.size("hidden_size"), c.size(heads)
    groups = c.size(kv_heads, what=f"{heads} for multi-head attention, or a divisor of it,")
    if number % groups:
        raise c.wrong(kv_heads, f"a divisor of {heads} = {number}")
    if explicit_head_dim or c.given(head_dim):
        return Attention(width, number, groups, c.size(head_dim), **details)
    if width % number:
        raise c.wrong("hidden_size", f"a multiple of {heads} = {number}, since {head_dim} is not given")
    return Attention(width, number, groups, width // number, **details)


def biased(c: Config, **details: object) -> Attention:
    """Grouped attention with biases on all four projections if ``attention_bias``."""
    bias = c.flag("attention_bias", False)
    return grouped(c, qkv_bias=bias, output_bias=bias, **details)


def head_normed(attention: Attention) -> Attention:
    """With a norm over each head of the queries and one over each of the keys, the same for all heads."""
    return replace(attention, norm_params=2 * attention.head_dim)


def width_normed(attention: Attention) -> Attention:
    """With norms whose weights cover all heads of the queries and of the keys."""
    return replace(attention, norm_params=(attention.heads + attention.kv_heads) * attention.head_dim)


def gated(c: Config, key: str = "intermediate_size") -> MLP:
    """An MLP of three products, as wide as ``key`` says."""
    return MLP(c.size("hidden_size"), c.size(key))


def mixture(c: Config, expert: MLP, name: str, used: str = "num_experts_per_tok") -> MixtureOfExperts:
    """Experts whose number stands under ``name``, or under another of ``EXPERTS``."""
    first, *others = [key for key in dict.fromkeys((name, *EXPERTS)) if c.given(key)] or [name]
    experts = c.size(first)
    for key in others:
        c.demand(key, (experts,), f"as {first} says")
    return MixtureOfExperts(expert, experts, c.size(used, at_most=experts))


def sharing(c: Config, moe: MixtureOfExperts, key: str, bias: bool = False) -> MixtureOfExperts:
    """With as many shared experts as ``key`` says, which are one MLP."""
    shared = (c.size_or_null(key, at_least=0) or 0) * moe.expert.hidden
    return replace(moe, shared=MLP(moe.expert.width, shared, bias=bias)) if shared else moe


def dense_first(c: Config, dense: MLP, moe: MixtureOfExperts, key: str) -> list[MLP | MixtureOfExperts]:
    """As many dense layers as ``key`` says, then experts."""
    layers = num_layers(c)
    return dense_or_sparse(c, dense, moe, key, lambda: [
        i >= c.size(key, at_least=0, at_most=layers) for i in range(layers)])


def dense_or_sparse(c: Config, dense: MLP, moe: MixtureOfExperts, key: str,
                    rule: Callable[[], list[bool]]) -> list[MLP | MixtureOfExperts]:
    """Experts where ``rule``, which reads ``key``, says it; transformers 5 may write ``mlp_layer_types`` instead."""
    typed = sparse_types(c) if c.given("mlp_layer_types") else None
    sparse = rule() if typed is None or c.given(key) else typed
    if typed not in (None, sparse):
        raise c.wrong("mlp_layer_types", f"the pattern that {key} describes")
    return [moe if s else dense for s in sparse]


def sparse_types(c: Config) -> list[bool]:
    """Whether each layer has experts, as ``mlp_layer_types`` says."""
    types = c.names("mlp_layer_types", ("dense", "sparse"))
    if len(types) != num_layers(c):
        raise c.wrong("mlp_layer_types", f"as many as num_hidden_layers = {num_layers(c)}")
    return [kind == "sparse" for kind in types]


def either(c: Config, *keys: str) -> str:
    """The first of ``keys`` that is given: names of one thing in different versions of a file; else the first."""
    return next((key for key in keys if c.given(key)), keys[0])


def sparse_steps(c: Config, moe: MixtureOfExperts) -> list[MLP | MixtureOfExperts]:
    """Experts in every ``decoder_sparse_step``-th layer but those of ``mlp_only_layers``, which are dense."""
    layers, every = num_layers(c), c.size("decoder_sparse_step") if c.given("decoder_sparse_step") else 1
    dense = c.values["mlp_only_layers"] if c.given("mlp_only_layers") else []
    if not isinstance(dense, list) or not all(type(i) is int and 0 <= i < layers for i in dense):
        raise c.wrong("mlp_only_layers", f"a list of layers between 0 and {layers - 1}")
    sparse = [i not in dense and (i + 1) % every == 0 for i in range(layers)]
    mlp = None if all(sparse) else gated(c)  # only then is intermediate_size in use
    return [moe if s else mlp for s in sparse]


def num_layers(c: Config) -> int:
    """Layers of the model."""
    return c.size("num_hidden_layers", at_most=MAX_LAYERS)


def windows_of(c: Config, local: Window | None, rule: Callable[[int], bool | None],
               word: str = LOCAL) -> list[Window | None]:
    """The window of every layer: what ``layer_types`` says, else ``rule`` (layer → is it local; None: no rule)."""
    layers = range(num_layers(c))
    if not c.given("layer_types"):
        return [local if rule(i) else None for i in layers]
    types = c.names("layer_types", (word, GLOBAL))
    if len(types) != len(layers):
        raise c.wrong("layer_types", f"as many as num_hidden_layers = {len(layers)}")
    if any(rule(i) not in (None, types[i] == word) for i in layers):
        raise c.wrong("layer_types", "the pattern that the other keys describe")
    return [local if kind == word else None for kind in types]


def all_alike(c: Config, window: Window | None) -> list[Window | None]:
    """The same window, or none, in every layer."""
    return windows_of(c, window, lambda i: window is not None)


def late_windows(c: Config) -> list[Window | None]:
    """Qwen: from layer ``max_window_layers`` on, and only if ``use_sliding_window``."""
    if not c.flag("use_sliding_window", False):
        return all_alike(c, None)
    start = c.size("max_window_layers", at_least=0)
    return windows_of(c, c.size("sliding_window"), lambda i: i >= start)


def mostly_local(c: Config, key: str = "sliding_window_pattern") -> list[Window | None]:
    """All layers are local but every n-th, where ``key`` says n; without it, ``layer_types`` says which."""
    every = c.size(key) if c.given(key) or not c.given("layer_types") else None
    return windows_of(c, c.size("sliding_window"), lambda i: (i + 1) % every != 0 if every else None)


def assembled(c: Config, attention: object, mlps: object, windows: list[Window | None], *, norms: int = 2,
              norm_bias: bool = False, parallel: bool = False) -> Transformer:
    """The model of these parts: ``attention`` and ``mlps`` one for all layers or a list.

    A layer has ``norms``, each as wide as the model, with a bias or without.
    """
    width, vectors = c.size("hidden_size"), 1 + norm_bias
    parts = [part if isinstance(part, list) else [part] * len(windows) for part in (attention, mlps)]
    layers = tuple((1, Layer(near if window is None else replace(near, window=window), mlp, norms * vectors * width,
                             parallel=parallel)) for window, near, mlp in zip(windows, *parts, strict=True))
    return Transformer(width, c.size("vocab_size"), layers, tied=c.flag("tie_word_embeddings"),
                       norm_params=vectors * width)


def stacked(c: Config, layers: list[Layer], **details: object) -> Transformer:
    """The model of ``layers`` in their order; ``details`` are further fields of ``Transformer``."""
    width = c.size("hidden_size")
    return Transformer(width, c.size("vocab_size"), tuple((1, layer) for layer in layers),
                       tied=c.flag("tie_word_embeddings"), **{"norm_params": width, **details})


def kinds_of(c: Config, kinds: tuple[str, ...], rule: Callable[[int], str] | None) -> list[str]:
    """What every layer is, one of ``kinds``: as ``layer_types`` says, and else as ``rule`` (layer → kind) does.

    Raises ValueError naming the key where neither says it, or both and not the same.
    """
    layers = range(num_layers(c))
    if not c.given("layer_types") and rule is not None:
        return [rule(i) for i in layers]
    types = c.names("layer_types", kinds)
    if len(types) != len(layers):
        raise c.wrong("layer_types", f"as many as num_hidden_layers = {len(layers)}")
    if rule is not None and types != [rule(i) for i in layers]:
        raise c.wrong("layer_types", "the pattern that the other keys describe")
    return types


def places(c: Config, key: str, first: int, last: int) -> set[int]:
    """A list of layers, each between ``first`` and ``last``."""
    value = c.values.get(key)
    if not isinstance(value, list) or not all(type(i) is int and first <= i <= last for i in value):
        raise c.wrong(key, f"a list of layers between {first} and {last}")
    return set(value)
