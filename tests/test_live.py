"""Python in the pages, in a real browser without a network, from a folder below the root of the server.

Four pages are run whole, in one Python, and every output is compared with the committed one; with
HYPOTHESIS_PROFILE=search all pages are, which takes the processor over a minute longer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import axe_checks
import pytest
import site_checks
from playwright.sync_api import Browser, Locator, Page, expect

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book" / "_ext"))
import archive as carrier

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
PAGE = "book/Lecture10-Theory-ArithmeticIntensity.html"
LIVE = sorted(path.stem for path in (SITE / "_static" / "live").glob("*.json") if path.stem != "archives")
QUICK = ["index", "notation", "Lecture10-Code-Intensity", "Lecture10-Theory-ArithmeticIntensity"]
PAGES = LIVE if os.environ.get("HYPOTHESIS_PROFILE") == "search" else QUICK
NUMPY = {"kv-count", "sweep", "sweep-bound", "sweep-max", "zoo-table", "brackets-softmaxless", "brackets-state",
         "recurrence-counted", "recurrence-counted-shown", "indexer-counted", "indexer-counted-shown",
         "compressed-counted", "lossy-model", "lossy-windows", "lossy-caches", "lossy-heads", "lossy-claims",
         "lossy-speed"}
"""Cells without a figure that need NumPy or Matplotlib all the same."""
PATIENCE = 120_000  # ms; Python starts in five seconds of a processor that is shared

RUN_ALL = """async (page) => {
  const root = new URL(document.documentElement.dataset.content_root, document.baseURI);
  const python = await import(new URL("_static/python.js", root));
  await python.start();
  await python.restart();
  const { cells, answers } = await (await fetch(new URL(`_static/live/${page}.json`, root))).json();
  for (const cell of cells.filter((cell) => !cell.measures)) {
    cell.answer = await python.run(cell.source, cell.id);
    for (const { value, cell: solution, unit } of Object.values(answers).flat())
      if (solution === cell.id) await python.judge("2", value, solution, unit ?? "");  // rejects where it has no value
  }
  return cells;
}"""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """A folder of a static host."""
    with site_checks.served(SITE.parent) as address:
        yield f"{address}{SITE.name}/"


@pytest.fixture(scope="module")
def page(browser: Browser) -> Page:
    """One page for all tests, in the order of this file: Python is loaded once."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    return page


def status(page: Page) -> Locator:
    return page.locator(".live-bar .live-status")


def cell(page: Page, number: int) -> Locator:
    return page.locator("article div.cell").nth(number - 1)


def rewrite(page: Page, number: int, text: str) -> None:
    """Type ``text`` instead of the code of a cell and run it with the keyboard."""
    if cell(page, number).get_by_role("textbox").count() == 0:
        page.get_by_role("button", name=f"修改第 {number} 个单元").click()
    editor = page.get_by_role("textbox", name=f"第 {number} 个单元的代码")
    editor.press("Control+a")
    page.keyboard.insert_text(text)
    editor.press("Shift+Enter")


def test_nothing_is_loaded_before_the_reader_asks_and_then_from_the_site_alone(page: Page, site: str) -> None:
    with site_checks.watched(page, site) as faults:
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        site_checks.load(page, site + PAGE)
        assert not [url for url in requests if "_static/live/" in url or "python" in url]
        page.get_by_role("button", name="在本页运行 Python").click()
        expect(status(page)).to_contain_text("个单元的输出与书中相同")
        assert any(url.endswith("pyodide.asm.wasm") for url in requests)
    assert faults == []
    same, local = page.locator(".live-controls", has_text="与书中的输出相同"), page.locator(
        ".live-controls", has_text="在本机用 make lab 运行")
    cells = json.loads((SITE / "_static" / "live" / f"{Path(PAGE).stem}.json").read_text(encoding="utf-8"))["cells"]
    assert same.count() + local.count() == len(cells) and 0 < local.count() < 8
    assert page.locator("article img:visible").count() == local.count()  # what plots keeps its figure


@pytest.mark.parametrize("name", PAGES)
def test_every_output_is_the_committed_one(page: Page, name: str) -> None:
    notebook = json.loads((ROOT / "book" / f"{name}.ipynb").read_text(encoding="utf-8"))
    drawn = {found["id"] for found in notebook["cells"] if any(
        "image/svg+xml" in output.get("data", {}) for output in found.get("outputs", []))}
    for found in page.evaluate(RUN_ALL, name):
        if found["measures"]:
            continue
        answer = found["answer"]
        assert answer["status"] == ("missing" if found["id"] in drawn | NUMPY else "ok"), (found["id"], answer)
        if answer["status"] == "ok":
            assert answer["outputs"] == found["outputs"], found["id"]


