"""What a page of the built site must satisfy in a real browser.

Each check returns the faults it found, as sentences.
"""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, (
    "chromium-headless-shell",  # Debian's: it draws no window around the page, a third of the time of loading one
    "chromium", "chromium-browser", "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"))), None)

DOM = r"""() => {
  const faults = [], article = document.querySelector("article") ?? document.body;
  const shown = (element) => element.checkVisibility();
  const outline = [...article.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter(shown);
  outline.forEach((heading, i) => {
    const level = +heading.tagName[1], before = i ? +outline[i - 1].tagName[1] : 0;
    if (level > before + 1) faults.push(`heading "${heading.textContent}" skips a level`);
  });
  if (document.documentElement.lang !== "zh-CN") faults.push(`language is ${document.documentElement.lang}`);

  const walker = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  const raw =
    /\$[^$\s][^$\n]*\$|\\[([]|\\(frac|text|sum|mathrm|alpha|gamma|begin|left|cdot)\b|\{(term|cite|numref|eq|ref)[:}]/;
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (raw.test(node.data) && !node.parentElement.closest("pre, code, script, style"))
      faults.push(`not rendered: ${node.data.trim().slice(0, 60)}`);
  }
  const formulas = [...article.querySelectorAll(".math")];
  for (const box of formulas) {
    const math = box.querySelector("math");
    if (!math || math.querySelector("merror") || (shown(math) && !math.getBoundingClientRect().width))
      faults.push(`formula not rendered: ${box.textContent.slice(0, 60)}`);
    if (box.localName === "span" && !box.classList.contains("wide") && getComputedStyle(box).overflowY !== "visible")
      faults.push(`formula cut off: ${box.textContent.slice(0, 60)}`);  // letters are taller than their MathML box
  }
  const loaded = [...document.fonts].filter((font) => font.status === "loaded").map((font) => font.family).join();
  if (formulas.some(shown) && !/STIX Two Math/.test(loaded))
    faults.push("the font for formulas is not loaded");

  for (const image of document.querySelectorAll("img")) {
    if (shown(image) && !(image.complete && image.naturalWidth)) faults.push(`broken image ${image.src}`);
    if (!(image.getAttribute("alt") ?? "").trim()) faults.push(`image without text alternative: ${image.src}`);
    if (article.contains(image) && !/[\u4e00-\u9fff]/.test(image.alt))
      faults.push(`text alternative not in Chinese: ${image.alt}`);
  }

  const scrolls = (element) => /auto|scroll/.test(getComputedStyle(element).overflowX);
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width)
    faults.push(`page scrolls sideways to ${document.documentElement.scrollWidth} px`);
  const out = (box) => box.getBoundingClientRect().right > width + 1;
  let outside;
  (function look(parent, inside) {  // inside of what scrolls, or of a drawing, nothing sticks out
    for (const box of parent.children) {
      const parts = box.firstElementChild, closed = parent.localName === "details" && !parent.open;
      if (closed && box.localName !== "summary") continue;  // to ask for sizes would lay it out
      if (parts && !shown(box) && getComputedStyle(box).display !== "contents") continue;
      if (box.clientWidth && box.scrollWidth > box.clientWidth + 1 && scrolls(box) && box.tabIndex < 0)
        faults.push(`keyboard cannot scroll <${box.localName} class="${box.className}">`);
      const held = inside || (parts && scrolls(box));
      if (!held && out(box) && !scrolls(box)) outside ??= box;
      if (parts) look(box, held || /^(math|svg)$/.test(box.localName));
    }
  })(article, false);
  if (outside) faults.push(`<${outside.localName} class="${outside.className}"> sticks out sideways`);
  return faults;
}"""


