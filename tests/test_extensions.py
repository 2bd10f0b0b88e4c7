"""What the site's extensions make of a page, on pages of a few words."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes
from docutils.utils import new_document

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book" / "_ext"))

import live
import mathml
import plain
import reading
import terms


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
