"""Measured times of products, layers and whole passes on accelerators, and the bound that their costs put on each.

Notebook: book/Lecture10-Lab-Models.ipynb. The rows of ``data/`` (its README says where they come from), or a reader's
own file with the columns of one of them. The bound is the book's: every operation takes max(FLOPs / peak, bytes /
bandwidth).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from importlib.resources import files
from pathlib import Path
from statistics import median
from types import MappingProxyType

import sympy as sp

from ..checks import checked, each, instance, optional, shown, text, whole
from ..cost import Cost, Step
from ..hardware import Accelerator, find_accelerator
from ..intensity import matmul
from ..models.load import load_model
from ..models.passes import Pass
from ..models.transformer import Transformer
from ..models.windows import visible_pairs

Row = Mapping[str, str]

CACHED = 10**8
"""Bytes: a smaller matrix may partly stay in the caches of today's cards (50 MB on an H100)."""


@dataclass(frozen=True)
class Timing:
    """One row: the fastest ``seconds`` that ``what`` took on ``device``, which computes in ``arithmetic``, and its
    ``cost``. The bound is held against the fastest run; ``median`` (seconds) is what to expect of the next one."""

    file: str
    what: str
    device: Accelerator
    arithmetic: str
    seconds: float
    cost: Cost
    row: Row

    @cached_property
    def bound(self) -> float:
        """Seconds at least when operations follow one another."""
        return float(self.cost.time(_computing(self.device, self.arithmetic)))

    @cached_property
    def floor(self) -> float:
        """Seconds at least when everything overlaps."""
        return float(self.cost.as_step(self.what).time(_computing(self.device, self.arithmetic)))

    @property
    def fraction(self) -> float:
        """Bound over measured: below 1 if the bound holds."""
        return self.bound / self.seconds

    @property
    def median(self) -> float:
        """Seconds of the middle run; the fastest where a file has one number alone."""
        return float(self.row["ms_median"]) / 1e3 if "ms_median" in self.row else self.seconds

    @property
    def rates(self) -> tuple[float, float]:
        """FLOP/s and bytes/s of the fastest run: the cost over its seconds."""
        return float(self.cost.flops) / self.seconds, float(self.cost.bytes_transferred) / self.seconds


@checked(paths=each(instance(str, Path)), card=optional(instance(Accelerator)))
def timings(*paths: str | Path, card: Accelerator | None = None) -> tuple[Timing, ...]:
    """The rows of CSV files at ``paths``, by default of all files in ``DATA``; ``card`` where a device is not in our
    table.

    ``python benchmarks/accelerator.py`` writes such files on a CUDA card of your own. Raises ValueError naming the
    file and the line for columns, numbers or devices that are not understood.
    """
    sources = [Path(path) for path in paths] or DATA.values()
    return tuple(timing for source in sources for timing in _read(source, card))


DATA = MappingProxyType({name: Path(str(files(__package__) / "data" / name)) for name in (
    "gemm.csv", "products.csv", "layer.csv", "llama13b.csv", "mixed.csv")})
"""Our files by name: ``timings(DATA["gemm.csv"])``."""


@checked(rows=each(instance(Timing)))
def measured_roof(rows: Sequence[Timing]) -> Accelerator:
    """The device of ``rows`` with the two rates that its products of large matrices reach.

    Of every weight matrix above ``CACHED`` bytes the best FLOP/s and the best bytes/s over its numbers of rows, and of
    these the medians. Raises ValueError for rows of several devices or arithmetics, or without such a matrix.
    """
    large = [row for row in rows if row.cost.flops
             and 2 * int(row.row.get("inner", 0)) * int(row.row.get("columns", 0)) > CACHED]
    kinds = {(row.device, row.arithmetic) for row in large}
    if len(kinds) != 1:
        raise ValueError(f"{len(kinds)} devices or arithmetics among {len(large)} products of matrices above "
                         f"{CACHED:,} bytes: expected products of one device in one arithmetic")
    best: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in large:
        best.setdefault((row.row["inner"], row.row["columns"]), []).append(row.rates)
    flops, moved = (median(max(rate[i] for rate in rates) for rates in best.values()) for i in (0, 1))
    return replace(_computing(*kinds.pop()), peak_flops=flops, memory_bandwidth=moved)


@checked(what=text, device=text)
def measured_pass(what: str = "decode", device: str = "H100 SXM", **sizes: int) -> Timing:
    """The pass of the whole Llama-2-13B that was measured at these sizes (K = 40 unless told), from ``llama13b.csv``.

    ``what`` is decode (one token each at context S), prefill (T = S), pass (T tokens each, logits of all) or decode
    short. Raises ValueError unless exactly one row has these sizes.
    """
    wanted = {"what": what, "K": 40, **sizes}
    rows = [row for row in _passes() if row.device.name == device]
    found = [row for row in rows if all(row.row.get(name) == str(value) for name, value in wanted.items())]
    if len(found) != 1:
        asked = ", ".join(f"{name} = {shown(value)}" for name, value in {**wanted, "device": device}.items())
        raise ValueError(f"{len(found)} rows of llama13b.csv have {asked}: expected exactly one")
    return found[0]


@cache
def _passes() -> tuple[Timing, ...]:
    return timings(DATA["llama13b.csv"])


