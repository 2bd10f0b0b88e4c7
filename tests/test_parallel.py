"""Several devices: who stores what, against a simulation head by head, and the numbers that engines report."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import sympy as sp

from lecture10 import H100, Accelerator, Deployment, accelerators, load_model
from lecture10.models.experts import MLP, MixtureOfExperts
from lecture10.models.layers import Attention, LatentAttention, Layer
from lecture10.models.parallel import Layout
from lecture10.models.transformer import Transformer, lecture_transformer

CONFIGS = Path(__file__).parent / "data" / "parallel"
CARD = Accelerator("card", 1000, 10, 10**6, link_bandwidth=7)


def nominal(name: str) -> Accelerator:
    return replace(accelerators()[name], driver_bytes=None)


def published(name: str) -> Transformer:
    config = json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8"))
    return load_model({key: value for key, value in config.items() if key != "quantization_config"})


@pytest.mark.parametrize(("name", "card", "devices", "weights", "context", "nominally", "really"), [
    ("deepseek-r1", "H200 SXM", 8, "fp8", 4096, 198, 230),
    ("qwen2.5-3b", "A100 SXM 80GB", 8, "bf16", 32768, 131, 140),
    ("llama-8b", "H100 SXM", 16, "bf16", 4096, 1177, 1251),
])
def test_largest_batches(name, card, devices, weights, context, nominally, really):
    """With the nominal size of the memory, and with what the driver offers."""
    model = published(name)
    assert Deployment(model, nominal(card), devices, weights).largest_batch(context) == nominally
    assert Deployment(model, accelerators()[card], devices, weights).largest_batch(context) == really


def test_sequences_divided_hold_more_latent_caches_but_all_attention_weights():
    model, card = published("deepseek-r1"), nominal("H200 SXM")
    attention = sum(count * weights.num_params for count, layer in model.layers for weights in layer.attention.weights)
    weights = sp.Rational(model.num_params - attention, 8) + attention
    plan = Deployment(model, card, 8, "fp8", attention="data-parallel")
    cache = 2 * 61 * 576 * 4096
    assert plan.stored_weights() == weights
    assert plan.largest_batch(4096) == 8 * ((card.memory_bytes - weights) // cache) == 1304 < 1587
    spread = replace(plan, experts="expert-parallel")
    experts = 58 * 256 * 3 * 7168 * 2048
    assert spread.stored_weights() == model.num_params - experts + sp.Rational(experts, 8)


def heads_on(device: int, devices: int, heads: int, kv_heads: int) -> tuple[set[int], set[int]]:
    """Query heads of a device, dealt out in order, and the key/value heads that they need."""
    own = {head for head in range(heads) if head * devices // heads == device}
    return own, {head * kv_heads // heads for head in own}


@pytest.mark.parametrize(("heads", "kv_heads"), [
    (n, k) for n in (1, 2, 4, 6, 8, 12) for k in (1, 2, 3, 4, 6, 12) if n % k == 0])
def test_heads_against_a_deal(heads, kv_heads):
    """A deal of whole heads works on as many devices as the layout starts on, and stores what the layout says."""
    model = Transformer(5, 7, ((2, Layer(Attention(5, heads, kv_heads, 3), MLP(5, 4))),))
    for devices in range(1, heads + 3):
        dealt = [heads_on(d, devices, heads, kv_heads) for d in range(devices)]
        even = len({(len(own), len(kept)) for own, kept in dealt}) == 1 and all(own for own, _ in dealt)
        divides = kv_heads % devices == 0 or devices % kv_heads == 0
        assert Layout(devices).starts(model) == (even and divides)
        if not Layout(devices).starts(model):
            with pytest.raises(ValueError, match=f"devices = {devices}: expected"):
                Deployment(model, CARD, devices)
            continue
        plan = Deployment(model, CARD, devices, kv_bytes=2)
        kept = len(dealt[0][1])
        assert plan.stored_cache(10) == 2 * 2 * 2 * 10 * kept * 3  # bytes, layers, keys and values, positions, heads
        stored = [kv for _, kept_here in dealt for kv in kept_here]
        assert plan.stats(1, 10).kv_cache_size == 2 * 2 * 2 * 10 * len(stored) * 3
        assert all(stored.count(kv) == max(1, devices // kv_heads) for kv in range(kv_heads))
        [attention] = [step for step in plan.device_cost(4, 1, 10) if step.name == "attention"]
        assert attention.bytes_transferred == 4 * plan.stored_cache(10)
        assert attention.flops == 2 * 4 * len(dealt[0][0]) * 3 * 4 * 10


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_a_latent_cache_is_on_every_device(devices):
    model = Transformer(5, 7, ((3, Layer(LatentAttention(5, 4, 6, 2, 3, 3), MLP(5, 4))),))
    plan = Deployment(model, CARD, devices)
    assert plan.stored_cache(10) == 3 * 2 * 10 * 8
    assert plan.stats(1, 10).kv_cache_size == devices * 3 * 2 * 10 * 8
    assert plan.stored_weights() == 2 * sp.Rational(model.num_params, devices)


@pytest.mark.parametrize("attention", ["tensor-parallel", "data-parallel"])
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_largest_batch_is_the_last_that_fits(attention, devices):
    model = Transformer(64, 100, ((2, Layer(Attention(64, 4, 2, 16), MLP(64, 128))),))
    plan = Deployment(model, replace(CARD, memory_bytes=500_000), devices, attention=attention)
    fits = [batch for batch in range(1, 400) if plan.device_memory(batch, 30) <= 500_000]
    assert plan.largest_batch(30) == max(fits) and fits == list(range(1, max(fits) + 1))
    assert plan.devices_needed(max(fits), 30) <= devices


@pytest.mark.parametrize(("name", "devices", "nearest"), [
    ("qwen2.5-7b", 7, "4 or 28"), ("gpt-oss-20b", 3, "2 or 4"), ("llama-3-8b", 64, "32"), ("llama-3-8b", 3, "2 or 4")])
def test_counts_that_no_engine_starts(name, devices, nearest):
    with pytest.raises(ValueError, match=f"devices = {devices}: expected {nearest}, the nearest that engines start"):
        Deployment(load_model(name), H100, devices)


def test_devices_needed_are_devices_that_start():
    plan = Deployment(load_model("gpt-oss-20b"), Accelerator("small", 1, 1, 16 * 10**9), weight_bytes=2)
    assert 2 * 16 * 10**9 < plan.device_memory(1, 4096) < 3 * 16 * 10**9
    assert plan.devices_needed(1, 4096) == 4
    assert plan.devices_needed(10**9, 4096) is None


def test_symbols_are_not_divided():
    with pytest.raises(ValueError, match="devices = 2: expected 1, the sizes of the model are symbols"):
        Deployment(lecture_transformer(), H100, 2)


def test_experts_need_experts():
    with pytest.raises(ValueError, match="experts = 'expert-parallel': expected 'tensor-parallel', gpt2 has none"):
        Deployment(load_model("gpt2"), H100, experts="expert-parallel")
    with pytest.raises(ValueError, match=r"^used is 5: expected at most experts = 4"):
        MixtureOfExperts(MLP(8, 3), 4, 5)


@pytest.mark.parametrize(("experts", "used", "devices"), [(4, 1, 2), (4, 2, 2), (6, 2, 3), (6, 3, 2), (8, 2, 4)])
def test_all_to_all_against_all_choices(experts, used, devices):
    """Every choice of experts for a token on device 0: to how many other devices it goes."""
    others = [len({expert // (experts // devices) for expert in choice} - {0})
              for choice in itertools.combinations(range(experts), used)]
    expected = Fraction(sum(others), len(others))
    layer = Layer(Attention(8, devices, devices, 2), MixtureOfExperts(MLP(8, 3), experts, used))
    plan = Deployment(Transformer(8, 9, ((5, layer),)), CARD, devices, attention="data-parallel",
                      experts="expert-parallel")
    tokens_of_a_device = Fraction(12, devices)
    there_and_back = 2 * 5 * tokens_of_a_device * expected * 8 * 2  # layers, activations of 2 bytes
    assert plan.traffic(12, 1) == {"all-to-all": sp.Rational(there_and_back)}
    with pytest.raises(ValueError, match="the nearest that engines start"):
        replace(plan, devices=experts - 1 if experts > 4 else 3)


def test_a_layer_sends_once_for_each_half_that_follows_the_other():
    attention, mlp = Attention(8, 4, 2, 2), MLP(8, 3)
    half = 2 * sp.Rational(1, 2) * 3 * 8 * 2  # there and back, half of the sums of batch 3 in 2 bytes
    for layer, halves in ((Layer(attention, mlp), 2), (Layer(attention, mlp, parallel=True), 1),
                          (Layer(attention, None), 1), (Layer(None, mlp), 1)):
        plan = Deployment(Transformer(8, 9, ((5, layer), (1, Layer(attention, mlp)))), CARD, 2)
        assert plan.traffic(3) == {"all-reduce": (5 * halves + 2) * half}
        apart = replace(plan, attention="data-parallel")
        assert apart.traffic(3) == {"gather, scatter": (1 if layer.mlp is None else 6) * half}


def test_work_is_divided_but_for_the_experts():
    layer = Layer(Attention(8, 4, 2, 2), MixtureOfExperts(MLP(8, 3), 4, 2))
    model = Transformer(8, 9, ((5, layer),))
    whole = Deployment(model, CARD).cost(10, 1, 20)
    cut, spread = (Deployment(model, CARD, 4, attention="data-parallel", experts=how)
                   for how in ("tensor-parallel", "expert-parallel"))
    alone = Deployment(model, CARD).cost(3, 1, 20)  # three of ten sequences on the fullest device
    for plan, own in ((cut, {"attention", "attention projections"}), (spread, {s.name for s in whole} - {"experts"})):
        for step, total, mine in zip(plan.device_cost(10, 1, 20), whole, alone):
            expected = mine if step.name in own else replace(total, flops=total.flops / 4,
                                                             bytes_transferred=total.bytes_transferred / 4)
            assert step == expected
    assert cut.traffic(10, 1) == {"gather, scatter": 5 * 2 * sp.Rational(3, 4) * 10 * 8 * 2}
