"""What the site's extensions make of a page, on pages of a few words."""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from docutils.utils import new_document

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book" / "_ext"))

import archive
import assets
import compiling
import graph
import live
import mathml
import plain
import planner
import reading
import scripts
import search
import terms
import turning


def page(*parts: nodes.Node) -> nodes.document:
    document = new_document("page")
    document += parts
    return document


def text(words: str) -> nodes.paragraph:
    return nodes.paragraph("", words)


def code(lines: str, language: str = "ipython3") -> nodes.literal_block:
    return nodes.literal_block(lines, lines, language=language)


@pytest.mark.parametrize(("parts", "minutes"), [
    ([text("字" * 350)], 1), ([text("字" * 351)], 2), ([text("word " * 999)], 0),
    ([code("x\n" * 19 + "# 字字")], 1), ([code("x\n" * 20 + "x")], 2), ([code("字\n" * 400, "none")], 0),
    ([nodes.math_block("", "x")] * 8, 1), ([text("字" * 175), code("x\n" * 9 + "x"), nodes.math_block("", "x")], 2)])
def test_minutes_of_a_page(parts, minutes):
    assert reading.minutes(page(*(part.deepcopy() for part in parts))) == minutes


def test_what_a_page_has_stands_under_its_title_once():
    context = {"body": "<h1>A</h1><h1>B</h1>"}
    reading.announce(None, "", "", context, page(text("字"), nodes.figure(), nodes.figure()))
    assert context["body"] == '<h1>A</h1>\n<p class="reading-time">阅读约 1 分钟 · 2 幅图</p><h1>B</h1>'


def cell(kind: str, name: str, source: str, **more: object) -> dict:
    return {"cell_type": kind, "id": name, "source": [source], "metadata": {}, "outputs": []} | more


EXERCISE = [cell("markdown", "ex", "### 练习：一\n问？", metadata={"answers": [{"asks": "x"}]}),
            cell("markdown", "so", "#### 解答\n因为"), cell("code", "c1", "1"), cell("code", "c2", "2"),
            cell("markdown", "so2", "所以"), cell("markdown", "sec-next", "## 下一节"), cell("code", "c3", "3")]


def test_answers_belong_to_the_last_cell_of_the_solution():
    shown = {"output_type": "display_data", "data": {"text/plain": ["a", "b"]}}
    drawn = {"output_type": "display_data", "data": {"image/svg+xml": "<svg/>", "text/plain": "figure"}}
    said = {"output_type": "stream", "text": ["c"]}
    silent = [cell("markdown", "ex2", "### 练习：二"), cell("markdown", "so3", "#### 解答"), cell("code", "c0", "0")]
    early = [EXERCISE[0], cell("code", "c5", "5"), *EXERCISE[1:]]  # a cell of the exercise does not know the answer
    assert live.page_data([*silent, *early[:2]])["answers"] == {}
    assert live.page_data([*silent, *early])["answers"] == {"ex": [{"asks": "x", "cell": "c2"}]}
    cells = [*EXERCISE, cell("code", "c4", "4", outputs=[shown, drawn, said], metadata={"tags": ["measurement"]})]
    found = live.page_data(cells)
    assert found["answers"] == {"ex": [{"asks": "x", "cell": "c2"}]}
    assert [one["id"] for one in found["cells"]] == ["c1", "c2", "c3", "c4"]
    assert found["cells"][-1] == {"id": "c4", "source": "4", "measures": True,
                                  "outputs": [{"text/plain": "ab"}, {"stdout": "c"}]}
    assert not found["cells"][0]["measures"]


@pytest.mark.parametrize(("name", "written", "read"), [
    ("book/glossary.md", "- **缓存**：cache。 <!-- 不写：快取 -->\n- **词元**：token。\n\n完",
     ":::{glossary}\n缓存\n  cache。 \n\n词元\n  token。\n\n:::\n\n完"),
    ("book/references.md", '- <a id="a-1"></a>甲 <a id="b"></a>\n- 乙', "- (a-1)=\n  甲 <a id=\"b\"></a>\n- 乙"),
    ("book/planner.md", "[甲](A.ipynb#cell-id=sec-x)，**不变**", "[甲](A.ipynb#sec-x)，**不变**")])
