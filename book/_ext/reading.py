"""One line under each title: how long the page takes, and how many figures and exercises it has.

Minutes are 350 Chinese characters, 20 lines of code or 8 displayed formulas each: the pace of someone who works along.
"""

from __future__ import annotations

import math
import re

from docutils import nodes
from sphinx.application import Sphinx

CJK = re.compile(r"[\u4e00-\u9fff]")


def minutes(doctree: nodes.document) -> int:
    code = list(doctree.findall(nodes.literal_block))
    characters = len(CJK.findall(doctree.astext())) - sum(len(CJK.findall(block.astext())) for block in code)
    lines = sum(block.astext().count("\n") + 1 for block in code if "python" in block.get("language", ""))
    formulas = len(list(doctree.findall(nodes.math_block)))
    return math.ceil(characters / 350 + lines / 20 + formulas / 8)


def announce(_app: Sphinx, _page: str, _template: str, context: dict, doctree: nodes.document | None) -> None:
    if doctree is None or "</h1>" not in context.get("body", ""):
        return
    parts = [f"阅读约 {minutes(doctree)} 分钟"]
    figures = len(list(doctree.findall(nodes.figure)))
    exercises = sum(type(node).__name__ in ("exercise_node", "exercise_enumerable_node") for node in doctree.findall())
    parts += [f"{figures} 幅图"] * bool(figures) + [f"{exercises} 道练习"] * bool(exercises)
    context["body"] = context["body"].replace("</h1>", f'</h1>\n<p class="reading-time">{" · ".join(parts)}</p>', 1)


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("html-page-context", announce, priority=800)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
