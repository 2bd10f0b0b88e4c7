"""Full-text search: Pagefind indexes the built pages, Chinese words included, right after they are written.

The theme keeps its button, its dialog and Ctrl+K; ``_static/search.js`` fills them with results.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from pagefind.index import IndexConfig, PagefindIndex
from sphinx.application import Sphinx

LISTS = {"book/index": 0.2, "book/notation": 0.2, "book/glossary": 0.1, "book/references": 0.1}
"""Pages that name every term and teach none."""
IGNORED = ["a.headerlink", "div.math", ".reading-time", "svg"]
HEADING = re.compile(r'<h([2-4])>(.*?<a class="headerlink" href="#([^"]+)")')


def prepare(_app: Sphinx, page: str, _template: str, context: dict, _doctree: object) -> None:
    """Headings get an id, so that results lead to sections.

    Pages that only list things stand behind those that explain.
    """
    if "body" in context:
        weight = f' data-pagefind-weight="{LISTS[page]}"' if page in LISTS else ""
        body = HEADING.sub(r'<h\1 id="h-\3">\2', context["body"])
        context["body"] = f"<div{weight}>{body}</div>"


def index(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        asyncio.run(_index(Path(app.outdir)))


async def _index(out: Path) -> None:
    config = IndexConfig(root_selector="article.bd-article", exclude_selectors=IGNORED,
                         output_path=str(out / "pagefind"))
    async with PagefindIndex(config=config) as pages:
        await pages.add_directory(str(out / "book"))


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("html-page-context", prepare, priority=900)
    app.connect("build-finished", index, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
