"""A Transformer layer, and its attention, as lists of weight matrices; what they cost is arithmetic on the lists.

Notebook: book/Lecture10-Lab-Models.ipynb. Sizes are whole numbers or symbols. FLOPs are those of matrix products and
attention; softmax, norms, rotary embedding, activation functions and the bytes of activations are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import sympy as sp

from ..checks import checked, count, each, flag, instance, optional, refused, size
from ..cost import Cost, Step
from ..intensity import attention, attention_shapes, latent_attention, products
from .experts import MLP, MixtureOfExperts
from .formats import PLAIN, Size, Stored
from .mixer import Cached, Mixer, State, shares
from .passes import Pass, Weights
from .windows import Window, least, reach, span


@checked(width=size, heads=size, kv_heads=size, head_dim=size, window=optional(span), qkv_bias=flag, output_bias=flag,
         norm_params=count, sinks=count, fused=flag, value_dim=optional(size), gate=count, kv_projections=count)
@dataclass(frozen=True)
class Attention(Mixer):
    """``heads`` query heads on ``kv_heads`` key/value heads of ``head_dim``: multi-head, grouped or multi-query.

    ``window`` limits a local layer to the last positions, or to those of its ``Chunk``. ``norm_params`` counts norms on
    queries and keys, ``sinks`` the learned logits that some models put into the softmax. ``fused``: the three
    projections are one matrix. ``value_dim``: the head dimension of values where it is not that of keys. ``gate``: the
    outputs of a further projection that scales what the heads return, N for one a head, N·H for one an element.
    ``kv_projections``: 1 where values are made of the keys, 0 where an earlier layer's cache is read and none owned.
    """

    width: Size
    heads: Size
    kv_heads: Size
    head_dim: Size
    window: Window | None = None
    qkv_bias: bool = False
    output_bias: bool = False
    norm_params: Size = 0
    sinks: Size = 0
    fused: bool = False
    value_dim: Size | None = None
    gate: Size = 0
    kv_projections: Size = 2

    @property
    def kind(self) -> str:
        kind = "MHA" if self.kv_heads == self.heads else "MQA" if self.kv_heads == 1 else "GQA"
        return kind if self.window is None else f"local {self.window} {kind}"

    @property
    def value_size(self) -> Size:
        """Elements of a head's value."""
        return self.head_dim if self.value_dim is None else self.value_dim

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        *into, out = attention_shapes(self.width, self.heads, self.kv_heads, self.head_dim, self.value_size)
        into = into[:1 + self.kv_projections]
        made = sum(outputs for _, outputs in into)
        into = [(self.width, made)] if self.fused else into
        gate = ((self.width, self.gate),) if self.gate != 0 else ()
        biases = (made if self.qkv_bias else 0) + (self.width if self.output_bias else 0)
        return (Weights("attention projections", (*into, out, *gate), biases + self.norm_params + self.sinks),)

    @property
    def caches(self) -> tuple[Cached, ...]:
        """K heads of keys and of values for each position that is kept."""
        elements = self.kv_heads * (self.head_dim + self.value_size)
        return () if self.kv_projections == 0 else (Cached("keys and values", elements, self.window),)

    @checked(run=instance(Pass))
    def steps(self, run: Pass) -> tuple[Step, ...]:
        """Softmax(Q Kᵀ) V with the bytes of the cache alone."""
        return self.over(run, self.window)

    @checked(run=instance(Pass), window=optional(span))
    def over(self, run: Pass, window: Window | None) -> tuple[Step, ...]:
        """The same when every query uses the positions of ``window``."""
        product = attention(run.batch, reach(run.context, run.tokens, window), run.tokens, kv_bytes=run.kv_bytes,
                            query_width=self.heads * self.head_dim, kv_width=self.kv_heads * self.head_dim,
                            values_per_key=sp.sympify(self.value_size) / self.head_dim,
                            pairs=run.pairs(run.context, run.tokens, window))
        return product.as_step("attention", "read K", "read V").steps

    @checked(devices=size)
    def share(self, devices: int) -> Attention | None:
        """Its heads on one of ``devices``, a key/value head copied where there are fewer; None: not divided whole."""
        found = shares(devices, (self.heads,), (self.kv_heads,))
        return found and replace(self, heads=found[0], kv_heads=found[1])


