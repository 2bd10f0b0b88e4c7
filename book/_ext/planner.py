"""The page 算一算: a form and its answers in place of the list of settings, and a script for each known model.

The list is the default question. Its answer stands in the page, computed by the package; ``_static/planner.js`` answers
every other one with the functions of ``deployments.script``. ``_static/own.js`` has the page's Python make such a
script of a reader's config.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path

import compiling
import deployments
import formulas
import live
import sympy as sp
from docutils import nodes
from sphinx.application import Sphinx

from lecture10.command import answer as command
from lecture10.command.answer import LIMITS, MOST, answer, size
from lecture10.cost import Cost, Step
from lecture10.hardware import accelerators, find_accelerator
from lecture10.models.deployment import EACH, PEAK_OF, Deployment
from lecture10.models.formats import BYTES
from lecture10.models.load import load_model
from lecture10.models.parallel import ATTENTION, EXPERTS
from lecture10.notation import S

PAGE = "book/planner"
STORED = "按模型文件"
CHOICES = {"模型": "model", "加速器": "accelerator", "台数": "devices", "注意力的分法": "attention",
           "专家的分法": "experts", "权重格式": "weights", "KV Cache 格式": "kv", "算术": "arithmetic"}
SIZES = {"批次大小": ("B", "条序列", 1, 4096), "上下文长度": ("S", "词元", 2, 2**20),
         "提示长度": ("prompt", "词元", 1, 2**20), "回答长度": ("answer", "词元", 1, EACH)}
"""The settings by their names in the list: what they are called in the address, their units, their smallest and
largest value. The prompt is what the answer leaves of the context."""

ANSWERS = {
    "weights": "权重，每台", "cache": "一条序列的缓存（KV Cache 和状态），每台", "memory": "占用，每台",
    "capacity": "显存，每台", "largest-batch": "最大批次", "first-token": "首词延迟", "latency": "每词延迟",
    "floor": "每词延迟的下界", "throughput": "吞吐量", "request": "整批从提示到答完"}
"""What is answered, by ``data-quantity``."""

WORDS = {
    "fits": "{model} 放得下：{on}最多同时放 {largest} 条 {S} 词元的序列。",
    "not": "{model} 放不下：{on}放 {B} 条 {S} 词元的序列，每台要 {memory}，只有 {capacity}；{enough}。",
    "enough": "{needed} 台就够", "none": "多少台都不够",
    "speed": "批次大小为 {B} 时，每词延迟至少 {latency}，吞吐量至多 {throughput}；{limit}。",
    "limit": "限制它的是{what}", "and": "和", "one": "一台 {card} ", "many": "{n} 台 {card} ",
    "tensor-parallel": "张量并行", "data-parallel": "数据并行", "expert-parallel": "专家并行",
    "memory": "显存带宽", "compute": "算力", "link": "互连", "sequences": "{n} 条", "rate": "{n} 词元/秒"}
"""Everything that is said with numbers in it."""

def seconds(value: float) -> str:
    """A time as the command prints it, with the usual letter."""
    return command.seconds(value).replace(" us", " µs")


def place(app: Sphinx, doctree: nodes.document) -> None:
    """The form in place of the list, its answer below."""
    if app.env.docname != PAGE:
        return
    settings = next(doctree.findall(nodes.bullet_list))
    asked = dict(item.astext().split("：", 1) for item in settings)
    settings.replace_self(nodes.raw("", _form(asked) + _answers(asked), format="html"))


def _form(asked: Mapping[str, str]) -> str:
    rows = "".join(_row(label, _select(key, label, asked[label])) for label, key in CHOICES.items())
    given = asked | {"提示长度": str(int(asked["上下文长度"]) - int(asked["回答长度"]))}
    rows += "".join(_row(label, _number(label, given[label])) for label in SIZES)
    return f"""<form class="planner" id="planner" aria-label="设置" hidden autocomplete="off">
