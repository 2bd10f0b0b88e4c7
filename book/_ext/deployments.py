"""What the planner asks of a model, compiled: a script a known model, loaded when a reader chooses it.

The same module compiles a reader's own config.json, in the page: SymPy and the package are all it needs.

Everything comes out of ``Deployment``. A model's own functions tell what the steps of a pass cost and what a sequence
keeps; the bytes of its weights are symbols, so that a format is a list of numbers. What follows from that, times and
shares on any number of devices, is derived from steps that cost symbols: models with the same steps have it in common.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib.resources import files

import formulas
import sympy as sp

from lecture10.cost import Cost, Step
from lecture10.hardware import Accelerator
from lecture10.measurements.published import WORK, device, measurements
from lecture10.measurements.timings import timings
from lecture10.models.deployment import Deployment
from lecture10.models.formats import BYTES, FORMATS, PLAIN, Stored
from lecture10.models.parallel import ATTENTION, EXPERTS, MIXING, Layout
from lecture10.models.passes import Pass
from lecture10.models.transformer import Transformer
from lecture10.models.windows import visible_pairs
from lecture10.notation import B, S, T

MOST = 8
"""Devices of one node that the page offers; whether more would be enough it says too."""

KV, PEAK, BANDWIDTH, LINK, CAPACITY, WEIGHTS, CACHE, DEVICES, FLOPS, MOVED = sp.symbols(
    "kv peak bandwidth link capacity weights cache devices flops moved", positive=True)
TIMED = {"llama-2-13b": files("lecture10.measurements") / "data" / "llama13b.csv"}
"""Measured times of whole models."""


class AnyCard(Accelerator):
    """An accelerator whose formula for the time of an operation is derived once: SymPy's Max takes long to compare."""

    def time(self, flops: sp.Expr, bytes_transferred: sp.Expr) -> sp.Expr:
        if flops == 0 or bytes_transferred == 0:
            return self.compute_time(flops) + self.memory_time(bytes_transferred)  # the longer one: nothing is negative
        return _time(self).xreplace({FLOPS: sp.sympify(flops), MOVED: sp.sympify(bytes_transferred)})


@cache
def _time(card: AnyCard) -> sp.Expr:
    return formulas.exact(Accelerator.time(card, FLOPS, MOVED))


CARD = AnyCard("any", PEAK, BANDWIDTH, CAPACITY, link_bandwidth=LINK)


@dataclass(frozen=True)
class AnyStored(Stored):
    """Weights whose bytes are symbols, ``table`` says of what: in every format the same formulas, other numbers."""

    real: Stored = PLAIN
    table: dict[tuple, sp.Symbol] = field(default_factory=dict, compare=False)

    def num_bytes(self, operation: str, shapes: tuple, vectors: object) -> sp.Expr:
        if all(sp.sympify(size).is_number for size in (*sum(shapes, ()), vectors)):
            return self.symbol(operation, shapes, vectors)
        if any(name == operation for name, *_ in self.real.parts):
            raise ValueError(f"{operation} in a format of its own: expected one that each row has by itself")
        return self.symbol("element") * sum((a * b for a, b in shapes), vectors)

    def symbol(self, *what: object) -> sp.Symbol:
        return self.table.setdefault((self.real, *what), sp.Symbol(f"m{len(self.table)}", positive=True))

    def instead(self, _weight_bytes: object) -> AnyStored:
        return self


def in_any_format(model: Transformer) -> tuple[Transformer, dict[tuple, sp.Symbol]]:
    """The model with symbols for the bytes of its weights, and of what they are."""
    table: dict[tuple, sp.Symbol] = {}

    def any_stored(real: Stored) -> AnyStored:
        stored = AnyStored(real=real, table=table)
        object.__setattr__(stored, "element", stored.symbol("element"))
        return stored

    layers = tuple((count, replace(layer, stored=any_stored(layer.stored))) for count, layer in model.layers)
    return replace(model, stored=any_stored(model.stored), layers=layers), table


def in_format(wanted: object, table: Mapping[tuple, sp.Symbol]) -> list[float]:
    """The numbers for the symbols, with all weights in the format ``wanted``; None: as the model's file says."""
    kept = {real: real.instead(wanted) for real, *_ in table}

    def number(real: Stored, operation: str, *sizes: object) -> float:
        stored = kept[real]
        return float(stored.num_bytes(operation, *sizes) if sizes else stored.element)

    return [int(value) if value.is_integer() else value for value in (number(*what) for what in table)]


