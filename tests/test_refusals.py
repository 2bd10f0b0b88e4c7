"""Wrong arguments: every public call answers with a result or with one line that says what is wrong, and soon."""

from __future__ import annotations

import inspect
import math
import random
import signal
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from importlib import import_module

import matplotlib.pyplot as plt
import numpy as np
import pytest
import sympy as sp

import lecture10
from lecture10 import H100, Accelerator, Cost, Deployment, Step, Table, Workload, compare, load_model
from lecture10.answers import judge
from lecture10.counting_loops import Meter
from lecture10.engine import counted, decoder, kv_cache, quantization, shortcuts, weights
from lecture10.measurements import published, results, timings
from lecture10.measurements.timings import DATA
from lecture10.models import bounds, deployment, formats, mixer, passes, sparse, windows
from lecture10.models import paged as allocation
from lecture10.models.config import Config
from lecture10.models.experts import MLP, MixtureOfExperts
from lecture10.models.formats import Stored
from lecture10.models.layers import Attention, LatentAttention, Layer
from lecture10.models.load import known_models
from lecture10.models.parallel import Layout
from lecture10.models.passes import Pass, Weights
from lecture10.models.recurrent import GatedDelta, Mamba2, ShortConvolution
from lecture10.models.transformer import Transformer
from lecture10.notation import B, D, S, bindings, symbol_of
from lecture10.serving import blocks, clock, disaggregated, memory, queues, replay, run, scheduler, trace, traces
from lecture10.serving import paged as served
from lecture10.serving.memory import Usage
from lecture10.speculation import acceptance, costs, drafts, faults, law, loop, optimum, proofs, rules, runs, trees

LIMIT = 20  # seconds of a call: what hangs takes longer, an emulated machine does not make it so long

EVALUATED: list[str] = []


class Trap:
    """What a string reaches that is evaluated as an expression."""

    def __call__(self) -> int:
        EVALUATED.append("a string was evaluated")
        return 1


sp.trap = Trap()  # SymPy evaluates strings in its own name space

WRONG = [
    None, True, "", "trap()", math.nan, math.inf, -1, 0, 1.5, 10**9, np.int64(3), np.float32(0.5), np.bool_(True), [],
    [2, 3], [None], [[1], 2], {}, {"B": None}, {1, 2}, object(), 2j, sp.nan, sp.oo, -S, sp.Symbol("free"),
    np.array([0.5, 0.5]), np.zeros((2, 2)), len, b"bytes", Fraction(1, 2),
]
HALF = [Fraction(1, 2), Fraction(1, 2)]
STEP = Step("work", 6 * B, 2 * B)
COST = Cost.of(STEP)
CONFIG = lecture10.llama2_13b_config(B=1)
SMALL = lecture10.compute_transformer_stats(lecture10.llama2_13b_config())
MODEL = Transformer(4, 5, ((2, Layer(Attention(4, 2, 1, 2), MLP(4, 6))),))
RUN = Pass(1, 1, 3)
MOE = MixtureOfExperts(MLP(4, 6), 4, 2)
LATENT = LatentAttention(4, 2, 3, 1, 2, 2)
PLAN = Deployment(load_model("gpt2"), H100)
TWO = Deployment(load_model("gpt2"), H100, 2)
ROW = published.measurements()[0]
SIZES = {"batch": 1, "tokens": 1, "context": 2}


def even(_prefix: tuple[int, ...]) -> list[Fraction]:
    return HALF


def ones(*shape: int) -> list:
    return [ones(*shape[1:]) for _ in range(shape[0])] if shape else 1


