"""Published measurements, and the bound that a deployment's costs put on each of them.

Notebook: book/Lecture10-Lab-Models.ipynb. Rows come from gpt-fast, llama.cpp discussion #4167 and the Qwen2.5 speed
benchmark (``data/measured.csv`` names source and commit). A bound takes the reading of a row that lets it be fastest.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, cached_property, partial
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

import sympy as sp

from ..checks import checked, instance, optional, positive, real, refused, text, whole
from ..hardware import Accelerator, find_accelerator
from ..models.deployment import Deployment
from ..models.formats import integers
from ..models.load import load_model
from ..models.transformer import Transformer
from ..speedup import expected_tokens
from .compare import Comparison, Workload, compare

MODELS: Mapping[str, str] = MappingProxyType({
    "LLaMA-7B": "llama-2-7b", "Llama-2-7B": "llama-2-7b", "Llama-2-70B": "llama-2-70b", "Llama-3.1-8B": "llama-3-8b",
    "Llama-3.1-70B": "llama-3.1-70b", "Llama-3.1-405B": "llama-3.1-405b", "Mixtral-8x7B": "mixtral-8x7b",
    "Llama-2-70B int4 + Llama-2-7B int4 draft": "llama-2-70b", "Qwen2.5-0.5B-Instruct": "qwen2.5-0.5b",
    "Qwen2.5-7B-Instruct": "qwen2.5-7b", "Qwen2.5-72B-Instruct": "qwen2.5-72b"})
"""Our name of each measured model. Llama-3.1-8B has the shape of Llama-3-8B."""

BITS: Mapping[str, sp.Expr] = MappingProxyType({
    "bf16": sp.Integer(16), "BF16": sp.Integer(16), "int8": sp.Integer(8),
    **dict.fromkeys(("int4", "int4-g32"), integers(4, 32, zero_points=16).bits_per_weight),
    "GPTQ-Int8": integers(8, 128).bits_per_weight,
    **dict.fromkeys(("GPTQ-Int4", "AWQ"), integers(4, 128).bits_per_weight)})
"""Bits per weight: gpt-fast stores a scale and a zero point of 16 bits per 32 weights, GPTQ and AWQ a scale per 128."""

TERA_PER_CORE: Mapping[str, sp.Rational] = MappingProxyType({
    "M1": sp.Rational("2.6") / 8, "M2": sp.Rational("27.2") / 76})
"""fp16 = fp32 TFLOP/s of one Apple GPU core: Apple quotes 2.6 TFLOP/s for 8 M1 cores (data/README.md);
M2 as in the accelerator table."""

SPECULATED = 4
"""Draft tokens per round of gpt-fast's run: --speculate_k in its scripts/speculate_70B_int4.sh."""


_AT_LEAST_1 = partial(whole, at_least=1)


@checked(group=text, model=instance(str, Path), precision=text, device=instance(str, Accelerator), devices=_AT_LEAST_1,
         prompt=whole, generated=whole, metric=text, tokens_per_second=real, bandwidth=optional(positive),
         file_bytes=optional(_AT_LEAST_1), source=text, batch=_AT_LEAST_1)
@dataclass(frozen=True)
class Measurement:
    """Tokens/s of ``model`` (a known name, a config.json) in ``precision`` on ``devices`` of ``device``, ``batch``
    sequences.

    ``device`` is a name that ``find_accelerator`` knows, or an ``Accelerator``; ``bandwidth`` (bytes/s) replaces that
    of the table, ``file_bytes`` (the whole of the weights) the bits of ``precision`` in ``BITS``. ``metric`` is one
    of ``BOUNDS``. Raises ValueError for what is none of these, and for counts and rates that are not positive.
    """

    group: str
    model: str
    precision: str
    device: str | Accelerator
    devices: int
    prompt: int
    generated: int
    metric: str
    tokens_per_second: float
    bandwidth: sp.Expr | None = None
    file_bytes: int | None = None
    source: str = ""
    batch: int = 1

    def __post_init__(self) -> None:
        for name, known in (("metric", BOUNDS), ("precision", BITS)):
            if (value := getattr(self, name)) not in known and (name == "metric" or self.file_bytes is None):
                raise refused(name, value, f"one of {', '.join(map(repr, known))}")
        deployment(self)

    @cached_property
    def bound(self) -> float:
        """Tokens/s that no system exceeds under the ``bounds.assumptions`` of its deployment, see ``BOUNDS``."""
        return float(BOUNDS[self.metric](self))

    @property
    def measured_ms(self) -> float:
        """Milliseconds per token as measured."""
        return 1e3 / self.tokens_per_second

    @property
    def bound_ms(self) -> float:
        """Milliseconds per token at the bound."""
        return 1e3 / self.bound

    @property
    def fraction(self) -> float:
        """Measured over bound: below 1 if the bound holds."""
        return self.tokens_per_second / self.bound


