"""Published runs of real engines, request by request, and the deployments that they ran on.

Notebook: book/Lecture10-Lab-Serving.ipynb. ``data/README.md`` says where the rows come from.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

import numpy as np

from ..hardware import find_accelerator
from ..measurements.timings import Timing, timings
from ..models.deployment import Deployment
from ..models.load import load_model
from ..models.transformer import Transformer
from .clock import BOUND, Overhead, compiled
from .replay import replay
from .run import Run

DATA = files(__package__) / "data"
MEASURED = Path(str(files(f"{__package__.partition('.')[0]}.measurements"))) / "data"

BEAMS = Path(str(DATA)) / "beams.csv"


def rows(name: str) -> list[dict[str, str]]:
    """The rows of a file in ``data/``."""
    with (DATA / name).open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


@dataclass(frozen=True)
class Published:
    """A run of vLLM: its requests and when they were served (``measured``), on what, and under which limits.

    ``fitted`` are the three constants under which the replay meets the run's four means best: of TTFT, of the time
    per token, of the latency, and the time of the whole run (``benchmarks/serving.py --fit`` finds them).
    """

    name: str
    measured: Run
    plan: Deployment
    max_sequences: int
    token_budget: int
    blocks: int
    fitted: Overhead

    def replay(self, overhead: Overhead = BOUND) -> Run:
        """The same requests under the same limits on the roofline's clock."""
        measured = self.measured
        requests = zip(measured.arrival.tolist(), measured.prompt.astype(int).tolist(),
                       measured.output.astype(int).tolist())
        return replay(list(requests), self.plan, max_sequences=self.max_sequences, token_budget=self.token_budget,
                      blocks=self.blocks, overhead=overhead)


def means(run: Run) -> dict[str, float]:
    """The four numbers of a run to which the constants are fitted, in seconds."""
    return {"TTFT": float(np.mean(run.ttft)), "time per token": float(np.mean(run.per_token)),
            "latency": float(np.mean(run.latency)), "whole run": run.seconds}


COLUMNS = ("arrival_s", "prompt", "output", "scheduled_s", "first_token_s", "last_token_s")


def _measured(name: str) -> Run:
    table = rows(name)
    return Run(*([float(row[column]) for row in table] for column in COLUMNS))


@cache
def published() -> Mapping[str, Published]:
    """The two runs by name. Of the second the number of blocks was not printed: it is what fits into 0.9 of each
    device's memory beside the weights (``gpu_memory_utilization``), and never full."""
    qwen = Deployment(load_model(json.loads((DATA / "qwen3-32b.json").read_text(encoding="utf-8"))),
                      find_accelerator("RTX PRO 6000"), 2)
    llama = Deployment(load_model("llama-3-8b"), find_accelerator("RTX 4090"))
    block = 16
    fitting = int((0.9 * float(qwen.accelerator.capacity) - float(qwen.stored_weights()))
                  // float(qwen.stored_cache(block)))
    found = (Published("RTX 4090", _measured("rtx4090-llama-3.1-8b.csv"), llama, 256, 2048, 2588, FITTED["RTX 4090"]),
             Published("2 × RTX PRO 6000", _measured("rtxpro6000-qwen3-32b.csv"), qwen, 128, 2048, fitting,
                       FITTED["2 × RTX PRO 6000"]))
    return MappingProxyType({run.name: run for run in found})


FITTED = {"RTX 4090": Overhead(0.8, 1, 0.0005684), "2 × RTX PRO 6000": Overhead(0.4734, 0.4563, 0.001951)}


@dataclass(frozen=True)
class Phase:
    """A row of ``phases.csv``: seconds until the first token of all prompts and per step of the batch, measured and the
    bounds of ``Deployment``, the step at the mean context of the run."""

    device: str
    tensor_parallel: int
    batch: int
    prompt: int
    generated: int
    first: float
    token: float
    prompt_bound: float
    token_bound: float


@cache
def phases() -> tuple[Phase, ...]:
    """Llama-2-70B's prompt and generation times against batch (Splitwise), each beside its bound."""
    model = load_model("llama-2-70b", any_context=True)
    return tuple(_phase(row, model) for row in rows("phases.csv"))


CARDS = MappingProxyType({"a100-80gb": "A100 SXM 80GB", "h100-80gb": "H100 SXM"})


def _phase(row: Mapping[str, str], model: Transformer) -> Phase:
    sizes = batch, prompt, generated = tuple(int(row[name]) for name in ("batch", "prompt", "generated"))
    plan = Deployment(model, find_accelerator(CARDS[row["device"]]), int(row["tensor_parallel"]))
    first, token = (float(row[name]) / 1e3 for name in ("prompt_ms", "token_ms"))
    clock, one, prompts = compiled(plan), np.ones(batch, int), np.full(batch, prompt)
    return Phase(row["device"], plan.devices, *sizes, first, token, float(clock(prompts, prompts)[0]),
                 float(clock(one, prompts + 1, max(1, generated - 1)).mean()))


def beams() -> Mapping[int, tuple[tuple[int, ...], ...]]:
    """The searches of ``beams.csv`` by width: after every token, which beam each of the best ones continues.

    The book's model on one prompt, by sums of log-probabilities (``benchmarks/serving.py --beams``).
    """
    found: dict[int, list[tuple[int, ...]]] = {}
    for row in rows("beams.csv"):
        found.setdefault(int(row["width"]), []).append(tuple(map(int, row["parents"].split())))
    return MappingProxyType({width: tuple(steps) for width, steps in found.items()})


def step_times() -> list[tuple[Timing, float]]:
    """Every row of ``mixed.csv`` with its time and its bound, and the seconds that are predicted.

    Steps of the lecture's model on its card in which sequences generate beside a piece of a prompt, and prompts of
    which a part is cached.

    The prediction has the constants of ``llama13b.csv``, where no step is mixed: nothing is fitted to these rows.
    """
    found = []
    for timing in timings(MEASURED / "mixed.csv"):
        overhead = card_overhead(int(timing.row["K"]))
        found.append((timing, _slowed(timing, overhead)))
    return found


def _slowed(timing: Timing, overhead: Overhead) -> float:
    return float(timing.cost.time(overhead.slowed(timing.device))) + float(overhead.seconds_per_step)


@cache
def card_overhead(kv_heads: int) -> Overhead:
    """The three constants of the H100 with the lecture's model, from its decode steps and its prompts.

    Steps of one token each at 1,024 positions: their seconds against their bytes are a straight line, whose slope is
    one over the bandwidth reached and whose end the time beside the operations. The longest prompt gives the compute.
    """
    whole = [timing for timing in timings(MEASURED / "llama13b.csv") if "H100" in timing.device.name
             and int(timing.row["K"]) == kv_heads]
    decode = [t for t in whole if t.what == "decode" and t.row["S"] == "1024"]
    moved = [float(t.cost.bytes_transferred) for t in decode]
    slope, rest = np.polyfit(moved, [t.seconds for t in decode], 1)
    prompt = max((t for t in whole if t.what == "prefill"), key=lambda t: int(t.row["T"]))
    compute = float(prompt.bound) / (prompt.seconds - rest)
    bandwidth = 1 / (slope * float(prompt.device.memory_bandwidth))
    return Overhead(bandwidth=min(1.0, bandwidth), compute=min(1.0, compute), seconds_per_step=max(0.0, rest))
