"""A second opinion on a config.json: every tensor of the model by name, written down layer by layer, then counted.

Follows the module lists of the reference implementations and shares nothing with the package; slow on purpose.
"""

from __future__ import annotations

from collections import deque
from math import prod

EXPERT = ".experts."


def tensors(c: dict) -> dict[str, tuple[int, ...]]:
    """Name → shape of every weight of the model, tied ones once; a linear layer is [outputs, inputs]."""
    family = c["model_type"]
    if family == "gpt2":
        return _gpt2(c)
    width, found = c["hidden_size"], {}
    found["embed"] = (c["vocab_size"], width)
    for i in range(c["num_hidden_layers"]):
        layer = f"layers.{i}."
        attention = _latent(c) if family.startswith("deepseek") else _grouped(c, family)
        for name, shape in {**attention, **_feed_forward(c, family, i)}.items():
            found[layer + name] = shape
        for n in range(4 if family.startswith("gemma") else 2):
            found[f"{layer}norm{n}"] = (width,)
    found["norm"] = (width,)
    if not c.get("tie_word_embeddings", family.startswith("gemma")):
        found["head"] = (c["vocab_size"], width)
    return found


def _gpt2(c: dict) -> dict[str, tuple[int, ...]]:
    width, inner = c["n_embd"], c.get("n_inner") or 4 * c["n_embd"]
    found = {"embed": (c["vocab_size"], width), "positions": (c["n_positions"], width),
             "ln_f.w": (width,), "ln_f.b": (width,)}
    for i in range(c["n_layer"]):
        for name, out, into in (("attn.c_attn", 3 * width, width), ("attn.c_proj", width, width),
                                ("mlp.c_fc", inner, width), ("mlp.c_proj", width, inner)):
            found[f"h.{i}.{name}.w"], found[f"h.{i}.{name}.b"] = (out, into), (out,)
        for norm in ("ln_1.w", "ln_1.b", "ln_2.w", "ln_2.b"):
            found[f"h.{i}.{norm}"] = (width,)
    return found


def _grouped(c: dict, family: str) -> dict[str, tuple[int, ...]]:
    width, heads = c["hidden_size"], c["num_attention_heads"]
    groups = c.get("num_key_value_heads") or (heads if family in ("llama", "phi3") else c["num_key_value_heads"])
    size = c.get("head_dim") or width // heads
    found = {"q": (heads * size, width), "k": (groups * size, width), "v": (groups * size, width),
             "o": (width, heads * size)}
    if c.get("attention_bias", family == "gpt_oss"):
        found |= {f"{name}.b": (found[name][0],) for name in "qkvo"}
    elif family == "qwen2":
        found |= {f"{name}.b": (found[name][0],) for name in "qkv"}
    if family in ("qwen3", "qwen3_moe", "gemma3_text"):
        found |= {"q_norm": (size,), "k_norm": (size,)}
    if family == "gpt_oss":
        found["sinks"] = (heads,)
    return found


def _latent(c: dict) -> dict[str, tuple[int, ...]]:
    width, heads, latent, rope = c["hidden_size"], c["num_attention_heads"], c["kv_lora_rank"], c["qk_rope_head_dim"]
    query = heads * (c["qk_nope_head_dim"] + rope)
    if c["q_lora_rank"] is None:
        found = {"q": (query, width)}
    else:
        found = {"q_a": (c["q_lora_rank"], width), "q_a_norm": (c["q_lora_rank"],), "q_b": (query, c["q_lora_rank"])}
    found |= {"kv_a": (latent + rope, width), "kv_a_norm": (latent,),
              "kv_b": (heads * (c["qk_nope_head_dim"] + c["v_head_dim"]), latent),
              "o": (width, heads * c["v_head_dim"])}
    if c.get("attention_bias"):
        found |= {f"{name}.b": (found[name][0],) for name in ("q_a", "kv_a", "o") if name in found}
    return found


def _mlp(prefix: str, width: int, hidden: int, bias: bool = False) -> dict[str, tuple[int, ...]]:
    found = {f"{prefix}gate": (hidden, width), f"{prefix}up": (hidden, width), f"{prefix}down": (width, hidden)}
    return found | ({f"{name}.b": (shape[0],) for name, shape in found.items()} if bias else {})


def _mlp_bias(c: dict, family: str) -> bool:
    return family in ("llama", "deepseek_v2") and c.get("mlp_bias", False)