@cache
def _computing(device: Accelerator, arithmetic: str) -> Accelerator:
    return device.computing_in(arithmetic)


def _read(source, card: Accelerator | None) -> Iterator[Timing]:
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{source.name}: expected a CSV file of measured times ({error})") from None
    table = csv.DictReader(lines)
    found = [read for columns, read in READERS.items() if columns <= set(table.fieldnames or ())]
    if not found:
        raise ValueError(f"{source.name}: columns {table.fieldnames}: expected those of one of {', '.join(DATA)}")
    for row in table:
        try:
            what, arithmetic, seconds, cost = found[0](row)
            if not seconds > 0:
                raise ValueError(f"{seconds} s: expected a positive time")
            device = card or find_accelerator(row["device"])
            _computing(device, arithmetic)
            yield Timing(source.name, what, device, arithmetic, seconds, cost, row)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{source.name}, line {table.line_num}: {error}") from None


Read = tuple[str, str, float, Cost]
"""(what, arithmetic, seconds, cost)"""


def _product(row: Row) -> Read:
    """X [rows, inner] W [inner, columns] in one format, or a copy or a sum of ``inner`` 16-bit numbers."""
    what, kind = row.get("what") or row.get("operation", "product"), row.get("format", "bf16")
    rows, inner, columns = (int(row[name]) for name in ("rows", "inner", "columns"))
    if what in ("copy", "sum"):
        cost = Cost.of(Step(what, bytes_transferred=2 * inner * (2 if what == "copy" else 1)))
    else:
        cost = _in_format(rows, inner, columns, kind)
    return what, ELEMENTS[kind][0], _milliseconds(row), cost


ELEMENTS = MappingProxyType({"bf16": ("16-bit", 2, 2), "fp16": ("16-bit", 2, 2), "fp8": ("fp8", 1, 2),
                             "int8": ("int8", 1, 4)})
"""Arithmetic, bytes of an input and bytes of a result: fp8 products are written as bf16, int8 as int32."""


@cache
def _in_format(rows: int, inner: int, columns: int, kind: str) -> Cost:
    if kind not in ELEMENTS:
        raise ValueError(f"format = {kind!r}: expected one of {', '.join(ELEMENTS)}")
    _, inputs, results = ELEMENTS[kind]
    product = matmul(rows, inner, columns, weight_bytes=inputs)
    cost = (sp.Rational(inputs, 2) * product.only("read X") + product.only("read W", "Y = X W")
            + sp.Rational(results, 2) * product.only("write Y"))
    return cost.as_step("Y = X W")


def _milliseconds(row: Row) -> float:
    return float(row.get("ms_min") or row["ms"]) / 1e3


def _counted(row: Row) -> Read:
    """FLOPs and bytes stand in the row (``benchmarks/accelerator.py`` counts them)."""
    cost = Cost.of(Step(row["operation"], int(row["flops"]), int(row["bytes"])))
    return row["operation"], "16-bit", float(row["seconds"]), cost


@checked(kv_heads=partial(whole, at_least=1))
@cache
def llama_13b(kv_heads: int) -> Transformer:
    """Llama-2-13B with that many key/value heads: 40 as released, 8 in the lecture's thought experiment."""
    model = load_model("llama-2-13b", any_context=True)
    if 40 % kv_heads:
        raise ValueError(f"K = {shown(kv_heads)}: expected a divisor of 40, the query heads of Llama-2-13B")
    return replace(model, layers=tuple((count, replace(layer, attention=replace(layer.attention, kv_heads=kv_heads)))
                                       for count, layer in model.layers))


@cache
def _forward(kv_heads: int, batch: int, tokens: int, context: int, logits: int | None = 1) -> Cost:
    return llama_13b(kv_heads).forward(Pass(batch, tokens, context, logits=logits, pairs=visible_pairs))


def _whole_model(row: Row) -> Read:
    """One pass of ``llama_13b``; a ``pass`` makes logits for all of its tokens."""
    sizes = [int(row[name]) for name in ("K", "B", "T", "S")]
    return row["what"], "16-bit", _milliseconds(row), _forward(*sizes, logits=None if row["what"] == "pass" else 1)


def _mixed(row: Row) -> Read:
    """B sequences decoding at context S together with ``chunk`` prompt tokens after ``cached`` ones, in one pass."""
    heads, batch, context, chunk, cached = (int(row[name]) for name in ("K", "B", "S", "chunk", "cached"))
    parts = [(batch, 1, context)] * (batch > 0) + [(1, chunk, cached + chunk)] * (chunk > 0)
    passes = (Pass(*part, logits=1, pairs=visible_pairs) for part in parts)
    return row["what"], "16-bit", _milliseconds(row), llama_13b(heads).forward(*passes)


READERS: Mapping[frozenset[str], Callable[[Row], Read]] = MappingProxyType({
    frozenset({"device", "inner", "columns", "rows"}): _product,
    frozenset({"device", "operation", "seconds", "flops", "bytes"}): _counted,
    frozenset({"device", "what", "K", "B", "chunk", "cached"}): _mixed,
    frozenset({"device", "what", "K", "B", "T", "S"}): _whole_model})
"""How a row is read, by the columns that its file has."""
