"""What a deployment's times take for granted, and where each of its numbers comes from.

Notebook: book/Lecture10-Lab-Models.ipynb. ``Deployment.step_time`` is a bound under ``assumptions``; ``floor_time``
drops those marked as step by step and those about the links.
"""

from __future__ import annotations

from functools import partial

from ..checks import checked, instance, whole
from ..table import Table
from .deployment import Deployment
from .experts import MixtureOfExperts
from .sparse import CompressedAttention, SparseAttention

SUMS = {"16-bit": "16-bit products summed in fp32", "16-bit in fp16": "fp16 products summed in fp16",
        "fp8": "fp8 products summed in fp32", "fp8 in fp16": "fp8 products summed in fp16",
        "int8": "int8 products", "fp4": "fp4 products", "int4": "int4 products"}
"""The arithmetic of each of ``hardware.PEAKS``, in words."""

_AT_LEAST_1 = partial(whole, at_least=1)


@checked(plan=instance(Deployment))
def assumptions(plan: Deployment) -> tuple[str, ...]:
    """What has to hold for ``plan.step_time`` to be a bound, one sentence each, those that matter to this
    deployment."""
    card, experts = plan.accelerator, any(isinstance(layer.mlp, MixtureOfExperts) for _, layer in plan.model.layers)
    said = [
        "A pass makes one token of each sequence: no speculation; sequences share no cached prefix.",
        f"Dense {SUMS[plan.arithmetic]}, at the {card.name}'s data-sheet peak; faster arithmetic has a higher bound.",
        "All weights that are needed and all caches are read from device memory once a pass: none stays on the chip.",
        "Step by step: arithmetic and transfers overlap within an operation, operations follow one another (the floor: "
        "everything overlaps).",
        "Left out, so that a real pass is slower: activations, norms, softmax, sampling, launches, waiting.",
    ]
    if plan.model.state_bytes != 0:
        said.append("States are read and written once a pass; a prompt is counted token by token (kernels take it in "
                    "chunks: about as much arithmetic at 64 tokens, more in longer ones).")
    if any(isinstance(layer.attention, (SparseAttention, CompressedAttention)) for _, layer in plan.model.layers):
        said.append("Positions that attention chooses: queries of one pass choose nearly the same; choosing costs "
                    "nothing beside the scores.")
    if experts:
        said.append("Experts read: the expected number with a random even choice; a trained router may read fewer "
                    "(the floor: all tokens choose the same).")
    if plan.devices > 1:
        said.append(f"{_layout(plan)}; work that is divided is divided evenly.")
        said.append("Activations travel, weights stay; sums are exchanged without a summing switch (one halves them at "
                    "best); links have no latency (the floor: links are free, nothing is stored twice).")
    return tuple(said)


def _layout(plan: Deployment) -> str:
    if plan.layout.splits_sequences:
        divided = "the experts" if plan.experts == "expert-parallel" else "all matrices but those of attention"
        return f"Each device has whole sequences and all attention weights; {divided} are divided"
    return "Query heads and matrices are divided; key/value heads divided or copied whole, a latent cache copied"


@checked(plan=instance(Deployment))
def basis(plan: Deployment) -> dict[str, str]:
    """Where the numbers of ``plan`` come from: counted, format rule, as asked or given, data sheet, driver,
    expectation, or made of these; details in parentheses."""
    card, asked = plan.accelerator, dict(line.split(": ", 1) for line in plan.overridden)
    stored = {name: f"counted, as asked ({asked[name].removesuffix(', as asked')})" if name in asked
              else "counted, format rule" for name in ("weights", "KV cache")}
    experts = any(isinstance(layer.mlp, MixtureOfExperts) for _, layer in plan.model.layers)
    transfers, detail = ("expectation", " (of distinct experts; all else counted)") if experts else ("counted", "")
    rates = "data sheet" if card.source not in ("", "as given") else "as given"
    sheet = rates if rates == "as given" else f"{rates} ({card.source})"
    return {
        "parameters": "counted",
        **stored,
        "memory of a device": "as given" if card.driver_source == "as given" else card.capacity_basis,
        "largest batch": "memory less weights",
        "FLOPs": "counted", "bytes": f"{transfers}{detail}",
        "peak": sheet, "bandwidth": sheet, **({"link": rates} if plan.devices > 1 else {}),
        "times": f"{transfers}, {rates}{detail}",
        "floor": f"counted, {rates}",
    }


@checked(plan=instance(Deployment), batch=_AT_LEAST_1, tokens=_AT_LEAST_1, context=_AT_LEAST_1)
def bound_table(plan: Deployment, batch: int, tokens: int, context: int) -> Table:
    """The time of a pass under the ``assumptions``, and the floors that need fewer of them, in milliseconds."""
    seconds, links = plan.step_time(batch, tokens, context), plan.all_reduce_time(batch, tokens)
    rows = [("逐个运算", seconds)]
    if plan.devices > 1:
        rows.append(("在交换机里求和", seconds - links + plan.all_reduce_time(batch, tokens, in_switch=True)))
    rows.append(("全部重叠", plan.floor_time(batch, tokens, context)))
    return Table(("下界", "ms"), [(name, 1e3 * float(seconds)) for name, seconds in rows])
