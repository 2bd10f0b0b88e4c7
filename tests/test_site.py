"""The built site in a real browser: every page at two widths, light and dark, half of them loaded wide, half narrow."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import axe_checks
import book_checks
import pytest
import site_checks
from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
PAGES = [f"book/{page.stem}.html" for page in book_checks.pages(ROOT)]
WIDE, NARROW = 1280, 390
QUERIES = {  # each must lead to one of these pages first
    "投机采样": "Theory-Speculative", "算术强度": "Intensity", "内存受限": "ArithmeticIntensity",
    "首词延迟": "Main", "分页": "Main|Lab-Serving", "KV Cache": "Main|Code-Stats",
    "roofline": "ArithmeticIntensity", "GQA": "Main|Code-Stats|Lab-Attention",
}


@pytest.fixture(scope="module")
def page(browser: Browser) -> Page:
    return browser.new_page()


@pytest.fixture(scope="module")
def known() -> set[str]:
    """The kinds of letters seen to stand out enough: they are not judged again on every page."""
    return set()


@pytest.mark.parametrize(("name", "widths"), [*zip(
    [*PAGES, "search.html?q=投机采样"], itertools.cycle([(WIDE, NARROW), (NARROW, WIDE)]))])
def test_page_is_sound(page: Page, site: str, known: set[str], name: str, widths: tuple[int, int]) -> None:
    site_checks.resize(page, widths[0])
    with site_checks.watched(page, site) as faults:
        site_checks.load(page, site + name)
        for scheme, width in zip(("light", "light", "dark", "dark"), (*widths, *reversed(widths))):  # one change a step
            site_checks.switch(page, scheme)
            site_checks.resize(page, width)
            faults += site_checks.dom_faults(page)
            if width == WIDE:  # colours are the same at every width
                axe_checks.note_letters(page)
    axe_checks.thin(page)
    if widths[0] == WIDE:
        faults += axe_checks.axe_faults(page)
    with axe_checks.without_article(page):
        site_checks.resize(page, NARROW)
        faults += axe_checks.axe_faults(page)
        site_checks.resize(page, WIDE)
    if widths[0] == NARROW:
        faults += axe_checks.axe_faults(page)
    if kinds := axe_checks.keep_one_of_each(page, known):
        for scheme in ("dark", "light"):
            site_checks.switch(page, scheme)
            faults += axe_checks.contrast_faults(page)
    assert faults == []
    known.update(kinds)


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
