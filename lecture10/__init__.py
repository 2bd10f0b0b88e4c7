"""Symbolic cost, statistics and speculative sampling of LLM inference: the package behind the book.

Imports SymPy and the standard library only; ``roofline`` loads Matplotlib and ``replay`` NumPy when first asked for.
"""

from importlib import import_module

from .cost import Cost, Step
from .generation import generation_cost, token_times
from .hardware import H100, Accelerator, accelerators, find_accelerator
from .intensity import (
    arithmetic_intensity_of_inference,
    attention,
    causal_pairs,
    critical_size,
    latent_attention,
    matmul,
    mlp,
    review_of_arithmetic_intensity,
    unfused_mlp,
    when_large,
)
from .measurements.compare import Comparison, Workload, compare
from .measurements.published import Measurement, measurements
from .measurements.timings import Timing, measured_pass, timings
from .models.deployment import Deployment
from .models.formats import BYTES
from .models.load import known_models, load_model
from .models.transformer import Transformer
from .notation import NOTATION, SYMBOLS
from .speculative import (
    acceptance_probability,
    draw,
    output_distribution,
    overlap,
    residual_distribution,
    round_distribution,
    sampling_paths,
    speculative_decoding,
    speculative_results,
    speculative_sampling,
    two_token_paths,
)
from .speedup import (
    batch_costs,
    batch_improvement,
    best_gamma,
    expected_tokens,
    operations_increase,
    round_improvement,
    walltime_improvement,
)
from .stats import (
    TransformerStats,
    compute_transformer_stats,
    forward_pass,
    largest_batch,
    llama2_13b_config,
    reduce_kv_cache_size,
    throughput_limit,
    transformer_stats,
)
from .sweep import sweep
from .table import Table

__all__ = [
    "BYTES",
    "H100",
    "NOTATION",
    "SYMBOLS",
    "Accelerator",
    "Comparison",
    "Cost",
    "Deployment",
    "Measurement",
    "Overhead",
    "Run",
    "Step",
    "Table",
    "Timing",
    "Transformer",
    "TransformerStats",
    "Workload",
    "accelerators",
    "acceptance_probability",
    "arithmetic_intensity_of_inference",
    "attention",
    "batch_costs",
    "batch_improvement",
    "best_gamma",
    "causal_pairs",
    "compare",
    "compute_transformer_stats",
    "critical_size",
    "draw",
    "expected_tokens",
    "find_accelerator",
    "forward_pass",
    "generation_cost",
    "known_models",
    "largest_batch",
    "latent_attention",
    "llama2_13b_config",
    "load_model",
    "matmul",
    "measured_pass",
    "measurements",
    "mlp",
    "operations_increase",
    "output_distribution",
    "overlap",
    "reduce_kv_cache_size",
    "replay",
    "residual_distribution",
    "review_of_arithmetic_intensity",
    "roofline",
    "round_distribution",
    "round_improvement",
    "sampling_paths",
    "speculative_decoding",
    "speculative_results",
    "speculative_sampling",
    "sweep",
    "throughput_limit",
    "timings",
    "token_times",
    "transformer_stats",
    "two_token_paths",
    "unfused_mlp",
    "walltime_improvement",
    "when_large",
]


LATER = {"roofline": ".figures.roofline", "replay": ".serving.replay", "Run": ".serving.run",
         "Overhead": ".serving.clock"}
"""What needs Matplotlib or NumPy: loaded when it is first asked for."""


def __getattr__(name: str) -> object:
    if name in LATER:
        return getattr(import_module(LATER[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