<div class="settings">{rows}</div>
<p class="buttons"><button type="button" data-action="compare" aria-pressed="false">并排再比一种</button>
<button type="button" data-action="link">复制链接</button><button type="button" data-action="command">复制命令</button>
<button type="button" data-action="reset">恢复默认</button><span role="status" class="done"></span></p></form>"""


def _row(label: str, control: str) -> str:
    return f'<div class="setting" role="group" aria-label="{label}"><span class="name">{label}</span>{control}</div>'


def _select(key: str, label: str, chosen: str) -> str:
    named = {STORED: "", **{WORDS[way]: way for way in (*ATTENTION, *EXPERTS)}}
    value = named.get(chosen, chosen)
    return (f'<span class="control"><select data-quantity="{key}" aria-label="{label}">'
            f'<option value="{escape(value)}" selected>{escape(chosen)}</option></select></span>')


def _number(label: str, value: str) -> str:
    key, unit, least, most = SIZES[label]
    return (f'<span class="control"><span class="with-unit"><input class="turn" data-quantity="{key}" data-scale="log" '
            f'data-unit="{unit}" data-min="{least}" data-max="{most}" aria-label="{label}" value="{value}"> '
            f'{unit}</span>'
            f'<input type="range" data-of="{key}" step="any" tabindex="-1" aria-hidden="true"></span>')


def _answers(asked: Mapping[str, str]) -> str:
    """The answer to the default question in numbers and words, as the script fills it in."""
    batch, context = int(asked["批次大小"]), int(asked["上下文长度"])
    prompt = context - int(asked["回答长度"])
    plan = Deployment(load_model(asked["模型"]), find_accelerator(asked["加速器"]), int(asked["台数"]),
                      arithmetic=PEAK_OF[asked["算术"]])
    found, shown = answer(plan, batch, context), texts(plan, batch, context, context - prompt)
    rows = "".join(f'<tr><th scope="row">{label}</th><td data-quantity="{key}">{shown[key]}</td></tr>'
                   for key, label in ANSWERS.items())
    steps = "".join(f"<tr><th scope=\"row\">{name}</th><td>{seconds(time)}</td><td>{WORDS[kind]}</td></tr>"
                    for name, _, _, time, kind in plan.operations(batch, 1, context))
    given = "，".join(f"{label} {value}" for label, value in asked.items())
    return f"""<section class="planner-answers" aria-label="答案">
