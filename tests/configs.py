"""Random configurations of every family, small enough to count by hand."""

from __future__ import annotations

from hypothesis import strategies as st

SMALL = st.integers(1, 6)
FLAG = st.booleans()


@st.composite
def configs(draw: st.DrawFn, family: str) -> dict:
    """A consistent config.json of a family."""
    return {"model_type": family} | draw(FAMILIES[family]())


@st.composite
def _common(draw: st.DrawFn, *, head_dim: bool = True) -> dict:
    groups, per_group, size = draw(SMALL), draw(SMALL), draw(SMALL)
    width = draw(SMALL) * 2 if head_dim else groups * per_group * size
    found = {"hidden_size": width, "num_attention_heads": groups * per_group, "num_key_value_heads": groups,
             "num_hidden_layers": draw(SMALL), "intermediate_size": draw(SMALL), "vocab_size": draw(st.integers(1, 50)),
             "tie_word_embeddings": draw(FLAG)}
    return found | ({"head_dim": size} if head_dim else {})


@st.composite
def _llama(draw: st.DrawFn) -> dict:
    return draw(_common(head_dim=draw(FLAG))) | {"attention_bias": draw(FLAG), "mlp_bias": draw(FLAG)}


@st.composite
def _mistral(draw: st.DrawFn) -> dict:
    return draw(_common(head_dim=draw(FLAG))) | {"sliding_window": draw(st.none() | SMALL)}


@st.composite
def _mixtral(draw: st.DrawFn) -> dict:
    experts = draw(SMALL)
    return draw(_mistral()) | {"num_local_experts": experts, "num_experts_per_tok": draw(st.integers(1, experts))}


@st.composite
def _qwen(draw: st.DrawFn, head_dim: bool) -> dict:
    found = draw(_common(head_dim=head_dim)) | {"sliding_window": draw(SMALL),
                                                "max_window_layers": draw(st.integers(0, 6))}
    found |= {"attention_bias": draw(FLAG)} if head_dim else {}
    return found | ({"use_sliding_window": draw(FLAG)} if draw(FLAG) else {})


@st.composite
def _qwen3_moe(draw: st.DrawFn) -> dict:
    found, experts = draw(_common()), draw(SMALL)
    layers = st.integers(0, found["num_hidden_layers"] - 1)
    return found | {"num_experts": experts, "num_experts_per_tok": draw(st.integers(1, experts)),
                    "moe_intermediate_size": draw(SMALL), "decoder_sparse_step": draw(st.integers(1, 3)),
                    "mlp_only_layers": draw(st.lists(layers, unique=True))}


@st.composite
def _gemma(draw: st.DrawFn, third: bool) -> dict:
    found = draw(_common()) | {"sliding_window": draw(SMALL), "attention_bias": draw(FLAG)}
    if draw(FLAG):
        del found["tie_word_embeddings"]
    return found | ({"sliding_window_pattern": draw(SMALL)} if third else {})


@st.composite
def _gpt_oss(draw: st.DrawFn) -> dict:
    found, experts = draw(_common()), draw(SMALL)
    kinds = st.sampled_from(["sliding_attention", "full_attention"])
    n = found["num_hidden_layers"]
    return found | {"num_local_experts": experts, "num_experts_per_tok": draw(st.integers(1, experts)),
                    "sliding_window": draw(SMALL), "layer_types": draw(st.lists(kinds, min_size=n, max_size=n))}


@st.composite
def _deepseek(draw: st.DrawFn) -> dict:
    found, experts = draw(_common()), draw(SMALL)
    del found["num_key_value_heads"], found["head_dim"]
    return found | {"kv_lora_rank": draw(SMALL), "q_lora_rank": draw(st.none() | SMALL),
                    "qk_nope_head_dim": draw(SMALL), "qk_rope_head_dim": draw(SMALL), "v_head_dim": draw(SMALL),
                    "n_routed_experts": experts, "num_experts_per_tok": draw(st.integers(1, experts)),
                    "n_shared_experts": draw(st.none() | st.integers(0, 3)),
                    "moe_intermediate_size": draw(SMALL), "attention_bias": draw(FLAG), "mlp_bias": draw(FLAG),
                    "first_k_dense_replace": draw(st.integers(0, found["num_hidden_layers"]))}


