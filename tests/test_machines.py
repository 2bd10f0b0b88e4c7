"""What ``tools/machines.py`` plants can be planted, and what it takes for long is what the Makefile takes for long."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SPEC = importlib.util.spec_from_file_location("machines", ROOT / "tools" / "machines.py")


@pytest.fixture
def machines(monkeypatch):
    machines = importlib.util.module_from_spec(SPEC)
    monkeypatch.setitem(sys.modules, "machines", machines)  # where a dataclass looks for its module
    SPEC.loader.exec_module(machines)
    return machines


def test_planted_changes_stand_once_in_their_files(machines):
    for path, old, new in machines.PLANTED.values():
        text = (ROOT / path).read_text(encoding="utf-8")
        assert text.count(old) == 1 and new not in text


def test_labs_with_weights_are_those_that_make_test_begins_with(machines):
    first = re.search(r"^LONGEST := .*ipynb,([\w ]+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)[1].split()
    labs = {path for path in machines.WITH_WEIGHTS if path.startswith("book/")}
    assert labs == {f"book/Lecture10-Lab-{name}.ipynb" for name in first}
    assert {f"--ignore={path}" for path in machines.WITH_WEIGHTS} < {*machines.SYMBOLIC}