SETTLED = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  await document.fonts.ready.then(frame);
  const moving = document.getAnimations().filter((animation) => animation.effect.target.checkVisibility());
  await Promise.allSettled(moving.map((animation) => animation.finished));  // in closed code none ever ends
  await frame().then(frame);  // the page answers to the size of its article with the next frame
}"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """``folder`` at an address of this machine."""
    class Quiet(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # one connection for many files

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def resize(page: Page, width: int) -> None:
    """A window of ``width`` pixels, as high as a phone or as the window of a laptop."""
    size = {"width": width, "height": 844 if width < 600 else 800}
    if page.viewport_size == size:
        return
    page.evaluate("() => { window.resized = new Promise((done) => addEventListener('resize', done, { once: true })); }")
    page.set_viewport_size(size)
    page.evaluate("() => resized.then(() => 0)")
    page.evaluate(SETTLED)


def load(page: Page, address: str) -> None:
    """Load ``address`` in the light colour mode and wait for its fonts."""
    page.emulate_media(color_scheme="light")
    page.goto(address)
    page.evaluate(SETTLED)


def switch(page: Page, scheme: str) -> None:
    """Switch the system to the colour ``scheme``, which the page follows."""
    theme = "document.documentElement.dataset.theme"
    if page.evaluate(theme) == scheme:
        return
    page.emulate_media(color_scheme=scheme)
    page.evaluate(SETTLED)
    assert page.evaluate(theme) == scheme


@contextmanager
def watched(page: Page, site: str) -> Iterator[list[str]]:
    """The requests that leave ``site`` or fail and the errors the console shows, as long as the context lasts."""
    faults: list[str] = []
    listeners = {
        "request": lambda request: (request.url.startswith((site, "data:", "blob:"))
                                    or faults.append(f"foreign request {request.url}")),
        # the browser itself gives up what the page before still had under way, its icon for one
        "requestfailed": lambda request: (request.failure == "net::ERR_ABORTED"
                                          or faults.append(f"failed request {request.url}")),
        "response": lambda response: (response.status < 400
                                      or faults.append(f"status {response.status} for {response.url}")),
        "console": lambda message: message.type != "error" or faults.append(f"console: {message.text}"),
        "pageerror": lambda error: faults.append(f"script: {error}"),
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    yield faults
    for event, listener in listeners.items():
        page.remove_listener(event, listener)


def dom_faults(page: Page) -> list[str]:
    """Unrendered formulas, broken or undescribed images, anything that sticks out sideways, skipped headings,
    language."""
    return page.evaluate(DOM)


def search_results(page: Page, query: str) -> list[str]:
    """Search as a reader does, with Ctrl+K, and return the addresses found, best first."""
    page.keyboard.press("Control+k")
    field = page.locator("#pst-search-dialog input")
    field.fill(query)
    page.locator("#pst-search-dialog .search-results[data-query=" + f'"{query}"' + "]").wait_for(timeout=10_000)
    found = page.locator("#pst-search-dialog ol > li > a").evaluate_all("links => links.map((link) => link.href)")
    page.keyboard.press("Escape")
    return found


def search_faults(page: Page, query: str, expected: str) -> list[str]:
    """The first page found for ``query`` must match the pattern ``expected``."""
    found = search_results(page, query)
    return [] if found and re.search(expected, found[0]) else [f"{query} leads to {found[:1]}, expected {expected}"]


def excerpt_faults(page: Page) -> list[str]:
    """The search page marks what was looked for in at least four excerpts."""
    page.locator(".bd-search-container .search-results li").first.wait_for()
    marks = page.locator(".bd-search-container mark").count()
    return [] if marks > 3 else [f"{marks} marks on the search page"]


def colour_faults(page: Page) -> list[str]:
    """Three clicks on the switch (light, dark, as the system has it) must show two backgrounds."""
    seen = set()
    for _ in range(3):
        page.locator(".theme-switch-button:visible").first.click()
        seen.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    page.evaluate("localStorage.clear()")
    return [] if len(seen) == 2 else [f"backgrounds seen: {sorted(seen)}"]


def graph_faults(page: Page, folder: Path) -> list[str]:
    """Every node of the knowledge graph takes the keyboard focus and leads to a section of a page in ``folder``."""
    targets = page.eval_on_selector_all(".knowledge-graph a", """links => links.map((link) => {
        link.focus(); return document.activeElement === link ? link.getAttribute("href") : ""; })""")
    faults = []
    for target in targets:
        file, _, fragment = target.partition("#")
        if not (file and fragment and f'id="{fragment}"' in (folder / file).read_text(encoding="utf-8")):
            faults.append(f"a node leads to {target!r}")
    return faults
