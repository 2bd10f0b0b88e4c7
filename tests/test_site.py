"""The built site in a real browser: every page at two widths, light and dark, half of them loaded wide, half narrow."""

from __future__ import annotations

import itertools
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

@pytest.fixture(scope="module")
def page(browser: Browser) -> Page:
    return browser.new_page()


@pytest.fixture(scope="module")
def known() -> set[str]:
    """The kinds of letters seen to stand out enough: they are not judged again on every page."""
    return set()


@pytest.fixture(scope="module")
def frames() -> set[str]:
    """The kinds of what stands around an article, seen to be sound."""
    return set()


@pytest.mark.parametrize(("name", "widths"), [*zip(
    [*PAGES, "search.html?q=投机采样"], itertools.cycle([(WIDE, NARROW), (NARROW, WIDE)]))])
def test_page_is_sound(page: Page, site: str, known: set[str], frames: set[str], name: str,
                       widths: tuple[int, int]) -> None:
    site_checks.resize(page, widths[0])
    with site_checks.watched(page, site) as faults:
        site_checks.load(page, site + name)
        around = {}  # a kind at each width
        for scheme, width in zip(("light", "light", "dark", "dark"), (*widths, *reversed(widths))):  # one change a step
            site_checks.switch(page, scheme)
            site_checks.resize(page, width)
            faults += site_checks.dom_faults(page)
            if scheme == "dark":  # as axe finds it
                around[width] = axe_checks.frame(page)
            if width == WIDE:  # colours are the same at every width
                axe_checks.note_letters(page)
    axe_checks.thin(page)
    if around[NARROW] not in frames:
        with axe_checks.without_article(page):
            site_checks.resize(page, NARROW)
            faults += axe_checks.axe_faults(page)
            site_checks.resize(page, WIDE)
    site_checks.resize(page, WIDE)
    faults += axe_checks.axe_faults(page, frame=around[WIDE] not in frames)
    if kinds := axe_checks.keep_one_of_each(page, known):
        for scheme in ("dark", "light"):
            site_checks.switch(page, scheme)
            faults += axe_checks.contrast_faults(page)
    assert faults == []
    known.update(kinds)
    frames.update(around.values())
