"""What the planner asks of a model, compiled: a script a known model, loaded when a reader chooses it.

Everything comes out of ``Deployment`` with symbols in place of sizes, rates and formats, one function for each number
of devices. Two kinds of weights are symbols too, bytes of a number and bytes of a matrix, so that a format is a list
of numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from functools import cache, cached_property
from importlib.resources import files

import formulas
import sympy as sp

from lecture10.cost import Cost, Step
from lecture10.hardware import Accelerator
from lecture10.measurements.published import WORK, device, measurements
from lecture10.measurements.timings import timings
from lecture10.models.deployment import Deployment
from lecture10.models.formats import BYTES, FORMATS, PLAIN, Format
from lecture10.models.load import load_model
from lecture10.models.passes import Pass
from lecture10.models.transformer import Transformer
from lecture10.notation import B, S, T

MOST = 8
"""Devices of one node that the page offers; whether more would be enough it says too."""

KV, PEAK, BANDWIDTH, LINK, CAPACITY, WEIGHT = sp.symbols("kv peak bandwidth link capacity weight", positive=True)
DEVICES = sp.Symbol("devices", positive=True)
TIMED = {"llama-2-13b": files("lecture10.measurements") / "data" / "llama13b.csv"}
"""Measured times of whole models."""
PASS, MEMORY = (B, T, S, KV, PEAK, BANDWIDTH, LINK), (B, S, KV, CAPACITY)
FLOOR = (B, T, S, KV, PEAK, BANDWIDTH, DEVICES)


class AnyCard(Accelerator):
    """An accelerator whose times are derived once: steps of all models have the same symbols, and Max takes long."""

    def time(self, flops: sp.Expr, bytes_transferred: sp.Expr) -> sp.Expr:
        return _time(self, flops, bytes_transferred)


_time = cache(Accelerator.time)


CARD = AnyCard("any", PEAK, BANDWIDTH, CAPACITY, link_bandwidth=LINK)


class Remembered(Transformer):
    """A model whose passes are derived once: every number of devices asks for the whole one."""

    def forward(self, run: Pass) -> Cost:
        return _forward(self, run)


_forward = cache(Transformer.forward)


class AnyFormat(Format):
    """A format whose bytes of a matrix are a symbol, by its inputs and outputs."""

    def matrix_bytes(self, inputs: int, outputs: int) -> sp.Symbol:
        return sp.Symbol(f"m_{inputs}_{outputs}", positive=True)


class Abbreviated(Deployment):
    """The same deployment whose steps cost symbols: ``meant`` says what they stand for. Short times to compile."""

    @cached_property
    def meant(self) -> dict[sp.Symbol, sp.Expr]:
        return {}

    @cached_property
    def _device(self) -> Cost:
        return self._short(super().device_cost(B, T, S))

    @cached_property
    def _floor(self) -> Cost:
        return self._short(super().floor_cost(B, T, S).as_step("pass"))

    def _short(self, cost: Cost) -> Cost:
        return Cost(tuple(Step(step.name, self._named("f", i, step.flops), self._named("b", i, step.bytes_transferred))
                          for i, step in enumerate(cost)))

    def _named(self, letter: str, number: int, value: sp.Expr) -> sp.Expr:
        """A symbol for ``value``, or 0."""
        symbol = sp.Symbol(f"{letter}{number}", positive=True)
        return sp.S.Zero if value == 0 else self.meant.setdefault(symbol, value) and symbol

    def stored_weights(self) -> sp.Expr:
        return self._named("w", 0, super().stored_weights())

    def stored_cache(self, context: sp.Expr = S) -> sp.Expr:
        return self._named("c", 0, super().stored_cache(context))

    def device_cost(self, *_sizes: object) -> Cost:
        return self._device

    def floor_cost(self, *_sizes: object) -> Cost:
        return self._floor


def remembered(model: Transformer) -> Remembered:
    return Remembered(**{field.name: getattr(model, field.name) for field in fields(model)})


def weights(model: Transformer) -> dict[str, object]:
    """The kinds of weights that the model's functions know."""
    kinds = {"number": WEIGHT, "format": AnyFormat("any", 8)}
    plain = model.stored == PLAIN and all(layer.stored == PLAIN for _, layer in model.layers)
    return kinds if plain else kinds | {"stored": None}