@st.composite
def _gpt2(draw: st.DrawFn) -> dict:
    heads = draw(SMALL)
    return {"n_embd": heads * draw(SMALL), "n_head": heads, "n_layer": draw(SMALL), "n_positions": 64,
            "vocab_size": draw(st.integers(1, 50)),
            "n_inner": draw(st.none() | SMALL), "tie_word_embeddings": True}


@st.composite
def _experts(draw: st.DrawFn, name: str = "num_local_experts", used: str = "num_experts_per_tok") -> dict:
    experts = draw(SMALL)
    return {name: experts, used: draw(st.integers(1, experts)), "moe_intermediate_size": draw(SMALL)}


@st.composite
def _types(draw: st.DrawFn, layers: int, local: str = "sliding_attention") -> dict:
    """layer_types, or none."""
    kinds = st.lists(st.sampled_from([local, "full_attention"]), min_size=layers, max_size=layers)
    return draw(st.just({}) | kinds.map(lambda types: {"layer_types": types}))


@st.composite
def _olmo(draw: st.DrawFn, third: bool) -> dict:
    found = draw(_common(head_dim=False)) | {"attention_bias": draw(FLAG)}
    if draw(FLAG):
        del found["num_key_value_heads"]
    return found | ({"sliding_window": draw(SMALL)} | draw(_types(found["num_hidden_layers"])) if third else {})


@st.composite
def _exaone4(draw: st.DrawFn) -> dict:
    found, window = draw(_common()), draw(st.none() | SMALL)
    pattern = draw(st.just({}) | SMALL.map(lambda n: {"sliding_window_pattern": n})
                   | st.text("LG", min_size=1, max_size=4).map(lambda letters: {"sliding_window_pattern": letters}))
    types = {} if pattern or window is None else draw(_types(found["num_hidden_layers"]))
    return found | {"sliding_window": window} | pattern | types


@st.composite
def _cohere(draw: st.DrawFn, second: bool) -> dict:
    found = draw(_common()) | {"attention_bias": draw(FLAG)}
    if not second:
        return found | {"use_qk_norm": draw(FLAG)}
    switch = draw(SMALL)
    return found | {"sliding_window": draw(SMALL)} | draw(st.sampled_from([
        {}, {"layer_switch": switch}, {"sliding_window_pattern": switch},
        {"layer_switch": switch, "sliding_window_pattern": switch}]))


@st.composite
def _starcoder2(draw: st.DrawFn) -> dict:
    return draw(_mistral()) | draw(st.just({}) | FLAG.map(lambda bias: {"use_bias": bias}))


@st.composite
def _gpt_neox(draw: st.DrawFn) -> dict:
    found = draw(_common(head_dim=False))
    del found["num_key_value_heads"]
    return found | draw(st.just({}) | FLAG.map(lambda bias: {"attention_bias": bias}))


@st.composite
def _phimoe(draw: st.DrawFn) -> dict:
    return draw(_mixtral()) | {"attention_bias": draw(FLAG), "lm_head_bias": draw(FLAG)}


@st.composite
def _qwen2_moe(draw: st.DrawFn) -> dict:
    found = draw(_common(head_dim=False)) | draw(_experts("num_experts"))
    return found | {"shared_expert_intermediate_size": draw(SMALL), "decoder_sparse_step": draw(st.integers(1, 3)),
                    "use_sliding_window": False, "sliding_window": draw(SMALL)}


@st.composite
def _glm4_moe(draw: st.DrawFn) -> dict:
    found = draw(_common()) | draw(_experts("n_routed_experts"))
    return found | {"n_shared_experts": draw(st.integers(0, 3)), "attention_bias": draw(FLAG),
                    "first_k_dense_replace": draw(st.integers(0, found["num_hidden_layers"])),
                    "use_qk_norm": draw(FLAG)}


@st.composite
def _minimax_m2(draw: st.DrawFn) -> dict:
    found = draw(_common()) | draw(_experts())
    del found["moe_intermediate_size"]
    return found


@st.composite
def _llama4(draw: st.DrawFn) -> dict:
    found = draw(_minimax_m2()) | {"attention_bias": draw(FLAG), "intermediate_size_mlp": draw(SMALL)}
    layers = found["num_hidden_layers"]
    ropes = draw(st.sampled_from([{}, {"no_rope_layers": []}]) | st.lists(
        st.integers(0, 1), min_size=layers, max_size=layers).map(lambda bits: {"no_rope_layers": bits}))
    return found | ropes | {"attention_chunk_size": draw(SMALL), "interleave_moe_layer_step": draw(st.integers(1, 3))}


