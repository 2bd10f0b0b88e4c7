"""Print the built site into one PDF: ``python tools/pdf.py [OUTPUT]`` (after ``make book``; needs Chromium).

The articles are joined into one document, so that links between pages become links inside it. It is printed twice: only
a printed document knows its page numbers, and the contents want them. Each print loads it anew, because Chromium breaks
pages differently when it prints a loaded document again.
"""

from __future__ import annotations

import shutil
import sys
from html import escape
from io import BytesIO
from pathlib import Path

import yaml
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Browser, sync_playwright
from pypdf import PdfReader

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
OUTPUT = ROOT / "_build" / "book.pdf"
CHROMIUM = next(filter(None, map(shutil.which, (
    "chromium", "chromium-browser", "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"))), None)
STYLE = """
@page { size: A4; margin: 18mm 16mm 20mm; @bottom-center { content: counter(page); font: 9pt sans-serif; } }
@page :first { @bottom-center { content: ""; } }
html { --pst-font-family-base: "Noto Sans CJK SC", "Source Han Sans SC", sans-serif; font-size: 13px;
       scroll-padding: 0; }
body { background: none; display: block; width: 673px; }
article { break-before: page; }
.cover, .contents { break-after: page; }
.cover h1 { border-bottom: 3px solid #0072b2; font-size: 3rem; margin-top: 30vh; padding-bottom: 1rem; }
.contents ol { list-style: none; line-height: 1.4; padding: 0; }
.contents ol ol { padding-left: 1.5em; }
.contents li { break-inside: avoid; }
.contents a { color: inherit; display: flex; text-decoration: none; }
.contents a::before { content: ""; order: 1; flex: 1; border-bottom: 1px dotted #888; margin: 0 0.5em 0.4em; }
.contents .page { order: 2; }
.contents > ol > li > a { font-weight: 700; margin-top: 0.6em; }
h1, h2, h3, h4 { font-family: var(--pst-font-family-base); line-height: 1.5; }
h1 { font-size: 1.9rem; } h2 { font-size: 1.5rem; } h3 { font-size: 1.2rem; } h4 { font-size: 1.05rem; }
.copybtn, .headerlink, button { display: none !important; }
pre { white-space: pre-wrap !important; overflow-wrap: anywhere; font-size: 11px; }
.table-scroll, p, .output, div.math, .knowledge-graph { overflow: visible !important; }
table { break-inside: auto !important; font-size: 0.85rem; margin-bottom: 0.5rem; }
th, td { padding: 0.15rem 0.5rem !important; }
table:not(:has(tr:nth-child(12))), figure:not(:has(nav)), .knowledge-graph svg { break-inside: avoid !important; }
tr, div.math, .cell_input { break-inside: avoid !important; }
thead, tr:first-child, tr:nth-last-child(2), .cell_input, .introduces { break-after: avoid; }
figure:has(nav) { break-inside: auto !important; margin: 0 !important; }
figure:has(nav) figcaption { break-before: avoid; margin: 0 !important; }
.knowledge-graph svg { margin-bottom: 0.4rem; max-width: 24rem; }
div.admonition { box-shadow: none !important; }
p, li { orphans: 2; widows: 2; }
dt { break-after: avoid; }
"""
FIT = """
document.querySelectorAll("div.math, article table, p:has(.math)").forEach((box) => {
  const wide = box.matches("table") ? box.offsetWidth : box.scrollWidth, room = box.parentElement.clientWidth;
  if (wide > room + 1) box.style.zoom = room / wide;
});  // a sentence stays on the page of what it introduces
document.querySelectorAll("section > p").forEach((sentence) =>
  sentence.classList.toggle("introduces", sentence.textContent.trim().endsWith("：")));
// tall figures leave the end of a page empty
document.querySelectorAll("figure img").forEach((image) => {
  image.style.width = image.width * Math.min(1, Math.max(0.8, 300 / image.height)) + "px";
});"""


