"""The GGUF format, read with suspicion: no number in a file can ask for more than the file holds.

Notebook: book/Lecture10-Lab-Engine.ipynb. The format (ggml/docs/gguf.md): a header, keys with typed values, the names,
sizes and places of the tensors, then their data. It is read here and not by the package gguf, whose reader believes
every number (a wrong one loops without end) and makes an object of each of 250,000 array elements. How weights are
encoded is gguf's business.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_VALUES = 2**22  # of one array: the longest, the merges, have about one for every token
MAX_AXES = 4  # of a tensor, as in ggml
NUMBERS = {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"}
STRING, ARRAY = 8, 9  # with NUMBERS, GGUF's kinds of values


@dataclass(frozen=True)
class Stored:
    """A tensor's data as they lie in the file: [out, bytes of a row], in gguf's encoding ``kind``."""

    rows: NDArray
    kind: int

    def float32(self) -> NDArray:  # -> [out, in]
        from gguf import dequantize  # slow to import, needed only for a conversion

        with np.errstate(all="ignore"):
            return dequantize(self.rows, self.kind)


class GGUFFile:
    """The ``fields`` of a file, by key, and the sizes [out, in] of its tensors, by name.

    Raises ValueError, in one line, when the bytes are no complete GGUF file of version 2 or 3.
    """

    def __init__(self, raw: bytes) -> None:
        cursor = _Cursor(raw)
        tensors, fields = cursor.counts()
        self.fields = cursor.named(fields, cursor.value)
        self._infos = cursor.named(tensors, cursor.tensor)
        self.sizes = {name: dims for name, (dims, *_) in self._infos.items()}
        self._raw, self._end = raw, cursor.at

    def tensors(self) -> dict[str, Stored]:
        """The data of every tensor; each begins at the first multiple of general.alignment after the one before it.

        Raises ValueError when one lies elsewhere or beyond the end of the file, or is not of a type that gguf decodes.
        """
        alignment, tensors = self._alignment(), {}
        start, offset = _multiple(self._end, alignment), 0
        for name, (dims, number, place) in self._infos.items():
            kind, elements, size = _encoding(name, number)
            if dims[-1] % elements:
                raise ValueError(f"{name} has rows of {dims[-1]} weights of type {kind.name}: "
                                 f"expected a multiple of {elements}")
            if place != offset:
                raise ValueError(f"{name} is at byte {place} of the data: expected {offset}, after the one before")
            row = dims[-1] // elements * size
            offset += math.prod(dims[:-1]) * row
            if start + offset > len(self._raw):
                raise ValueError(f"it ends at byte {len(self._raw)}, {name} at byte {start + offset}")
            rows = np.frombuffer(self._raw, np.uint8, offset - place, start + place).reshape(*dims[:-1], row)
            tensors[name], offset = Stored(rows, kind), _multiple(offset, alignment)
        return tensors

    def _alignment(self) -> int:
        value = self.fields.get("general.alignment", 32)
        if type(value) is not int or value < 1 or value & (value - 1):
            raise ValueError(f"general.alignment = {value!r:.80}: expected a power of two")
        return value


def _multiple(at_least: int, of: int) -> int:
    return -(-at_least // of) * of


def _encoding(name: str, number: int) -> tuple[object, int, int]:
    """The encoding that GGUF gives a number: the weights in a block, and the bytes they take."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

    kinds = {int(kind): kind for kind in GGMLQuantizationType}
    try:
        elements, size = GGML_QUANT_SIZES[kinds[number]]
        dequantize(np.zeros(size, np.uint8), kinds[number])  # no table says which ones gguf can decode
    except (KeyError, NotImplementedError):
        kind = kinds[number].name if number in kinds else number
        raise ValueError(f"{name} has weights of type {kind}: expected one that gguf decodes to float32") from None
    return kinds[number], elements, size


class _Cursor:
    """Reads from front to back, and nothing beyond the end."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.at = raw, 0

    def take(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if self.at > len(self.raw):
            raise ValueError(f"it ends at byte {len(self.raw)}, within what begins at {start} and has {size} bytes")
        return self.raw[start:self.at]

    def whole(self, size: int = 8) -> int:
        return int.from_bytes(self.take(size), "little")

    def text(self) -> str:
        start, raw = self.at, self.take(self.whole())
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise ValueError(f"the text at byte {start} is not UTF-8") from None

    def counts(self) -> tuple[int, int]:
        """The numbers of tensors and of keys, from the header."""
        if self.take(4) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        if (version := self.whole(4)) not in (2, 3):
            raise ValueError(f"its version of GGUF is {version}: expected 2 or 3, lowest byte first")
        return self.whole(), self.whole()

    def named(self, count: int, entry: Callable[[], object]) -> dict:
        """``count`` entries, each after its name."""
        entries: dict[str, object] = {}
        for _ in range(count):
            if (name := self.text()) in entries:
                raise ValueError(f"it has {name[:80]!r} twice")
            entries[name] = entry()
        return entries

    def value(self) -> object:
        """A key's value, after its kind."""
        kind = self.whole(4)
        if kind != ARRAY:
            return self.text() if kind == STRING else self.numbers(kind, 1)[0]
        kind, count = self.whole(4), self.whole()
        if count > MAX_VALUES:
            raise ValueError(f"the array at byte {self.at} has {count} values: expected at most {MAX_VALUES}")
        return [self.text() for _ in range(count)] if kind == STRING else self.numbers(kind, count)

    def numbers(self, kind: int, count: int) -> list:
        if kind not in NUMBERS:
            raise ValueError(f"the value at byte {self.at} is of kind {kind}: expected a number, a text or a list")
        dtype = np.dtype(NUMBERS[kind])
        return np.frombuffer(self.take(count * dtype.itemsize), dtype).tolist()

    def tensor(self) -> tuple[tuple[int, ...], int, int]:
        """Its sizes, [out, in] (GGUF writes them the other way round), the number of its type, and its offset."""
        if not 1 <= (axes := self.whole(4)) <= MAX_AXES:
            raise ValueError(f"the tensor at byte {self.at} has {axes} axes: expected 1 to {MAX_AXES}")
        dims = [self.whole() for _ in range(axes)]
        return tuple(reversed(dims)), self.whole(4), self.whole()
