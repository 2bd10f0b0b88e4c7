"""The halves of a Transformer layer as lists of weight matrices; what they cost is arithmetic on the lists.

Notebook: book/Lecture10-Lab-Models.ipynb. Sizes are whole numbers or symbols. FLOPs are those of matrix products and
attention; softmax, norms, rotary embedding, activation functions and the bytes of activations are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import sympy as sp

from ..checks import amount, checked, count, flag, function, instance, optional, pairs, size, text, within
from ..cost import Step
from ..intensity import attention, attention_shapes, latent_attention, mlp_shapes, products
from ..notation import B, S, T
from .formats import Format, Size, Stored, weight_format
from .windows import Pairs, Window, all_pairs, least, reach, span


@checked(rows=size, experts=size, used=size)
def distinct_experts(rows: Size, experts: Size, used: Size) -> sp.Expr:
    """Expected number of different experts that ``rows`` tokens need: E·(1 − (1 − k/E)^rows).

    Assumes that each token picks k of E at random, independently: a trained router is less even and reads fewer. A
    float once ``rows`` is a number, whose exact value would have rows·log₂(E) digits.
    """
    within("used", used, "experts", experts)
    if experts == used or rows == 1:
        return sp.sympify(used)
    missed = 1 - sp.sympify(used) / experts
    return experts * (1 - (missed.evalf() if sp.sympify(rows).is_number else missed) ** rows)


@checked(batch=size, tokens=size, context=size, logits=optional(size), weight_bytes=weight_format, kv_bytes=amount,
         embedding_bytes=optional(amount), embedding_rows=optional(size), pairs=function)
@dataclass(frozen=True)
class Pass:
    """One forward pass: ``batch`` sequences with ``tokens`` new tokens each, over ``context`` positions with these.

    ``logits`` is the number of positions per sequence that get logits (all new ones by default),
    ``embedding_rows`` the rows of the input embedding that are read (one per token by default). Bytes per element:
    ``weight_bytes``, ``kv_bytes``, and ``embedding_bytes`` for both embeddings, which quantization often leaves
    alone (as the weights by default). ``weight_bytes`` may be a ``Format``, or None: as the model is stored. Raises
    ValueError for sizes that are not positive and whole (or symbols), more new tokens than context, and more logits
    than new tokens.
    """

    batch: Size = B
    tokens: Size = T
    context: Size = S
    logits: Size | None = None
    weight_bytes: Size | Format | None = 2
    kv_bytes: Size = 2
    embedding_bytes: Size | None = None
    embedding_rows: Size | None = None
    pairs: Pairs = all_pairs

    def __post_init__(self) -> None:
        within("tokens", self.tokens, "context", self.context, ", which includes them")
        if self.logits is not None:
            within("logits", self.logits, "tokens", self.tokens, ", the positions of the pass")

    @property
    def rows(self) -> Size:
        """Tokens of all sequences: the rows of every matrix product but the last."""
        return self.batch * self.tokens


@checked(operation=text, shapes=pairs(size, size), vectors=count, copies=size, used=size)
@dataclass(frozen=True)
class Weights:
    """The matrices of one operation as (inputs, outputs), and ``vectors`` parameters beside them (biases, norms).

    ``copies`` of the whole set exist, of which a token uses ``used``: experts; otherwise one of one.
    """

    operation: str
    shapes: tuple[tuple[Size, Size], ...]
    vectors: Size = 0
    copies: Size = 1
    used: Size = 1

    @property
    def each(self) -> Size:
        """Parameters of one copy."""
        return sum(inputs * outputs for inputs, outputs in self.shapes) + self.vectors

    @property
    def num_params(self) -> Size:
        return self.copies * self.each

    @property
    def num_active_params(self) -> Size:
        return self.used * self.each

    @checked(stored=instance(Stored))
    def bytes_of_each(self, stored: Stored) -> Size:
        """Bytes of one copy."""
        return stored.num_bytes(self.operation, self.shapes, self.vectors)

    @checked(rows=size)
    def step(self, rows: Size, stored: Stored | Size) -> Step:
        """Products with ``rows`` tokens: their FLOPs, and the weights that these tokens need, read once.

        ``stored``: their formats, or simply bytes per element.
        """
        stored = stored if isinstance(stored, Stored) else Stored(amount("stored", stored))
        read = distinct_experts(rows, self.copies, self.used) * self.bytes_of_each(stored)
        return Step(self.operation, self.used * products(rows, self.shapes).flops, read)


@checked(width=size, heads=size, kv_heads=size, head_dim=size, window=optional(span), qkv_bias=flag, output_bias=flag,
         norm_params=count, sinks=count, fused=flag, value_dim=optional(size), gate=count, reused=flag)
@dataclass(frozen=True)
class Attention:
    """``heads`` query heads on ``kv_heads`` key/value heads of ``head_dim``: multi-head, grouped or multi-query.

    ``window`` limits a local layer to the last positions, or to those of its ``Chunk``. ``norm_params`` counts norms on
    queries and keys, ``sinks`` the learned logits that some models put into the softmax. ``fused``: the three
    projections are one matrix. ``value_dim``: the head dimension of values where it is not that of keys. ``gate``: the
    outputs of a further projection that scales what the heads return, N for one a head, N·H for one an element.
    ``reused``: keys and values are those of an earlier layer (cross-layer attention); this one projects and stores
    none, but reads them like its own.
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
    reused: bool = False

    @property
    def kind(self) -> str:
        kind = "MHA" if self.kv_heads == self.heads else "MQA" if self.kv_heads == 1 else "GQA"
        return kind if self.window is None else f"local {self.window} {kind}"

    @property
    def value_size(self) -> Size:
        """Elements of a head's value."""
        return self.head_dim if self.value_dim is None else self.value_dim

    @property
    def weights(self) -> tuple[Weights, ...]:
        *into, out = attention_shapes(self.width, self.heads, self.kv_heads, self.head_dim, self.value_size)
        into = into[:1] if self.reused else into
        made = sum(outputs for _, outputs in into)
        into = [(self.width, made)] if self.fused else into
        gate = ((self.width, self.gate),) if self.gate != 0 else ()
        biases = (made if self.qkv_bias else 0) + (self.width if self.output_bias else 0)
        return (Weights("attention projections", (*into, out, *gate), biases + self.norm_params + self.sinks),)

    @checked(context=size)
    def kv_elements(self, context: Size) -> Size:
        """Cached numbers of one sequence: K heads of keys and of values for each position that is kept; none where they
        are ``reused``."""
        return 0 if self.reused else self.kv_heads * (self.head_dim + self.value_size) * reach(context, 1, self.window)

    @checked(run=instance(Pass))
    def step(self, run: Pass) -> Step:
        """Softmax(Q Kᵀ) V with the bytes of the cache alone."""
        product = attention(run.batch, reach(run.context, run.tokens, self.window), run.tokens, kv_bytes=run.kv_bytes,
                            query_width=self.heads * self.head_dim, kv_width=self.kv_heads * self.head_dim,
                            values_per_key=sp.sympify(self.value_size) / self.head_dim,
                            pairs=run.pairs(run.context, run.tokens, self.window))
        return product.as_step("attention", "read K", "read V").steps[0]