def test_every_page_of_the_lecture_runs() -> None:
    assert {path.stem for path in (ROOT / "book").glob("*.ipynb")} - set(LIVE) <= {"Lecture10-Lab-Engine"}


def test_a_change_shows_beside_the_rest_and_is_undone(page: Page) -> None:
    committed = cell(page, 3).locator(".cell_output").inner_text()
    rewrite(page, 3, "table = Table(('half', 'FLOPs'), [(B/2, 7), (D, 8)])\ntable")
    expect(cell(page, 3)).to_contain_text("与书中的输出不同")
    shown = cell(page, 3).locator(".cell_output:visible")
    assert shown.locator("td math mfrac").count() == 1 and shown.locator("tr").count() == 3
    rewrite(page, 3, "matmul().intensity/7")
    expect(shown.locator("math[display=block] mfrac")).to_have_count(1)
    assert site_checks.dom_faults(page) == []
    page.get_by_role("button", name="复原第 3 个单元").click()
    assert cell(page, 3).locator(".cell_output:visible").inner_text() == committed
    assert page.get_by_role("button", name="修改第 3 个单元").is_visible()


def test_an_assertion_of_the_book_fails_where_a_factor_was_changed(page: Page) -> None:
    rewrite(page, 4, "small = 2 * matmul(2, 3, 4)\nassert small.flops == meter.flops")
    expect(cell(page, 4).locator(".live-error")).to_contain_text("AssertionError")
    expect(cell(page, 4).locator(".live-error")).to_contain_text("line 2")
    expect(status(page)).to_contain_text("第 4 个单元出错")


def test_the_page_in_use_is_sound(page: Page) -> None:
    """With controls, an editor, an error and fields for answers, on a phone and on a screen, light and dark."""
    page.evaluate("""() => {
      const parts = ["bar", "controls", "answer"].map((part) => document.querySelector(`.live-${part}`));
      for (const element of [...parts.flatMap((part) => [...part.children]),
                             ...document.querySelectorAll(".cm-line *, .live-error")]) element.dataset.contrast = "";
    }""")
    for width, scheme in ((390, "light"), (1280, "dark")):
        site_checks.resize(page, width)
        site_checks.switch(page, scheme)
        assert site_checks.dom_faults(page) == []
        assert axe_checks.contrast_faults(page) == []
    axe_checks.thin(page)
    assert axe_checks.axe_faults(page) == []
    page.get_by_role("button", name="复原第 4 个单元").click()


@pytest.mark.parametrize(("question", "typed", "said"), [
    (0, "4*B", "对。"),
    (0, "B/(1/4)", "对。"),
    (0, "4*B + 1", "B = 2 时，你的式子得 9，正确的得 8。提示："),
    (0, "4*B +", "读不懂：answer is '4*B +'"),
    (1, "73.8", "对。"),
    (1, "295.2/4", "对。"),
    (1, "295.2", "大了。提示："),
    (1, "73", "差不到 2 %"),
    (1, "1/0", "读不懂：answer is '1/0'"),
])
def test_an_answer_is_judged(page: Page, question: int, typed: str, said: str) -> None:
    form = page.locator("#ex-ai-int4 form").nth(question)
    form.get_by_role("textbox").fill(typed)
    form.get_by_role("textbox").press("Enter")
    expect(form.get_by_role("status")).to_contain_text(said)


def test_an_endless_loop_is_stopped(page: Page) -> None:
    rewrite(page, 4, "while True:\n    pass")
    expect(cell(page, 4)).to_contain_text("运行中")
    page.get_by_role("button", name="停止").click()
    expect(status(page)).to_contain_text("已停止")
    assert page.get_by_role("button", name="停止").is_hidden()


def test_a_file_says_in_a_line_what_to_do(browser: Browser) -> None:
    page = browser.new_page()
    page.goto((SITE / PAGE).as_uri())
    page.get_by_role("button", name="在本页运行 Python").click()
    expect(status(page)).to_contain_text("make serve")
    page.close()


def test_the_site_carries_every_tracked_file(page: Page) -> None:
    link = page.locator("a.dropdown-item", has_text="整本书")
    archive = (SITE / PAGE).parent / link.get_attribute("href")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(archive.resolve()) as carried:
        names = set(carried.namelist())
        assert names == {f"lecture10-book/{name}" for name in listed.stdout.splitlines()}
        assert carried.read("lecture10-book/Makefile") == (ROOT / "Makefile").read_bytes()


def test_what_is_no_checkout_carries_nothing(tmp_path: Path) -> None:
    assert carrier.tracked(tmp_path) == carrier.tracked(ROOT / "book") == []