def test_lists_of_terms_and_sources_become_what_can_be_linked(name, written, read):
    app, source = SimpleNamespace(env=SimpleNamespace(doc2path=lambda docname: f"{docname}.md")), [written]
    plain.translate(app, name.removesuffix(".md"), source)
    assert source == [read]


@pytest.mark.parametrize(("source", "kind", "own", "label"), [
    ("import x\nplot()", "image/svg+xml", None, "导入"), ("plot()", "image/svg+xml", None, "这幅图的代码"),
    ("Table(x)", "text/markdown", None, "这张表的代码"), ("show(x)", "text/markdown", None, None),
    ("Table(x)", "text/plain", None, None), ("check(x)", "text/plain", "核对了什么", "核对了什么")])
def test_code_is_closed_where_only_what_it_shows_matters(source, kind, own, label):
    metadata = {"tags": ["a"], "mystnb": {"code_prompt_show": own} if own else {}}
    given = cell("code", "c", source, outputs=[{"data": {kind: ""}}], metadata=metadata)
    found = plain._folded(given)
    assert (found is given) == (label is None)
    if label:
        assert found["metadata"]["tags"] == ["a", "hide-input"]
        assert found["metadata"]["mystnb"] == {"code_prompt_show": label, "code_prompt_hide": label}


def test_a_picture_gets_the_table_and_the_paragraph_before_it_on_its_left():
    cells = [nodes.container("", classes=["cell"]) for _ in range(3)]
    cells[2]["classes"].append("tag_beside")
    section = nodes.section("", cells[0], cells[1], text("字"), cells[2], text("后"))
    plain.set_beside(None, page(section))
    assert section["classes"] == ["two-columns"]
    assert ["left" in part["classes"] for part in section] == [False, True, True, False, False]


def test_plain_pages_become_directives():
    figure = cell("code", "f", "plot()", metadata={"mystnb": {"image": {"alt": "a"}}},
                  outputs=[{"data": {"image/svg+xml": ""}}])
    shown = plain._directives([figure, cell("markdown", "fig-1", "图：说明"), *EXERCISE])
    assert [one["source"] if one["cell_type"] == "markdown" else one["id"] for one in shown] == [
        "f", "````{exercise} 一\n:label: ex\n问？\n````",
        "```{solution-start} ex\n:class: dropdown\n```\n因为", "c1", "c2", "所以",
        "```{solution-end}\n```", "(sec-next)=\n## 下一节", "c3"]
    assert shown[0]["metadata"] == {"tags": ["hide-input"], "mystnb": {
        "image": {"alt": "a"}, "code_prompt_show": "这幅图的代码", "code_prompt_hide": "这幅图的代码",
        "figure": {"name": "fig-1", "caption": "说明"}}}
    assert plain._directives(EXERCISE[:3])[-1]["source"] == "```{solution-end}\n```"


@pytest.mark.parametrize(("before", "after", "left", "inside", "right"), [
    ("见（", "），后", "见", "（x）", "，后"), ("见", "，后", "见", "x，", "后"), ("（", "后", "", "（x", "后"),
    ("见", "后", "见", "x", "后")])
def test_a_formula_keeps_the_punctuation_that_touches_it(before, after, left, inside, right):
    paragraph = nodes.paragraph("", "", nodes.Text(before), nodes.math("", "x"), nodes.Text(after))
    mathml.keep_punctuation(None, page(paragraph), "")
    assert [part.astext() for part in paragraph] == [left, inside, right]


