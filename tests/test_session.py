"""The session that runs in the pages, run here: what a missing library leaves usable, and what output looks like."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import book_checks
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module as the page has it, where Matplotlib and NumPy are missing."""
    monkeypatch.syspath_prepend(str(ROOT / "book" / "_live"))
    monkeypatch.syspath_prepend(str(ROOT / "book" / "_ext"))
    for name in ("matplotlib", "numpy", "missing_one"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in [name for name in sys.modules if name.startswith("lecture10.figures")]:  # another test's
        monkeypatch.setattr(name, sys.modules[name])  # what its parent has, as it is now
        monkeypatch.delitem(sys.modules, name)
    import session

    session.start()
    yield session
    session.start()


def run(session: ModuleType, source: str) -> dict:
    return json.loads(session.run(source, "cell"))


def test_a_cell_shows_its_last_expression_and_what_it_prints(session: ModuleType) -> None:
    answer = run(session, "x = 6\nprint('seven')\nx * 7")
    assert answer == {"status": "ok", "outputs": [{"stdout": "seven\n"}, {"text/plain": "42"}]}
    assert run(session, "x\ny = 1")["outputs"] == run(session, "None")["outputs"] == []
    assert run(session, "_ + 1")["outputs"] == [{"text/plain": "43"}]


def test_names_of_a_missing_module_complain_when_used_and_no_sooner(session: ModuleType) -> None:
    assert run(session, "import missing_one as m\nfrom missing_one.part import a, b\nx = 2")["status"] == "ok"
    assert run(session, "x")["outputs"] == [{"text/plain": "2"}]
    for use in ("m.array", "a(1)", "b + 1", "1 - b", "list(a)", "range(a)", "f'{a}'", "a < 1", "float(a)",
                "a | {}", "a"):
        assert run(session, use) == {"status": "missing", "missing": "missing_one", "outputs": []}, use


def test_of_one_import_only_what_is_missing_is_missing(session: ModuleType) -> None:
    assert run(session, "from lecture10 import H100, roofline")["status"] == "ok"
    assert run(session, "H100.name")["outputs"] == [{"text/plain": "'H100 SXM'"}]
    assert run(session, "roofline({})")["status"] == "missing"


def test_what_a_cell_would_have_defined_is_missing_too(session: ModuleType) -> None:
    run(session, "import missing_one as m\ny = 1")
    assert run(session, "before = 3\nz, (w,) = m.grid(), 0\ny = 2\ndef f(): return z")["status"] == "missing"
    assert run(session, "before")["outputs"] == [{"text/plain": "3"}]
    assert all(run(session, use)["status"] == "missing" for use in ("y", "z", "w + 1", "f()"))
    run(session, "from lecture10 import sweep\nfrom lecture10.notation import B")
    assert run(session, "sweep(B, {B: [1, 2]})")["missing"] == "numpy"  # imported by the package itself


def test_a_file_beside_the_notebook_is_missing(session: ModuleType) -> None:
    assert run(session, "text = open('data/none.txt').read()")["missing"] == "files"
    assert run(session, "text[0]")["missing"] == "files"


def test_a_config_is_compiled_as_the_build_does(session: ModuleType, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    import deployments

    from lecture10.models.families import DATA
    from lecture10.models.load import load_model

    monkeypatch.chdir(tmp_path)
    text = (DATA / "configs" / "gpt2.json").read_text(encoding="utf-8")
    found = json.loads(session.compile_model(text, "my config"))
    assert found["script"] == deployments.script("my config", load_model("gpt2"))
    assert found["notes"] and not list(tmp_path.iterdir())
    assert json.loads(session.compile_model("[]", "x")) == {"error": "config.json holds list: expected a JSON object"}


def test_what_a_skipped_measurement_would_have_defined_is_missing(session: ModuleType) -> None:
    assert session.skip("import time as clock\nspeed = clock.time()") == "null"
    assert run(session, "speed * 2")["missing"] == run(session, "clock.time()")["missing"] == "measurement"


def test_an_error_names_the_line_of_the_cell_and_nothing_of_the_package(session: ModuleType) -> None:
    run(session, "from lecture10 import H100")
    answer = run(session, "x = 1\n\nH100.times(-x)")
    assert answer["status"] == "error"
    assert "line 3" in answer["error"] and "H100.times(-x)" in answer["error"]
    assert answer["error"].splitlines()[-1].startswith("ValueError: devices is -1")
    assert ".py" not in answer["error"]
    assert "SyntaxError" in run(session, "x = = 1")["error"]


@pytest.mark.parametrize("path", sorted((ROOT / "book").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_formula_and_table_of_the_book_is_rendered(session: ModuleType, path: Path) -> None:
    texts = [{kind: "".join(text) for kind, text in output["data"].items()} for cell in book_checks.cells(path)
             for output in cell.get("outputs", []) if {"text/latex", "text/markdown"} & set(output.get("data", {}))]
    assert texts
    for text in texts:
        html = json.loads(session.show(json.dumps([text])))
        written = (text.get("text/markdown") or text["text/latex"]).replace("($)", "(dollars)")
        formulas = re.findall(r"(?<!\\)\$.+?(?<!\\)\$", written)
        if "```" not in text.get("text/markdown", ""):
            assert html.count("<math") == len(formulas), text
        assert html.count("<table") == ("| :--" in html or "\n|" in text.get("text/markdown", ""))
        assert not re.search(r"[$\\]", re.sub(r"<pre>.*?</pre>|\(\$\)", "", html, flags=re.S)), html


LABS = {
    "Serving": (("imports", "step-plan", "blocks-fork", "ex-beams-code", "ex-beams-check", "waiting-derive",
                 "waiting-formula", "waiting-exact", "ex-load-code"), {
        ("ex-sv-beams", "ex-beams-check"): (("40", "39"), ("6 + 4*4", "28")),
        ("ex-sv-load", "ex-load-code"): (("0.52", "0.6"), ("19.1", "25"))}),
    "Speculative": (("imports", "published", "v_seen = {}", "kinds", "kinds-table", "tree-faults", "sol-eagle",
                     "sol-eagle-rates", "sol-break-even-limit", "sol-break-even"), {
        ("ex-lp-eagle", "sol-eagle-rates"): (("7/12", "1/2"), ("0.2014", "7/12")),
        ("ex-lp-break-even", "sol-break-even"): (("4.06", "4"), ("4.06 - 8/20", "4.06"))})}
"""Cells that the exercises of a lab need, or what a measurement would have left; what is typed, right and wrong."""


@pytest.mark.parametrize("lab", LABS)
def test_exercises_of_a_lab_are_judged_without_numpy(session: ModuleType, lab: str) -> None:
    needed, exercises = LABS[lab]
    cells = {cell["id"]: cell for cell in book_checks.cells(ROOT / "book" / f"Lecture10-Lab-{lab}.ipynb")}
    for name in needed:
        source = "".join(cells[name]["source"]) if name in cells else name
        assert json.loads(session.run(source, name))["status"] in ("ok", "missing"), name
    for (exercise, solution), typed in exercises.items():
        for asked, (right, wrong) in zip(cells[exercise]["metadata"]["answers"], typed, strict=True):
            assert [json.loads(session.judge(answer, asked["value"], solution, ""))["kind"] == "right"
                    for answer in (right, wrong)] == [True, False], asked


def test_text_is_escaped(session: ModuleType) -> None:
    assert "&lt;b&gt;" in json.loads(session.show('[{"stdout": "<b>"}]'))


def test_an_answer_is_judged_by_what_the_solution_found(session: ModuleType) -> None:
    session.run("from lecture10.notation import S, T\nlimit = S*T/(S + T)\n[limit, 5]", "solution")
    session.run("'something else'", "later")
    right = json.loads(session.judge("1/(1/S + 1/T)", "limit", "solution", ""))
    assert right["kind"] == "right"
    assert json.loads(session.judge("6", "_[1]", "solution", ""))["kind"] == "larger"
    wrong = json.loads(session.judge("S", "_[0]", "solution", ""))
    assert wrong == {"kind": "wrong", "point": {"S": "2", "T": "8"}, "yours": "2", "expected": "8/5"}
    assert json.loads(session.judge("S +", "limit", "solution", ""))["message"].startswith("answer is 'S +'")