@dataclass(frozen=True)
class Named(Transformer):
    """A model whose ``steps`` cost symbols: ``f0, b0, …`` in a pass, ``g0, h0, …`` those of one device, ``k0, l0, …``
    in the least pass. ``exchanges``: what devices send each other."""

    steps: Cost = field(default_factory=Cost)
    exchanges: tuple[str, ...] = ()
    letters: str = "fb"

    @classmethod
    def of(cls, model: Transformer, steps: Cost, exchanges: tuple[str, ...] = ()) -> Named:
        return cls(**{each.name: getattr(model, each.name) for each in fields(model)}, steps=steps, exchanges=exchanges)

    def forward(self, run: Pass) -> Cost:
        letters = self.letters if run.batch == B else "kl" if run.batch == 1 else "gh"
        return Cost(tuple(
            Step(step.name, *(_symbol(f"{letter}{i}") if value != 0 else 0
                              for letter, value in zip(letters, (step.flops, step.bytes_transferred))))
            for i, step in enumerate(self.steps)))


@cache
def _symbol(name: str) -> sp.Symbol:
    return sp.Symbol(name, positive=True)


@dataclass(frozen=True)
class AnyCount(Layout):
    """A layout of a ``Named`` model on several devices, however many."""

    def __post_init__(self) -> None:
        """Nothing to refuse: whether a number of devices starts, ``Layout.counts`` says."""

    @property
    def splits_sequences(self) -> bool:
        return self.attention == ATTENTION[1]

    def on_one_device(self, model: Named) -> Named:
        return model if self.splits_sequences else replace(model, letters="gh")

    def traffic(self, model: Named, batch: sp.Expr, tokens: sp.Expr) -> dict[str, sp.Expr]:
        """Exchanges carry the same for every token: ``t0, …`` bytes."""
        return {name: batch * tokens * sent for name, sent in zip(model.exchanges, sent_by(model))}


class Plan(Deployment):
    """A deployment of a ``Named`` model on one device, or on any number of several."""

    def __post_init__(self) -> None:
        """Nothing to refuse."""

    @property
    def layout(self) -> Layout:
        kinds = self.attention, self.experts
        return Layout(1, *kinds) if self.devices == 1 else AnyCount(self.devices, *kinds)

    def _weights(self, _layout: Layout) -> sp.Expr:
        return WEIGHTS

    def _cache(self, _layout: Layout, _context: sp.Expr) -> sp.Expr:
        return CACHE


def sent_by(model: Named) -> list[sp.Symbol]:
    return [_symbol(f"t{i}") for i in range(len(model.exchanges))]


def nonzero(steps: Iterable[Step]) -> list[sp.Expr]:
    return [value for step in steps for value in (step.flops, step.bytes_transferred) if value != 0]


# What all models share


def shared(whichever: Transformer) -> Iterator[tuple[str, str]]:
    """Sequences on a device, and the memory of the fullest one with the largest batch, by the way of attention: the
    same for every model."""
    yield "sequences", formulas.function((B, DEVICES), [AnyCount(DEVICES, ATTENTION[1]).sequences(B)])
    for attention in ATTENTION:
        plan = Plan(whichever, CARD, DEVICES, attention=attention)
        yield f"memory[{json.dumps(attention)}]", formulas.function(
            (B, DEVICES, WEIGHTS, CACHE, CAPACITY), [plan.device_memory(B, S), plan.largest_batch(S)])


# What models with the same steps share


def timed(model: Named, devices: sp.Expr | int = DEVICES, attention: str = ATTENTION[0],
          experts: str = EXPERTS[0]) -> tuple[list[str], tuple, list[sp.Expr]]:
    """The operations of a pass; of what its seconds, its tokens/s and all of ``operation_costs`` are functions; these.
    """
    plan = Plan(model, CARD, devices, kv_bytes=KV, attention=attention, experts=experts)
    costs, own = plan.operation_costs(B, T, S), []
    if devices != 1:
        own = plan.layout.on_one_device(model).forward(Pass(plan.layout.sequences(B), T, S))
        own = [step for step in own if plan.layout.splits_sequences or step.name in MIXING]
    given = (B, T, nonzero(model.forward(Pass(B, T, S))), nonzero(own), sent_by(model), DEVICES, PEAK, BANDWIDTH, LINK)
    rows = [value for parts in costs.values() for value in (parts if parts[3] is not None else parts[2:3])]
    return [*costs], given, [plan.step_time(B, T, S), plan.stats(B, S).throughput, *rows]


def fastest(model: Named) -> tuple[list[str], tuple, list[sp.Expr]]:
    """Of what the floor of a pass, in which operations have no names, is a function; the floor."""
    given = (nonzero(model.forward(Pass(B, T, S))), nonzero(model.forward(Pass(1, 1, 1))), DEVICES, PEAK, BANDWIDTH)
    return [], given, [Plan(model, CARD, DEVICES, kv_bytes=KV).floor_time(B, T, S)]