def test_the_longest_term_is_linked_where_a_page_uses_it_first():
    names = [(name, name, "term", terms.GLOSSARY, f"term-{name}", 1) for name in ("显存", "显存带宽")]
    domain = SimpleNamespace(get_objects=lambda: [*names, ("词", "词", "term", "elsewhere", "t", 1)])
    app = SimpleNamespace(env=SimpleNamespace(get_domain=lambda _: domain),
                          builder=SimpleNamespace(get_relative_uri=lambda _from, to: f"{to}.html"))
    document = page(nodes.title("", "显存"), text("显存带宽和显存，词"), text("显存带宽"))
    terms.link_terms(app, document, "book/page")
    links = [(link.astext(), link["refuri"]) for link in document.findall(nodes.reference)]
    assert links == [(name, f"book/glossary.html#term-{name}") for name in ("显存带宽", "显存")]
    assert [part.astext() for part in document.children[1]] == ["显存带宽", "和", "显存", "，词"]
    assert not list(document.children[0].findall(nodes.reference))


def built(out: Path, **more: object) -> SimpleNamespace:
    """What an extension asks of a builder of HTML that writes to ``out``."""
    scripts: list[str] = []
    return SimpleNamespace(srcdir=str(out), outdir=str(out), builder=SimpleNamespace(format="html"), scripts=scripts,
                           add_js_file=scripts.append, **more)


def topic(before: str, label: str, after: str, *below: nodes.list_item) -> nodes.list_item:
    link = nodes.reference(label, label, refuri=f"{label}.html#sec-a")
    return nodes.list_item("", nodes.paragraph("", "", nodes.Text(before), link, nodes.Text(after)),
                           nodes.bullet_list("", *below))


def test_the_graph_draws_every_topic_before_what_belongs_to_it():
    listed = nodes.bullet_list("", topic("", "甲", "（A，a，课堂提及）", topic("包含：", "乙", "（代码实现）"),
                                         topic("用到：", "丙", "（主动扩展）")),
                               topic("", "丁", "（课堂提及）", topic("即：", "戊", "（代码实现）")))
    document = page(nodes.section("", text("先"), listed, text("图：说明"), names=["sec-notation-graph"]))
    graph.draw(None, document)
    [figure] = document.findall(nodes.figure)
    assert figure["ids"] == ["fig-notation-graph"] and [part.astext() for part in figure.findall(nodes.caption)] == [
        "说明"] and len(document.children[0]) == 2
    translator = SimpleNamespace(body=[])
    with pytest.raises(nodes.SkipNode):
        graph.visit_graph(translator, figure[0])
    [drawn] = translator.body
    links = re.findall(r'<a href="(.)\.html#sec-a" class="(.*?)" aria-label="(.*?)"><rect x="(.*?)" y="(.*?)"', drawn)
    assert links == [
        ("甲", "level-1 lecture", "甲，A, a，课堂提及", "1", "25.0"),
        ("乙", "level-2 code", "乙，包含，代码实现", "172", "1"),
        ("丙", "level-2 extension", "丙，用到，主动扩展", "172", "49"),
        ("丁", "level-1 lecture", "丁，课堂提及", "1", "1.0"), ("戊", "level-2 code", "戊，即，代码实现", "172", "1")]
    edges = re.findall(r'd="M137 (.*?)C154.0 (.*?) 154.0 (.*?) 172 (.*?)"', drawn)  # from middle to middle
    assert [*map(" ".join, edges)] == ["45.0 45.0 21.0 21.0", "45.0 45.0 69.0 69.0", "21.0 21.0 21.0 21.0"]
    assert re.findall(r'viewBox="0 0 437 (.*?)"', drawn) == ["18", "90", "42"]
    assert re.findall(r'y="14">(.*?)</text></g>', drawn) == ["课堂提及", "代码实现", "主动扩展"]


