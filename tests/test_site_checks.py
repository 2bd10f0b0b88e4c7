"""What a reader does on the built site works, and every check of it is seen to find a planted fault."""

from __future__ import annotations

import re
from collections.abc import Callable

import axe_checks
import book_checks
import pytest
import site_checks
from playwright.sync_api import Browser, Page
from test_site import NARROW, PAGES, ROOT, SITE, WIDE

Check = Callable[[Page], list[str]]
QUERIES = {  # each must lead to one of these pages first
    "投机采样": "Theory-Speculative", "算术强度": "Intensity", "内存受限": "ArithmeticIntensity",
    "首词延迟": "Main", "分页": "Main|Lab-Serving", "KV Cache": "Main|Code-Stats",
    "roofline": "ArithmeticIntensity", "GQA": "Main|Code-Stats|Lab-Attention",
}


@pytest.fixture(scope="module")
def page(browser: Browser) -> Page:
    return browser.new_page()


@pytest.mark.parametrize("query", QUERIES)
def test_search_leads_to_the_right_page(page: Page, site: str, query: str) -> None:
    if not page.url.startswith(site + PAGES[0]):
        page.goto(site + PAGES[0])
    assert site_checks.search_faults(page, query, QUERIES[query]) == []


def test_search_page_shows_marked_excerpts(page: Page, site: str) -> None:
    page.goto(site + "search.html?q=投机采样")
    assert site_checks.excerpt_faults(page) == []


def test_every_node_of_the_graph_leads_to_a_section_by_keyboard(page: Page, site: str) -> None:
    text = book_checks.markdown(ROOT / "book" / "notation.ipynb")
    nodes = re.findall(r"^ *- .*（.*(?:课堂提及|代码实现|主动扩展)）$", text, re.M)
    page.goto(site + "book/notation.html")
    assert page.locator(".knowledge-graph a").count() == len(nodes) > 10
    assert site_checks.graph_faults(page, SITE / "book") == []


def test_the_first_screen_says_why_one_should_read_on(page: Page, site: str) -> None:
    """At 1280 × 800 it shows the question, the surprises, what they come from and the picture; on a phone the question
    and the surprises begin there (its font decides how many lines they take)."""
    below = """(selectors) => selectors.filter((selector) =>
        document.querySelector(selector).getBoundingClientRect().bottom > innerHeight)"""
    site_checks.resize(page, WIDE)
    page.goto(site + PAGES[0])
    page.evaluate(site_checks.SETTLED)
    assert "index" in PAGES[0] and page.evaluate("scrollY") == 0
    first = ["article strong", "article tbody tr", "article table", "p.left strong", ".tag_beside img"]
    assert page.evaluate(below, first) == []
    site_checks.resize(page, NARROW)
    assert page.evaluate(below, first[:2]) == []


def test_colour_mode_switch_works(page: Page, site: str) -> None:
    page.goto(site + PAGES[0])
    assert site_checks.colour_faults(page) == []


# Planted faults: a page with one thing wrong each.

GOOD = """<!doctype html><html lang="zh-CN"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>页</title>
<link rel="icon" href="data:,">{head}</head><body><main><article><h1>标题</h1>{body}</article></main></body></html>"""
IMAGE = 'data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg"/>'
PLANTED = {
    "console error": "<script>console.error('bad')</script>",
    "script error": "<script>nothing()</script>",
    "missing file": "<script src='gone.js'></script>",
    "foreign request": "<img src='http://other.invalid/x.png' alt='图'>",
    "raw formula": "<p>这里 $x^2$ 没有变成公式</p>",
    "raw command": r"<p>\frac{a}{b}</p>",
    "raw role": "<p>{term}投机采样</p>",
    "empty formula": "<span class='math'>x^2</span>",
    "no font": "<span class='math'><math><mi>x</mi></math></span>",
    "broken image": "<img src='data:image/png;base64,AAAA' alt='图'>",
    "empty alternative": f"<img src='{IMAGE}' alt=''>",
    "file name as alternative": f"<img src='{IMAGE}' alt='_images/0a1b.svg'>",
    "too wide": "<div style='width: 2000px'>宽</div>",
    "too wide and cut off": "<div style='overflow: hidden'><div style='width: 2000px'>宽</div></div>",
    "skipped heading": "<h3>小节</h3>",
    "low contrast": "<p style='color: #ccc; background: #fff'>看不清</p>",
    "link like the words around it": "<p>见<a href='#' style='color: #222; text-decoration: none'>前文</a>的式子</p>",
    "button without a name": "<button></button>",
    "link without a name after one with": "<p><a href='#'>前文</a></p><p><a href='#'></a></p>",
    "scroll box out of reach": "<div style='overflow-x: auto; width: 9em'><div style='width: 2000px'>宽</div></div>",
}


