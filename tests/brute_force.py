"""A second opinion on a config.json: every tensor of the model by name, written down layer by layer, then counted.

Follows the module lists of the reference implementations and shares nothing with the package; slow on purpose.
"""

from __future__ import annotations

from math import prod

EXPERT = ".experts."


TIED = ("gemma2", "gemma3_text", "cohere", "cohere2", "smollm3", "starcoder2")
NORMS = {"gemma2": 4, "gemma3_text": 4, "afmoe": 4, "cohere": 1, "cohere2": 1}
LAYER_NORMS = ("starcoder2", "gpt_neox", "phimoe")
"""Families whose norms have a bias."""


def tensors(c: dict) -> dict[str, tuple[int, ...]]:
    """Name → shape of every weight of the model, tied ones once; a linear layer is [outputs, inputs]."""
    family = c["model_type"]
    if family == "gpt2":
        return _gpt2(c)
    width, found = c["hidden_size"], {}
    norm = ("w", "b") if family in LAYER_NORMS else ("w",)
    found["embed"] = (c["vocab_size"], width)
    for i in range(c["num_hidden_layers"]):
        layer = f"layers.{i}."
        attention = _latent(c) if family.startswith("deepseek") else _grouped(c, family, i)
        for name, shape in {**attention, **_feed_forward(c, family, i)}.items():
            found[layer + name] = shape
        for n in range(NORMS.get(family, 2)):
            found |= {f"{layer}norm{n}.{part}": (width,) for part in norm}
    found |= {f"norm.{part}": (width,) for part in norm}
    if not c.get("tie_word_embeddings", family in TIED):
        found["head"] = (c["vocab_size"], width)
    if c.get("lm_head_bias") and family == "phimoe":
        found["head.b"] = (c["vocab_size"],)
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


