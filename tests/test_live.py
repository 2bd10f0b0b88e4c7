"""Python in the pages, in a real browser without a network, from a folder below the root of the server.

All pages are run in one Python, and every output is compared with the committed one; a few cells that take long in the
browser are left out, but for HYPOTHESIS_PROFILE=search.
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
from playwright.sync_api import Browser, Locator, Page, Request, expect

from lecture10 import load_model
from lecture10.models.families import DATA
from lecture10.models.formats import BYTES, FORMATS

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book" / "_ext"))
import archive as carrier

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
PAGE = "book/Lecture10-Theory-ArithmeticIntensity.html"
PLANNER = "book/planner.html"
LIVE = sorted(path.stem for path in (SITE / "_static" / "live").glob("*.json") if path.stem != "archives")
NAMED = {"index", "notation", "Lecture10-Main", "Lecture10-Theory-ArithmeticIntensity", "Lecture10-Code-Intensity",
         "Lecture10-Code-Stats", "Lecture10-Theory-Speculative", "Lecture10-Code-Speculative", "Lecture10-Lab-Models",
         "Lecture10-Lab-Attention"}
"""Pages of which each cell that needs more than the page has is known."""
HEAVY = ["simulate", "generated-cases", "equal-share", "equal-check", "capacity-row", "blocks-proof", "waiting-formula"]
"""Cells that take the processor two to ten seconds in the page: left out, with those that use their results, but for
HYPOTHESIS_PROFILE=search."""
LEFT_OUT = [] if os.environ.get("HYPOTHESIS_PROFILE") == "search" else HEAVY
ELSEWHERE = {
    "Lecture10-Main": {
        "cb-example", "cb-steps", "cb-pin", "cb-ragged-table", "pa-max", "pa-oracle", "pa-usage", "pa-pin",
        "pa-fill-run", "pa-fill-pin", "pa-paper", "ex-equal-code", "ex-block-code"},
    "Lecture10-Code-Stats": {"kv-count", "sweep", "sweep-bound", "sweep-max"},
    "Lecture10-Lab-Models": {"zoo-table"},
    "Lecture10-Lab-Attention": {
        "brackets-softmaxless", "brackets-state", "recurrence-counted", "recurrence-counted-shown", "indexer-counted",
        "indexer-counted-shown", "compressed-counted", "lossy-model", "lossy-windows", "lossy-caches", "lossy-heads",
        "lossy-claims", "lossy-speed"}}
"""Cells without a figure that need NumPy or a measurement all the same."""
PATIENCE = 120_000  # ms; Python starts in five seconds of a processor that is shared

RUN_ALL = """async ([page, heavy]) => {
  const root = new URL(document.documentElement.dataset.content_root, document.baseURI);
  const python = await import(new URL("_static/python.js", root));
  await python.start();
  await python.restart();
  const { cells, answers } = await (await fetch(new URL(`_static/live/${page}.json`, root))).json();
  for (const cell of cells) {
    if (cell.measures || heavy.includes(cell.id)) await python.skip(cell.source);
    else cell.answer = await python.run(cell.source, cell.id);
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
def calculator(browser: Browser) -> Page:
    """The planner, in whose Python all cells are run."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.context.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    return page


@pytest.fixture(scope="module")
def page(calculator: Page) -> Page:
    """One page for what a reader does in the lecture, in the order of this file; the planner has opened it and stays,
    so both are in one process and what the browser compiled of Python serves again."""
    with calculator.expect_popup() as opened:
        calculator.evaluate("() => { open('about:blank'); }")
    return opened.value


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


CONFIGS = Path(str(DATA / "configs"))
SAME = """async ([one, other]) => {
  const { planner } = lecture10, card = planner.facts.cards["H100 SXM"], differing = [];
  const models = await Promise.all([one, other].map(planner.load)), formats = Object.keys(models[0].weights);
  for (const [i, weights] of formats.entries()) {
    const [mine, known] = models.map((facts) => {
      const { asked, pass, memory, ...numbers } = planner.answer({ model: one, accelerator: "H100 SXM", facts, card,
        weights, devices: 1 + i % 2, attention: "tensor-parallel", experts: "tensor-parallel",
        kv: i % 3 ? "fp8" : "", arithmetic: "bf16", B: 3, S: 5000, prompt: 4960,
        answer: 40 });
      return JSON.stringify(numbers, (_, x) => (typeof x === "number" ? x.toPrecision(12) : x));
    });
    if (mine !== known) differing.push([weights, mine, known]);
  }
  return [formats.length, differing];
}"""
DROP = """([name, text]) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([text], name));
  for (const kind of ["dragover", "drop"])
    document.body.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
}"""


def own(page: Page) -> Locator:
    return page.locator(".own .live-status")


def choose(page: Page, name: str, text: str) -> None:
    page.locator(".own input").set_input_files({"name": name, "mimeType": "text/plain", "buffer": text.encode()})


def test_a_config_of_ones_own_gets_the_answers_of_the_known_model(calculator: Page, site: str) -> None:
    requests: list[Request] = []
    calculator.on("request", lambda request: requests.append(request))
    with site_checks.watched(calculator, site) as faults:
        site_checks.load(calculator, site + PLANNER + "#model=config.json")
        expect(own(calculator)).to_contain_text("没有 config.json")
        calculator.locator(".planner-answers[data-ready]").wait_for()
        assert not [one.url for one in requests if "_static/live/" in one.url or "python.js" in one.url]
        for number, known in enumerate(("gemma-3-4b", "mixtral-8x7b"), 1):
            name = "config.json" if number == 1 else f"config.json ({number})"
            calculator.evaluate(DROP, ["config.json", (CONFIGS / f"{known}.json").read_text(encoding="utf-8")])
            expect(own(calculator)).to_contain_text(f"{name}：{load_model(known).num_params:,} 个参数")
            assert calculator.locator("select[data-quantity=model]").input_value() == name
            expect(calculator.locator(".verdict")).to_contain_text(name)
            assert calculator.evaluate(SAME, [name, known]) == [len(BYTES | FORMATS) + 1, []]
            assert calculator.locator(".own-notes li").all_inner_texts() == [*load_model(known).notes]
        assert calculator.locator(".planner-answers ~ div pre").inner_text().startswith("lecture10 config.json --acc")
    assert faults == []
    assert {one.method for one in requests} == {"GET"}  # the file goes nowhere


@pytest.mark.parametrize("text", ["[]", '{"model_type": "llama", "hidden_size": -3}', '{"model_type": "nothing"}'])
def test_a_broken_config_gets_the_sentence_of_the_package(
        calculator: Page, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="expected") as complaint:
        load_model(Path("config.json"))
    choose(calculator, "config.json", text)
    expect(own(calculator)).to_have_text(f"读不了 config.json：{complaint.value}")


def test_the_planner_with_a_config_is_sound(calculator: Page) -> None:
    calculator.locator(".own *").evaluate_all("(all) => all.forEach((one) => { one.dataset.contrast = ''; })")
    for width, scheme in ((1280, "light"), (390, "dark")):
        site_checks.resize(calculator, width)
        site_checks.switch(calculator, scheme)
        assert site_checks.dom_faults(calculator) == []
        assert axe_checks.contrast_faults(calculator) == []


@pytest.mark.parametrize("name", LIVE)
def test_every_output_is_the_committed_one(calculator: Page, name: str) -> None:
    notebook = json.loads((ROOT / "book" / f"{name}.ipynb").read_text(encoding="utf-8"))
    drawn = {found["id"] for found in notebook["cells"] if any(
        "image/svg+xml" in output.get("data", {}) for output in found.get("outputs", []))}
    missing, cells = drawn | ELSEWHERE.get(name, set()), calculator.evaluate(RUN_ALL, [name, LEFT_OUT])
    heavy = any(found["id"] in LEFT_OUT for found in cells)
    for found in cells:
        if "answer" not in found:
            continue
        answer = found["answer"]
        if name in NAMED and not (heavy and answer.get("missing") == "measurement"):
            assert answer["status"] == ("missing" if found["id"] in missing else "ok"), (found["id"], answer)
        assert answer["status"] in ("ok", "missing"), (found["id"], answer)
        assert answer["status"] == "missing" or answer["outputs"] == found["outputs"], found["id"]


def test_nothing_is_loaded_before_the_reader_asks_and_then_from_the_site_alone(page: Page, site: str) -> None:
    with site_checks.watched(page, site) as faults:
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        site_checks.load(page, site + PAGE)
        assert not [url for url in requests if "_static/live/" in url or "python.js" in url]
        page.get_by_role("button", name="在本页运行 Python").click()
        expect(status(page)).to_contain_text("个单元的输出与书中相同")
        assert any(url.endswith("pyodide.asm.wasm") for url in requests)
    assert faults == []
    same, local = page.locator(".live-controls", has_text="与书中的输出相同"), page.locator(
        ".live-controls", has_text="在本机用 make lab 运行")
    cells = json.loads((SITE / "_static" / "live" / f"{Path(PAGE).stem}.json").read_text(encoding="utf-8"))["cells"]
    assert same.count() + local.count() == len(cells) and 0 < local.count() < 8
    assert page.locator("article img:visible").count() == local.count()  # what plots keeps its figure


def test_every_page_of_the_lecture_runs() -> None:
    assert {path.stem for path in (ROOT / "book").glob("*.ipynb")} - set(LIVE) <= {"Lecture10-Lab-Engine"}
    assert set(LIVE) >= NAMED


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
    looks = [(390, "light"), (1280, "dark")]
    for width, scheme in looks:
        site_checks.resize(page, width)
        site_checks.switch(page, scheme)
        assert site_checks.dom_faults(page) == []
    axe_checks.thin(page)
    marked = page.evaluate("""() => {
      const parts = ["bar", "controls", "answer"].map((part) => document.querySelector(`.live-${part}`));
      const all = [parts.flatMap((part) => [...part.children]),
                   ...[".cm-line *", ".live-error"].map((each) => [...document.querySelectorAll(each)])];
      for (const element of all.flat()) element.dataset.contrast = "";
      return all.map((found) => found.length);
    }""")
    assert all(marked)
    assert axe_checks.axe_faults(page) == []
    for width, scheme in reversed(looks):
        site_checks.resize(page, width)
        site_checks.switch(page, scheme)
        assert axe_checks.contrast_faults(page) == []
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


def test_a_file_says_in_a_line_what_to_do(calculator: Page) -> None:
    calculator.goto((SITE / "book" / "notation.html").as_uri())
    calculator.get_by_role("button", name="在本页运行 Python").click()
    expect(status(calculator)).to_contain_text("make serve")
    calculator.goto((SITE / PLANNER).as_uri())
    choose(calculator, "config.json", "{}")
    expect(own(calculator)).to_contain_text("make serve")


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