@checked(width=size, heads=size, latent=size, rope=size, nope=size, value=size, query_latent=optional(size), bias=flag)
@dataclass(frozen=True)
class LatentAttention(Mixer):
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1).

    Keys and values come from one cached vector of ``latent + rope`` elements a token; queries pass a bottleneck of
    ``query_latent`` unless that is None. ``nope``, ``rope`` and ``value`` are the head dimensions without and with
    positions, and of the values. The projections cost the same in both forms, see ``step``.
    """

    width: Size
    heads: Size
    latent: Size
    rope: Size
    nope: Size
    value: Size
    query_latent: Size | None = None
    bias: bool = False

    kind = "MLA"

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        query = self.heads * (self.nope + self.rope)
        bottleneck = self.query_latent
        queries = ((self.width, query),) if bottleneck is None else ((self.width, bottleneck), (bottleneck, query))
        shapes = (*queries, (self.width, self.latent + self.rope), (self.latent, self.heads * (self.nope + self.value)),
                  (self.heads * self.value, self.width))
        norms = self.latent + (bottleneck or 0)
        biases = norms + self.rope + self.width if self.bias else 0  # on the two ways down and on the way out
        return (Weights("attention projections", shapes, biases + norms),)

    @property
    def caches(self) -> tuple[Cached, ...]:
        """latent + rope numbers for each position, keys and values together."""
        return (Cached("latent", self.latent + self.rope),)

    @checked(run=instance(Pass))
    def steps(self, run: Pass) -> tuple[Step, ...]:
        """The cheaper of two forms, in FLOPs, with the bytes of the latent cache alone.

        Absorbed works in the latent space: 2·pairs·(2·latent + rope) FLOPs a head. Expanded makes keys and values of
        every head, those of the S − T cached positions again: 2·pairs·(nope + rope + value) + 2·(S − T)·latent·(nope
        + value).
        """
        return self.over(run, None)

    @checked(run=instance(Pass), window=optional(span))
    def over(self, run: Pass, window: Window | None) -> tuple[Step, ...]:
        """The same when every query uses the positions of ``window``."""
        context, pairs = reach(run.context, run.tokens, window), run.pairs(run.context, run.tokens, window)
        absorbed = latent_attention(run.batch, context, run.tokens, heads=self.heads, latent=self.latent,
                                    rope=self.rope, kv_bytes=run.kv_bytes, pairs=pairs)
        key = self.nope + self.rope
        expanded = attention(run.batch, context, run.tokens, query_width=self.heads * key, pairs=pairs,
                             values_per_key=sp.sympify(self.value) / key).flops
        if run.tokens != context:
            again = run.batch * (context - run.tokens)
            expanded += products(again, ((self.latent, self.heads * (self.nope + self.value)),)).flops
        read = absorbed.only("read latent cache").bytes_transferred
        return (Step("attention", least(absorbed.flops, expanded), read),)

    @checked(devices=size)
    def share(self, devices: int) -> LatentAttention | None:
        """Its heads on one of ``devices``, the latent copied; None: not divided whole."""
        found = shares(devices, (self.heads,))
        return found and replace(self, heads=found[0])


@checked(attention=optional(instance(Mixer)), mlp=optional(instance(MLP, MixtureOfExperts)), norm_params=count,
         parallel=flag, beside=each(instance(Weights)))
@dataclass(frozen=True)
class Layer:
    """Attention or another mixer, then an MLP or a mixture of experts, parameters of the norms around them.

    Some models call each half a layer: then the other is None. ``stored``: the formats of all. ``parallel``: both
    halves read the layer's input, so that devices which share them add up their results at once. ``beside``: further
    weights that every token uses. Raises ValueError when both halves are None.
    """

    attention: Mixer | None
    mlp: MLP | MixtureOfExperts | None
    norm_params: Size = 0
    stored: Stored = PLAIN
    parallel: bool = False
    beside: tuple[Weights, ...] = ()

    def __post_init__(self) -> None:
        if self.attention is None and self.mlp is None:
            raise refused("mlp", None, "an MLP or a MixtureOfExperts, since attention is None")

    @property
    def mixing_weights(self) -> tuple[Weights, ...]:
        """Those of attention, or of what stands in its place."""
        return () if self.attention is None else self.attention.weights

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        norms = (Weights("norms", (), self.norm_params),) if self.norm_params != 0 else ()
        return (*self.mixing_weights, *(() if self.mlp is None else self.mlp.weights), *self.beside, *norms)

    @property
    def state(self) -> State:
        """What the layer keeps of a sequence whatever its length."""
        return State() if self.attention is None else self.attention.state

    @checked(context=size)
    def kv_elements(self, context: Size) -> Size:
        """Cached numbers of one sequence."""
        return 0 if self.attention is None else self.attention.kv_elements(context)

    @checked(run=instance(Pass), also=each(instance(Pass)))
    def cost(self, run: Pass, *also: Pass) -> Cost:
        """The operations of one layer: projections, attention, MLP or experts, norms.

        Sequences of other shapes in the same pass, ``also``, share every product; attention is one operation on the
        caches of all.
        """
        stored, before = self.stored.instead(run.weight_bytes), len(self.mixing_weights)
        rows = sum(part.rows for part in (run, *also))
        products = [weights.step(rows, stored) for weights in self.weights]
        each_mixes = () if self.attention is None else map(self.attention.steps, (run, *also))
        mixing = (first.together(*more) for first, *more in zip(*each_mixes, strict=True))
        return Cost.of(*products[:before], *mixing, *products[before:])
