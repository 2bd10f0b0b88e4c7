"""TeX as SymPy prints it, made ready for MathML. Imports the standard library alone: Python in the pages uses it."""

from __future__ import annotations

import re

TOKEN = re.compile(r"\\(?:text|mathrm|operatorname|begin|end)\{[^{}]*\}|\\(?:[A-Za-z]+|.)"
                   r"|(?<![A-Za-z])(?:[a-z]{3,}|(?<=_\{)[a-z]{2})(?![A-Za-z])|\s+|.", re.S)
NAME = re.compile(r"\\text\{\S(?:.*\S)?\}")


def names_apart(tex: str) -> str:
    """TeX in which a name of several letters is one word, with a dot between it and the factor beside it.

    SymPy prints a product as a space, which a formula does not show: names would run together, and their letters too.
    """
    shown, before = [], ""
    for token in TOKEN.findall(tex):
        if token.isspace():
            shown.append(token)
            continue
        token = rf"\text{{{token}}}" if re.fullmatch("[a-z]{2,}", token) else token
        if ((NAME.fullmatch(token) and re.fullmatch(r"[A-Za-z0-9})]", before))
                or (NAME.fullmatch(before) and (NAME.fullmatch(token) or re.fullmatch(r"[A-Za-z0-9]|\\frac", token)))):
            shown.append(r"\;\cdot\;")
        shown.append(token)
        before = token
    return "".join(shown)