def heads_of(c: dict, family: str, i: int) -> tuple[int, int, int, int]:
    """Query heads, key/value heads, elements of a key and of a value in layer ``i``."""
    if family == "mimo_v2_flash":
        near = "swa_" if c["hybrid_layer_pattern"][i] else ""
        return tuple(c[near + key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim", "v_head_dim"))
    if family == "step3p5":
        own = c["attention_other_setting"] if c["layer_types"][i] == "sliding_attention" else c
        return own["num_attention_heads"], own["num_attention_groups"], own["head_dim"], own["head_dim"]
    if family == "laguna":
        heads = (c.get("num_attention_heads_per_layer") or [c["num_attention_heads"]] * (i + 1))[i]
        return heads, c["num_key_value_heads"], c["head_dim"], c["head_dim"]
    heads = c["num_attention_heads"]
    same = ("llama", "phi3", "olmo2", "olmo3", "exaone4", "cohere", "cohere2", "gpt_neox")
    groups = c.get("num_key_value_heads") or (heads if family in same else c["num_key_value_heads"])
    size = c.get("head_dim") or c["hidden_size"] // heads
    return heads, groups, size, size


def _grouped(c: dict, family: str, i: int) -> dict[str, tuple[int, ...]]:
    width, (heads, groups, size, value) = c["hidden_size"], heads_of(c, family, i)
    found = {"q": (heads * size, width), "k": (groups * size, width), "v": (groups * value, width),
             "o": (width, heads * value)}
    biased = {"qwen2": "qkv", "qwen2_moe": "qkv" if c.get("qkv_bias", True) else "",
              "glm4_moe": "qkv" if c.get("attention_bias") else "",
              "starcoder2": "qkvo" if c.get("use_bias", True) else ""}.get(
                  family, "qkvo" if c.get("attention_bias", family in ("gpt_oss", "gpt_neox")) else "")
    found |= {f"{name}.b": (found[name][0],) for name in biased}
    if family in ("qwen3", "qwen3_moe", "gemma3_text", "exaone4", "step3p5", "afmoe", "laguna") or (
            family == "glm4_moe" and c.get("use_qk_norm")):
        found |= {"q_norm": (size,), "k_norm": (size,)}
    elif family in ("olmo2", "olmo3", "minimax_m2") or (family == "cohere" and c.get("use_qk_norm")):
        found |= {"q_norm": (heads * size,), "k_norm": (groups * size,)}
    if family == "gpt_oss" or (family == "mimo_v2_flash" and c[
            "add_swa_attention_sink_bias" if c["hybrid_layer_pattern"][i] else "add_full_attention_sink_bias"]):
        found["sinks"] = (heads,)
    if family == "afmoe":
        found["gate"] = (heads * size, width)
    if family == "laguna" or (family == "step3p5" and c.get("use_head_wise_attn_gate", True)):
        found["gate"] = (heads, width)
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


def _mlp(prefix: str, width: int, hidden: int, bias: bool = False, gated: bool = True) -> dict[str, tuple[int, ...]]:
    found = {f"{prefix}up": (hidden, width), f"{prefix}down": (width, hidden)}
    found |= {f"{prefix}gate": (hidden, width)} if gated else {}
    return found | ({f"{name}.b": (shape[0],) for name, shape in found.items()} if bias else {})


def _mlp_bias(c: dict, family: str) -> bool:
    if family in ("starcoder2", "gpt_neox"):
        return c.get("use_bias", True) or family == "gpt_neox"
    return family in ("llama", "smollm3", "deepseek_v2") and c.get("mlp_bias", False)


EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


def _is_dense(c: dict, family: str, i: int) -> bool:
    if family == "mimo_v2_flash":
        return c["moe_layer_freq"][i] == 0
    if family == "laguna":
        return c["mlp_layer_types"][i] == "dense"
    if family == "step3p5":
        return str(i) not in c["moe_layers_enum"].split(",")
    step = "interleave_moe_layer_step" if family == "llama4_text" else "decoder_sparse_step"
    first = "num_dense_layers" if family == "afmoe" else "first_k_dense_replace"
    return (all(c.get(key) is None for key in EXPERTS) or i < c.get(first, 0) or i in (c.get("mlp_only_layers") or ())
            or (i + 1) % (c.get(step) or 1) != 0)


def _feed_forward(c: dict, family: str, i: int) -> dict[str, tuple[int, ...]]:
    width = c["hidden_size"]
    if _is_dense(c, family, i):
        hidden = c["intermediate_size_mlp" if family == "llama4_text" else "intermediate_size"]
        return _mlp("mlp.", width, hidden, _mlp_bias(c, family), family not in ("starcoder2", "gpt_neox"))
    experts = next(c[key] for key in EXPERTS if c.get(key) is not None)
    hidden = c.get("moe_intermediate_size") or c["intermediate_size"]
    found = {"router": (experts, width)}
    found |= {"router.b": (experts,)} if family in ("gpt_oss", "afmoe", "laguna") else {}
    for e in range(experts):
        found |= _mlp(f"mlp{EXPERT}{e}.", width, hidden, family == "gpt_oss")
    shared = {"llama4_text": c.get("intermediate_size"), "step3p5": c.get("share_expert_dim")}.get(
        family, c.get("shared_expert_intermediate_size"))
    shared = shared or (c.get("n_shared_experts") or c.get("num_shared_experts") or 0) * hidden
    if shared:
        found |= _mlp("shared.", width, shared, _mlp_bias(c, family))
    return found | ({"shared_gate": (1, width)} if family == "qwen2_moe" else {})


def is_used(c: dict, name: str) -> bool:
    """Whether a token that picks the first experts uses the tensor."""
    used = c.get("num_experts_per_tok") or c.get("moe_top_k")
    return EXPERT not in name or int(name.split(EXPERT)[1].split(".")[0]) < used


def num_params(c: dict, *, active: bool = False) -> int:
    return sum(prod(shape) for name, shape in tensors(c).items() if not active or is_used(c, name))


def near(c: dict, i: int, query: int, key: int) -> bool:
    """Whether layer ``i`` lets the token at ``query`` see the one at ``key``, which is not after it."""
    family = c["model_type"]
    types = c.get("layer_types")
    if family == "llama4_text":
        ropes = c.get("no_rope_layers") or [(n + 1) % (c.get("no_rope_layer_interval") or 4) for n in range(i + 1)]
        chunked = types[i] == "chunked_attention" if types else ropes[i]
        return not chunked or query // c["attention_chunk_size"] == key // c["attention_chunk_size"]
    return _is_global(c, family, i, types) or query - key < c["sliding_window"]


def _is_global(c: dict, family: str, i: int, types: list[str] | None) -> bool:
    if family in ("exaone4", "mistral", "mixtral", "phi3", "phimoe", "starcoder2") and c["sliding_window"] is None:
        return True
    if types:
        return types[i] == "full_attention"
    if family in ("mistral", "mixtral", "phi3", "phimoe", "starcoder2"):
        return False
    if family in ("qwen2", "qwen3"):
        return not c.get("use_sliding_window", False) or i < c.get("max_window_layers", 0)
    if family == "mimo_v2_flash":
        return c["hybrid_layer_pattern"][i] == 0
    pattern = c.get("global_attn_every_n_layers") if family == "afmoe" else (
        c.get("layer_switch") if family == "cohere2" else None) or c.get("sliding_window_pattern")
    if isinstance(pattern, str):
        return i == c["num_hidden_layers"] - 1 or pattern[i % len(pattern)] == "G"
    every = {"gemma2": 2, "gemma3_text": 6, "olmo3": 4, "exaone4": 4, "cohere2": 4, "afmoe": 4}.get(family)
    if family == "gemma2":
        return i % 2 == 1
    return every is None or (i + 1) % (pattern or every) == 0


def held(c: dict, i: int, tokens: int, context: int) -> int:
    """How many positions the last ``tokens`` of ``context`` see together in layer ``i``."""
    return sum(any(key <= query and near(c, i, query, key) for query in range(context - tokens, context))
               for key in range(context))


def kv_elements(c: dict, context: int) -> int:
    """What each layer holds of ``context`` tokens: the positions that the last one sees."""
    total = 0
    for i in range(c.get("num_hidden_layers") or c["n_layer"]):
        if c["model_type"].startswith("deepseek"):
            one = c["kv_lora_rank"] + c["qk_rope_head_dim"]
        elif c["model_type"] == "gpt2":
            one = 2 * c["n_embd"]
        else:
            one = sum(_grouped(c, c["model_type"], i)[name][0] for name in "kv")
        total += sum(one for _ in range(held(c, i, 1, context)))
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
    keys = held(c, i, tokens, context)
    if not c["model_type"].startswith("deepseek"):
        heads, size, value = c.get("n_head"), 0, 0
        if c["model_type"] == "gpt2":
            size = value = c["n_embd"] // heads
        else:
            heads, _, size, value = heads_of(c, c["model_type"], i)
        return sum(2 * tokens * keys * size + 2 * tokens * keys * value for _ in range(heads))
    nope, rope, value, latent = (c[k] for k in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank"))
    heads = c["num_attention_heads"]
    absorbed = sum(2 * tokens * keys * (latent + rope + latent) for _ in range(heads))
    made_again = sum(2 * latent * (nope + value) for _ in range(heads) for _ in range(context - tokens))
    return min(absorbed, made_again + sum(2 * tokens * keys * (nope + rope + value) for _ in range(heads)))
