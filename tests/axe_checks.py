"""What axe-core finds on a page of the built site: contrast on one element of each kind, what stands around the article
on one page of each kind, everything else on the page.

Each check returns the faults it found, as sentences.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from playwright.sync_api import Page

AXE = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
CONTRAST = ["color-contrast", "link-in-text-block"]

THIN = """() => {  // thousands of code tokens, table rows and cells look alike: one of each kind will do, where it is
  for (const math of document.querySelectorAll("math")) math.replaceChildren();  // axe has no rule for what is in it
  const seen = new Set(), spare = (kind) => seen.has(kind) || !seen.add(kind);
  for (const token of document.querySelectorAll("pre span"))
    if (!token.className || spare(token.className + "/" + token.closest("pre").parentElement.parentElement.className))
      token.replaceWith(...token.childNodes);
  for (const row of document.querySelectorAll("tbody tr")) {
    const inside = [...row.querySelectorAll("*")].map((element) => element.localName + "." + element.className);
    if (spare([row.rowIndex % 2, row.closest("table").className, ...new Set(inside)].join())) row.remove();
  }
  for (const cell of document.querySelectorAll("div.cell")) {
    const inside = [cell, ...cell.querySelectorAll("*")].map((box) => `${box.localName}.${box.className} ${box.kind}`);
    if (!cell.querySelector("tbody tr, pre span") && spare([...new Set(inside)].join())) cell.remove();
  }
  const free = /^(id|href|title|aria-label|data-.*)$/;
  const told = ({ name, value }) => name + (free.test(name) ? !value : value);
  const look = (box) => [box.localName, box.kind, !box.textContent.trim(), ...[...box.attributes].map(told)].join();
  for (const text of document.querySelectorAll(":is(article, aside) :is(p, li):not(summary *)")) {
    const inside = [text.parentElement, text, ...text.querySelectorAll("*")].map(look);
    if (spare([...new Set(inside)].join())) text.remove();
  }
}"""
NOTE = r"""() => {  // colour, size, weight of the letters, what lies under them, and for a link the letters around it
  const grounds = new Map(), ground = (box) => {
    if (!box) return "";
    if (!grounds.has(box)) {
      const { backgroundColor: colour, backgroundImage: image, opacity } = getComputedStyle(box);
      const clear = colour === "rgba(0, 0, 0, 0)" && image === "none" && opacity === "1";
      grounds.set(box, (clear ? "" : `${colour} ${image} ${opacity};`)
        + (colour.startsWith("rgb(") ? "" : ground(box.parentElement)));
    }
    return grounds.get(box);
  };
  const says = (box) => [...box.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  const around = (link) => says(link.parentElement) && getComputedStyle(link.parentElement).color;
  for (const element of document.querySelectorAll("body :not(math, math *, svg *, script, style, noscript)")) {
    if (!says(element) || !element.checkVisibility()) continue;
    const { color, fontSize, fontWeight, textDecorationLine } = getComputedStyle(element);
    element.kind = [element.kind, color, fontSize, fontWeight, ground(element)].join();
    if (element.localName === "a") element.kind += [textDecorationLine, around(element)];
  }
}"""
ONE_OF_EACH = """(known) => {  // all else becomes empty, but stays: rows may be coloured by turns
  const seen = new Set(known), kept = new Set();
  for (const element of document.querySelectorAll("body *")) {
    if (!element.kind || seen.has(element.kind)) continue;
    seen.add(element.kind);
    element.dataset.contrast = "";
    for (let box = element; box; box = box.parentElement) kept.add(box);
  }
  for (const element of document.querySelectorAll("body *"))
    if (!kept.has(element) && kept.has(element.parentElement)) element.replaceChildren();
  return [...seen].slice(known.length);
}"""
FRAME = """() => {  // all that axe judges it by: more than words and addresses, and one entry of each kind in a list
  const article = document.querySelector("article"), ids = new Map();
  for (const { id } of document.querySelectorAll("[id]")) ids.set(id, ids.has(id));
  const free = /^(id|href|title|aria-label|data-.*)$/, named = /^(for|aria-.*)$/;
  const told = ({ name, value }) => [name, free.test(name) ? !value.trim() : value, name === "id" && ids.get(value),
    named.test(name) && value.split(" ").map((id) => ids.has(id))];
  const look = (box) => [box.localName, box.checkVisibility(), !box.textContent.trim(),
    box.scrollWidth > box.clientWidth, box.scrollHeight > box.clientHeight, ...[...box.attributes].map(told)];
  const kind = (box) => {
    const inside = box === article ? [] : [...box.children].map(kind);
    return `${look(box)}(${box.localName === "ul" ? [...new Set(inside)].sort() : inside})`;
  };
  return innerWidth + kind(document.body);
}"""
OUTSIDE = "body:has(article), body :has(article)"  # what the article stands in
JUDGE = """async ([context, options]) => {
  const { violations } = await axe.run(context, { resultTypes: ["violations"], selectors: false, ...options });
  return violations.filter(({ impact }) => ["serious", "critical"].includes(impact)).flatMap(({ id, nodes }) =>
    nodes.slice(0, 3).map(({ html }) => `${id}: ${html.slice(0, 120)}`));
}"""


def thin(page: Page) -> None:
    """Take away what looks like something that stays: axe needs seconds for a page of ten thousand elements."""
    page.evaluate(THIN)


@contextmanager
def without_article(page: Page) -> Iterator[None]:
    """In a narrow window only what stands around the article changes, with other buttons and closed sidebars; whether
    a box of the article scrolls out of reach is for ``dom_faults``, at every width."""
    page.evaluate("""() => {
        const article = document.querySelector("article") ?? document.createElement("article");
        window.put_back = () => article.append(...content);
        const content = [...article.childNodes];
        article.replaceChildren(); }""")
    yield
    page.evaluate("put_back()")


def frame(page: Page) -> str:
    """The kind of what stands around the article, at the width of the window."""
    return page.evaluate(FRAME)


def axe_faults(page: Page, frame: bool = True) -> list[str]:
    """Violations that axe-core calls serious or critical, contrast apart, with or without what stands around the
    article; no page plays a sound, for which axe would load all that it names once more."""
    left_out = {rule: {"enabled": False} for rule in (*CONTRAST, "region")}  # region is moderate, but takes long
    known = [] if frame else [[f":is({OUTSIDE}) > :not(article, {OUTSIDE})"]]
    return _axe(page, {"exclude": [["math"], *known]}, {"rules": left_out, "preload": False})


def note_letters(page: Page) -> None:
    """Note for each element what decides on the contrast of its letters; noted again, in both colour modes."""
    page.evaluate(NOTE)


def keep_one_of_each(page: Page, known: set[str]) -> list[str]:
    """Empty the page but for one element of each noted kind that is not ``known``, and return these kinds."""
    return page.evaluate(ONE_OF_EACH, list(known))


def contrast_faults(page: Page) -> list[str]:
    """Letters that stand out too little, by axe-core, among those that were kept: thousands look alike."""
    return _axe(page, {"include": [["[data-contrast]"]]}, {"runOnly": CONTRAST})


def _axe(page: Page, context: dict, options: dict) -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    return page.evaluate(JUDGE, [context, options])