RNG = random.Random(0)
CALLS: dict[str, tuple[Callable, dict[str, object]]] = {
    "Workload": (Workload, {"prompt": 3, "generated": 2, "batch": 2, "cached": 1, "requests": 4, "counted": 2}),
    "compare": (compare, {"plan": PLAN, "work": Workload(prompt=3), "measured": 1}),
    "Accelerator": (Accelerator, {"name": "a", "peak_flops": 1, "memory_bandwidth": 1, "memory_bytes": 1, "source": "",
                                  "narrow_peaks": (), "link_bandwidth": 1, "note": ""}),
    "Accelerator.computing_in": (H100.computing_in, {"arithmetic": "fp8"}),
    "find_accelerator": (lecture10.find_accelerator, {"name": "H100"}),
    "Accelerator.times": (H100.times, {"devices": 2}),
    "Accelerator.compute_time": (H100.compute_time, {"flops": 1}),
    "Accelerator.memory_time": (H100.memory_time, {"bytes_transferred": 1}),
    "Accelerator.time": (H100.time, {"flops": 1, "bytes_transferred": 1}),
    "Step": (Step, {"name": "a", "flops": 1, "bytes_transferred": 1}),
    "Step.together": (lambda other: STEP.together(other), {"other": STEP}),
    "Cost": (Cost, {"steps": (STEP,)}),
    "Cost.of": (lambda step: Cost.of(step), {"step": STEP}),
    "Cost.subs": (lambda sizes: COST.subs(sizes), {"sizes": {B: 1}}),
    "Cost.subs by name": (lambda size: COST.subs(B=size), {"size": 1}),
    "Cost.subs of two": (lambda symbol, size: COST.subs(symbol, size), {"symbol": B, "size": 1}),
    "Cost.without": (lambda name: COST.without(name), {"name": "work"}),
    "Cost.only": (lambda name: COST.only(name), {"name": "work"}),
    "Cost.as_step": (lambda name, read: COST.as_step(name, read), {"name": "a", "read": "work"}),
    "Cost.time": (COST.time, {"accelerator": H100}),
    "Table": (Table, {"header": ("a",), "rows": ((1,),)}),
    "cell": (lecture10.table.cell, {"value": 1}),
    "sweep": (lecture10.sweep, {"expr": B, "points": {B: [1, 2]}}),
    "sweep of values": (lambda values: lecture10.sweep(B, {B: values}), {"values": [1, 2]}),
    "bindings": (bindings, {"config": {B: 1}}),
    "bindings of a size": (lambda value: bindings({B: value}), {"value": 1}),
    "symbol_of": (symbol_of, {"key": "B"}),
    "judge": (judge, {"answer": "80 GB", "expected": 10**9, "unit": "B"}),
    "matmul": (lecture10.matmul, {"rows": 1, "inner": 1, "columns": 1, "weight_bytes": 1}),
    "product_flops": (lecture10.intensity.product_flops, {"rows": 1, "inner": 1, "columns": 1}),
    "products": (lecture10.intensity.products, {"rows": 1, "shapes": ((1, 2),), "weight_bytes": 1}),
    "attention_shapes": (lecture10.intensity.attention_shapes, {"width": 4, "heads": 2, "kv_heads": 1, "head_dim": 2,
                                                                 "value_dim": 3}),
    "mlp_shapes": (lecture10.intensity.mlp_shapes, {"width": 4, "hidden": 2, "gated": True}),
    "mlp": (lecture10.mlp, {"tokens": 1, "width": 1, "hidden": 1, "weight_bytes": 1}),
    "unfused_mlp": (lecture10.unfused_mlp, {"tokens": 1, "width": 1, "hidden": 1, "weight_bytes": 1}),
    "attention": (lecture10.attention, {"batch": 1, "context": 2, "tokens": 1, "query_width": 1, "kv_width": 1,
                                        "values_per_key": 1, "pairs": 1, "kv_bytes": 1}),
    "recurrence": (lecture10.intensity.recurrence, {"batch": 1, "tokens": 1, "heads": 2, "key_heads": 1, "key": 2,
                                                    "value": 2, "corrected": True, "state_bytes": 4}),
    "short_convolution": (lecture10.intensity.short_convolution, {"batch": 1, "tokens": 1, "channels": 2, "kernel": 3}),
    "latent_attention": (lecture10.latent_attention, {"batch": 1, "context": 2, "tokens": 1, "heads": 1, "latent": 1,
                                                      "rope": 1, "pairs": 1, "kv_bytes": 1}),
    "causal_pairs": (lecture10.causal_pairs, {"context": 2, "tokens": 1}),
    "when_large": (lambda expr, symbol: lecture10.when_large(expr, symbol), {"expr": B / (B + D), "symbol": D}),
    "critical_size": (lecture10.critical_size, {"intensity": 2 * B, "size": B, "target": 3}),
    "forward_pass": (lecture10.forward_pass, {"tokens": 2, "weight_bytes": 1, "kv_bytes": 1, "logits": 1, "pairs": 1}),
    "compute_transformer_stats": (lecture10.compute_transformer_stats, {"config": {B: 1}}),
    "llama2_13b_config": (lambda batch: lecture10.llama2_13b_config(B=batch), {"batch": 1}),
    "largest_batch": (lecture10.largest_batch, {"stats": SMALL, "memory_bytes": 10**11}),
    "TransformerStats": (lecture10.TransformerStats, dict.fromkeys(
        ("num_params", "parameter_size", "kv_cache_size", "memory", "latency", "throughput"), 1)),
    "TransformerStats.of_sizes": (lecture10.TransformerStats.of_sizes, {"num_params": 1, "parameter_size": 2,
                                                                        "kv_cache_size": 3}),
    "TransformerStats.subs": (SMALL.subs, {"config": {B: 1}}),
    "acceptance_probability": (lecture10.acceptance_probability, {"p": HALF, "q": HALF}),
    "residual_distribution": (lecture10.residual_distribution, {"p": [1, 0], "q": HALF}),
    "overlap": (lecture10.overlap, {"p": HALF, "q": HALF}),
    "sampling_paths": (lecture10.sampling_paths, {"p": HALF, "q": HALF}),
    "output_distribution": (lecture10.output_distribution, {"p": HALF, "q": HALF}),
    "speculative_sampling": (lecture10.speculative_sampling, {"draft_tokens": [0], "p": [HALF], "q": [HALF, HALF],
                                                              "rng": RNG}),
    "rows of speculative_sampling": (lambda token, p, q: lecture10.speculative_sampling([token], [p], [HALF, q], RNG),
                                     {"token": 1, "p": HALF, "q": HALF}),
    "draw": (lecture10.draw, {"distribution": HALF, "rng": RNG}),
    "speculative_decoding": (lecture10.speculative_decoding, {"prefix": (), "draft": even, "target": even, "gamma": 2,
                                                              "length": 3, "rng": RNG}),
    "models of speculative_decoding": (lambda p, q: lecture10.speculative_decoding(
        (), lambda _: p, lambda _: q, 1, 1, RNG), {"p": HALF, "q": HALF}),
    "round_distribution": (lecture10.round_distribution, {"prefix": (), "draft": even, "target": even, "gamma": 2}),
    "expected_tokens": (lecture10.expected_tokens, {"alpha": 0.5, "gamma": 2}),
    "exact expected_tokens": (lecture10.expected_tokens, {"alpha": Fraction(1, 2), "gamma": 2}),
    "walltime_improvement": (lecture10.walltime_improvement, {"alpha": 0.5, "gamma": 2, "c": 0, "check": 1}),
    "batch_improvement": (lecture10.batch_improvement, {"alpha": 0.5, "gamma": 2, "target": CONFIG, "draft": CONFIG,
                                                        "accelerator": H100}),
    "round_improvement": (lecture10.round_improvement, {"tokens": 2, "gamma": 2, "c": 0, "check": 1}),
    "batch_costs": (lecture10.batch_costs, {"gamma": 2, "target": CONFIG, "draft": CONFIG, "accelerator": H100}),
    "operations_increase": (lecture10.operations_increase, {"alpha": 0.5, "gamma": 2, "c": 0.1}),
    "best_gamma": (lecture10.best_gamma, {"alpha": 0.5, "c": 0.1, "largest": 64}),
    "token_times": (lecture10.token_times, {"config": CONFIG, "prompt": 3, "tokens": 2, "accelerator": H100}),
    "generation_cost": (lecture10.generation_cost, {"prompt": 2, "tokens": 2, "cached": True}),
    "Usage": (Usage, dict.fromkeys(("token_states", "reserved", "internal", "external", "free"), 1)),
    "reach": (windows.reach, {"context": 3, "tokens": 1, "window": 2}),
    "all_pairs": (windows.all_pairs, {"context": 3, "tokens": 1, "window": 2}),
    "visible_pairs": (windows.visible_pairs, {"context": 3, "tokens": 2, "window": 2}),
    "least": (windows.least, {"a": 2, "b": 3}),
    "Chunk": (windows.Chunk, {"size": 2}),
    "Chunk.start": (windows.Chunk(2).start, {"position": 3}),
    "span": (windows.span, {"name": "window", "value": 2}),
    "distinct_experts": (passes.distinct_experts, {"rows": 3, "experts": 4, "used": 2}),
    "Pass": (Pass, {"batch": 1, "tokens": 1, "context": 2, "logits": 1, "weight_bytes": 1, "kv_bytes": 1,
                    "embedding_bytes": 1, "embedding_rows": 1, "pairs": windows.all_pairs}),
    "Weights": (Weights, {"operation": "a", "shapes": ((1, 2),), "vectors": 0, "copies": 2, "used": 1}),
    "Weights.step": (MOE.weights[1].step, {"rows": 2, "stored": 1}),
    "Weights.bytes_of_each": (MOE.weights[1].bytes_of_each, {"stored": Stored()}),
    "Attention": (Attention, {"width": 4, "heads": 2, "kv_heads": 1, "head_dim": 2, "window": 3, "qkv_bias": True,
                              "output_bias": False, "norm_params": 0, "sinks": 0, "fused": False, "value_dim": 3,
                              "gate": 2}),
    "Mixer.kv_elements": (MODEL.layers[0][1].attention.kv_elements, {"context": 2}),
    "Layer.kv_elements": (MODEL.layers[0][1].kv_elements, {"context": 2}),
    "Attention.over": (MODEL.layers[0][1].attention.over, {"run": RUN, "window": 2}),
    "LatentAttention": (LatentAttention, {"width": 4, "heads": 2, "latent": 3, "rope": 1, "nope": 2, "value": 2,
                                          "query_latent": 2, "bias": True}),
    "LatentAttention.kv_elements": (LATENT.kv_elements, {"context": 2}),
    "LatentAttention.over": (LATENT.over, {"run": RUN, "window": 2}),
    "Cached": (mixer.Cached, {"name": "a", "elements": 2, "window": 3, "ratio": 2}),
    "Cached.entries": (mixer.Cached("a", 2, ratio=2).entries, {"context": 3}),
    "State": (mixer.State, {"recurrent": 1, "convolution": 2, "recurrent_bytes": 4}),
    "shares": (mixer.shares, {"devices": 2, "divided": (4,), "copied": (1,)}),
    "GatedDelta": (GatedDelta, {"width": 4, "heads": 2, "key_heads": 1, "key": 3, "value": 3, "kernel": 2, "rank": 2,
                                "fused": False, "recurrent_bytes": 4}),
    "Mamba2": (Mamba2, {"width": 4, "heads": 2, "head_dim": 3, "size": 3, "groups": 1, "kernel": 2, "conv_bias": True,
                        "bias": True, "recurrent_bytes": 4}),
    "ShortConvolution": (ShortConvolution, {"width": 4, "channels": 4, "kernel": 3, "bias": True}),
    "entry_pairs": (sparse.entry_pairs, {"context": 5, "tokens": 2, "ratio": 2, "kept": 1}),
    "Indexer": (sparse.Indexer, {"width": 4, "query_width": 2, "heads": 2, "head_dim": 2, "weighted": True,
                                 "vectors": 1}),
    "Indexer.step": (sparse.Indexer(4, 2, 2, 2).step, {"run": RUN, "entries": 3, "pairs": 3}),
    "SparseAttention": (sparse.SparseAttention, {"attention": LATENT, "kept": 2,
                                                 "indexer": sparse.Indexer(4, 2, 2, 2)}),
    "CompressedAttention": (sparse.CompressedAttention, {
        "width": 4, "heads": 2, "head_dim": 3, "query_latent": 2, "groups": 2, "output_latent": 2, "window": 2,
        "ratio": 2, "kept": 1, "indexer": sparse.Indexer(4, 2, 2, 2)}),
    "Pool": (allocation.Pool, {"block_size": 2, "block_bytes": 4, "growing": 1, "fixed": 1}),
    "Pool.blocks": (allocation.Pool(2, 4).blocks, {"context": 3}),
    "Pool.reported": (allocation.Pool(2, 4).reported, {"blocks": 3}),
    "CacheSizes": (allocation.CacheSizes, {"live": 1, "allocated": 1, "reported": 1}),
    "kv_cache": (allocation.kv_cache, {"model": MODEL, "context": 3, "block_size": 2,
                      "entry_bytes": {"keys and values": 4}}),
    "pool": (allocation.pool, {"model": MODEL, "block_size": 2, "entry_bytes": {"keys and values": 4}}),
    "MLP": (MLP, {"width": 4, "hidden": 6, "gated": True, "bias": False}),
    "MixtureOfExperts": (MixtureOfExperts, {"expert": MLP(4, 6), "experts": 4, "used": 2, "shared": MLP(4, 6),
                                            "router_bias": True, "shared_gate": True}),
    "Layer": (Layer, {"attention": LATENT, "mlp": MOE, "norm_params": 8, "parallel": True,
                       "beside": (MOE.weights[0],)}),
    "Layer.cost": (Layer(LATENT, MOE).cost, {"run": RUN}),
    "Transformer": (Transformer, {"width": 4, "vocabulary": 5, "layers": MODEL.layers, "tied": False, "positions": 0,
                                  "norm_params": 4, "head_bias": True, "name": "a"}),
    "Transformer.weight_bytes": (MODEL.weight_bytes, {"weight_bytes": 2, "embedding_bytes": 1}),
    "Transformer.weight_table": (MODEL.weight_table, {"weight_bytes": "int4-g32", "embedding_bytes": 1}),
    "Transformer.kept": (lambda **sizes: [*MODEL.kept(**sizes)], {"weight_bytes": 2, "embedding_bytes": 1}),
    "Transformer.lookup": (MODEL.lookup, {"rows": 2, "stored": Stored()}),
    "Transformer.require_context": (MODEL.require_context, {"context": 2}),
    "Transformer.kv_cache_elements": (MODEL.kv_cache_elements, {"context": 2}),
    "Transformer.most_cache_elements": (MODEL.most_cache_elements, {"context": 2}),
    "Transformer.layer_costs": (MODEL.layer_costs, {"run": RUN}),
    "Transformer.forward": (MODEL.forward, {"run": RUN}),
    "Transformer.matmul_flops": (MODEL.matmul_flops, {"batch": 1, "new_tokens": 1, "context": 2, "logits": "last"}),
    "load_model": (load_model, {"source": "gpt2"}),
    "load_model of a size": (lambda size: load_model({
        "model_type": "gpt2", "n_embd": 4, "n_head": 2, "n_layer": size, "vocab_size": 5, "n_positions": 6}),
                             {"size": 2}),
    "throughput_limit": (lecture10.throughput_limit, {"step": lecture10.forward_pass().subs(
        lecture10.llama2_13b_config()), "accelerator": H100}),
    "reduce_kv_cache_size": (lecture10.reduce_kv_cache_size, {"config": CONFIG, "kv_heads": 8}),
    "measured_pass": (lecture10.measured_pass, {"what": "decode", "device": "H100 SXM", "B": 64, "S": 1024}),
    "device": (published.device, {"row": ROW}),
    "deployment": (published.deployment, {"row": ROW, "model": MODEL}),
    "comparison": (published.comparison, {"row": ROW}),
    "Measurement": (published.Measurement, {name: getattr(ROW, name) for name in (
        "group", "model", "precision", "device", "devices", "prompt", "generated", "metric", "tokens_per_second",
        "bandwidth", "file_bytes", "source", "batch")}),
    "Comparison": (lecture10.Comparison, {"plan": PLAN, "work": Workload(prompt=3), "measured": 1}),
    "Result": (results.Result, {"what": "a", "work": Workload(prompt=3), "tokens_per_second": 1}),
    "Given": (results.Given, {"prompt": 1, "generated": 1, "batch": 1}),
    "read_results": (results.read_results, {"path": None, "given": None}),
    "same_model": (results.same_model, {"name": "a", "result": results.Result("a", Workload(prompt=3), 1.0, None, 7),
                                        "parameters": 7}),
    "timings": (lambda path, card: lecture10.timings(path, card=card), {"path": DATA["layer.csv"], "card": H100}),
    "measured_roof": (timings.measured_roof, {"rows": None}),
    "llama_13b": (timings.llama_13b, {"kv_heads": 8}),
    "Deployment": (Deployment, {"model": TWO.model, "accelerator": H100, "devices": 2, "weight_bytes": 1, "kv_bytes": 1,
                                "embedding_bytes": 1, "arithmetic": "fp8", "attention": "data-parallel",
                                "experts": "tensor-parallel"}),
    **{f"Deployment.{name}": (getattr(TWO, name), SIZES) for name in (
        "cost", "device_cost", "step_time", "floor_cost", "floor_time", "operation_costs", "operations", "table")},
    "others of Deployment.cost": (lambda also: TWO.cost(1, 1, 2, also), {"also": (1, 1, 2)}),
    "Deployment.traffic": (TWO.traffic, {"batch": 1, "tokens": 1}),
    "Deployment.all_reduce_time": (TWO.all_reduce_time, {"batch": 1, "tokens": 1, "in_switch": True}),
    "Deployment.time_to_first_token": (TWO.time_to_first_token, {"batch": 1, "prompt": 2}),
    "Deployment.generation_time": (TWO.generation_time, {"batch": 1, "prompt": 2, "generated": 2}),
    "Deployment.stored_cache": (TWO.stored_cache, {"context": 2}),
    "Deployment.largest_batch": (TWO.largest_batch, {"context": 2}),
    "Deployment.largest_batch_within": (TWO.largest_batch_within, {"seconds": 0.001, "context": 900}),
    **{f"Deployment.{name}": (getattr(TWO, name), {"batch": 1, "context": 2}) for name in (
        "device_memory", "devices_needed", "stats")},
    "summed": (deployment.summed, {"terms": [S], "contexts": range(1, 3)}),
    "assumptions": (bounds.assumptions, {"plan": PLAN}), "basis": (bounds.basis, {"plan": PLAN}),
    "bound_table": (bounds.bound_table, {"plan": TWO, **SIZES}),
    "Layout": (Layout, {"devices": 2, "attention": "data-parallel", "experts": "expert-parallel"}),
    **{f"Layout.{name}": (getattr(TWO.layout, name), {"model": TWO.model}) for name in (
        "starts", "require_start", "counts", "on_one_device")},
    "Layout.sequences": (Layout(2, "data-parallel").sequences, {"batch": 2}),
    "Layout.cost": (TWO.layout.cost, {"model": TWO.model, "run": RUN}),
    "Layout.stored_weights": (TWO.layout.stored_weights, {"model": TWO.model, "run": RUN, "total": 1}),
    "Layout.traffic": (TWO.layout.traffic, {"model": TWO.model, "batch": 1, "tokens": 1}),
    "Scale": (formats.Scale, {"size": 2, "inputs": 3, "outputs": 1, "flat": True}),
    "Scale.num_bytes": (formats.Scale(2, 3).num_bytes, {"inputs": 4, "outputs": 5}),
    "Format": (formats.Format, {"name": "a", "bits": 4, "scales": (formats.TENSOR,), "padding": 2}),
    "Format.matrix_bytes": (formats.MXFP4.matrix_bytes, {"inputs": 4, "outputs": 5}),
    "integers": (formats.integers, {"bits": 4, "group": 32, "zero_points": 4}),
    "Stored": (Stored, {"element": 2, "parts": (("a", (formats.NF4,), 0),), "default": formats.NF4}),
    **{f"Stored.{name}": (getattr(Stored(), name), {"operation": "a", "shapes": ((1, 2),), "vectors": 1})
       for name in ("num_bytes", "names")},
    "Stored.instead": (Stored().instead, {"weight_bytes": 2}),
    "weight_format": (lambda value, plain: formats.weight_format("value", value, plain), {"value": 2, "plain": True}),
}
MIXERS = (MODEL.layers[0][1].attention, LATENT, GatedDelta(4, 2, 1, 3, 3), Mamba2(4, 2, 3, 3, 1),
          ShortConvolution(4, 4, 3), sparse.SparseAttention(LATENT, 2, sparse.Indexer(4, 2, 2, 2)),
          sparse.CompressedAttention(4, 2, 3, 2, 2, 2, 2, 2))
