"""Numbers in sentences that a reader can turn, and the results that answer.

In a notebook a number is followed by a comment, which JupyterLab and GitHub do not show: ``64<!-- B -->`` is turned,
``H100 SXM<!-- accelerator -->`` chosen, ``23.80<!-- = step -->`` answers, and ``<!-- chart: rate / B -->`` ends a
paragraph with the curve of a result. What a paragraph does not turn keeps its default. Every result is an expression of
the package, compiled by ``formulas``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import compiling
import formulas
import sympy as sp
from deployments import BANDWIDTH, CAPACITY, CARD, KV, PEAK, WEIGHTS
from sphinx.application import Sphinx

from lecture10 import compute_transformer_stats, expected_tokens, forward_pass, largest_batch, llama2_13b_config
from lecture10.hardware import accelerators
from lecture10.intensity import attention, matmul, mlp
from lecture10.models.formats import BYTES
from lecture10.notation import B, D, F, K, S, T, memory_bandwidth
from lecture10.speedup import operations_increase, walltime_improvement
from lecture10.table import cell

NUMBER = r"(?P<text>\d[\d,]*(?:\.\d+)?)"
TURNED = re.compile(NUMBER + r"<!-- (?P<name>[A-Za-z]+) -->")
ANSWER = re.compile(NUMBER + r"<!-- = (?P<name>[\w-]+) -->")
CHART = re.compile(r"<!-- chart: (?P<name>[\w-]+) / (?P<over>[A-Za-z]+) -->")
ALPHA, GAMMA, COST = sp.symbols("alpha gamma c", positive=True)


@dataclass(frozen=True)
class Input:
    """What can be turned: its name aloud, its unit, its default and its range, in steps or, ``log``, by factors."""

    label: str
    default: float
    least: float
    most: float
    step: float = 1
    log: bool = False
    values: tuple[int, ...] = ()
    unit: str = ""


INPUTS: Mapping[sp.Symbol, Input] = {
    B: Input("批次大小 B", 64, 1, 1024, log=True, unit="条序列"),
    S: Input("上下文长度 S", 1024, 16, 131072, log=True, unit="个词元"),
    K: Input("键值头数 K", 40, 1, 40, values=tuple(k for k in range(1, 41) if 40 % k == 0), unit="个"),
    ALPHA: Input("接受率 α", 0.8, 0, 0.99, 0.01), GAMMA: Input("草稿长度 γ", 4, 1, 16, unit="个词元"),
    COST: Input("草稿一步的时间 c", 0.05, 0, 1, 0.01, unit="倍")}


@dataclass(frozen=True)
class Choice:
    """What can be chosen: its name aloud, its default, and what the symbols are for each of its values."""

    label: str
    default: str
    values: Mapping[str, Mapping[sp.Symbol, sp.Expr]]


CHOICES: Mapping[str, Choice] = {
    "accelerator": Choice("加速器", "H100 SXM", {
        card.name: {PEAK: card.peak_flops, **dict.fromkeys((BANDWIDTH, memory_bandwidth), card.memory_bandwidth),
                    CAPACITY: card.memory_bytes}
        for card in accelerators().values()}),
    "weights": Choice("权重格式", "bf16", {name: {WEIGHTS: size} for name, size in BYTES.items()}),
    "kv": Choice("KV Cache 格式", "bf16", {name: {KV: size} for name, size in BYTES.items()})}
"""By the names that the planner has for them: it is one state."""
CHOSEN = re.compile("|".join(f"(?P<{name}>{'|'.join(sorted(map(re.escape, one.values), key=len, reverse=True))})"
                             f"<!-- {name} -->" for name, one in CHOICES.items()))


@dataclass(frozen=True)
class Result:
    """An expression of the package in some of the inputs; ``label`` with the unit names its axis. The result called
    ``beside`` is drawn as a second line."""

    expr: sp.Expr
    label: str
    whole: bool = False
    beside: str = ""


@cache
def results() -> Mapping[str, Result]:
    """Llama-2-13B on an accelerator, as the pages have it."""
    shape = {symbol: value for symbol, value in llama2_13b_config(S=S, K=K).items() if symbol != memory_bandwidth}
    plain, stats = forward_pass(1).subs(shape), compute_transformer_stats(shape)
    step = forward_pass(1, weight_bytes=WEIGHTS, kv_bytes=KV).subs(shape)
    product = matmul(B, *(llama2_13b_config()[size] for size in (D, F)))
    verify = forward_pass(GAMMA + 1).subs(shape).time(CARD) / plain.time(CARD)
    return {
        "step": Result(1000 * step.time(CARD), "一步的时间（毫秒）"),
        "rate": Result(B / step.time(CARD), "吞吐量（词元/秒）"),
        "intensity": Result(step.flops / step.bytes_transferred, "算术强度（FLOPs/字节）"),
        "bytes-step": Result(1000 * stats.latency, "一步的时间，只算传输（毫秒）"),
        "bytes-rate": Result(stats.throughput, "吞吐量，只算传输（词元/秒）"),
        "cache-gb": Result(B * step_cache(shape) / 10**9, "KV Cache（GB）", beside="weights-gb"),
        "weights-gb": Result(stats.parameter_size / 2 * WEIGHTS / 10**9, "权重（bf16，GB）"),
        "crossover": Result(stats.parameter_size * S / (B * stats.kv_cache_size),
                            "KV Cache 与权重一样大的上下文（词元）"),
        "largest": Result(largest_batch(stats, CAPACITY), "最大的批次", whole=True),
        "busy": Result(100 * CARD.compute_time(product.flops) / CARD.time(product.flops, product.bytes_transferred),
                       "运算单元在忙的时间（%）"),
        "attained": Result(product.flops / product.as_step("product").time(CARD) / 10**12, "矩阵乘法的速率（TFLOP/s）"),
        "ridge": Result(CARD.intensity, "转折点（FLOPs/字节）"),
        "product-intensity": Result(product.intensity, "矩阵乘法的强度（FLOPs/字节）"),
        "mlp-intensity": Result(mlp().intensity.subs(llama2_13b_config(B=1)).subs(T, S), "MLP 的算术强度"),
        "attention-intensity": Result(attention(1, S, S, query_width=1, kv_width=1).intensity, "注意力的算术强度"),
        "tokens": Result(expected_tokens(ALPHA, GAMMA), "每轮平均产出的词元"),
        "speedup": Result(walltime_improvement(ALPHA, GAMMA, COST), "加速比"),
        "operations": Result(operations_increase(ALPHA, GAMMA, COST), "计算量的倍数"),
        "verify": Result(verify, "验证是一步的几倍")}


def step_cache(shape: Mapping[sp.Symbol, sp.Expr]) -> sp.Expr:
    """Bytes that a step reads of the cache of one sequence: all of it."""
    return forward_pass(1, kv_bytes=KV).subs({**shape, B: 1}).only("attention").bytes_transferred


def given(paragraph: str) -> dict[str, str]:
    """The text of everything that a paragraph turns."""
    chosen = {found.lastgroup: found[found.lastgroup] for found in CHOSEN.finditer(paragraph)}
    return chosen | {found["name"]: found["text"] for found in TURNED.finditer(CHOSEN.sub("", paragraph))}


def numbers(asked: Mapping[str, str]) -> dict[sp.Symbol, float]:
    """The values of all symbols; what is not asked has its default."""
    chosen = [one.values[asked.get(name, one.default)] for name, one in CHOICES.items()]
    return {symbol: float(str(asked.get(symbol.name, one.default)).replace(",", "")) for symbol, one in INPUTS.items()
            } | {symbol: float(value) for each in chosen for symbol, value in each.items()}


def answered(name: str, asked: Mapping[str, str]) -> str:
    """The text of a result where some inputs have other values than their defaults."""
    value = _compiled(name)(*numbers(asked).values())
    return cell(int(value) if results()[name].whole else float(value))


@cache
def _compiled(name: str) -> Callable[..., float]:
    return sp.lambdify([*numbers({})], results()[name].expr, modules=[{"Largest": max}, "math"])


def translate(app: Sphinx, docname: str, source: list[str]) -> None:
    """Comments become elements; those of a name that is not known are refused."""
    if not app.env.doc2path(docname).endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    cells = [each | {"source": marked("".join(each["source"]))} if each["cell_type"] == "markdown" else each
             for each in notebook["cells"]]
    source[0] = json.dumps(notebook | {"cells": cells})


def marked(text: str) -> str:
    """A cell's text with elements for what turns. Raises ValueError for an unknown name."""
    text = CHOSEN.sub(lambda found: f'<span class="turned chosen" data-quantity="{found.lastgroup}">'
                                    f"{found[found.lastgroup]}</span>", text)
    inputs = {symbol.name for symbol in INPUTS}
    for pattern, known in ((TURNED, inputs), (ANSWER, results() if ANSWER.search(text) else {}), (CHART, results()
                           if CHART.search(text) else {})):
        for found in pattern.finditer(text):
            if found["name"] not in known:
                raise ValueError(f"{found[0]}: expected one of {', '.join(known)}")
    text = TURNED.sub(r'<span class="turned" data-quantity="\g<name>">\g<text></span>', text)
    text = ANSWER.sub(r'<output class="turned" data-quantity="\g<name>">\g<text></output>', text)
    return CHART.sub(r'<span class="turn-chart" data-curve="\g<name>" data-over="\g<over>"></span>', text)