def script(name: str) -> str:
    """The script of a known model. Raises ValueError where a formula has no spelling in JavaScript."""
    model = remembered(load_model(name))
    kinds = weights(model)
    counts = [*Deployment(model, CARD).layout.counts(model)]
    compiled = {kind: _compiled(model, stored, counts) for kind, stored in kinds.items()}
    shapes = [symbol for symbol in compiled["format"].pop("symbols") if symbol != WEIGHT]
    facts = {
        "name": name, "longest": min(filter(None, (model.max_context, model.positions)), default=None),
        "counts": counts, "kvStored": float(sp.sympify(model.kv_bytes)), "operations": compiled["number"].pop("names"),
        "parameters": int(model.num_params), "activeParameters": int(model.num_active_params),
        "formats": _formats(shapes, "stored" in kinds), "measured": [*_published(name), *_timed(name)]}
    parts = [f"{json.dumps(key)}:{json.dumps(value, ensure_ascii=False)}" for key, value in facts.items()]
    parts += [f"{part}:{_written({kind: found[part] for kind, found in compiled.items()})}"
              for part in ("pass", "floor", "memory")]
    return f"lecture10.model({{{','.join(parts)}}});\n"


def _written(functions: object) -> str:
    """Functions, in mappings by what they are for, as JavaScript."""
    if isinstance(functions, str):
        return functions
    return f"{{{','.join(f'{key}:{_written(inner)}' for key, inner in functions.items())}}}"


def _compiled(model: Transformer, stored: object, counts: list[int]) -> dict[str, object]:
    """The functions of one kind of weights by number of devices, the symbols they need beside ours, their rows."""
    memory, passes, names = {}, {}, {}
    for n in counts:
        plan = Abbreviated(model, CARD, n, stored, KV)
        outputs = [plan.device_memory(B, S)]
        more = sorted(outputs[0].free_symbols - {*MEMORY}, key=str)
        if n <= MOST:
            outputs += [plan.stored_weights(), plan.stored_cache(S), plan.largest_batch(S)]
        memory[n] = formulas.function((*MEMORY, *more), outputs, plan.meant)
        if n <= MOST:
            plan = Abbreviated(model, CARD, n, stored, KV)
            names[n], outputs = asked(plan)
            passes[n] = formulas.function((*PASS, *more), outputs, plan.meant)
    whole = Abbreviated(model, CARD.times(DEVICES), 1, stored, KV)
    floor = formulas.function((*FLOOR, *more), (whole.floor_time(B, T, S),), whole.meant)
    return {"pass": passes, "floor": floor, "symbols": more, "names": names, "memory": memory}


def asked(plan: Abbreviated) -> tuple[list[str], list[sp.Expr]]:
    """The operations of a pass; its seconds, its tokens/s, and of each operation what ``operation_costs`` says."""
    costs = plan.operation_costs(B, T, S)
    rows = [value for parts in costs.values() for value in (parts if parts[3] is not None else parts[2:3])]
    return [*costs], [plan.step_time(B, T, S), plan.stats(B, S).throughput, *rows]


def _formats(shapes: list[sp.Symbol], stored: bool) -> dict[str, list]:
    """What may be asked of the weights: the kind of function and the numbers that it takes. Nothing asked: ""."""
    sizes = [tuple(map(int, str(shape).split("_")[1:])) for shape in shapes]
    found = {"": ["stored"] if stored else ["number", float(PLAIN.element)]}
    found |= {name: ["number", float(size)] for name, size in BYTES.items()}
    return found | {name: ["format", *(float(form.matrix_bytes(*size)) for size in sizes)]
                    for name, form in FORMATS.items()}


def _published(name: str) -> Iterator[dict[str, object]]:
    """Published speeds of one sequence of the model, all of which generate."""
    for row in measurements():
        if row.model == name and row.batch == 1 and row.generated and row.metric in WORK:
            yield {"accelerator": device(row).name, "devices": row.devices, "format": row.precision, "B": 1,
                   "S": row.prompt + row.generated, "seconds": row.measured_ms / 1e3, "source": row.source}


def _timed(name: str) -> Iterator[dict[str, object]]:
    """Steps of the whole model that were timed for this book."""
    for timing in timings(TIMED[name]) if name in TIMED else ():
        if timing.what == "decode" and timing.row.get("K") == "40":
            yield {"accelerator": timing.device.name, "devices": 1, "format": "bf16", "B": int(timing.row["B"]),
                   "S": int(timing.row["S"]), "seconds": timing.seconds, "source": timing.file}