CALLS |= {f"{type(one).__name__}.{name}": (getattr(one, name), arguments) for one in MIXERS
          for name, arguments in (("steps", {"run": RUN}), ("share", {"devices": 1}))}
LOOPS = {
    "matmul_loop": {"x": ones(2, 3), "w": ones(3, 2), "weight_bytes": 1},
    "mlp_loop": {"x": ones(1, 2), "up": ones(2, 3), "gate": ones(2, 3), "down": ones(3, 2), "weight_bytes": 1},
    "unfused_mlp_loop": {"x": ones(1, 2), "up": ones(2, 3), "gate": ones(2, 3), "down": ones(3, 2), "weight_bytes": 1},
    "attention_loop": {"q": ones(1, 2, 2), "k": ones(2, 1, 2), "v": ones(2, 1, 2), "causal": True, "kv_bytes": 1},
    "latent_attention_loop": {"q": ones(1, 2, 3), "cache": ones(2, 3), "latent": 2, "causal": True, "kv_bytes": 1},
    "recurrence_loop": {"q": ones(1, 1, 2), "k": ones(1, 1, 2), "v": ones(1, 2, 2), "decay": ones(1, 2, 2),
                        "beta": ones(1, 2), "state": ones(2, 2, 2), "state_bytes": 4},
    "convolution_loop": {"x": ones(1, 2), "w": ones(2, 3), "kept": ones(2, 2)},
    "sparse_attention_loop": {"q": ones(1, 2, 2), "near": ones(3, 2), "far": ones(3, 2), "latent": 2, "window": 1,
                              "ratio": 1, "kept": 1, "index": (ones(1, 2, 2), ones(1, 2), ones(3, 2)), "kv_bytes": 1},
}
CALLS |= {name: (getattr(import_module("lecture10.counting_loops"), name), {"meter": Meter(), **arguments})
          for name, arguments in LOOPS.items()}
