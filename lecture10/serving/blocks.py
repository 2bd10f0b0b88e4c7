"""Memory of the cache in blocks: who owns which, what is shared, what may go. The page table of a serving engine.

Notebook: book/Lecture10-Lab-Serving.ipynb. Every block is in exactly one state: *free* (nobody owns it, nothing in it
is wanted), *cached* (nobody owns it, its content can still be found) or *referenced* (its count is the number of
tables it stands in). Only counts and numbers are kept here; whoever owns the memory writes and copies the contents.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from hashlib import sha256

from ..checks import checked, each, flag, function, hashable, refused, whole

Key = Callable[[int], Hashable]
"""i → what identifies the content of a request's i-th block and of all before it."""

_AT_LEAST_1 = partial(whole, at_least=1)
number_of_blocks, block_size = partial(_AT_LEAST_1, at_most=10**6), partial(_AT_LEAST_1, at_most=2**16)
"""Rules: what is beyond is a mistake, not a cache."""


@checked(tokens=each(whole), size=_AT_LEAST_1)
def content_keys(tokens: Sequence[int], size: int) -> list[bytes]:
    """A key for every full block of ``tokens``: SHA-256 of the key before it and the block's own tokens.

    Equal keys mean equal tokens from the first one on, as far as SHA-256 is free of collisions. A block that is not
    full has no key: it would be written to again.
    """
    keys, before = [], b""
    for end in range(size, len(tokens) + 1, size):
        before = sha256(before + repr(tokens[end - size:end]).encode()).digest()
        keys.append(before)
    return keys


