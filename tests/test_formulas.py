"""Names in formulas are words, parted from the factor beside them; everything else is left as it is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book" / "_ext"))
from mathml import names_apart


@pytest.mark.parametrize(("tex", "shown"), [
    (r"\frac{flops \text{memory bandwidth}}{bytes}",
     r"\frac{\text{flops} \;\cdot\;\text{memory bandwidth}}{\text{bytes}}"),
    (r"2 B \text{memory bandwidth}", r"2 B \;\cdot\;\text{memory bandwidth}"),
    (r"x^{2} \text{peak FLOP/s} B", r"x^{2} \;\cdot\;\text{peak FLOP/s} \;\cdot\;B"),
    (r"\text{rate} \frac{a}{b}", r"\text{rate} \;\cdot\;\frac{a}{b}"),
    (r"W_{up}", r"W_{\text{up}}"),
])
def test_names_stand_apart(tex: str, shown: str) -> None:
    assert names_apart(tex) == shown


@pytest.mark.parametrize("tex", [
    r"2 B D F", r"pq + ij", r"\min(p, q)", r"\mathrm{softmax}(A)V", r"80\,\text{GB}", r"P[\text{sampling } A]",
    r"P(\text{accept}) = \alpha", r"\text{memory} = B \cdot \text{kv\_cache\_size}",
    r"\begin{cases} a & b \\ c & d \end{cases}", r"x \quad \text{if} \quad y",
])
def test_other_formulas_are_left_alone(tex: str) -> None:
    assert names_apart(tex) == tex