@checked(width=size, heads=size, latent=size, rope=size, nope=size, value=size, query_latent=optional(size), bias=flag)
@dataclass(frozen=True)
class LatentAttention:
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

    @property
    def weights(self) -> tuple[Weights, ...]:
        query = self.heads * (self.nope + self.rope)
        bottleneck = self.query_latent
        queries = ((self.width, query),) if bottleneck is None else ((self.width, bottleneck), (bottleneck, query))
        shapes = (*queries, (self.width, self.latent + self.rope), (self.latent, self.heads * (self.nope + self.value)),
                  (self.heads * self.value, self.width))
        norms = self.latent + (bottleneck or 0)
        biases = norms + self.rope + self.width if self.bias else 0  # on the two ways down and on the way out
        return (Weights("attention projections", shapes, biases + norms),)

    @checked(context=size)
    def kv_elements(self, context: Size) -> Size:
        """Cached numbers of one sequence: latent + rope for each position, keys and values together."""
        return (self.latent + self.rope) * context

    @checked(run=instance(Pass))
    def step(self, run: Pass) -> Step:
        """The cheaper of two forms, in FLOPs, with the bytes of the latent cache alone.

        Absorbed works in the latent space: 2·pairs·(2·latent + rope) FLOPs a head. Expanded makes keys and values of
        every head, those of the S − T cached positions again: 2·pairs·(nope + rope + value) + 2·(S − T)·latent·(nope
        + value).
        """
        pairs = run.pairs(run.context, run.tokens, None)
        absorbed = latent_attention(run.batch, run.context, run.tokens, heads=self.heads, latent=self.latent,
                                    rope=self.rope, kv_bytes=run.kv_bytes, pairs=pairs)
        key = self.nope + self.rope
        expanded = attention(run.batch, run.context, run.tokens, query_width=self.heads * key, pairs=pairs,
                             values_per_key=sp.sympify(self.value) / key).flops
        if run.tokens != run.context:
            again = run.batch * (run.context - run.tokens)
            expanded += products(again, ((self.latent, self.heads * (self.nope + self.value)),)).flops
        return Step("attention", least(absorbed.flops, expanded), absorbed.only("read latent cache").bytes_transferred)


@checked(width=size, hidden=size, gated=flag, bias=flag)
@dataclass(frozen=True)
class MLP:
    """Two products, or three when ``gated``; ``bias`` on each. ``fused``: gate and up are one matrix."""

    width: Size
    hidden: Size
    gated: bool = True
    bias: bool = False
    fused: bool = False

    @property
    def weights(self) -> tuple[Weights, ...]:
        shapes = mlp_shapes(self.width, self.hidden, self.gated)
        shapes = ((self.width, 2 * self.hidden), shapes[-1]) if self.gated and self.fused else shapes
        return (Weights("MLP", shapes, sum(outputs for _, outputs in shapes) if self.bias else 0),)


@checked(expert=instance(MLP), experts=size, used=size, shared=optional(instance(MLP)), router_bias=flag,
         shared_gate=flag)
@dataclass(frozen=True)
class MixtureOfExperts:
    """``experts`` equal MLPs, ``used`` of them per token, a router that picks them, a ``shared`` MLP for all tokens.

    ``shared_gate``: a product with one output, beside the router, scales what the shared MLP returns.
    """

    expert: MLP
    experts: Size
    used: Size
    shared: MLP | None = None
    router_bias: bool = False
    shared_gate: bool = False

    def __post_init__(self) -> None:
        within("used", self.used, "experts", self.experts)

    @property
    def weights(self) -> tuple[Weights, ...]:
        width = self.expert.width
        shapes = ((width, self.experts),) + ((width, 1),) * self.shared_gate
        router = Weights("router", shapes, self.experts if self.router_bias else 0)
        routed = replace(self.expert.weights[0], operation="experts", copies=self.experts, used=self.used)
        shared = () if self.shared is None else (replace(self.shared.weights[0], operation="shared experts"),)
        return (router, routed, *shared)