class Blocks:
    """``total`` blocks of ``size`` tokens. ``sharing``: full blocks are found again by their content.

    ``tables[name]`` lists the blocks of a request in order, ``stored[name]`` counts its tokens that are in the cache.
    Every call either does all that it says or changes nothing and returns None.
    """

    @checked(total=number_of_blocks, size=block_size, sharing=flag)
    def __init__(self, total: int, size: int = 16, sharing: bool = True) -> None:
        self.total, self.size, self.sharing = total, size, sharing
        self.tables: dict[Hashable, list[int]] = {}
        self.stored: dict[Hashable, int] = {}
        self.swapped: dict[Hashable, int] = {}
        self.count = [0] * total
        self.key: list[Hashable | None] = [None] * total
        self.index: dict[Hashable, int] = {}
        self.free = deque(range(total))
        self.cached: OrderedDict[int, None] = OrderedDict()  # the one that was used longest ago comes first

    @property
    def available(self) -> int:
        """Blocks that can be handed out: free ones, and cached ones once they are evicted."""
        return len(self.free) + len(self.cached)

    @property
    def used(self) -> int:
        """Blocks that somebody owns."""
        return self.total - self.available

    def needed(self, tokens: int) -> int:
        """Blocks for ``tokens`` tokens."""
        return -(-tokens // self.size)

    @checked(name=hashable, tokens=_AT_LEAST_1, most=_AT_LEAST_1, key=function)
    def admit(self, name: Hashable, tokens: int, most: int, key: Key) -> int | None:
        """Open the table of a request of ``tokens`` tokens and make room for up to ``most`` that are not cached yet.

        Returns how many tokens are to be computed now, at least one: after the last one logits are needed, so a prompt
        that is cached to its end computes its last block again. What is found is pinned in the same action as it is
        looked up, and the new tokens are counted after that. Raises ValueError for a name that has a table.
        """
        self._require_new(name)
        found = self.found(tokens, key)
        cached = len(found) * self.size
        end = min(tokens, cached + most)
        fresh = self.needed(end) - len(found)
        if fresh > self.available - sum(self.count[block] == 0 for block in found):
            return None
        self._pin(found)
        self.tables[name] = found + self._fresh(fresh)
        self.stored[name] = cached
        return end - cached

    @checked(tokens=_AT_LEAST_1, key=function)
    def found(self, tokens: int, key: Key) -> list[int]:
        """The blocks whose content a request of ``tokens`` tokens can use: from its first on, never its last token's.
        """
        blocks: list[int] = []
        if self.sharing:
            for i in range((tokens - 1) // self.size):
                if (block := self.index.get(key(i))) is None:
                    break
                blocks.append(block)
        return blocks

    def grow(self, name: Hashable, tokens: int) -> list[tuple[int, int]] | None:
        """Make room for ``tokens`` tokens in all, ready to be written.

        Returns the blocks to be copied before that, (from, to): a block that others own too is copied, not written
        (copy on write). None if there is no room.
        """
        table = self._require(name)
        written, more, copies = self.stored[name] // self.size, max(0, self.needed(tokens) - len(table)), []
        shared = [i for i in range(written, len(table)) if self.count[table[i]] > 1] if written < len(table) else []
        if len(shared) + more > len(self.free) + len(self.cached):
            return None
        for i in shared:
            [block] = self._fresh(1)
            copies.append((table[i], block))
            self._unpin([table[i]])
            table[i] = block
        table += self._fresh(more)
        return copies

    def fill(self, name: Hashable, tokens: int, key: Key) -> None:
        """``tokens`` more tokens of ``name`` have been written: blocks that are full now can be found by content.

        Content that is already known keeps the block that it has; this one then has no key. Raises ValueError beyond
        the room that there is.
        """
        table, before = self._require(name), self.stored[name]
        if before + tokens > len(table) * self.size:
            raise ValueError(f"tokens is {tokens}: expected at most {len(table) * self.size - before}, the room of "
                             f"{name!r}")
        self.stored[name] = after = before + tokens
        for i in range(before // self.size, after // self.size if self.sharing else 0):
            if self.index.setdefault(content := key(i), table[i]) == table[i]:
                self.key[table[i]] = content

    @checked(name=hashable, child=hashable)
    def fork(self, name: Hashable, child: Hashable) -> None:
        """``child`` shares all blocks of ``name``: another sample, or another beam, of what is written so far."""
        table = self._require(name)
        self._require_new(child)
        self._pin(table)
        self.tables[child], self.stored[child] = list(table), self.stored[name]

    @checked(name=hashable)
    def release(self, name: Hashable) -> None:
        """Give back all blocks of ``name``, the last first, so that the start of a prompt is found for longest."""
        self._unpin(self._require(name)[::-1])
        del self.tables[name], self.stored[name]

    @checked(name=hashable)
    def swap_out(self, name: Hashable) -> list[int]:
        """Release ``name`` but remember how much it had stored; returns the blocks to be copied out before anything
        else is written."""
        table, stored = list(self._require(name)), self.stored[name]
        self.release(name)
        self.swapped[name] = stored
        return table[:self.needed(stored)]

    @checked(name=hashable)
    def swap_in(self, name: Hashable) -> list[int] | None:
        """Blocks for all that ``name`` had stored, into which it is copied back; None if there is no room."""
        if name not in self.swapped:
            raise refused("name", name, "one that was swapped out")
        more = self.needed(self.swapped[name])
        if more > self.available:
            return None
        self.stored[name] = self.swapped.pop(name)
        self.tables[name] = self._fresh(more)
        return list(self.tables[name])

    def _require(self, name: Hashable) -> list[int]:
        if (table := self.tables.get(name)) is None:
            raise refused("name", name, "one that has a table")
        return table

    def _require_new(self, name: Hashable) -> None:
        if name in self.tables or name in self.swapped:
            raise refused("name", name, "a new one")

    def _fresh(self, number: int) -> list[int]:
        """Blocks with nothing in them: free ones, then the cached ones that were used longest ago, which are forgotten.
        """
        blocks, free, count = [], self.free, self.count
        for _ in range(number):
            block = free.popleft() if free else self._evict()
            count[block] = 1
            blocks.append(block)
        return blocks

    def _evict(self) -> int:
        block, _ = self.cached.popitem(last=False)
        del self.index[self.key[block]]
        self.key[block] = None
        return block

    def _pin(self, blocks: Sequence[int]) -> None:
        for block in blocks:
            self.cached.pop(block, None)
            self.count[block] += 1

    def _unpin(self, blocks: Sequence[int]) -> None:
        count, key = self.count, self.key
        for block in blocks:
            count[block] -= 1
            if count[block] == 0:
                if key[block] is None:
                    self.free.append(block)
                else:
                    self.cached[block] = None
