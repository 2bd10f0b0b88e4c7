"""What a layer does to each position alone: an MLP, or a mixture of experts, of which a token uses a few.

Notebook: book/Lecture10-Lab-Models.ipynb. Both are lists of weight matrices, as in ``layers``; how many experts a pass
reads is ``passes.distinct_experts``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from ..checks import checked, flag, instance, optional, size, within
from ..intensity import mlp_shapes
from .formats import Size
from .passes import Weights


@checked(width=size, hidden=size, gated=flag, bias=flag)
@dataclass(frozen=True)
class MLP:
    """Two products, or three when ``gated``; ``bias`` on each. ``fused``: gate and up are one matrix."""

    width: Size
    hidden: Size
    gated: bool = True
    bias: bool = False
    fused: bool = False

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        shapes = mlp_shapes(self.width, self.hidden, self.gated)
        shapes = ((self.width, 2 * self.hidden), shapes[-1]) if self.gated and self.fused else shapes
        return (Weights("MLP", shapes, sum(outputs for _, outputs in shapes) if self.bias else 0),)


@checked(expert=instance(MLP), experts=size, used=size, shared=optional(instance(MLP)), router_bias=flag,
         shared_gate=flag, width=optional(size))
@dataclass(frozen=True)
class MixtureOfExperts:
    """``experts`` equal MLPs, ``used`` of them per token, a router that picks them, a ``shared`` MLP for all tokens.

    ``shared_gate``: a product with one output, beside the router, scales what the shared MLP returns. ``width`` of the
    model where the experts work in a smaller one: a matrix leads down to it and one back up.
    """

    expert: MLP
    experts: Size
    used: Size
    shared: MLP | None = None
    router_bias: bool = False
    shared_gate: bool = False
    width: Size | None = None

    def __post_init__(self) -> None:
        within("used", self.used, "experts", self.experts)

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        inner, width = self.expert.width, self.expert.width if self.width is None else self.width
        shapes = ((width, self.experts),) + ((width, 1),) * self.shared_gate
        router = Weights("router", shapes, self.experts if self.router_bias else 0)
        around = () if self.width is None else (Weights("latent projections", ((width, inner), (inner, width))),)
        routed = replace(self.expert.weights[0], operation="experts", copies=self.experts, used=self.used)
        shared = () if self.shared is None else (replace(self.shared.weights[0], operation="shared experts"),)
        return (router, *around, routed, *shared)