@cache
def measurements() -> tuple[Measurement, ...]:
    """All rows of ``data/measured.csv``."""
    with (files(__package__) / "data" / "measured.csv").open(encoding="utf-8", newline="") as table:
        return tuple(_measurement(row) for row in csv.DictReader(table))


def _measurement(row: Mapping[str, str]) -> Measurement:
    return Measurement(
        row["group"], MODELS[row["model"]], row["precision"], row["device"], int(row["n_dev"]), int(row["input"] or 0),
        int(row["output"] or 0), row["metric"], float(row["value"]), sp.Rational(row["memory_bandwidth_gb_s"]) * 10**9,
        int(row["weight_bytes"]) if row["weight_bytes"] else None, row["source"])


@checked(row=instance(Measurement))
def device(row: Measurement) -> Accelerator:
    """The row's accelerator: from the table where it is in it, else the row's bandwidth with the peak of its data
    sheet.

    Raises ValueError for a device that is in neither, or whose bandwidth is not known.
    """
    if isinstance(row.device, Accelerator):
        return row.device
    found = re.fullmatch(r"Apple (M[12])\b[^(]*\((\d+) GPU cores\)", row.device)
    if row.bandwidth is not None and (found or row.device.startswith("MI250X")):
        # 383 TFLOP/s and 128 GB for both dies (data/README.md); Apple's size is not used: every row did fit
        peak, size = (TERA_PER_CORE[found[1]] * int(found[2]), 192) if found else (sp.Rational(383, 2), 64)
        return Accelerator(row.device, peak * 10**12, row.bandwidth, size * 10**9)
    card = find_accelerator(row.device)
    return card if row.bandwidth is None else replace(card, memory_bandwidth=row.bandwidth)


@checked(row=instance(Measurement), model=optional(instance(Transformer)))
def deployment(row: Measurement, model: Transformer | None = None) -> Deployment:
    """What the row ran. Qwen's quantized files keep the embeddings in 16 bits; llama.cpp rows know their file's
    size."""
    model = model or _model(row.model)
    weight = sp.Rational(row.file_bytes, model.num_params) if row.file_bytes else BITS[row.precision] / 8
    embedding = 2 if row.group == "qwen-speed" else None
    return Deployment(model, device(row), row.devices, weight_bytes=weight, embedding_bytes=embedding)


@cache
def _model(name: str) -> Transformer:
    """Some rows run contexts beyond what the file allows, with a rope scaling that was turned on for them."""
    return load_model(name, any_context=True)


@checked(row=instance(Measurement))
def comparison(row: Measurement) -> Comparison:
    """The row beside the bound and the floor of its ``WORK``. Raises ValueError for a metric that has none there."""
    if row.metric not in WORK:
        raise refused("metric", row.metric, f"one of {', '.join(WORK)}")
    return compare(deployment(row), WORK[row.metric](row), row.tokens_per_second)


WORK: Mapping[str, Callable[[Measurement], Workload]] = MappingProxyType({
    "pp512 tok/s": lambda row: Workload(prompt=512, batch=row.batch),
    "tg128 tok/s": lambda row: Workload(generated=128, batch=row.batch),
    "generated tok/s (time incl. prefill)": lambda row: Workload(row.prompt, row.generated, row.batch),
    "decode tok/s": lambda row: Workload(generated=1, batch=row.batch, cached=row.prompt)})
"""What each metric measures; of a decode rate the cheapest step, right after the prompt: how many tokens followed is
not published. llama.cpp's pp512 has 512 tokens of prompt, its tg128 makes 128 from an empty context."""


def _speculative_bound(row: Measurement) -> sp.Expr:
    """Every draft token accepted: γ + 1 tokens for γ steps of the draft and one pass of the target over γ + 1."""
    target, draft = deployment(row), deployment(row, _model("llama-2-7b"))
    sizes = row.batch, SPECULATED + 1, SPECULATED + 1
    round_time = SPECULATED * draft.step_time(row.batch, 1, 1) + target.step_time(*sizes)
    return row.batch * expected_tokens(Fraction(1), SPECULATED) / round_time


BOUNDS: Mapping[str, Callable[[Measurement], object]] = MappingProxyType({
    **dict.fromkeys(WORK, lambda row: comparison(row).bound), "decode tok/s (speculative)": _speculative_bound})
"""How each metric is defined, as a bound from the costs."""
