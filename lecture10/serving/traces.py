"""Every short history of a small cache, and every small queue through a scheduler: each rule holds in each, or here is
the shortest history in which it breaks.

Notebook: book/Lecture10-Lab-Serving.ipynb. Instead of numbers a block holds what its keys and values depend on: all the
tokens up to its own. So whoever reads what somebody else wrote is seen at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from ..checks import checked, each, refused, whole
from . import blocks as pages
from .blocks import Blocks

Tokens = tuple[int, ...]
Action = tuple[str, int]
content_keys = lru_cache(pages.content_keys)


def kind_of(base: type) -> Callable[[str, object], type]:
    """A rule: ``base`` or a subclass of it, such as one with a fault."""
    def rule(name: str, value: object) -> type:
        if not (isinstance(value, type) and issubclass(value, base)):
            raise refused(name, value, f"{base.__name__} or a kind of it")
        return value

    return rule


class BrokenRuleError(AssertionError):
    """A rule of the machine that does not hold."""


def require(holds: bool, rule: str) -> None:
    if not holds:
        raise BrokenRuleError(rule)


def following(tokens: Tokens) -> int:
    """The toy model: a token that is another one when any of those before it is."""
    return (sum(tokens) + len(tokens)) % 2


class Cache:
    """Blocks and what is in them: ``memory[block][slot]`` is the tuple of tokens that the slot was computed from."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks, self.memory = blocks, [[()] * blocks.size for _ in range(blocks.total)]

    def write(self, table: Sequence[int], start: int, tokens: Tokens) -> None:
        """Compute the positions from ``start`` on and store them, as a pass of an engine does."""
        self.read(table, start, tokens)
        for i in range(start, len(tokens)):
            block = table[i // self.blocks.size]
            require(self.blocks.count[block] == 1, "nothing is written that somebody else reads")
            require(self.blocks.key[block] is None, "nothing is written that can be found by its content")
            self.memory[block][i % self.blocks.size] = tokens[:i + 1]

    def read(self, table: Sequence[int], end: int, tokens: Tokens) -> None:
        size = self.blocks.size
        require(all(self.memory[table[i // size]][i % size] == tokens[:i + 1] for i in range(end)),
                "a request reads what was computed from its own tokens")

    def check(self) -> None:
        """Every block is free, cached or referenced, counts are owners, and what is found is what was looked for."""
        blocks = self.blocks
        owners = [block for table in blocks.tables.values() for block in table]
        idle = [*blocks.free, *blocks.cached]
        require(sorted({*owners, *idle}) == list(range(blocks.total)) and len({*owners}) + len(idle) == blocks.total,
                "every block is free, cached or referenced, and only one of these")
        require(blocks.count == [owners.count(block) for block in range(blocks.total)], "counts are numbers of owners")
        require(all(blocks.key[block] == key for key, block in blocks.index.items())
                and all(blocks.index.get(blocks.key[block]) == block for block in blocks.cached)
                and not any(blocks.key[block] for block in blocks.free),
                "what can be found is in use or cached, once, under its own key")
        for key, block in blocks.index.items():
            content = self.memory[block][-1]
            require(content_keys(content, blocks.size)[-1:] == [key], "a key leads to the content that it names")

    def copy(self) -> Cache:
        other, blocks = (object.__new__(type(one)) for one in (self, self.blocks))
        vars(blocks).update(vars(self.blocks))
        for name in ("swapped", "stored", "index", "count", "key", "free", "cached"):
            setattr(blocks, name, getattr(blocks, name).copy())
        blocks.tables = {name: list(table) for name, table in blocks.tables.items()}
        other.memory, other.blocks = [list(slots) for slots in self.memory], blocks
        return other


@dataclass
class World:
    """A cache and requests: their ``tokens`` so far, and those that are kept on the host (``away``)."""

    cache: Cache
    tokens: dict[int, Tokens]
    prompts: Sequence[Tokens]
    away: dict[int, list[list[Tokens]]] = field(default_factory=dict)

    def actions(self) -> Iterator[Action]:
        """What may happen next: somebody comes, goes on, is preempted, swapped, doubled, or leaves."""
        for name in range(len(self.prompts)):
            if name in self.away:
                yield "swap in", name
            elif name in self.cache.blocks.tables:
                yield from ((what, name) for what in ("step", "preempt", "swap out", "leave"))
                if len(self.prompts) not in self.tokens:
                    yield "fork", name
            else:
                yield from (("admit", name), ("admit a part", name))
        if len(self.prompts) in self.cache.blocks.tables:
            yield from (("step", len(self.prompts)), ("leave", len(self.prompts)))

    def act(self, what: str, name: int) -> None:
        """Do it, and hold every rule against what came of it."""
        blocks, tokens = self.cache.blocks, self.tokens.get(name) or self.prompts[min(name, len(self.prompts) - 1)]
        before = len(blocks.free), {*blocks.index.values()}, blocks.available
        keys = content_keys(tokens, blocks.size)
        if what in ("admit", "admit a part"):
            self._admit(name, tokens, keys, len(tokens) if what == "admit" else 1)
        elif what == "step":
            self._step(name, tokens, keys)
        elif what == "swap out":
            table = list(blocks.tables[name])
            self.away[name] = [list(self.cache.memory[block]) for block in blocks.swap_out(name)]
            require(len(self.away[name]) <= len(table), "no more is swapped out than there was")
        elif what == "swap in":
            if (table := blocks.swap_in(name)) is not None:
                for block, slots in zip(table, self.away.pop(name), strict=True):
                    self.cache.memory[block] = list(slots)
        elif what == "fork":
            blocks.fork(name, len(self.prompts))
            self.tokens[len(self.prompts)] = tokens
        else:
            blocks.release(name)
            if what == "leave":
                self.tokens.pop(name, None)
        self._evicted(*before)
        self.cache.check()
        for other, table in blocks.tables.items():
            self.cache.read(table, blocks.stored[other], self.tokens[other])

    def _evicted(self, free: int, listed: set[int], available: int) -> None:
        blocks = self.cache.blocks
        lost = len(listed - {*blocks.index.values()})
        require(lost <= max(0, available - blocks.available - free), "no more is evicted than is needed")

    def _admit(self, name: int, tokens: Tokens, keys: list[bytes], most: int) -> None:
        blocks = self.cache.blocks
        new = blocks.admit(name, len(tokens), most, keys.__getitem__)
        if new is None:
            require(name not in blocks.tables, "who is not admitted holds nothing")
            return
        stored, self.tokens[name] = blocks.stored[name], tokens
        require(new >= 1, "a prompt that is cached to its end still computes a token")
        require(stored + new <= len(tokens), "nobody computes more tokens than it has")
        self._write(name, tokens, stored + new, keys)

    def _step(self, name: int, tokens: Tokens, keys: list[bytes]) -> None:
        """Compute what is missing; when nothing is, generate a token and compute that."""
        blocks = self.cache.blocks
        if blocks.stored[name] == len(tokens):
            tokens += (following(tokens) ^ (name == len(self.prompts)),)  # the second sample is another one
        copies = blocks.grow(name, len(tokens))
        if copies is None:
            return
        for source, target in copies:
            self.cache.memory[target] = list(self.cache.memory[source])
        self.tokens[name] = tokens
        self._write(name, tokens, len(tokens), content_keys(tokens, blocks.size))

    def _write(self, name: int, tokens: Tokens, end: int, keys: list[bytes]) -> None:
        blocks = self.cache.blocks
        self.cache.write(blocks.tables[name], blocks.stored[name], tokens[:end])
        blocks.fill(name, end - blocks.stored[name], keys.__getitem__)

    def copy(self) -> World:
        return World(self.cache.copy(), dict(self.tokens), self.prompts, dict(self.away))

    def state(self) -> tuple:
        """All that the future depends on."""
        blocks = self.cache.blocks
        return (tuple(blocks.free), tuple(blocks.cached), tuple(sorted(self.tokens.items())), tuple(self.away),
                tuple((name, *table, blocks.stored[name]) for name, table in sorted(blocks.tables.items())),
                tuple(blocks.key), tuple(map(tuple, self.cache.memory)))


@dataclass(frozen=True)
class Proof:
    """How many different ``states`` were reached by all histories of up to ``depth`` actions, how many ``actions`` were
    tried in them, and the first ``fault`` with the shortest ``history`` that leads to it."""

    states: int
    actions: int
    depth: int
    fault: str | None = None
    history: tuple[Action, ...] = ()


DEEPEST = 12
"""The most actions of a history."""


def _depth(name: str, value: object) -> int:
    return whole(name, value, at_most=DEEPEST)


@checked(prompts=each(each(whole)), total=pages.number_of_blocks, size=pages.block_size, depth=_depth,
         kind=kind_of(Blocks))
def explore(prompts: Sequence[Tokens], total: int, size: int = 2, depth: int = 6,
            kind: type[Blocks] = Blocks) -> Proof:
    """All histories of up to ``depth`` actions of requests with these ``prompts`` on ``total`` blocks of ``size``.

    Histories that lead to the same state are followed once. Raises ValueError for sizes below 1 and a ``depth`` above
    ``DEEPEST``: there are exponentially many.
    """
    start = World(Cache(kind(total, size)), {}, prompts)
    seen, layer, tried = {start.state()}, [(start, ())], 0
    for _ in range(depth):
        reached = []
        for world, history in layer:
            for action in world.actions():
                tried, after = tried + 1, world.copy()
                try:
                    after.act(*action)
                except (BrokenRuleError, ValueError, LookupError) as fault:
                    return Proof(len(seen), tried, depth, str(fault) or repr(fault), (*history, action))
                if (state := after.state()) not in seen:
                    seen.add(state)
                    reached.append((after, (*history, action)))
        layer = reached
        if not layer:
            break
    return Proof(len(seen), tried, depth)
