"""Tables as Markdown: digits, alignment and bad rows."""

from decimal import Decimal

import numpy as np
import pytest
import sympy as sp

from lecture10 import Table
from lecture10.notation import B, memory_bandwidth
from lecture10.table import cell


@pytest.mark.parametrize("value, text", [
    (13015449600, "13,015,449,600"), (sp.Integer(1024), "1,024"), (np.int64(1024), "1,024"), (-5, "-5"), (0, "0"),
    (0.0, "0"), (0.5, "0.5000"), (sp.Rational(1, 3), "0.3333"), (1234.5678, "1,235"), (123456.7, "123,457"),
    (0.00012345678, "0.0001235"),
    (0.0000123, "1.23e-05"), (0.00015, "0.0001500"),
    (1.0, "1.000"), (9.9996, "10.00"), (9.9994, "9.999"), (0.99996, "1.000"), (1e15, "1e+15"),
    (2.5e14, "250,000,000,000,000"), (-2689.4807, "-2,689"), (True, "是"), (False, "否"), (None, ""),
    ("matmul", "matmul"), (float("inf"), "inf"),
    (Decimal("4.10"), "4.10"), (Decimal("1429.19"), "1,429.19"),
    (B * memory_bandwidth, r"$B \,\text{memory bandwidth}\,$"), (memory_bandwidth, r"$\text{memory bandwidth}$"),
    (sp.Symbol("x")**2, "$x^{2}$"), (sp.sqrt(2), "1.414"), (np.float64(0.25), "0.2500"),
])
def test_cells(value, text):
    assert cell(value) == text


def test_numbers_stand_on_the_right_and_text_on_the_left():
    table = Table(("name", "count", "printed", "formula"), [("a", 1, Decimal("2.0"), sp.Symbol("x")), ("b", 2.5, 3, 3)])
    assert table._repr_markdown_() == ("| name | count | printed | formula |\n| :--- | ---: | ---: | :--- |\n"
                                       "| a | 1 | 2.0 | $x$ |\n| b | 2.500 | 3 | 3 |")


def test_a_missing_number_leaves_a_column_of_numbers():
    table = Table(("some", "none"), [(1, None), (None, None)])
    assert table._repr_markdown_().splitlines()[1:] == ["| ---: | :--- |", "| 1 |  |", "|  |  |"]


def test_a_row_of_another_length():
    with pytest.raises(ValueError, match=r"row \(1, 2, 3\) has 3 cells: expected 2"):
        Table(("a", "b"), [(1, 2), (1, 2, 3)])


def test_a_table_prints_as_it_shows_without_the_digits_that_hang_on_rounding():
    assert repr(Table(("sum",), [(0.1 + 0.2,)])) == repr(Table(("sum",), [(0.3,)])) == "| sum |\n| ---: |\n| 0.3000 |"