def main(output: Path = OUTPUT) -> int:
    if CHROMIUM is None:
        print("make pdf needs Chromium or Chrome and a Chinese font", file=sys.stderr)
        return 1
    pages = _pages()
    if missing := [page.name for page in pages if not page.is_file()]:
        print(f"not built: {', '.join(missing)}; make book builds them", file=sys.stderr)
        return 1
    document = pages[0].with_name("_print.html")
    document.write_text(_document(pages), encoding="utf-8")
    try:
        output.write_bytes(_print(document))
    finally:
        document.unlink()
    print(f"{output}: {len(PdfReader(output).pages)} pages, {output.stat().st_size / 1e6:.1f} MB")
    return 0


def _pages() -> list[Path]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [SITE / f"{name}.html" for name in (toc["root"], *(chapter["file"] for chapter in toc["chapters"]))]


def _document(pages: list[Path]) -> str:
    articles = [BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser").select_one("article.bd-article")
                for page in pages]
    prefixes = {page.name: f"p{number}-" for number, page in enumerate(pages)}
    contents = []
    for page, article in zip(pages, articles):
        for link in article.select("a.headerlink"):
            link.decompose()
        _prefix(article, prefixes[page.name], prefixes)
        article["id"] = prefixes[page.name]
        article.h1["id"] = f"{prefixes[page.name]}top"
        sections = "".join(_entry(heading) for heading in article.select("h2[id]"))
        contents.append(f"<li>{_entry(article.h1, 'a')}<ol>{sections}</ol></li>")
    title = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["title"]
    return ('<!doctype html><html lang="zh-CN" data-theme="light"><head><meta charset="utf-8">'
            f'<title>{escape(title)}</title>'
            f'<link rel="stylesheet" href="../_static/styles/site.css"><style>{STYLE}</style></head><body>'
            f'<div class="cover"><h1>{escape(title)}</h1><p>第 10 讲的可执行的书：推导、模拟、测量</p></div>'
            f'<div class="contents"><h1>目录</h1><ol>{"".join(contents)}</ol></div>'
            f'{"".join(map(str, articles))}</body></html>')


def _entry(heading: Tag, kind: str = "li") -> str:
    link = f'<a href="#{heading["id"]}"><span>{escape(heading.get_text())}</span><span class="page"></span></a>'
    return link if kind == "a" else f"<li>{link}</li>"


def _prefix(article: Tag, prefix: str, prefixes: dict[str, str]) -> None:
    """Ids and links of one page made unique in the joined document."""
    for element in article.select("[id]"):
        element["id"] = prefix + element["id"]
    for link in article.select("a[href]"):
        name, _, fragment = link["href"].partition("#")
        if name in prefixes or not name:
            link["href"] = f"#{prefixes.get(name, prefix)}{fragment or 'top'}"


def _print(document: Path) -> bytes:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        numbers = _numbers(_pdf(browser, document, {}))
        printed = _pdf(browser, document, numbers)
        browser.close()
    if _numbers(printed) != numbers:
        raise RuntimeError("the pages moved when their numbers were filled in: the contents would be wrong")
    return printed


def _pdf(browser: Browser, document: Path, numbers: dict[str, int]) -> bytes:
    page = browser.new_page(viewport={"width": 673, "height": 900})
    page.emulate_media(media="print", color_scheme="light")
    page.goto(document.as_uri())
    page.evaluate("document.fonts.ready.then(() => 0)")
    page.evaluate(FIT)
    page.evaluate("numbers => document.querySelectorAll('.contents a').forEach((link) => "
                  "link.querySelector('.page').textContent = numbers[link.hash.slice(1)] ?? '')", numbers)
    printed = page.pdf(prefer_css_page_size=True, print_background=True, tagged=True, outline=True)
    page.close()
    return printed


def _numbers(pdf: bytes) -> dict[str, int]:
    """The page on which each link target stands."""
    reader = PdfReader(BytesIO(pdf))
    targets = reader.named_destinations.items()
    return {name.lstrip("/"): reader.get_destination_page_number(target) + 1 for name, target in targets}


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