CALLS |= {"Meter": (Meter, {"flops": 1, "bytes_transferred": 1}),
          "Meter.move": (Meter().move, {"tensor": ones(2, 2), "element_bytes": 2}),
          "Meter.dot": (Meter().dot, {"a": [1], "b": [2]}),
          "Meter.product": (Meter().product, {"x": ones(1, 2), "w": ones(2, 1)}),
          "speculative_results": (lecture10.speculative_results, {}),
          "known_models": (known_models, {}),
          "Config": (Config, {"values": {"a": 1}}),
          "Config.load": (Config.load, {"path": None}),
          "array": (import_module("lecture10.sweep").array, {"name": "a", "value": [1]})}


def tiny_weights() -> weights.Weights:
    rng = np.random.default_rng(0)
    shape = weights.Shape(D=4, F=6, N=2, K=1, H=2, L=1, V=5, context_length=8, rope_base=1e4, norm_epsilon=1e-5)
    sizes = (4,), (8, 4), (4, 4), (4,), (6, 4), (6, 4), (4, 6)
    layer = weights.Layer(*(rng.normal(size=size).astype(np.float32) for size in sizes))
    return weights.Weights(shape, (layer,), np.ones(4, np.float32), rng.normal(size=(5, 4)).astype(np.float32), None, 0)


