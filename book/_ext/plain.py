"""Pages are plain Markdown, which JupyterLab, GitHub and an editor show alike; here they get the site's directives.

A cell that begins with ``图：`` is the caption of the figure above it, ``### 练习：`` an exercise, ``#### 解答`` its
solution, which lasts until the next heading. The id of such a cell, or of a heading (``sec-…``), is its label, because
JupyterLab spells a link to a cell ``[text](Page.ipynb#cell-id=ID)``. Code that only imports, draws or makes a table is
closed, and so is a cell with a ``code_prompt_show`` of its own: what it checked, in a few words. A figure tagged
``beside`` stands, on a wide screen, beside the table and the paragraph before it.
"""

from __future__ import annotations

import json
import re

from docutils import nodes
from sphinx.application import Sphinx

ITEMS = re.compile(r"(?:^- \*\*.*\n)+", re.M)


def translate(app: Sphinx, docname: str, source: list[str]) -> None:
    source[0] = source[0].replace("#cell-id=", "#")
    if app.env.doc2path(docname).endswith(".ipynb"):
        notebook = json.loads(source[0])
        source[0] = json.dumps(notebook | {"cells": _directives(notebook["cells"])})
    elif docname == "book/glossary":
        source[0] = ITEMS.sub(lambda items: f":::{{glossary}}\n{_terms(items[0])}:::\n", source[0])
    elif docname == "book/references":
        source[0] = re.sub(r'^- <a id="([\w-]+)"></a>', r"- (\1)=\n  ", source[0], flags=re.M)


def _terms(items: str) -> str:
    return re.sub(r"^- \*\*(.*?)\*\*：(.*?)(?:<!--.*-->)?$", r"\1\n  \2\n", items, flags=re.M)


def _directives(cells: list[dict]) -> list[dict]:
    """The cells with labels before headings, captions beside figures, exercises and solutions as directives."""
    shown: list[dict] = []
    exercise, solving = "", False
    for cell in cells:
        text = "".join(cell["source"])
        first, _, body = text.partition("\n")
        if cell["cell_type"] == "code":
            shown.append(cell if solving else _folded(cell))
            continue
        if solving and text.startswith("#"):
            shown.append(_end(shown))
            solving = False
        if first.startswith("图："):
            shown[-1]["metadata"]["mystnb"]["figure"] = {"name": cell["id"], "caption": text.removeprefix("图：")}
            continue
        if first == "#### 解答":
            text, solving = f"```{{solution-start}} {exercise}\n:class: dropdown\n```\n{body}", True
        elif first.startswith("### 练习："):
            exercise = cell["id"]
            text = f"````{{exercise}} {first.partition('：')[2]}\n:label: {exercise}\n{body}\n````"
        elif first.startswith("#") and cell["id"].startswith("sec-"):
            text = f"({cell['id']})=\n{text}"
        shown.append(cell | {"source": text})
    return [*shown, _end(shown)] if solving else shown


def _folded(cell: dict) -> dict:
    """The cell with its code closed where only what it shows matters: imports, figures and tables, not derivations."""
    kinds = {kind for output in cell["outputs"] for kind in output.get("data", {})}
    code, own = "".join(cell["source"]), cell["metadata"].get("mystnb", {})
    label = ("导入" if code.startswith(("import ", "from ")) else
             "这幅图的代码" if "image/svg+xml" in kinds else
             "这张表的代码" if "text/markdown" in kinds and "Table(" in code else own.get("code_prompt_show"))
    if label is None:
        return cell
    tags = {*cell["metadata"].get("tags", ()), "hide-input"}
    prompts = {**own, "code_prompt_show": label, "code_prompt_hide": label}
    return cell | {"metadata": {**cell["metadata"], "tags": sorted(tags), "mystnb": prompts}}


def _end(shown: list[dict]) -> dict:
    return {"cell_type": "markdown", "id": f"end-{len(shown)}", "metadata": {}, "source": "```{solution-end}\n```"}


def set_beside(_app: Sphinx, doctree: nodes.document) -> None:
    """A picture whose cell is tagged ``beside`` gets the table and the paragraph before it on its left."""
    for cell in doctree.findall(lambda node: isinstance(node, nodes.container) and "tag_beside" in node["classes"]):
        section, at = cell.parent, cell.parent.index(cell)
        section["classes"].append("two-columns")
        for before in section[at - 2:at]:
            before["classes"].append("left")


def name_folded(_app: Sphinx, _page: str, _template: str, context: dict, _doctree: object) -> None:
    """What is read aloud of closed code is the words on it, not myst-nb's English label."""
    context["body"] = context.get("body", "").replace('<summary aria-label="Toggle hidden content">', "<summary>")


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("source-read", translate)
    app.connect("doctree-read", set_beside)
    app.connect("html-page-context", name_folded)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
