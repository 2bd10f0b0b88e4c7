"""The changes that ``tools/machines.py`` plants can be planted: each text stands once in its file."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SPEC = importlib.util.spec_from_file_location("machines", ROOT / "tools" / "machines.py")


@pytest.fixture
def planted(monkeypatch):
    machines = importlib.util.module_from_spec(SPEC)
    monkeypatch.setitem(sys.modules, "machines", machines)  # where a dataclass looks for its module
    SPEC.loader.exec_module(machines)
    return machines.PLANTED


def test_planted_changes_stand_once_in_their_files(planted):
    for path, old, new in planted.values():
        text = (ROOT / path).read_text(encoding="utf-8")
        assert text.count(old) == 1 and new not in text