TINY = decoder.Engine(tiny_weights())
SCORES = np.zeros((1, 5), np.float32)


def new_cache() -> kv_cache.KVCache:
    return kv_cache.KVCache.empty(TINY.shape, 1, 4)


CALLS |= {
    "Engine": (decoder.Engine, {"weights": TINY.weights, "multiply": TINY.multiply, "attend": TINY.attend}),
    "Engine.forward": (lambda tokens, logits: TINY.forward(tokens, new_cache(), logits),
                       {"tokens": [[1, 2]], "logits": 2}),
    "cache of Engine.forward": (lambda cache: TINY.forward([[1]], cache), {"cache": new_cache()}),
    "greedy": (decoder.greedy, {"logits": SCORES}),
    "probabilities": (decoder.probabilities, {"logits": SCORES, "temperature": 1, "top_p": 1}),
    "sampler": (decoder.sampler, {"seed": 0, "temperature": 1, "top_p": 1}),
    "sampler.draw": (decoder.sampler(0), {"logits": SCORES}),
    "generate": (decoder.generate, {"engine": TINY, "prompts": [[1]], "max_tokens": 1,
                                           "choose": decoder.greedy, "cache": None}),
    "prefill": (lambda prompt: decoder.prefill(TINY, prompt, new_cache()), {"prompt": [1]}),
    "chat": (decoder.chat, {"question": "?"}),
    "KVCache.empty": (kv_cache.KVCache.empty, {"shape": TINY.shape, "batch": 1, "capacity": 2}),
    "KVCache.rows": (new_cache().rows, {"some": slice(1)}),
    "Scheme": (quantization.Scheme, {"bits": 4, "group": 2}),
    "Scheme.__call__": (quantization.Scheme(4, "row"), {"w": SCORES}),
    "Scheme.groups": (quantization.Scheme(4, "row").groups, {"w": SCORES}),
    "Scheme.bytes": (quantization.Scheme(4, "row").bytes, {"w": SCORES}),
    "Scheme.model_bytes": (quantization.Scheme(4, "row").model_bytes, {"weights": TINY.weights}),
    "perplexity": (quantization.perplexity, {"engine": TINY, "tokens": [1, 2, 3]}),
    "Int8Product": (quantization.Int8Product, {"threshold": 6.0, "keep": ()}),
    "Int8Product.at": (quantization.Int8Product(6.0).at, {"threshold": 3.0}),
    "windowed": (shortcuts.windowed, {"window": 2, "sinks": 1}),
    "rounded_cache": (shortcuts.rounded_cache, {"scheme": quantization.Scheme(4, 2)}),
    "shared_cache": (shortcuts.shared_cache, {"layers": 2}),
    "without_layers": (lambda dropped: shortcuts.without_layers(TINY.weights, dropped), {"dropped": []}),
    "with_fewer_heads": (shortcuts.with_fewer_heads, {"weights": TINY.weights, "kept": 1}),
    "with_one_kv_head": (shortcuts.with_one_kv_head, {"weights": TINY.weights}),
    "count_forward": (counted.count_forward, {"weights": TINY.weights, "tokens": [[1]], "context": 2, "logits": 1}),
}


def rounds_of(*tokens: int) -> list:
    return [loop.Round((1,), tokens)]


def scores(logits: np.ndarray) -> np.ndarray:
    return logits


def silent(*_: object) -> tuple:
    return (), ()


