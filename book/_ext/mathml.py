"""Formulas become MathML while the book is built: a page shows them without a script and without a server.

MathML is text: it is read aloud, copied, printed and searched like the sentence around it. TeX that cannot be converted
is a warning, so it fails the strict build.
"""

from __future__ import annotations

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator
from tex import names_apart

CONVERTER = LatexToMathML(fancy_error=False)
OPENING, CLOSING = tuple("（“《("), tuple("，。；：、！？）”》),.;:")
logger = logging.getLogger(__name__)


def mathml(tex: str, node: nodes.Element, *, displaystyle: bool) -> str:
    tex = names_apart(tex.strip())
    if displaystyle and r"\\" in tex and r"\begin" not in tex:
        tex = rf"\begin{{gathered}}{tex}\end{{gathered}}"
    try:
        return CONVERTER.convert_with_local_state(tex, displaystyle=displaystyle)
    except LatexError as error:
        logger.warning("formula cannot be rendered: %s in %s", error, tex, location=node)
        return f"<code>{nodes.unescape(tex)}</code>"


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    shown = mathml(node.astext(), node, displaystyle=False)
    self.body.append(self.starttag(node, "span", "", CLASS="math") + shown + "</span>")
    raise nodes.SkipNode


def visit_display(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", "", CLASS="math"))
    tex, _, number = node.astext().partition(r"\tag{")
    self.body.append(mathml(tex, node, displaystyle=True))
    if number:
        self.body.append(f'<span class="eqno">({number.strip().removesuffix("}")})</span>')
    self.body.append("</div>\n")
    raise nodes.SkipNode


def keep_punctuation(_app: Sphinx, doctree: nodes.document, _name: str) -> None:
    """Put a formula and the punctuation that touches it on one line.

    Browsers break lines on both sides of any formula.
    """
    for formula in list(doctree.findall(nodes.math)):
        parent, place = formula.parent, formula.parent.index(formula)
        before, after = (parent[i] if 0 <= i < len(parent) else None for i in (place - 1, place + 1))
        together = nodes.inline(classes=["together"])
        if isinstance(after, nodes.Text) and after.startswith(CLOSING):
            parent[place + 1] = nodes.Text(after[1:])
            together += nodes.Text(after[0])
        if isinstance(before, nodes.Text) and before.endswith(OPENING):
            parent[place - 1] = nodes.Text(before[:-1])
            together.insert(0, nodes.Text(before[-1]))
        if together.children:
            parent[place] = together
            together.insert(1 if together[0].astext() in OPENING else 0, formula)


def setup(app: Sphinx) -> dict[str, object]:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_display, None))
    app.connect("doctree-resolved", keep_punctuation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