def script() -> str:
    """What turns, what can be chosen, and the compiled results."""
    inputs = {symbol.name: {key: value for key, value in vars(one).items()} for symbol, one in INPUTS.items()}
    choices = {name: {"label": one.label, "default": one.default, "values": {
        value: {symbol.name: float(number) for symbol, number in symbols.items()}
        for value, symbols in one.values.items()}} for name, one in CHOICES.items()}
    lines = [f"lecture10.inputs={json.dumps(inputs, ensure_ascii=False)};",
             f"lecture10.choices={json.dumps(choices, ensure_ascii=False)};"]
    for name, result in results().items():
        needed = [symbol for symbol in numbers({}) if symbol in result.expr.free_symbols]
        facts = {"needs": [symbol.name for symbol in needed], "label": result.label, "whole": result.whole,
                 "beside": result.beside}
        lines.append(f"lecture10.formulas[{json.dumps(name)}]=Object.assign({formulas.function(needed, [result.expr])},"
                     f"{json.dumps(facts, ensure_ascii=False)});")
    return "\n".join(lines) + "\n"


def equip(app: Sphinx, _page: str, _template: str, context: dict, _doctree: object) -> None:
    if 'class="turned' in context.get("body", ""):
        for name in ("d3.min.js", "turn.js", "formulas/book.js", "charts.js", "sentences.js"):
            app.add_js_file(name)


def finish(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        Path(app.outdir, compiling.FOLDER, "book.js").write_text(script(), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("source-read", translate, priority=400)
    app.connect("html-page-context", equip)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