_compiled: dict[tuple, tuple[list[str], str]] = {}


def in_common(model: Named, what: Callable[..., tuple], *how: object) -> tuple[list[str], str]:
    """The operations and the function of ``what(model, *how)``, compiled once for all models that have it in common."""
    rows = tuple((step.name, step.flops == 0, step.bytes_transferred == 0) for step in model.steps)
    mixing = frozenset(weights.operation for _, layer in model.layers for weights in layer.mixing_weights)
    key = (what, how, rows, mixing, model.exchanges)
    if key not in _compiled:
        names, given, outputs = what(model, *how)
        _compiled[key] = names, formulas.function(given, outputs)
    return _compiled[key]


# What is a model's own


def script(name: str, model: Transformer) -> str:
    """The script of ``model``, offered as ``name``. Raises ValueError where a formula has no spelling in JavaScript."""
    plain, table = in_any_format(model)
    whole, own, kept = costs(plain)
    total, outside = plain.weight_bytes(), Named.of(model, whole)
    weights = [*table.values()]
    names, alone = in_common(outside, timed, 1)
    facts = {
        "name": name, "longest": min(filter(None, (model.max_context, model.positions)), default=None),
        "kvStored": float(sp.sympify(model.kv_bytes)), "parameters": int(model.num_params),
        "activeParameters": int(model.num_active_params), "weights": _formats(table),
        "cost": formulas.function((B, T, S, KV, weights), nonzero(whole)),
        "own": {n: formulas.function((B, T, S, KV), nonzero(steps)) for n, steps in own.items()},
        "cache": {n: formulas.function((S, KV), [size]) for n, size in kept.items()},
        "one": {"operations": names, "pass": alone}, "floor": in_common(outside, fastest)[1],
        "layouts": {" ".join(how): _divided(plain, outside, total, weights, *how) for how in ways(model)},
        "measured": [*_published(name), *_timed(name)]}
    return f"lecture10.model({_written(facts)});\n"


def ways(model: Transformer) -> Iterator[tuple[str, str]]:
    """How the model can be divided."""
    experts = EXPERTS if any(weights.operation == "experts" for _, layer in model.layers for weights in layer.weights) \
        else EXPERTS[:1]
    return ((attention, way) for attention in ATTENTION for way in experts)


def costs(model: Transformer) -> tuple[Cost, dict[int, list[Step]], dict[int, sp.Expr]]:
    """The whole pass; of one of n devices with a share of the heads, its operations on caches; what it keeps."""
    run = Pass(B, T, S, logits=1, weight_bytes=None, kv_bytes=KV, pairs=cache(visible_pairs))
    parts = {n: Layout(n).on_one_device(model) for n in Layout().counts(model)}
    own = {n: [step for count, layer in part.layers if layer.attention is not None
               for step in count * Cost(layer.attention.steps(run))] for n, part in parts.items() if 1 < n <= MOST}
    kept = {n: Deployment(part, CARD, kv_bytes=KV).stored_cache(S) for n, part in parts.items()}
    return model.forward(run), own, kept


def _divided(model: Transformer, named: Named, total: sp.Expr, weights: list[sp.Symbol], attention: str,
             experts: str) -> dict[str, object]:
    """The numbers of devices of a layout, what they send for a token, the bytes of the weights of each, its passes."""
    counts, layout = [*Layout(1, attention, experts).counts(model)], AnyCount(DEVICES, attention, experts)
    sent = {n: Layout(n, attention, experts).traffic(model, 1, 1) for n in counts if 1 < n <= MOST}
    stored = layout.stored_weights(model, Pass(1, 1, 1), total)
    found = {"counts": counts, "weights": formulas.function((DEVICES, weights), [stored]),
             "sent": {n: [float(each) for each in exchanges.values()] for n, exchanges in sent.items()}}
    if not sent:
        return found
    exchanges = tuple(next(iter(sent.values())))
    names, passes = in_common(replace(named, exchanges=exchanges), timed, DEVICES, attention, experts)
    return found | {"operations": names, "pass": passes}


def _formats(table: Mapping[tuple, sp.Symbol]) -> dict[str, list[float]]:
    """The numbers that stand for the weights in every format that may be asked for. Nothing asked: ""."""
    asked = {"": None} | BYTES | FORMATS
    numbers = {form: in_format(form, table) for form in {*asked.values()}}  # some have two names
    return {name: numbers[form] for name, form in asked.items()}


def _written(facts: object) -> str:
    """Functions among numbers and words, as JavaScript."""
    if isinstance(facts, formulas.Function):
        return facts
    if isinstance(facts, Mapping):
        return f"{{{','.join(f'{json.dumps(str(key))}:{_written(inner)}' for key, inner in facts.items())}}}"
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":"))


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
