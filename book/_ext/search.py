"""Full-text search: Pagefind indexes the built pages, Chinese words included, right after they are written.

The theme keeps its button, its dialog and Ctrl+K; ``_static/search.js`` fills them with results.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from pagefind.index import IndexConfig, PagefindIndex
from sphinx.application import Sphinx

LISTS = {"book/index": 0.2, "book/glossary": 0.1, "book/references": 0.1}  # they name every term and teach none
IGNORED = ["a.headerlink", "div.math", ".eqno", ".reading-time", "#jb-print-docs-body", "svg", "section[id='sec-refs'] "]


def weigh(_app: Sphinx, page: str, _template: str, context: dict, _doctree: object) -> None:
    """Pages that only list things stand behind the pages that explain them."""
    if page in LISTS and "body" in context:
        context["body"] = f'<div data-pagefind-weight="{LISTS[page]}">{context["body"]}</div>'


def index(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        asyncio.run(_index(Path(app.outdir)))


async def _index(out: Path) -> None:
    config = IndexConfig(root_selector="article.bd-article", exclude_selectors=IGNORED, output_path=str(out / "pagefind"))
    async with PagefindIndex(config=config) as pages:
        await pages.add_directory(str(out / "book"))


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("html-page-context", weigh, priority=900)
    app.connect("build-finished", index, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
