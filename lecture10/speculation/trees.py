"""Trees of draft tokens: several children at a place, each verified with the law that it was drawn from.

Notebook: book/Lecture10-Lab-Speculative.ipynb. As in SpecInfer (Miao et al., 2305.09781) and EAGLE (Li et al.,
2401.15077): children are tried one after the other, and what a rejected one leaves of q is the target of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ..checks import checked, each, function, instance, sequence, source, whole
from ..distributions import acceptance, distribution, pair, residual
from ..speculative import Distribution, Model, Random, draw

WIDEST = 8
"""Children of a place, and levels of a tree, at most."""

_WIDTH = partial(whole, at_least=1, at_most=WIDEST)

Children = Callable[[Distribution, int, Random], tuple[list[int], list[Distribution]]]
"""(p, width, rng) -> tokens, and the law of each given that the ones before it were drawn and rejected."""


@checked(width=_WIDTH, rng=source)
def with_replacement(p: Distribution, width: int, rng: Random) -> tuple[list[int], list[Distribution]]:
    """``width`` independent draws from p (SpecInfer): the law of each is p; some may be the same token."""
    return [draw(p, rng) for _ in range(width)], [p] * width


@checked(width=_WIDTH, rng=source)
def without_replacement(p: Distribution, width: int, rng: Random) -> tuple[list[int], list[Distribution]]:
    """Different tokens: each is drawn from p without the ones before it, normalised; fewer where p has no more."""
    row, tokens, laws = distribution("p", p), [], []
    while row is not None and len(tokens) < width:
        laws.append(row)
        tokens.append(draw(row, rng))
        rest = [0 if token == tokens[-1] else a for token, a in enumerate(row)]
        left = sum(rest)
        row = [a / left for a in rest] if left else None
    return tokens, laws


@checked(width=_WIDTH)
def largest(p: Distribution, width: int, _rng: Random) -> tuple[list[int], list[Distribution]]:
    """The ``width`` most probable tokens, which are not drawn at all: the law of each is one-hot (EAGLE-2)."""
    row = distribution("p", p)
    order = sorted((token for token, a in enumerate(row) if a), key=lambda token: (-row[token], token))[:width]
    return order, [[int(token == x) for token in range(len(row))] for x in order]


@dataclass(frozen=True)
class Node:
    """A place in a tree: its children in the order of their trial, their laws, and the places after them."""

    tokens: tuple[int, ...] = ()
    laws: tuple[Distribution, ...] = ()
    places: tuple[Node, ...] = ()

    @property
    def size(self) -> int:
        """Draft tokens from here on: with the place of the bonus token, what the target's one pass has to read."""
        return len(self.tokens) + sum(place.size for place in self.places)


@checked(prefix=sequence, draft=function, widths=each(_WIDTH), rng=source, children=function)
def grow(prefix: Sequence[int], draft: Model, widths: Sequence[int], rng: Random,
         children: Children = without_replacement) -> Node:
    """A tree of len(widths) levels with so many children at each place of a level; no widths: no draft."""
    if not widths:
        return Node()
    tokens, laws = children(draft(tuple(prefix)), widths[0], rng)
    return Node(tuple(tokens), tuple(laws),
                tuple(grow((*prefix, token), draft, widths[1:], rng, children) for token in tokens))


@checked(tokens=sequence, laws=sequence, rng=source)
def choose(tokens: Sequence[int], laws: Sequence[Distribution], q: Distribution, rng: Random) -> tuple[int | None, int]:
    """(which child was accepted, its token), or (None, a token from what all rejections leave of q).

    Child i is accepted with min(1, q(x)/law_i(x)); rejected, it leaves max(q − law_i, 0) normalised as q of the next.
    """
    q = distribution("q", q)
    for i, (x, law) in enumerate(zip(tokens, laws)):
        whole(f"tokens[{i}]", x, 0, len(q) - 1)
        law, q = pair(law, q)
        rest = residual(law, q)
        if rest is None or rng.random() < acceptance(law[x], q[x]):
            return i, x
        q = rest
    return None, draw(q, rng)


@checked(tree=instance(Node), prefix=sequence, target=function, rng=source)
def verify_tree(tree: Node, prefix: Sequence[int], target: Model, rng: Random) -> list[int]:
    """The tokens of one round: from the root down while a child is accepted, then one more from the target."""
    tokens: list[int] = []
    while True:
        child, token = choose(tree.tokens, tree.laws, target((*prefix, *tokens)), rng)
        tokens.append(token)
        if child is None:
            return tokens
        tree = tree.places[child]