def test_results_of_a_search_lead_to_headings_and_lists_stand_last():
    link = '<a class="headerlink" href="#sec-a">#</a></h2>'
    body = f"<h1>题{link}<h2>甲 {link}<h2>乙</h2>"
    found = {}
    for name in ("book/Lecture10-Main", "book/glossary"):
        search.prepare(None, name, "", context := {"body": body}, None)
        found[name] = context["body"]
    assert found == {
        "book/Lecture10-Main": f'<div><h1>题{link}<h2 id="h-sec-a">甲 {link}<h2>乙</h2></div>',
        "book/glossary": f'<div data-pagefind-weight="0.1"><h1>题{link}<h2 id="h-sec-a">甲 {link}<h2>乙</h2></div>'}
    search.prepare(None, "search", "", context := {}, None)
    assert context == {}


def test_the_index_has_the_words_of_the_article_alone(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "a.html").write_text(
        '<html lang="zh-CN"><nav>目录</nav><article class="bd-article"><h1>标题<a class="headerlink">号</a></h1><p '
        'class="reading-time">分钟</p>正文<div class="math">式</div><svg><text>图</text></svg></article>',
        encoding="utf-8")
    search.index(built(tmp_path), ValueError())
    assert not (tmp_path / "pagefind").exists()
    search.index(built(tmp_path), None)
    [fragment] = (tmp_path / "pagefind" / "fragment").iterdir()
    found = json.loads(gzip.decompress(fragment.read_bytes()).removeprefix(b"pagefind_dcd"))
    assert (found["url"], re.findall(r"\w+", found["content"])) == ("/a.html", ["标题", "正文"])


