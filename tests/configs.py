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


FAMILIES = {
    "llama": _llama, "mistral": _mistral, "phi3": _mistral, "mixtral": _mixtral, "qwen2": lambda: _qwen(False),
    "qwen3": lambda: _qwen(True), "qwen3_moe": _qwen3_moe, "gemma2": lambda: _gemma(False),
    "gemma3_text": lambda: _gemma(True), "gpt_oss": _gpt_oss, "deepseek_v2": _deepseek, "deepseek_v3": _deepseek,
    "gpt2": _gpt2,
}