TREE = trees.Node((0, 1), (HALF, HALF), (trees.Node(), trees.Node()))
ROUND = {"draft_tokens": [0], "p": [HALF], "q": [HALF, HALF], "rng": RNG}
CALLS |= {
    "speculate": (lambda prompt, gamma: loop.speculate(prompt, drafts.autoregressive(drafts.rows_of(even)),
                                                       drafts.rows_of(even), gamma, RNG), {"prompt": [1], "gamma": 2}),
    "until": (lambda length, end: loop.until(rounds_of(1, 2), length, end), {"length": 2, "end": 1}),
    "Reader": (loop.Reader, {"engine": TINY, "room": 4, "law": scores, "read": ()}),
    "Reader.__call__": (lambda tokens, count: loop.Reader(TINY, 4, scores)(tokens, count),
                        {"tokens": [1, 2], "count": 2}),
    "Reader.logits": (lambda tokens, count: loop.Reader(TINY, 4, scores).logits(tokens, count),
                      {"tokens": [1, 2], "count": 2}),
    "Reader.has_read": (loop.Reader(TINY, 4, scores).has_read, {"text": [1]}),
    "certain": (loop.certain, {"tokens": [1], "vocabulary": 2}),
    "greedy_rows": (loop.greedy_rows, {"logits": SCORES}),
    "margins": (loop.margins, {"logits": SCORES}),
    "first_difference": (loop.first_difference, {"plain": [1], "other": [2]}),
    "looked_up": (drafts.looked_up, {"tokens": [1, 2, 1], "gamma": 1, "longest": 2}),
    "prompt_lookup": (drafts.prompt_lookup, {"vocabulary": 3, "longest": 2}),
    "ngram": (drafts.ngram, {"text": [1, 2, 1], "order": 2, "vocabulary": 3}),
    "most_probable": (drafts.most_probable, {"model": drafts.rows_of(even)}),
    "rows_of": (drafts.rows_of, {"model": even}),
    "autoregressive": (drafts.autoregressive, {"model": drafts.rows_of(even)}),
    "first_layers": (drafts.first_layers, {"weights": TINY.weights, "count": 1}),
    "prompts": (drafts.prompts, {}),
    "block_verification": (rules.block_verification, ROUND),
    "lenient": (rules.lenient, {"lenience": 1}),
    "lenient rule": (rules.lenient(HALF[0]), ROUND),
    "typical_acceptance": (rules.typical_acceptance, {"epsilon": 0.1, "delta": 0.3}),
    "typical rule": (rules.typical_acceptance(), ROUND),
    "law": (law.law, {"program": lambda rng: rng.random() < HALF[0]}),
    "joint_law": (law.joint_law, {"target": even, "prefix": (), "length": 2}),
    "continued": (law.continued, {"outcomes": {(1,): 1}, "target": even, "prefix": (), "length": 2}),
    "mean_tokens": (law.mean_tokens, {"outcomes": {(1,): 1}}),
    "total_variation": (law.total_variation, {"one": {1: 1}, "other": {2: 1}}),
    "grow": (trees.grow, {"prefix": (), "draft": even, "widths": (2, 1), "rng": RNG}),
    "choose": (trees.choose, {"tokens": [0], "laws": [HALF], "q": HALF, "rng": RNG}),
    "verify_tree": (trees.verify_tree, {"tree": TREE, "prefix": (), "target": even, "rng": RNG}),
    "optimal_acceptance": (optimum.optimal_acceptance, {"draws": {frozenset({0}): 1}, "q": HALF}),
    "optimal_tokens": (optimum.optimal_tokens, {"prefix": (), "draft": even, "target": even, "gamma": 1}),
    "right": (faults.right, {"model": even}),
    "acceptance_lengths": (acceptance.acceptance_lengths, {}),
    "survival": (acceptance.survival, {"lengths": [2, 3]}),
    "length_law": (acceptance.length_law, {"survived": [1, 0]}),
    "mean_and_variance": (acceptance.mean_and_variance, {"law": {1: 1}}),
    "geometric": (acceptance.geometric, {"alpha": 1, "gamma": 2}),
    "minimum_variance": (acceptance.minimum_variance, {"mean": 2, "gamma": 2}),
    "expected_passes": (acceptance.expected_passes, {"law": {1: 1}, "tokens": 3}),
    "observed_survival": (runs.observed_survival, {"rounds": rounds_of(1), "gamma": 2}),
    "improvements": (acceptance.improvements, {"lengths": [2, 3], "c": 0, "check": lambda _: 1}),
    "best_length": (acceptance.best_length, {"lengths": [2, 3], "c": 0, "check": lambda _: 1}),
    "generated": (runs.generated, {"target": loop.Reader(TINY, 5, loop.greedy_rows), "prompt": [1], "draft": silent,
                                   "gamma": 1, "length": 2, "verify": lecture10.speculative_sampling, "seed": 0}),
    "replayed": (runs.replayed, {"prompt": [1], "text": [1, 2], "draft": silent, "gamma": 1, "vocabulary": 5}),
    "passes_seconds": (runs.passes_seconds, {"curve": {1: 0.1, 2: 0.2}, "rounds": rounds_of(1)}),
    "normalised": (lambda weight: proofs.normalised(weight, 2), {"weight": 1}),
    "by_last": (lambda row: proofs.by_last(row, [3, 0]), {"row": [1, 2]}),
    "made_up": (proofs.made_up, {"seed": 1, "vocabulary": 2}),
    "first_round": (proofs.first_round, {"draft": even, "target": even, "gamma": 1,
                                         "rule": lecture10.speculative_sampling}),
    "first_tokens": (proofs.first_tokens, {"draft": silent, "target": drafts.rows_of(even), "gamma": 1, "length": 1,
                                           "rule": lecture10.speculative_sampling, "prompt": ()}),
    "over_words": (proofs.over_words, {"reader": loop.Reader(TINY, 4, scores), "prompt": [1], "words": [1, 2],
                                       "rows_of_logits": loop.greedy_rows}),
    "two_token_distance": (proofs.two_token_distance, {"draft": loop.Reader(TINY, 4, scores),
                                                       "target": loop.Reader(TINY, 4, scores), "prompt": [1],
                                                       "rows_of_logits": loop.greedy_rows, "width": 2}),
    "Forgetful": (faults.Forgetful, {"engine": TINY, "room": 4, "law": scores, "read": ()}),
    "crossing_context": (costs.crossing_context, {"alpha": 0.5, "gamma": 1, "config": {
        key: size for key, size in CONFIG.items() if key != S}, "window": 2, "accelerator": H100}),
}
CALLS |= {kind.__name__: (kind, {"p": HALF, "width": 2, "rng" if kind is not trees.largest else "_rng": RNG})
          for kind in (trees.with_replacement, trees.without_replacement, trees.largest)}
POINTS = [1, 2, 3]
PRODUCTS = lecture10.timings(DATA["products.csv"])
SERIES = (POINTS, POINTS)
REQUESTS, LIMITS = [(0, 2, 2), (1, 3, 1)], {"max_sequences": 2, "token_budget": 4, "blocks": 4, "block_size": 2}


def new_blocks(*names: str) -> blocks.Blocks:
    """Four blocks of two tokens, of which each name has one and has filled half of it."""
    found = blocks.Blocks(4, 2)
    for name in names:
        found.admit(name, 1, 1, str)
        found.fill(name, 1, str)
    return found


def swapped() -> blocks.Blocks:
    found = new_blocks("a")
    found.swap_out("a")
    return found


def placed() -> memory.Contiguous:
    found = memory.Contiguous(4)
    found.place("a", 2)
    return found


def new_scheduler() -> scheduler.Scheduler:
    return scheduler.Scheduler(replay.jobs_of(REQUESTS, 2), new_blocks(), 2, 4)