def planted_faults(page: Page, site: str, html: str) -> list[str]:
    """What the first check that finds anything finds in ``html``."""
    if page.url != site + "planted.html":  # there is none: its text is replaced, which is faster than to load a page
        site_checks.load(page, site + "planted.html")
    with site_checks.watched(page, site) as found:
        page.set_content(html)
        page.evaluate(site_checks.SETTLED)
    axe_checks.note_letters(page)
    if faults := found or site_checks.dom_faults(page):
        return faults
    axe_checks.thin(page)
    if faults := axe_checks.axe_faults(page):
        return faults
    assert axe_checks.keep_one_of_each(page, set())
    return axe_checks.contrast_faults(page)


def test_a_good_page_has_no_faults(page: Page, site: str) -> None:
    good = GOOD.format(head="", body="<p>一切正常，$5 也可以。</p><code>$x$</code>")
    assert planted_faults(page, site, good) == []


@pytest.mark.parametrize("fault", PLANTED)
def test_planted_fault_is_found(page: Page, site: str, fault: str) -> None:
    assert planted_faults(page, site, GOOD.format(head="", body=PLANTED[fault]))


AROUND = """<main><nav aria-labelledby="toc"><h2 id="toc">目录</h2><button aria-label="收起"></button>
<ul><li><a href="#a">一</a></li><li><a href="#b">二</a></li></ul></nav>"""


def test_other_words_around_the_article_are_of_the_same_kind(page: Page) -> None:
    page.set_content(good := GOOD.format(head="", body="").replace("<main>", AROUND))
    kind = axe_checks.frame(page)
    page.set_content(good.replace("二", "三").replace("#b", "#c"))
    assert axe_checks.frame(page) == kind and axe_checks.axe_faults(page) == []


@pytest.mark.parametrize(("right", "wrong"), [
    (' aria-label="收起"', ""), ("二", ""), ("</ul>", "<p></p></ul>"), ("<h2", "<h2 role='img'"),
    ("<button", "<button aria-hidden='true'"), ("<nav", "<nav aria-foo='1'"),
], ids=["button without a name", "one link without a name", "no list", "image without a name", "hidden", "no such"])
def test_fault_around_an_article_is_of_another_kind(page: Page, right: str, wrong: str) -> None:
    """So it is judged, though what stands around other articles was sound."""
    page.set_content(good := GOOD.format(head="", body="").replace("<main>", AROUND))
    kind = axe_checks.frame(page)
    page.set_content(good.replace(right, wrong))
    assert axe_checks.frame(page) != kind and axe_checks.axe_faults(page)
    assert axe_checks.axe_faults(page, frame=False) == []


def test_formula_that_is_cut_off_is_found(page: Page, site: str) -> None:
    cut = "<span class='math' style='overflow: hidden'><math><mi>x</mi></math></span>"
    assert any("cut off" in fault for fault in planted_faults(page, site, GOOD.format(head="", body=cut)))


def test_wrong_language_is_found(page: Page, site: str) -> None:
    assert planted_faults(page, site, GOOD.format(head="", body="").replace("zh-CN", "en"))


@pytest.mark.parametrize(("right", "wrong", "address", "check"), [
    ("results.map(page)", "results.reverse().map(page)", PAGES[0],
     lambda page: site_checks.search_faults(page, "首词延迟", QUERIES["首词延迟"])),
    ("results.map(page)", "[]", PAGES[0], lambda page: site_checks.search_faults(page, "分页", QUERIES["分页"])),
    (".innerHTML", ".textContent", "search.html?q=投机采样", site_checks.excerpt_faults),
], ids=["worst page first", "nothing found", "no marks"])
def test_broken_search_is_found(page: Page, site: str, right: str, wrong: str, address: str, check: Check) -> None:
    script = (SITE / "_static" / "search.js").read_text(encoding="utf-8")
    assert right in script
    page.route("**/_static/search.js*",
               lambda route: route.fulfill(body=script.replace(right, wrong), content_type="text/javascript"))
    page.goto(site + address)
    faults = check(page)
    page.unroute_all()
    assert faults


@pytest.mark.parametrize(("fault", "check"), [
    ("document.querySelectorAll('.theme-switch-button').forEach((old) => old.replaceWith(old.cloneNode(true)))",
     site_checks.colour_faults),
    ("document.querySelector('.knowledge-graph a').removeAttribute('href')",
     lambda page: site_checks.graph_faults(page, SITE / "book")),
    ("document.querySelector('.knowledge-graph a').setAttribute('href', 'notation.html#gone')",
     lambda page: site_checks.graph_faults(page, SITE / "book")),
], ids=["switch without effect", "node out of reach", "node without a section"])
def test_broken_page_of_symbols_is_found(page: Page, site: str, fault: str, check: Check) -> None:
    page.goto(site + "book/notation.html")
    page.evaluate(fault)
    assert check(page)
