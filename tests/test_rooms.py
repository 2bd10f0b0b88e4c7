"""The package is a house with rooms: imports run one way, and the symbolic core needs SymPy alone."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "lecture10"
FLOORS = (
    ("checks",), ("notation", "distributions"), ("table",), ("hardware",), ("cost",),
    ("sweep", "intensity", "counting_loops", "stats", "generation", "speculative", "speedup", "answers"),
    ("models",), ("measurements",), ("engine", "serving"), ("speculation",), ("figures",), ("__init__",), ("command",),
    ("__main__",),
)
"""From the ground up; a room imports from lower floors, and from those beside it as long as no circle forms."""
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
SYMBOLIC = {*sum(FLOORS[:8], ()), "__init__"}
"""Rooms that a browser's Python runs: what they import when loaded is SymPy and the standard library."""


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path, when_loaded: bool = False) -> list[tuple[str, str]]:
    """(library, "") or ("lecture10", room) for every import of ``path``, or for those that run when it is loaded."""
    found = []
    here = ("lecture10", *path.relative_to(PACKAGE).parent.parts)
    tree = parsed(path)
    for node in tree.body if when_loaded else ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [tuple(alias.name.split(".")[:2]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[:len(here) - node.level + 1] if node.level else ()
            whole = (*base, *(node.module.split(".") if node.module else ()))
            found += [tuple((*whole, alias.name)[:2]) for alias in node.names]
    return [(*names, "")[:2] for names in found]


MODULES = sorted(PACKAGE.rglob("*.py"))


def faults(path: Path) -> list[str]:
    own = room(path)
    wrong = [f"{own} imports {target}, which lies above it" for library, target in imports(path)
             if library == "lecture10" and target in FLOOR and FLOOR[target] > FLOOR[own]]
    if any(library == "matplotlib" for library, _ in imports(path)) and own != "figures":
        wrong.append(f"{own} imports Matplotlib: only figures may")
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_room_has_a_floor_and_no_arrow_goes_back(path: Path) -> None:
    assert room(path) in FLOOR
    assert faults(path) == []


@pytest.mark.parametrize("path", [path for path in MODULES if room(path) in SYMBOLIC], ids=lambda path: path.name)
def test_the_symbolic_core_needs_sympy_alone(path: Path) -> None:
    libraries = {library for library, _ in imports(path, when_loaded=True)}
    assert libraries <= sys.stdlib_module_names | {"sympy", "lecture10"}


def test_the_ground_floors_form_no_circle() -> None:
    beside = {(room(path), target) for path in MODULES for library, target in imports(path)
              if library == "lecture10" and target != room(path) and FLOOR.get(target) == FLOOR[room(path)]}
    reached = beside
    while more := {(a, d) for a, b in reached for c, d in beside if b == c} - reached:
        reached = reached | more
    assert not [pair for pair in reached if pair[0] == pair[1]]


@pytest.mark.parametrize("source", ["from .figures import style", "from lecture10.models.layers import Pass",
                                    "import lecture10.engine.decoder", "import matplotlib.pyplot as plt",
                                    "def f():\n    from . import serving"])
def test_an_arrow_back_is_found(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "stats.py").write_text(source, encoding="utf-8")
    assert faults(tmp_path / "stats.py")