FRAMES = trace.recorded(new_scheduler(), clock.ticks)[1]
FULL = run.Run(*([0, 1],), *([1, 1],) * 2, *([1, 2],) * 3)
CALLS |= {
    "content_keys": (blocks.content_keys, {"tokens": [1, 2, 3], "size": 2}),
    "Blocks": (blocks.Blocks, {"total": 4, "size": 2, "sharing": True}),
    "Blocks.admit": (lambda name, tokens, most, key: new_blocks().admit(name, tokens, most, key),
                     {"name": "b", "tokens": 2, "most": 1, "key": str}),
    "Blocks.found": (new_blocks().found, {"tokens": 3, "key": str}),
    "Blocks.fork": (lambda name, child: new_blocks("a").fork(name, child), {"name": "a", "child": "b"}),
    "Blocks.release": (lambda name: new_blocks("a").release(name), {"name": "a"}),
    "Blocks.swap_out": (lambda name: new_blocks("a").swap_out(name), {"name": "a"}),
    "Blocks.swap_in": (lambda name: swapped().swap_in(name), {"name": "a"}),
    "Overhead": (clock.Overhead, {"bandwidth": 0.5, "compute": 0.5, "seconds_per_step": 0.1}),
    "Overhead.slowed": (clock.BOUND.slowed, {"device": H100}),
    "compiled": (clock.compiled, {"plan": PLAN, "overhead": clock.BOUND}),
    "replay": (replay.replay, {"requests": REQUESTS, "deployment": clock.ticks, **LIMITS, "policy": scheduler.chunked,
                               "overhead": clock.BOUND, "host_link": None}),
    "a request": (lambda arrival, prompt, output: replay.replay([(arrival, prompt, output)], clock.ticks, **LIMITS),
                  {"arrival": 0, "prompt": 2, "output": 2}),
    "jobs_of": (lambda size: replay.jobs_of(REQUESTS, size), {"size": 2}),
    "disaggregated": (disaggregated.disaggregated, {"requests": REQUESTS, "prefill": PLAN, "decode": PLAN, "link": 1e9,
                                                    **LIMITS, "overhead": clock.BOUND}),
    "Scheduler": (scheduler.Scheduler, {"jobs": replay.jobs_of(REQUESTS, 2), "blocks": new_blocks(),
                                        "max_sequences": 2, "token_budget": 4, "policy": scheduler.static,
                                        "swap": False}),
    "Run": (run.Run, {key: [value, value] for key, value in
                      zip(("arrival", "prompt", "output", "scheduled", "first", "last"), (0, 1, 1, 1, 1, 2))}),
    "Run.goodput": (FULL.goodput, {"ttft": 1, "per_token": 1}),
    "Run.queue": (FULL.queue, {"times": [0, 1]}),
    "recorded": (lambda scheduler, clock: trace.recorded(scheduler, clock),
                 {"scheduler": new_scheduler(), "clock": clock.ticks}),
    "short_run": (trace.short_run, {"requests": REQUESTS, "policy": scheduler.static, "max_sequences": 2}),
    "explore": (traces.explore, {"prompts": ((0,),), "total": 2, "size": 2, "depth": 1, "kind": blocks.Blocks}),
    "small_queues": (lambda **sizes: [*queues.small_queues(**sizes)], {"requests": 1, "prompts": ((0,),),
                                                                       "outputs": (1,)}),
    "first_fault": (queues.first_fault, {"queues": [], "policy": scheduler.static, "kind": scheduler.Scheduler,
                                         "blocks": blocks.Blocks}),
    "Contiguous": (memory.Contiguous, {"slots": 4, "buddy": True}),
    "next_power_of_two": (memory.next_power_of_two, {"tokens": 5}),
    "Contiguous.place": (lambda slots: memory.Contiguous(4).place("a", slots), {"slots": 2}),
    "Contiguous.release": (lambda name: placed().release(name), {"name": "a"}),
    "usage": (memory.usage, {"memory": memory.Contiguous(4), "requests": {}, "wanted": 2}),
    "pieces": (memory.pieces, {"memory": memory.Contiguous(4), "stored": {}}),
    "served_in_one_piece": (memory.served_in_one_piece, {"requests": ((1, 1),), "slots": 4, "buddy": False,
                                                         "reserve": lambda prompt, output: prompt + output,
                                                         "warm_up": 0}),
    "saved_by_sharing": (memory.saved_by_sharing, {"requests": ((1, 1),), "samples": 2, "parents": ((0, 0),),
                                                   "size": 2}),
    "served_in_blocks": (memory.served_in_blocks, {"requests": ((1, 1),), "blocks": 2, "size": 2, "warm_up": 0}),
    "PagedCache": (served.PagedCache, {"shape": TINY.shape, "blocks": 2, "size": 2}),
    "Server": (served.Server, {"engine": TINY, "requests": [(0, [1, 2], 1)], **LIMITS, "policy": scheduler.static,
                              "swap": False, "sharing": True}),
}
FIGURES = {
    "roofline.roofline": {"costs": {"a": COST.subs(B=2)}, "accelerator": H100, "ax": None},
    "roofline.roofline_moves": {"moves": {"a": (COST.subs(B=2), COST.subs(B=3))}, "accelerator": H100},
    "roofline.intensities": {"curves": {"a": B}, "size": B, "values": POINTS, "accelerator": H100, "ax": None},
    "roofline.times": {"cost": COST, "size": B, "values": POINTS, "accelerator": H100, "ax": None},
    "stats.trade_off": {"steps": {"a": COST}, "accelerator": H100, "batches": POINTS, "marked": POINTS,
                        "measured": {"a": [lecture10.measured_pass(B=64, S=1024)]}},
    "roofline.measured_products": {"rows": PRODUCTS[:2], "traced": PRODUCTS[:1]},
    "stats.memory_growth": {"stats": lecture10.compute_transformer_stats(lecture10.llama2_13b_config(S=S)),
                            "batches": POINTS, "contexts": POINTS, "memory_bytes": 10**11},
    "serving.request_timeline": {"times": (1, 2)},
    "serving.places": {"named": {"a": FRAMES}, "unit": "step"},
    "serving.block_map": {"frames": FRAMES},
    "serving.memory_maps": {"named": {"a": [("b", 0, 2, 1)]}, "slots": 4},
    "serving.usage_bars": {"named": {"a": (1, 1, 1, 1, 1)}},
    "speculative.overlap_plot": {"p": HALF, "q": HALF, "labels": "ab"},
    "speculative.round_diagram": {"gamma": 2, "accepted": 1},
    "speculative.rounds_plot": {"lengths": [1, 2], "gamma": 2},
    "speculative.batch_plot": {"predicted": {"a": {1: 2}}, "published": {"a": {1: 2}}},
    "speculative.improvement_plot": {"cases": [(0.5, 0.1)], "largest": 4},
    "attention.reading_maps": {"patterns": {"a": [[0], [0, 1]]}, "positions": 2},
    "attention.cost_curves": {"curves": {"a": 2 * S}, "contexts": POINTS, "ylabel": "", "crossings": [(1, 2)]},
    "attention.perplexity_bars": {"names": ["a", "b", "c"], "perplexities": POINTS, "base": 2},
    "models.kv_bars": {"models": [MODEL]},
    "models.attention_family": {"model": MODEL},
    "models.cache_growth": {"models": [MODEL], "contexts": POINTS},
    "models.device_bars": {"cards": [H100]},
    "models.experts_read": {"models": {"a": (4, 2)}, "batches": POINTS},
    "models.pareto": {"plans": {"a": PLAN}, "context": 8},
    "models.predicted_against_measured": {"rows": published.measurements()[:2]},
    "models.context_growth": {"rows": published.measurements()[-2:], "model": "qwen2.5-72b"},
    "stats.bottleneck_map": {"cost": lecture10.forward_pass().subs(lecture10.llama2_13b_config(S=S)),
                             "batches": [1, 200], "contexts": [9, 9000], "accelerator": H100},
    "engine.measured_and_predicted": {"x": POINTS, "series": {"a": SERIES}, "xlabel": "", "ylabel": "", "scale": 1,
                                      "first": 0},
    "engine.measured_roofline": {"machine": H100, "intensity": POINTS, "rates": POINTS, "tokens": POINTS},
    "speculation.survival_plot": {"measured": {"a": [0.5]}, "assumed": {"a": [0.5]}},
    "speculation.speedup_plot": {"gammas": POINTS, "series": {"a": SERIES}},
    "speculation.tree_diagram": {"tree": TREE, "output": [0, 1], "words": ["a", "b"]},
    "engine.bytes_and_perplexity": {"names": ["a", "b", "c"], "sizes": POINTS, "perplexities": [50, 60, 70]},
}
FEW = [None, "trap()", math.nan, -1, 10**9, [], {"a": None}, object(), -S]
"""For calls that take their time where a value is right: drawings and sums of symbols."""
SLOW = {"generation_cost", "forward_pass", "batch_improvement", "token_times", "sweep", "compute_transformer_stats",
        "batch_costs", "crossing_context", "optimal_tokens", "bound_table", "Comparison", "Measurement",
        *(name for name in CALLS if name.startswith("Deployment"))}


@pytest.fixture(autouse=True)
def _nothing_is_evaluated() -> Iterator[None]:
    yield
    plt.close("all")
    assert EVALUATED == []


class TooLongError(AssertionError):
    pass