@st.composite
def _mimo(draw: st.DrawFn) -> dict:
    found = draw(_common()) | draw(_experts("n_routed_experts")) | {"v_head_dim": draw(SMALL)}
    layers, near, window = found["num_hidden_layers"], draw(_common()), draw(SMALL)
    bits = st.lists(st.integers(0, 1), min_size=layers, max_size=layers)
    found |= {f"swa_{key}": near[key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim")}
    return found | {"swa_v_head_dim": draw(SMALL), "hybrid_layer_pattern": draw(bits), "moe_layer_freq": draw(bits),
                    "sliding_window": window, "sliding_window_size": window, "attention_chunk_size": window,
                    "add_swa_attention_sink_bias": draw(FLAG), "add_full_attention_sink_bias": draw(FLAG)}


@st.composite
def _step(draw: st.DrawFn) -> dict:
    found, near = draw(_common()), draw(_common())
    for one in (found, near):
        one["num_attention_groups"] = one.pop("num_key_value_heads")
    layers, further = found["num_hidden_layers"], draw(st.integers(0, 2))
    sparse = draw(st.lists(st.integers(0, layers - 1), min_size=1, unique=True))
    types = draw(_types(layers + further).filter(bool))
    other = {key: near[key] for key in ("num_attention_heads", "num_attention_groups", "head_dim")}
    return found | draw(_experts("moe_num_experts", "moe_top_k")) | types | {
        "attention_other_setting": {"attention_type": "sliding_attention"} | other, "sliding_window": draw(SMALL),
        "moe_layers_enum": ",".join(map(str, sparse)), "share_expert_dim": draw(SMALL),
        "num_nextn_predict_layers": further} | draw(st.sampled_from([{}, {"use_head_wise_attn_gate": False}]))


@st.composite
def _laguna(draw: st.DrawFn) -> dict:
    found, kinds = draw(_common()) | draw(_experts("num_experts")), st.sampled_from(["dense", "sparse"])
    layers, groups = found["num_hidden_layers"], found["num_key_value_heads"]
    heads = st.lists(SMALL.map(lambda n: n * groups), min_size=layers, max_size=layers)
    return found | draw(_types(layers)) | draw(st.just({}) | heads.map(
        lambda numbers: {"num_attention_heads_per_layer": numbers})) | {
        "mlp_layer_types": draw(st.lists(kinds, min_size=layers, max_size=layers)), "attention_bias": draw(FLAG),
        "shared_expert_intermediate_size": draw(SMALL), "sliding_window": draw(SMALL),
        "gating": draw(st.sampled_from([True, "per-head"]))}


@st.composite
def _afmoe(draw: st.DrawFn) -> dict:
    found = draw(_common()) | draw(_experts("num_experts"))
    every = {"global_attn_every_n_layers": draw(SMALL)} if draw(FLAG) else draw(_types(found["num_hidden_layers"]))
    return found | every | {"num_shared_experts": draw(st.integers(0, 2)), "sliding_window": draw(SMALL),
                            "num_dense_layers": draw(st.integers(0, found["num_hidden_layers"]))}


FAMILIES = {
    "llama": _llama, "mistral": _mistral, "phi3": _mistral, "mixtral": _mixtral, "qwen2": lambda: _qwen(False),
    "qwen3": lambda: _qwen(True), "qwen3_moe": _qwen3_moe, "gemma2": lambda: _gemma(False),
    "gemma3_text": lambda: _gemma(True), "gpt_oss": _gpt_oss, "deepseek_v2": _deepseek, "deepseek_v3": _deepseek,
    "gpt2": _gpt2, "olmo2": lambda: _olmo(False), "olmo3": lambda: _olmo(True), "exaone4": _exaone4,
    "cohere": lambda: _cohere(False), "cohere2": lambda: _cohere(True), "smollm3": _llama, "starcoder2": _starcoder2,
    "gpt_neox": _gpt_neox, "phimoe": _phimoe, "qwen2_moe": _qwen2_moe, "glm4_moe": _glm4_moe,
    "minimax_m2": _minimax_m2, "llama4_text": _llama4, "mimo_v2_flash": _mimo, "step3p5": _step, "afmoe": _afmoe,
    "laguna": _laguna,
}