def test_the_archive_holds_the_files_of_the_project_that_exist(tmp_path, monkeypatch):
    (tmp_path / "_static").mkdir()
    for name in ("b.py", "a.md", "own.txt"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    said = {"ls-files": b"b.py\0gone.py\0a.md\0", "rev-parse": f"{tmp_path.resolve()}\n".encode()}
    monkeypatch.setattr(archive.subprocess, "run", lambda command, **_: SimpleNamespace(stdout=said[command[3]]))
    menu = {"label": "download-buttons", "buttons": []}
    context = {"header_buttons": [{"label": "other"}, menu], "pathto": lambda name, resource: f"../{name}"}
    archive.pack(built(tmp_path), ValueError())
    assert not (tmp_path / archive.ARCHIVE).exists()
    archive.offer(built(tmp_path), "", "", context, None)
    archive.pack(built(tmp_path), None)
    with zipfile.ZipFile(tmp_path / archive.ARCHIVE) as carried:
        assert carried.namelist() == ["lecture10-book/a.md", "lecture10-book/b.py"]
        assert carried.read("lecture10-book/a.md") == b"a.md"
    archive.offer(built(tmp_path / "_static"), "", "", context, None)  # inside the project: offers none
    assert [button["url"] for button in menu["buttons"]] == [f"../{archive.ARCHIVE}"]


def test_scripts_wait_for_the_page_and_styles_for_the_bundle():
    def file(name: str | None, body: str = "") -> SimpleNamespace:
        return SimpleNamespace(filename=name, attributes={"body": body} if body else {})

    app, names = built(Path()), ("a.js", "sphinx_highlight.js", None, "a.js", "b.js")
    context = {"script_files": [file(name, "" if name else "let x") for name in names],
               "css_files": [file("a.css"), file("sphinx_highlight.css")],
               "body": '<div role="list" class="citation-list">'}
    assets.lighten(app, "", "", context, None)
    assert [(one.filename, one.attributes) for one in context["script_files"]] == [
        ("a.js", {"defer": "defer"}), (None, {"body": "let x"}), ("b.js", {"defer": "defer"})]
    assert (context["css_files"], context["body"]) == ([], '<div class="citation-list">')
    assets.lighten(app, "", "", {"script_files": [], "css_files": [file("b.css"), file("a.css")]}, None)
    assert app.site_styles == [*assets.THEME_STYLES, "a.css", "b.css"]


def test_pages_are_old_when_a_script_of_ours_is_newer(tmp_path):
    app, env = built(tmp_path), SimpleNamespace(found_docs={"b", "a"})
    sheet, script = tmp_path / assets.SHEET, tmp_path / "book" / "_static" / "a.js"
    for path, at in ((script, 100), (sheet, 200)):
        assert assets.outdated(app, env, {*()}, {*()}, {*()}) == ["a", "b"]
        path.parent.mkdir(parents=True)
        path.write_text("", encoding="utf-8")
        os.utime(path, (at, at))
    assert assets.outdated(app, env, {*()}, {*()}, {*()}) == []
    os.utime(script, (300, 300))
    assert assets.outdated(app, env, {*()}, {*()}, {*()}) == ["a", "b"]


def test_the_bundle_keeps_the_icons_and_letters_that_pages_use(tmp_path, monkeypatch):
    kept, app = {}, built(tmp_path, site_styles=["_static/vendor/icons.css?v=1"])
    monkeypatch.setattr(assets, "_subset", lambda font, codes, target: kept.update({target.name: codes}))
    monkeypatch.setattr(assets, "files", lambda _package: tmp_path)
    book, car = (f'.fa-{name}:before,.fa-{name}-old:before' + '{content:"\\f00' + end + '"}'
                 for name, end in (("book", "a"), ("car", "b")))
    font = "@font-face{src:url(%s../fonts/x.woff2)%s}"
    rest = 'a{background:url("data:,")}b{content:"\ue123"}'
    css = book + car + font % ("", ',url(../fonts/x.ttf) format("truetype")') + rest
    for name, content in (("_static/vendor/icons.css", css), ("_static/scripts/x", ""), ("_static/styles/x", ""),
                          ("a/p.html", '<i class="fa-book-old"></i><math title="z"><mi>&#x3b1;</mi>&#946;γ</math>')):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    assets.bundle(app, None)
    assert (tmp_path / assets.SHEET).read_text(encoding="utf-8") == book + font % ("../vendor/", "") + rest
    assert kept == {"fa-solid-900.woff2": {0xF00A, 0xE123}, "math.woff2": {*range(0x20, 0x7F), *map(ord, "αβγ")}}
    assert "[]" in (tmp_path / "_static/scripts/pydata-sphinx-theme.js").read_text(encoding="utf-8")
    monkeypatch.setattr(assets, "MEASURED", re.compile("no such list"))
    with pytest.raises(ValueError, match="has 0 lists of boxes that may scroll: expected 1"):
        assets.bundle(app, None)


def test_a_number_that_turns_becomes_an_element(monkeypatch):
    mine = turning.Result(100 * turning.B, "", whole=True)
    monkeypatch.setattr(turning, "results", lambda: {"step": None, "rate": None, "mine": mine})
    said = "批次 1,024<!-- B -->，H100 SXM<!-- accelerator -->：23.80<!-- = step --> 毫秒。<!-- chart: rate / B -->"
    assert turning.marked(said) == (
        '批次 <span class="turned" data-quantity="B">1,024</span>，<span class="turned chosen" '
        'data-quantity="accelerator">H100 SXM</span>：<output class="turned" data-quantity="step">23.80</output> 毫秒。'
        '<span class="turn-chart" data-curve="rate" data-over="B"></span>')
    assert turning.given(f"{said}int8<!-- weights -->") == {"accelerator": "H100 SXM", "B": "1,024", "weights": "int8"}
    assert turning.answered("mine", {"B": "7"}) == "700"
    assert turning.numbers({"B": "1,024"})[turning.B] == 1024 and turning.numbers({})[turning.B] == 64
    cells = [cell("markdown", "m", "1<!-- B -->"), cell("code", "c", "2<!-- B -->")]
    for name, turned in (("a.ipynb", True), ("a.md", False)):
        app, source = SimpleNamespace(env=SimpleNamespace(doc2path=lambda _, name=name: name)), [
            json.dumps({"cells": cells})]
        turning.translate(app, "", source)
        found = json.loads(source[0])["cells"]
        assert found[1] == cells[1] and (found[0] != cells[0]) == ("<span" in found[0]["source"]) == turned
    for body, count in (('<p class="turned">', 5), ("<p>", 0)):
        turning.equip(app := built(Path()), "", "", {"body": body}, None)
        assert len(app.scripts) == count


def python_pages(root: Path) -> SimpleNamespace:
    """A site whose pages run Python, with one notebook."""
    (root / ".runtime").mkdir()
    for name in live.COMPILED:
        (root / ".runtime" / name).write_bytes(b"")
    measured = cell("code", "m", "time()", metadata={"tags": ["measurement"]})
    cells = [*EXERCISE[:4], cell("markdown", "sec", "## 节"), measured]
    (root / "p.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    (root / "r.ipynb").write_text(json.dumps({"cells": [EXERCISE[2], measured]}), encoding="utf-8")
    (root / "q.md").write_text("", encoding="utf-8")
    files = {"p": "p.ipynb", "q": "q.md", "r": "r.ipynb"}
    env = SimpleNamespace(found_docs={*files}, doc2path=lambda name: root / files[name])
    return built(root, env=env)


def test_a_page_knows_its_cells_where_python_can_run(tmp_path):
    app = python_pages(tmp_path)
    context = {"body": ""}
    live.add(app, "p", "", context, None)
    told = json.loads(re.fullmatch('<script type="application/json" id="live">(.*)</script>', context["body"])[1])
    assert told["answers"] == {"ex": [{"asks": "x", "cell": "c2"}]} and app.scripts == ["python-bar.js", "live.js"]
    address, mark = told["cells"].split("?v=")
    written = (tmp_path / address).read_bytes()
    assert mark == live._digest(written) and [one["id"] for one in json.loads(written)["cells"]] == ["c1", "c2", "m"]
    for name in ("q", "r", "genindex"):  # no notebook, one that measures, none of ours
        live.add(app, name, "", context := {"body": ""}, None)
        assert context["body"] == ""
    assert live.outdated(app, app.env, {*()}, {*()}, {*()}) == ["p", "q", "r"]  # Python has come
    (tmp_path / "_static" / "live" / "archives.json").write_text("[]", encoding="utf-8")
    assert live.outdated(app, app.env, {*()}, {*()}, {*()}) == []
    (tmp_path / ".runtime" / "libraries.zip").unlink()
    live.add(app, "p", "", context := {"body": ""}, None)
    assert context["body"] == "" and live.outdated(app, app.env, {*()}, {*()}, {*()}) == ["p", "q", "r"]
    live.copy(app, None)
    assert not (tmp_path / "_static" / "live").exists()


def test_the_runtime_is_copied_with_an_editor_that_imports_by_file_name(tmp_path):
    app, modules = python_pages(tmp_path), tmp_path / ".runtime" / "node_modules"
    text = """import {a} from '@lezer/common';\nimport {b} from "style-mod";\nexport {c} from './own';"""
    files = {"@codemirror/state/package.json": '{"exports": {"import": "./index.js"}}', "pyodide/package.json": "{}",
             "@codemirror/state/index.js": text, **{f"pyodide/{name}": "" for name in live.PYODIDE}}
    for name, content in files.items():
        (modules / name).parent.mkdir(parents=True, exist_ok=True)
        (modules / name).write_text(content, encoding="utf-8")
    for name in ("book/_live/session.py", "book/_ext/tex.py", "book/_ext/formulas.py", "book/_ext/deployments.py",
                 "lecture10/a/b.py", "lecture10/a/b.csv", "lecture10/a/b.gguf", "lecture10/__pycache__/b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    live.copy(app, None)
    out = tmp_path / "_static" / "live"
    assert (out / "codemirror-state.js").read_text(encoding="utf-8") == (
        """import {a} from "./lezer-common.js";\nimport {b} from "./style-mod.js";\nexport {c} from './own';""")
    assert {path.name for path in out.iterdir()} == {
        "pyodide", "codemirror-state.js", "libraries.zip", "book.zip", "archives.json"}
    assert {path.name for path in (out / "pyodide").iterdir()} == {*live.PYODIDE, "python_stdlib.zip"}
    with zipfile.ZipFile(out / "book.zip") as packed:
        assert packed.namelist() == ["session.py", "tex.py", "formulas.py", "deployments.py", "lecture10/a/b.csv",
                                     "lecture10/a/b.py"]
    marks = [f"{name}?v={live._digest((out / name).read_bytes())}" for name in ("libraries.zip", "book.zip")]
    assert json.loads((out / "archives.json").read_text(encoding="utf-8")) == marks


class Compiler:
    """A process that compiles, here and at once; of ``broken`` ones it ends without a word."""

    broken = False

    def __init__(self, command: list, **_how: object) -> None:
        _python, _program, folder, mark, *self.asked = command
        self.said = json.dumps({name: scripts.write(name, folder, mark) for name in self.asked})
        self.returncode, self.ended = int(self.broken), False

    def communicate(self) -> tuple[str, None]:
        said, self.said = self.said, ""  # as of a process, what it says can be read once
        return said, None

    def terminate(self) -> None:
        self.ended = True


def test_models_are_compiled_that_are_missing_or_old(tmp_path, monkeypatch):
    def script(name: str, _model: object) -> str:
        if name == "gpt2":
            raise ValueError("no")
        return name

    known = ("gpt2", "llama-3-8b", "llama-2-7b", "gemma-2-2b")
    monkeypatch.setattr(compiling.subprocess, "Popen", Compiler)
    monkeypatch.setattr(compiling.os, "cpu_count", lambda: 3)
    monkeypatch.setattr(compiling, "known_models", lambda: dict.fromkeys(known, ""))
    monkeypatch.setattr(scripts, "load_model", lambda name: name)
    monkeypatch.setattr(scripts, "script", script)
    folder, mark = tmp_path / compiling.FOLDER, f"// {compiling._digest()}\n"
    folder.mkdir(parents=True)
    for name, content in (("llama-3-8b", f"{mark}kept"), ("llama-2-7b", "// old\n"), ("gone", f"{mark}")):
        (folder / f"{name}.js").write_text(content, encoding="utf-8")
    compiling.start(app := built(tmp_path))
    assert [one.asked for one in app.compiling] == [["gpt2", "gemma-2-2b"], ["llama-2-7b"]]
    compiling.finish(app, None)
    assert compiling.offered(app) == ["llama-3-8b", "llama-2-7b", "gemma-2-2b"]
    assert {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.js")} == {
        "llama-3-8b": f"{mark}kept", "llama-2-7b": f"{mark}llama-2-7b", "gemma-2-2b": f"{mark}gemma-2-2b"}
    assert (tmp_path / "_static" / "d3.min.js").stat().st_size > 10_000
    compiling.start(app := built(tmp_path))
    [process] = app.compiling
    assert process.asked == ["gpt2"]  # what is there is not compiled again
    compiling.finish(app, ValueError())
    assert process.ended
    monkeypatch.setattr(Compiler, "broken", True)
    compiling.start(app := built(tmp_path))
    with pytest.raises(ChildProcessError, match="ended with 1: expected 0"):
        compiling.finish(app, None)


def test_scripts_are_known_by_all_that_they_are_made_of(tmp_path, monkeypatch):
    sources = [*map(tmp_path.joinpath, ("compiling.py", "scripts.py", "deployments.py", "formulas.py")),
               *map((tmp_path / "package").joinpath, ("a.py", "a.csv", "a.json"))]
    (tmp_path / "package").mkdir()
    for path in sources:
        path.write_text("", encoding="utf-8")
    monkeypatch.setattr(compiling, "__file__", str(sources[0]))
    monkeypatch.setattr(compiling, "files", lambda _package: tmp_path / "package")
    seen = [compiling._digest()]
    for path in sources:
        path.write_text("x", encoding="utf-8")
        seen.append(compiling._digest())
    assert len({*seen}) == len(seen)


ASKED = {"模型": "llama-3-8b", "加速器": "H100 SXM", "台数": "2", "注意力的分法": "数据并行", "专家的分法": "张量并行",
         "权重格式": "按模型文件", "KV Cache 格式": "fp8", "算术": "bf16", "批次大小": "16", "上下文长度": "8192",
         "回答长度": "1024"}


def test_the_form_of_the_planner_stands_where_the_list_was(monkeypatch):
    monkeypatch.setattr(planner, "_answers", lambda asked: f"<p>{len(asked)}</p>")
    listed = nodes.bullet_list("", *(nodes.list_item("", text(f"{key}：{value}")) for key, value in ASKED.items()))
    for name, placed in (("book/index", False), (planner.PAGE, True)):
        document = page(text("先"), listed.deepcopy(), text("后"))
        planner.place(SimpleNamespace(env=SimpleNamespace(docname=name)), document)
        assert [type(part) for part in document][1] is (nodes.raw if placed else nodes.bullet_list)
    form = document[1].astext()
    chosen = dict(re.findall(r'<select data-quantity="(\w+)" .*?<option value="(.*?)" selected', form))
    assert chosen == {"model": "llama-3-8b", "accelerator": "H100 SXM", "devices": "2", "attention": "data-parallel",
                      "experts": "tensor-parallel", "weights": "", "kv": "fp8", "arithmetic": "bf16"}
    typed = re.findall(r'data-quantity="(\w+)" data-scale="log" .*? data-min="(\d)" .*? value="(\d+)"', form)
    assert typed == [("B", "1", "16"), ("S", "2", "8192"), ("prompt", "1", "7168"), ("answer", "1", "1024")]
    assert form.endswith("<p>11</p>")


@pytest.mark.parametrize(("found", "said"), [
    ({"fits": True, "devices": 1, "devices_needed": 1, "limits": {"memory": 0.95, "compute": 0.05, "link": 0}},
     "m 放得下：一台 c 最多同时放 7 条 8,192 词元的序列。批次大小为 16 时，每词延迟至少 3.00 µs，吞吐量至多 5；"
     "限制它的是显存带宽。"),
    ({"fits": False, "devices": 2, "devices_needed": 4, "limits": {"memory": 0.25, "compute": 0.7, "link": 0.05}},
     "m 放不下：2 台 c 放 16 条 8,192 词元的序列，每台要 9 GB，只有 8 GB；4 台就够。批次大小为 16 时，"
     "每词延迟至少 3.00 µs，吞吐量至多 5；限制它的是算力（70%）和显存带宽（25%）。"),
    ({"fits": False, "devices": 1, "devices_needed": None, "limits": {"link": 0.9}}, "多少台都不够"),
])
def test_the_planner_says_what_was_found(found, said):
    shown = {"memory": "9 GB", "capacity": "8 GB", "latency": planner.seconds(3e-6), "throughput": "5"}
    found |= {"model": "m", "accelerator": "c", "largest_batch": 7, "batch": 16, "context_tokens": 8192}
    assert said in planner._verdict(found, shown)


def test_the_page_of_the_planner_names_the_models_that_were_compiled(tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "offered", lambda _app: ["gpt2"])
    context = {"body": '<script>{"cards": {}, "x": {"cards"}}</script>'}
    planner.equip(app := built(tmp_path), "book/index", "", context, None)
    assert app.scripts == []
    planner.equip(app, planner.PAGE, "", context, None)
    assert context["body"] == '<script>{"models": ["gpt2"], "cards": {}, "x": {"cards"}}</script>'
    assert app.scripts[-1] == "planner.js" and len(app.scripts) == 5
    planner.equip(app := python_pages(tmp_path), planner.PAGE, "", context, None)
    assert app.scripts[-2:] == ["python-bar.js", "own.js"]