def _feed_forward(c: dict, family: str, i: int) -> dict[str, tuple[int, ...]]:
    width = c["hidden_size"]
    experts = c.get("num_local_experts") or c.get("num_experts") or c.get("n_routed_experts")
    dense = (experts is None or i < c.get("first_k_dense_replace", 0) or i in (c.get("mlp_only_layers") or ())
             or (i + 1) % (c.get("decoder_sparse_step") or 1) != 0)
    if dense:
        return _mlp("mlp.", width, c["intermediate_size"], _mlp_bias(c, family))
    hidden = c.get("moe_intermediate_size") or c["intermediate_size"]
    found = {"router": (experts, width)} | ({"router.b": (experts,)} if family == "gpt_oss" else {})
    for e in range(experts):
        found |= _mlp(f"mlp{EXPERT}{e}.", width, hidden, family == "gpt_oss")
    if c.get("n_shared_experts"):
        found |= _mlp("shared.", width, c["n_shared_experts"] * hidden, _mlp_bias(c, family))
    return found


def is_used(c: dict, name: str) -> bool:
    """Whether a token that picks the first experts uses the tensor."""
    return EXPERT not in name or int(name.split(EXPERT)[1].split(".")[0]) < c["num_experts_per_tok"]


def num_params(c: dict, *, active: bool = False) -> int:
    return sum(prod(shape) for name, shape in tensors(c).items() if not active or is_used(c, name))


def window(c: dict, i: int) -> int | None:
    """How many positions layer ``i`` sees; None for all."""
    family = c["model_type"]
    if c.get("layer_types"):
        return c["sliding_window"] if c["layer_types"][i] == "sliding_attention" else None
    if family in ("mistral", "mixtral", "phi3"):
        return c["sliding_window"]
    local = {"gemma2": i % 2 == 0, "gemma3_text": (i + 1) % (c.get("sliding_window_pattern") or 1) != 0,
             "qwen2": c.get("use_sliding_window", False) and i >= c.get("max_window_layers", 0),
             "qwen3": c.get("use_sliding_window", False) and i >= c.get("max_window_layers", 0)}.get(family, False)
    return c["sliding_window"] if local else None


def kv_elements(c: dict, context: int) -> int:
    """Tokens pushed one by one through a cache per layer that forgets what lies outside its window."""
    total = 0
    for i in range(c.get("num_hidden_layers") or c["n_layer"]):
        cache: deque[int] = deque(maxlen=window(c, i))
        if c["model_type"].startswith("deepseek"):
            one = c["kv_lora_rank"] + c["qk_rope_head_dim"]
        elif c["model_type"] == "gpt2":
            one = 2 * c["n_embd"]
        else:
            one = 2 * _grouped(c, c["model_type"])["k"][0]
        for _ in range(context):
            cache.append(one)
        total += sum(cache)
    return total


def flops(c: dict, batch: int, tokens: int, context: int, *, last: bool = False) -> int:
    """2 per multiply-add: every two-dimensional tensor in use times its rows, then attention head by head."""
    total = 0
    for name, shape in tensors(c).items():
        is_head = name == "head" or (name == "embed" and "head" not in tensors(c))
        if len(shape) == 2 and is_used(c, name) and (is_head or name not in ("embed", "positions")):
            total += 2 * batch * (1 if is_head and last else tokens) * prod(shape)
    for i in range(c.get("num_hidden_layers") or c["n_layer"]):
        total += batch * _attention_flops(c, i, tokens, context)
    return total


def _attention_flops(c: dict, i: int, tokens: int, context: int) -> int:
    heads = c.get("num_attention_heads") or c["n_head"]
    w = window(c, i)
    keys = context if w is None else min(context, w - 1 + tokens)
    if not c["model_type"].startswith("deepseek"):
        size = c["n_embd"] // heads if c["model_type"] == "gpt2" else _grouped(c, c["model_type"])["q"][0] // heads
        return sum(2 * tokens * keys * size + 2 * tokens * keys * size for _ in range(heads))
    nope, rope, value, latent = (c[k] for k in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank"))
    absorbed = sum(2 * tokens * keys * (latent + rope + latent) for _ in range(heads))
    made_again = sum(2 * latent * (nope + value) for _ in range(heads) for _ in range(context - tokens))
    return min(absorbed, made_again + sum(2 * tokens * keys * (nope + rope + value) for _ in range(heads)))
