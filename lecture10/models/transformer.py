"""A whole Transformer: embeddings, kinds of layers and how many of each. One description for every model of the book.

Notebook: book/Lecture10-Lab-Models.ipynb. The lecture's dense model is the symbolic special case
(``lecture_transformer``), a released model the numeric one (``families``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import sympy as sp

from ..checks import amount, checked, count, each, flag, instance, one_of, optional, pair, pairs, size, text, within
from ..cost import Cost, Step
from ..notation import D, F, H, K, L, N, V
from ..table import Table
from .experts import MLP
from .formats import PLAIN, Format, Stored, weight_format
from .layers import Attention, Layer
from .mixer import Mixer
from .passes import Pass, Size, Weights
from .windows import Chunk


@checked(width=size, vocabulary=size, layers=pairs(size, instance(Layer)), tied=flag, positions=count,
         norm_params=count, head_bias=flag, name=text, beside=each(instance(Weights)),
         table=optional(pair(size, size)))
@dataclass(frozen=True)
class Transformer:
    """``layers`` are pairs (how many, Layer); their order does not matter to any number here.

    ``tied``: the output embedding is the input embedding. ``positions`` learned position vectors, 0 with rotary
    embedding. ``norm_params`` of the last norm; ``head_bias``: the output embedding has one. ``name`` is for people.
    ``stored``: the formats of what is outside the layers, ``kv_bytes`` of an element of the cache. ``max_context``: the
    longest context that the model's file allows, None where it does not say. ``notes``: what was read, filled in or
    left out, one line each.
    ``beside``: further weights outside the layers that every token uses; ``table``: rows and width of a second table
    of embeddings, of which a token reads a row.
    """

    width: Size
    vocabulary: Size
    layers: tuple[tuple[Size, Layer], ...]
    tied: bool = False
    positions: Size = 0
    norm_params: Size = 0
    head_bias: bool = False
    name: str = ""
    stored: Stored = PLAIN
    kv_bytes: Size = 2
    max_context: int | None = None
    notes: tuple[str, ...] = ()
    beside: tuple[Weights, ...] = ()
    table: tuple[Size, Size] | None = None

    @property
    def head(self) -> Weights:
        """The output embedding."""
        bias = self.vocabulary if self.head_bias else 0
        return Weights("output embedding", ((self.width, self.vocabulary),), bias)

    @property
    def embedding_params(self) -> Size:
        """Input and output embedding, once if tied; learned positions not."""
        return self.head.num_params + (0 if self.tied else self.width * self.vocabulary)

    @property
    def num_layers(self) -> Size:
        return sum(count for count, _ in self.layers)

    @property
    def num_params(self) -> Size:
        """Every weight once, tied ones too."""
        return self._outside_layers + sum(count * w.num_params for count, layer in self.layers for w in layer.weights)

    @property
    def num_active_params(self) -> Size:
        """Parameters without the routed experts that a token does not use."""
        return self._outside_layers + sum(count * w.num_active_params
                                          for count, layer in self.layers for w in layer.weights)

    @property
    def _outside_layers(self) -> Size:
        beside = sum(weights.num_params for weights in self.beside)
        return self.embedding_params + self._table_params + self.positions * self.width + self.norm_params + beside

    @property
    def _table_params(self) -> Size:
        return 0 if self.table is None else self.table[0] * self.table[1]

    @checked(weight_bytes=weight_format, embedding_bytes=optional(amount))
    def weight_bytes(self, weight_bytes: Size | Format | None = None, embedding_bytes: Size | None = None) -> Size:
        """Bytes of all weights, as they are stored, scales included.

        ``weight_bytes`` per element or another ``Format`` of the matrices instead of the stored ones,
        ``embedding_bytes`` per element of the embeddings.
        """
        total = sum(copies * w.bytes_of_each(stored) for copies, w, stored in self.kept(weight_bytes, embedding_bytes))
        return _plain(total) if weight_bytes is None else total

    @checked(weight_bytes=weight_format, embedding_bytes=optional(amount))
    def kept(self, weight_bytes: Size | Format | None = None,
             embedding_bytes: Size | None = None) -> Iterator[tuple[Size, Weights, Stored]]:
        """All weights: how many copies there are of each set, and how they are stored, or else asked for."""
        for number, layer in self.layers:
            for weights in layer.weights:
                yield number * weights.copies, weights, layer.stored.instead(weight_bytes)
        outside, embeddings = self._outside(weight_bytes), self._outside(weight_bytes, embedding_bytes)
        if not self.tied:
            yield 1, replace(self.head, operation="input embedding", vectors=0), embeddings
        yield 1, self.head, embeddings
        yield 1, Weights("second embedding", (), self._table_params), embeddings
        for weights in self.beside:
            yield weights.copies, weights, outside
        yield 1, Weights("positions", (), self.positions * self.width), outside
        yield 1, Weights("norms", (), self.norm_params), outside

    @checked(weight_bytes=weight_format, embedding_bytes=optional(amount))
    def weight_table(self, weight_bytes: Size | Format | None = None, embedding_bytes: Size | None = None) -> Table:
        """Operation by operation: its formats, parameters, bits of each with all scales, and GB."""
        found: dict[str, list] = {}
        for copies, weights, stored in self.kept(weight_bytes, embedding_bytes):
            row = found.setdefault(weights.operation, [{}, 0, 0])
            row[0] |= dict.fromkeys(stored.names(weights.operation, weights.shapes, weights.vectors))
            row[1] += copies * weights.each
            row[2] += copies * weights.bytes_of_each(stored)
        return Table(("运算", "格式", "参数", "位/权重", "GB"),
                     [(name, ", ".join(formats), params, sp.sympify(8 * size) / params, sp.sympify(size) / 10**9)
                      for name, (formats, params, size) in found.items() if params != 0])

    @checked(rows=size, stored=instance(Stored))
    def lookup(self, rows: Size, stored: Stored) -> Size:
        """Bytes of ``rows`` rows of the input embedding, and of the second table where there is one."""
        second = 0 if self.table is None else rows * self.table[1]
        return stored.num_bytes("input embedding", ((self.width, rows),), second)

    def _outside(self, weight_bytes: Size | Format | None, embedding_bytes: Size | None = None) -> Stored:
        """How embeddings, or what else is outside the layers, are stored."""
        return self.stored.instead(weight_bytes) if embedding_bytes is None else Stored(embedding_bytes)

    @checked(context=size)
    def kv_cache_elements(self, context: Size) -> Size:
        """Cached numbers of one sequence of ``context`` tokens, summed over layers;
        a local layer keeps what its window holds.

        Raises ValueError when ``context`` is not a positive whole number or expression, or longer than the model
        allows.
        """
        self.require_context(context)
        return _plain(sum(count * layer.kv_elements(context) for count, layer in self.layers))

    @property
    def state_elements(self) -> tuple[Size, Size]:
        """Numbers of one sequence that do not grow with its length: recurrent ones, and those of convolutions."""
        states = [(count, layer.state) for count, layer in self.layers]
        return (_plain(sum(count * state.recurrent for count, state in states)),
                _plain(sum(count * state.convolution for count, state in states)))

    @property
    def state_bytes(self) -> Size:
        """Bytes of these."""
        return _plain(sum(count * layer.state.num_bytes for count, layer in self.layers))

    @checked(context=size)
    def most_cache_elements(self, context: Size) -> Size:
        """The most that ``kv_cache_elements`` is on the way to ``context``, which a sequence has to find room for.

        More than at its end only where a layer drops whole chunks. Raises ValueError as ``kv_cache_elements``.
        """
        layers = tuple((count, replace(layer, attention=_full_chunks(layer.attention))) for count, layer in self.layers)
        return replace(self, layers=layers).kv_cache_elements(context)

    @checked(run=instance(Pass), also=each(instance(Pass)))
    def layer_costs(self, run: Pass, *also: Pass) -> tuple[tuple[Size, Cost], ...]:
        """How many layers of each kind there are and what one of them costs."""
        return tuple((count, layer.cost(run, *also)) for count, layer in self.layers)

    @checked(run=instance(Pass), also=each(instance(Pass)))
    def forward(self, run: Pass, *also: Pass) -> Cost:
        """The whole pass, operation by operation and layer kind by layer kind.

        Bytes are the weights that are needed, read once, and the cache: a lower bound. ``also``: sequences of other
        shapes in the same pass, such as a part of a prompt beside sequences that generate (formats as ``run``). Raises
        ValueError for a context longer than the model allows.
        """
        runs = (run, *also)
        for part in runs:
            self.require_context(part.context)
        embeddings, outside = self._outside(run.weight_bytes, run.embedding_bytes), self._outside(run.weight_bytes)
        rows = sum(part.rows if part.embedding_rows is None else part.embedding_rows for part in runs)
        lookup = Step("input embedding",
                      bytes_transferred=self.lookup(rows, embeddings) * (1 if self.positions == 0 else 2))
        last_norm = (Step("norms", 0, outside.element * self.norm_params),) if self.norm_params != 0 else ()
        head_rows = sum(part.batch * (part.tokens if part.logits is None else part.logits) for part in runs)
        layers = sum((count * cost for count, cost in self.layer_costs(*runs)), Cost())
        beside = [weights.step(sum(part.rows for part in runs), outside) for weights in self.beside]
        return Cost.of(lookup) + layers + Cost.of(*beside, *last_norm, self.head.step(head_rows, embeddings))

    @checked(batch=size, new_tokens=size, context=size, logits=one_of(("all", "last")))
    def matmul_flops(self, batch: Size, new_tokens: Size, context: Size, logits: str = "all") -> Size:
        """FLOPs of all matrix products, attention as a dense kernel does it;
        ``logits`` for "all" new positions or the "last".

        2 per multiply-add. Raises ValueError as ``forward``, and for other ``logits``.
        """
        return _plain(self.forward(Pass(batch, new_tokens, context, logits=None if logits == "all" else 1)).flops)

    @checked(context=size)
    def require_context(self, context: Size) -> None:
        """Nothing, or the ValueError of a context longer than the model allows."""
        if self.positions != 0:
            within("context", context, "positions", self.positions, ", the learned ones of the model")
        if self.max_context is not None:
            within("context", context, "max_context", self.max_context, ", as max_position_embeddings and the rope "
                   "scaling of the model allow (any_context when it is loaded asks for more)")


def lecture_transformer() -> Transformer:
    """The lecture's model, all symbolic: L equal layers, gated MLP, no biases, no norms, two embeddings."""
    return Transformer(D, V, ((L, Layer(Attention(D, N, K, H), MLP(D, F))),))


def _full_chunks(attention: Mixer | None) -> Mixer | None:
    window = getattr(attention, "window", None)
    return replace(attention, window=window.size) if isinstance(window, Chunk) else attention


def _plain(value: Size) -> Size:
    """A Python int where the expression is a whole number."""
    return int(value) if getattr(value, "is_Integer", False) else value
