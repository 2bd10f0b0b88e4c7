"""One forward pass, and what the weight matrices of an operation cost in it: FLOPs of products, bytes read once.

Notebook: book/Lecture10-Lab-Models.ipynb. Sizes are whole numbers or symbols. ``layers`` and the other kinds of layer
list their matrices as ``Weights``.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from ..checks import amount, checked, count, function, instance, optional, pairs, size, text, within
from ..cost import Step
from ..intensity import product_flops
from ..notation import B, S, T
from .formats import Format, Size, Stored, weight_format
from .windows import Pairs, all_pairs


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
        return Step(self.operation, self.used * sum(product_flops(rows, *shape) for shape in self.shapes), read)