def stopped(*_: object) -> None:
    raise TooLongError(f"no answer within {LIMIT} s")


def answer(call: Callable[[], object]) -> object:
    """What ``call`` returns, or the ValueError that it raises, of one short line; anything else fails the test."""
    timed = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if timed:
        before = signal.signal(signal.SIGPROF, stopped)
        signal.setitimer(signal.ITIMER_PROF, LIMIT)  # time of the processor: others may keep it busy
    try:
        result = call()
        return next(result) if inspect.isgenerator(result) else result
    except ValueError as error:
        assert "\n" not in str(error) and 5 < len(str(error)) < 400, str(error)
        return error
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)


@pytest.mark.parametrize("name", CALLS)
def test_every_wrong_argument_is_refused_in_a_line(name: str) -> None:
    call, arguments = CALLS[name]
    if all(value is not None for value in arguments.values()):
        assert not isinstance(answer(lambda: call(**arguments)), ValueError)
    for argument, right in arguments.items():
        for value in FEW if name in SLOW else WRONG:
            if callable(value) and callable(right):
                continue  # what another's function raises is its own
            found = answer(lambda argument=argument, value=value: call(**{**arguments, argument: value}))
            if inspect.isclass(call) and isinstance(found, call):  # what was accepted has to work
                for member, _ in inspect.getmembers(call, lambda each: isinstance(each, (property, cached_property))):
                    answer(lambda found=found, member=member: getattr(found, member))


FOUND = [("sweep of values", {"values": [10**400]}), ("a request", {"output": np.uint64(2**63)}),
         ("Meter.dot", {"a": [[1]], "b": [10**12]}),
         ("Meter.dot", dict.fromkeys("ab", range(10**9))), ("Engine.forward", {"tokens": [[range(10**9)]]}),
         ("Engine.forward", {"logits": 10**401}), ("KVCache.empty", {"batch": 10**400}),
         ("crossing_context", {"alpha": sp.Symbol("free")}),
         ("Run", {"last": [1, 10**400]}),
         ("crossing_context", {"gamma": sp.Symbol("free")}), ("short_convolution", {"kernel": Fraction(1, 2)}),
         ("critical_size", {"target": sp.Integer(-10)**401}), ("Contiguous.release", {"name": Decimal("sNaN")})]


@pytest.mark.parametrize(("name", "wrong"), FOUND, ids=[name for name, _ in FOUND])
def test_what_a_random_search_found_is_refused(name: str, wrong: dict[str, object]) -> None:
    call, arguments = CALLS[name]
    assert isinstance(answer(lambda: call(**{**arguments, **wrong})), ValueError)


@pytest.mark.parametrize(("name", "wrong"), [
    ("attention.reading_maps", {"positions": 10**400}), ("attention.reading_maps", {"patterns": {"a": [[10**400]]}}),
    ("speculation.speedup_plot", {"gammas": [range(10**9), 2, 3]}), ("speculation.speedup_plot", {"gammas": [1, 2]}),
    ("engine.measured_and_predicted", {"x": [1, 2]})])
def test_what_a_random_search_of_figures_found_is_refused(name: str, wrong: dict[str, object]) -> None:
    module, function = name.split(".")
    call = getattr(import_module(f"lecture10.figures.{module}"), function)
    error = answer(lambda: call(**{**FIGURES[name], **wrong}))
    assert isinstance(error, ValueError) and ": expected " in str(error)


@pytest.mark.filterwarnings("ignore:No artists with labels")
@pytest.mark.parametrize("name", FIGURES)
def test_every_wrong_argument_of_a_figure_is_refused_in_a_line(name: str) -> None:
    module, function = name.split(".")
    call = getattr(import_module(f"lecture10.figures.{module}"), function)
    for argument in FIGURES[name]:
        for value in FEW:
            answer(lambda argument=argument, value=value: call(**{**FIGURES[name], argument: value}))
            plt.close("all")


ARRAYS = {"engine.decoder": "rms_norm gated rotations layers scores complete", "engine.kv_cache": "write chain",
          "engine.counted": "counted", "engine.quantization": "write", "engine.attention": "attention shared_attention",
          "serving.blocks": "grow fill needed", "serving.paged": "write read contents restore mixed_step step run",
          "serving.scheduler": "schedule advance missing static continuous prefill_first chunked longest_prefix",
          "serving.replay": "simulate stretch requests_rule", "serving.run": "add of summary", "serving.clock": "ticks",
          "serving.traces": "require following write read check copy actions act state kind_of",
          "serving.queues": "alone run iterable",
          "serving.memory": "holes", "measurements.results": "need refuse"}
"""What the engine calls for every token of a layer and a scheduler in every step, on what it made itself, and the toy
that the proofs drive; ``complete`` needs a tokenizer."""
ROOMS = ("answers", "cost", "counting_loops", "hardware", "intensity", "notation", "speculative", "speedup", "stats",
         "sweep", "table", "measurements.compare", "measurements.published", "measurements.results",
         "measurements.timings", "models.bounds", "models.deployment", "models.experts", "models.formats",
         "models.layers", "models.mixer", "models.paged", "models.parallel", "models.passes", "models.recurrent",
         "models.sparse", "models.transformer", "models.windows", "generation", "serving.blocks", "serving.clock",
         "serving.replay", "serving.disaggregated", "serving.memory", "serving.trace", "serving.traces",
         "serving.queues", "serving.paged", "serving.run", "serving.scheduler", "engine.decoder", "engine.kv_cache",
         "engine.counted", "engine.quantization", "engine.shortcuts", "figures.attention", "figures.roofline",
         "figures.serving", "figures.speculative", "figures.models", "figures.engine", "figures.stats",
         "figures.speculation",
         *(f"speculation.{name}" for name in ("acceptance", "costs", "drafts", "faults", "law", "loop", "optimum",
                                              "proofs", "rules", "runs", "trees")))


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_public_is_left_out(room: str) -> None:
    module = import_module(f"lecture10.{room}")
    own = [value for name, value in vars(module).items()
           if name[0] != "_" and getattr(value, "__module__", None) == module.__name__]
    names = {value.__name__ for value in own if inspect.isfunction(value)}
    for kind in filter(inspect.isclass, own):
        names |= {f"{kind.__name__}.{name}" for name, value in vars(kind).items()
                  if name[0] != "_" and inspect.isfunction(getattr(value, "__func__", value))}
    tried = {*CALLS, *(name.split(".")[1] for name in FIGURES), *ARRAYS.get(room, "").split(), *WITHOUT_ARGUMENTS}
    assert {name for name in names if name not in tried and name.split(".")[-1] not in tried} == set()


WITHOUT_ARGUMENTS = {"accelerators", "measurements", "review_of_arithmetic_intensity",
                     "arithmetic_intensity_of_inference", "transformer_stats", "two_token_paths", "lecture_transformer",
                     "Cost.table", "Random.random", "Pass.pairs", "Deployment.stored_weights",
                     "Deployment.stored_state"}
