"""Numbers in sentences that a reader can turn, and the results that answer.

In a notebook a number is followed by a comment, which JupyterLab and GitHub do not show: ``64<!-- B -->`` is turned,
``23.80<!-- = step -->`` answers, and ``<!-- chart: rate / B -->`` ends a paragraph with the curve of a result. What a
paragraph does not turn keeps its default. Every result is an expression of the package, compiled by ``formulas``.
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
from sphinx.application import Sphinx

from lecture10 import H100, compute_transformer_stats, expected_tokens, forward_pass, largest_batch, llama2_13b_config
from lecture10.intensity import attention, matmul, mlp
from lecture10.notation import B, D, F, K, S, T
from lecture10.speculative import operations_increase, walltime_improvement
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
class Result:
    """An expression of the package in some of the inputs; ``label`` with the unit names its axis."""

    expr: sp.Expr
    label: str
    whole: bool = False


@cache
def results() -> Mapping[str, Result]:
    """Llama-2-13B on an H100, as the pages have it."""
    shape = llama2_13b_config(S=S, K=K)
    step, stats = forward_pass(1).subs(shape), compute_transformer_stats(shape)
    product = matmul(B, *(llama2_13b_config()[size] for size in (D, F)))
    verify = forward_pass(GAMMA + 1).subs(shape).time(H100) / step.time(H100)
    return {
        "step": Result(1000 * step.time(H100), "一步的时间（毫秒）"),
        "rate": Result(B / step.time(H100), "吞吐量（词元/秒）"),
        "intensity": Result(step.flops / step.bytes_transferred, "算术强度（FLOPs/字节）"),
        "bytes-step": Result(1000 * stats.latency, "一步的时间，只算传输（毫秒）"),
        "bytes-rate": Result(stats.throughput, "吞吐量，只算传输（词元/秒）"),
        "cache-gb": Result(B * stats.kv_cache_size / 10**9, "KV Cache（GB）"),
        "crossover": Result(stats.parameter_size * S / (B * stats.kv_cache_size),
                            "KV Cache 与权重一样大的上下文（词元）"),
        "largest": Result(largest_batch(stats, H100.memory_bytes), "最大的批次", whole=True),
        "busy": Result(100 * H100.compute_time(product.flops) / H100.time(product.flops, product.bytes_transferred),
                       "运算单元在忙的时间（%）"),
        "mlp-intensity": Result(mlp().intensity.subs(llama2_13b_config(B=1)).subs(T, S), "MLP 的算术强度"),
        "attention-intensity": Result(attention(1, S, S, query_width=1, kv_width=1).intensity, "注意力的算术强度"),
        "tokens": Result(expected_tokens(ALPHA, GAMMA), "每轮平均产出的词元"),
        "speedup": Result(walltime_improvement(ALPHA, GAMMA, COST), "加速比"),
        "operations": Result(operations_increase(ALPHA, GAMMA, COST), "计算量的倍数"),
        "verify": Result(verify, "验证是一步的几倍")}


def answered(name: str, given: Mapping[str, str]) -> str:
    """The text of a result where some inputs have other values than their defaults."""
    values = [float(str(given.get(symbol.name, one.default)).replace(",", "")) for symbol, one in INPUTS.items()]
    value = _compiled(name)(*values)
    return cell(int(value) if results()[name].whole else float(value))


@cache
def _compiled(name: str) -> Callable[..., float]:
    return sp.lambdify([*INPUTS], results()[name].expr, modules="math")


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
    """The inputs and the compiled results."""
    inputs = {symbol.name: {key: value for key, value in vars(one).items()} for symbol, one in INPUTS.items()}
    lines = [f"lecture10.inputs={json.dumps(inputs, ensure_ascii=False)};"]
    for name, result in results().items():
        needed = [symbol for symbol in INPUTS if symbol in result.expr.free_symbols]
        facts = {"needs": [symbol.name for symbol in needed], "label": result.label, "whole": result.whole}
        lines.append(f"lecture10.formulas[{json.dumps(name)}]=Object.assign({formulas.function(needed, [result.expr])},"
                     f"{json.dumps(facts, ensure_ascii=False)});")
    return "\n".join(lines) + "\n"


def equip(app: Sphinx, _page: str, _template: str, context: dict, _doctree: object) -> None:
    if 'class="turned"' in context.get("body", ""):
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