<noscript><p>这是默认的一问：{escape(given)}。改动设置要打开浏览器的 JavaScript，或者在终端里问。</p></noscript>
<p class="verdict" data-quantity="verdict" role="status">{_verdict(found, shown)}</p>
<div class="memory" data-quantity="memory-bar"></div>
<table class="answers table"><caption>答案，时间都是下界</caption>
<thead><tr><th scope="col">量</th><th scope="col">这种设置</th></tr></thead><tbody>{rows}</tbody></table>
<table class="operations table"><caption>一步里每个运算的时间和限制</caption><thead><tr><th scope="col">运算</th>
<th scope="col">时间</th><th scope="col">受限于</th></tr></thead><tbody>{steps}</tbody></table>
<div class="charts"></div><div class="measured"></div></section>
<script type="application/json" id="planner-facts">{_facts()}</script>"""


def texts(plan: Deployment, batch: int, context: int, length: int) -> dict[str, str]:
    """The answers as they are shown: ``batch`` sequences of ``context`` tokens, of which ``length`` are the answer."""
    found, prompt = answer(plan, batch, context), context - length
    request = float(plan.time_to_first_token(batch, prompt)) + plan.generation_time(batch, prompt, length)
    return {
        "weights": size(found["weights_bytes"] / plan.devices),
        "cache": size(found["kv_cache_per_sequence_bytes"] + found["state_per_sequence_bytes"]),
        "memory": size(found["memory_per_device_bytes"]), "capacity": size(found["capacity_per_device_bytes"]),
        "largest-batch": WORDS["sequences"].format(n=f"{found['largest_batch']:,}"),
        "first-token": seconds(float(plan.time_to_first_token(1, prompt))),
        "latency": seconds(found["time_per_output_token_s"]), "floor": seconds(found["floor_time_per_output_token_s"]),
        "throughput": WORDS["rate"].format(n=f"{found['throughput_tokens_per_s']:,.0f}"), "request": seconds(request)}


def _verdict(found: Mapping[str, object], shown: Mapping[str, str]) -> str:
    on = WORDS["one" if found["devices"] == 1 else "many"].format(card=found["accelerator"], n=found["devices"])
    needed = WORDS["enough" if found["devices_needed"] else "none"].format(needed=found["devices_needed"])
    said = {"model": found["model"], "on": on, "largest": f"{found['largest_batch']:,}", "B": f"{found['batch']:,}",
            "S": f"{found['context_tokens']:,}", "enough": needed,
            "limit": WORDS["limit"].format(what=_limit(found["limits"])), **shown}
    return f"{WORDS['fits' if found['fits'] else 'not']}{WORDS['speed']}".format(**said)


def _limit(shares: Mapping[str, float]) -> str:
    ordered = sorted(((share, kind) for kind, share in shares.items() if share > 1 - MOST), reverse=True)
    alone = ordered[0][0] >= MOST
    return WORDS["and"].join(WORDS[kind] + ("" if alone else f"（{share:.0%}）")
                             for share, kind in (ordered[:1] if alone else ordered))


def _facts() -> str:
    """Accelerators, formats, words and the formulas that all models share."""
    cards = {card.name: {
        "peaks": {name: float(card.peaks[kind]) for name, kind in PEAK_OF.items() if kind in card.peaks},
        "bandwidth": float(card.memory_bandwidth), "capacity": float(card.capacity),
        "link": None if card.link_bandwidth is None else float(card.link_bandwidth)}
        for card in accelerators().values()}
    return json.dumps({"cards": cards, "kv": {name: float(size) for name, size in BYTES.items()}, "words": WORDS,
                       "stored": STORED, "divided": {"attention": ATTENTION, "experts": EXPERTS}, "limits": [*LIMITS],
                       "alone": MOST, "most": deployments.MOST}, ensure_ascii=False).replace("</", "<\\/")


def shared() -> str:
    """The formulas that no model changes: attainable rate, intensity, and the time of a batch of requests."""
    flops, moved, first, prompt, length = sp.symbols("flops bytes first prompt length", positive=True)
    step = sp.Function("step")
    requests = first + sp.Sum(step(S), (S, prompt + 1, prompt + length - 1))
    card = deployments.CARD
    return "lecture10.formulas.memory={};\n" + "".join(f"lecture10.formulas.{name}={text};\n" for name, text in {
        **dict(deployments.shared(load_model("llama-2-13b"))),
        "attained": formulas.function((flops, moved, deployments.PEAK, deployments.BANDWIDTH),
                                      (flops / card.time(flops, moved),)),
        "intensity": formulas.function((flops, moved), (Cost.of(Step("one", flops, moved)).intensity,)),
        "rate": formulas.function((flops, first), (flops / first,)),
        "requests": formulas.function((first, step, prompt, length), (requests,))}.items())


def equip(app: Sphinx, page: str, _template: str, context: dict, _doctree: object) -> None:
    """The scripts of the page, and the models that were compiled."""
    if page != PAGE or "body" not in context:
        return
    own = ("python-bar.js", "own.js") if live.available(app) else ()
    for script in ("d3.min.js", "turn.js", "formulas/shared.js", "charts.js", "planner.js", *own):
        app.add_js_file(script)
    models = json.dumps(compiling.offered(app))
    context["body"] = context["body"].replace('{"cards"', f'{{"models": {models}, "cards"', 1)


def finish(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        Path(app.outdir, compiling.FOLDER, "shared.js").write_text(shared(), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("doctree-read", place)
    app.connect("html-page-context", equip)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
