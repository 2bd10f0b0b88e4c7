"""Every page is executed, listed and linked; and the checks that say so are themselves seen to find planted faults."""

from __future__ import annotations

import copy
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import book_checks
import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import plain  # noqa: E402

PAGES = book_checks.pages(ROOT)
NOTEBOOKS = [page for page in PAGES if page.suffix == ".ipynb"]


def name(path: Path) -> str:
    return path.name


def test_every_toc_entry_has_a_page_and_every_page_an_entry() -> None:
    assert book_checks.toc_faults(ROOT) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebook_is_executed_from_top_to_bottom(path: Path) -> None:
    assert book_checks.execution_faults(path) == []


@pytest.mark.parametrize("path", [*PAGES, ROOT / "README.md"], ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    assert book_checks.link_faults(path) == []


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_pages_read_well_without_the_site(path: Path) -> None:
    assert book_checks.plain_faults(path) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_every_exercise_has_its_solution(path: Path) -> None:
    assert book_checks.exercise_faults(path) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_figures_say_what_they_show(path: Path) -> None:
    for cell in book_checks.cells(path):
        if any("image/svg+xml" in output.get("data", {}) for output in cell.get("outputs", [])):
            alternative = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
            assert re.search(r"[\u4e00-\u9fff]", alternative), f"{cell['id']} has no text alternative"


def test_figure_and_section_labels_are_unique() -> None:
    found = [label for page in PAGES for label in book_checks.labels(page)]
    assert len(found) == len(set(found))


def test_readme_names_only_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = set(re.findall(r"`make ([a-z]+)`", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert {"book", "test"} <= named <= targets


def test_make_lab_opens_the_front_page_trusts_the_notebooks_and_passes_options_on() -> None:
    command = ["make", "--no-print-directory", "-n", "lab", "OPTIONS=--port 9999"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    trust, lab = [line for line in printed.splitlines() if not line.startswith("echo")][-2:]
    assert "jupyter trust book/*.ipynb" in trust
    assert "--LabApp.default_url=/lab/tree/index.ipynb" in lab and lab.endswith("--port 9999")
    assert ("--allow-root" in lab) == (os.geteuid() == 0)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_page_shows_less_than_a_third_of_code(path: Path) -> None:
    assert book_checks.code_share(path, plain._folded) < 1 / 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_closed_checks_say_what_they_checked(path: Path) -> None:
    assert book_checks.unnamed_checks(path) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_numbers_of_sentences_stand_in_a_cell(path: Path) -> None:
    assert book_checks.number_faults(path) == []


# Planted faults: a check that finds nothing on a good book must find each of these on a bad one.


def planted(tmp_path: Path, **changes: object) -> Path:
    """A small good notebook with one change to its only code cell."""
    cell = {"cell_type": "code", "id": "sum", "execution_count": 1, "metadata": {}, "source": ["x = 1\n", "x"],
            "outputs": [{"output_type": "execute_result", "execution_count": 1, "metadata": {},
                         "data": {"text/plain": ["1"]}}]}
    text = {"cell_type": "markdown", "id": "sec-here", "metadata": {}, "source": changes.pop("text", "# Here")}
    names = {"kernelspec": {"name": "python3"}, "language_info": {"name": "python"}}
    notebook = {"cells": [text, {**cell, **changes}], "metadata": names,
                "nbformat": 4, "nbformat_minor": 5}
    path = tmp_path / "page.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


def test_a_good_notebook_has_no_faults(tmp_path: Path) -> None:
    path = planted(tmp_path, text="# Here\n\n[there](#cell-id=sec-here) [again](page.ipynb#cell-id=sec-here) "
                                  "[out](https://example.org) `{code}` $x_{a}$")
    assert book_checks.execution_faults(path) + book_checks.link_faults(path) == []
    assert book_checks.plain_faults(path) + book_checks.exercise_faults(path) == []


@pytest.mark.parametrize("change", [
    {"execution_count": None},
    {"execution_count": 2},
    {"outputs": []},
    {"outputs": [{"output_type": "error", "ename": "E", "evalue": "", "traceback": []}]},
    {"outputs": [{"output_type": "stream", "name": "stderr", "text": "warning"}]},
    {"source": []},
])
def test_execution_fault_is_found(tmp_path: Path, change: dict) -> None:
    assert book_checks.execution_faults(planted(tmp_path, **change))


@pytest.mark.parametrize("target", ["other.ipynb", "page.ipynb#cell-id=sec-there", "#cell-id=sec-there", "#sec-here",
                                    "#cell-id=sum", "http://example.org",
                                    "../gone.md"])
def test_broken_link_is_found(tmp_path: Path, target: str) -> None:
    assert book_checks.link_faults(planted(tmp_path, text=f"# Here\n\n[there]({target})"))


@pytest.mark.parametrize(("text", "faults"), [
    ("只要 12.4 ms", 0), ("约 12 ms", 0), ("12.42 ms，即 1,234 个", 0), ("输入是 8192", 0), ("只要 12.5 ms", 1),
    ("12.43 ms，1,235 个", 2), ("1,235 个（[甲](references.md#a2020)）", 0), ("论文写作 1.35", 0),
    ("1,235 个\n\n论文", 1), ("论文写作 1.35。这里是 1,235 个", 1),
    ("见 3.2 节，推论 3.9", 0), ("第 1234 页，1999 年，Llama-2-135M，`7.25`", 0), ("[7.25](a.ipynb#sec-1.2)", 1),
    ("# 7.25", 0), ("- 12.4\n- 12.9", 1)])
def test_a_number_that_drifted_is_found(tmp_path: Path, text: str, faults: int) -> None:
    table = {"output_type": "execute_result", "execution_count": 1, "metadata": {},
             "data": {"text/plain": ["| 12.42 | 1,234 |"], "image/svg+xml": ["7.25"]}}
    path = planted(tmp_path, text=text, source=["x = 8_192\n", "x"], outputs=[table])
    assert len(book_checks.number_faults(path)) == faults


def test_what_jupyterlab_writes_into_the_metadata_is_no_fault(tmp_path: Path) -> None:
    path = planted(tmp_path)
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["metadata"]["kernelspec"]["display_name"] = "Python 3 (ipykernel)"
    notebook["metadata"]["language_info"] |= {"version": "3.13.1", "file_extension": ".py"}
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert book_checks.execution_faults(path) == []
    notebook["metadata"]["kernelspec"]["name"] = "venv"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert book_checks.execution_faults(path)


@pytest.mark.parametrize("text", ["(sec-here)=\n# Here", "见 {cite}`somebody2020`", "见 {eq}`eq-here`",
                                  "$$ x $$ (eq-here)", "```{exercise} 题\n问\n```",
                                  ":::{glossary}\n:::", "图：上面没有图"])
def test_markup_that_only_the_site_shows_is_found(tmp_path: Path, text: str) -> None:
    assert book_checks.plain_faults(planted(tmp_path, text=text))


def test_what_is_closed_is_not_counted_and_a_check_without_words_is_found(tmp_path: Path) -> None:
    one = {"output_type": "execute_result", "execution_count": 1, "metadata": {}, "data": {"text/plain": ["1"]}}
    assert book_checks.code_share(planted(tmp_path, text="12", source=["123"], outputs=[one]), plain._folded) == 0.5
    table = {**one, "data": {"text/plain": ["1"], "text/markdown": ["1"]}}
    closed = planted(tmp_path, source=["Table(1)"], outputs=[table])
    assert book_checks.code_share(closed, plain._folded) == 0
    named = {"mystnb": {"code_prompt_show": "核对：一"}}
    found = [book_checks.unnamed_checks(planted(tmp_path, source=["assert 1"], outputs=[], metadata=metadata))
             for metadata in ({}, named)]
    assert [len(faults) for faults in found] == [1, 0]


FIGURE = '<svg><g id="patch_1"><path d="M 0 0 \nz\n" style="fill: #ffffff"/></g></svg>'


@pytest.mark.parametrize(("right", "wrong", "fault"), [
    ("", "", None), ("图：一", "一", "no caption"), ("#ffffff", "none", "on nothing")])
def test_figure_without_a_caption_or_a_ground_is_found(tmp_path: Path, right: str, wrong: str, fault: str) -> None:
    output = {"output_type": "display_data", "metadata": {}, "data": {"image/svg+xml": FIGURE}}
    path = planted(tmp_path, outputs=[output])
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["cells"].append({"cell_type": "markdown", "id": "fig-one", "metadata": {}, "source": ["图：一"]})
    path.write_text(json.dumps(notebook, ensure_ascii=False).replace(right, wrong), encoding="utf-8")
    found = book_checks.plain_faults(path)
    assert found == [] if fault is None else len(found) == 1 and fault in found[0]


def test_what_a_reader_leaves_in_jupyterlab_is_put_right(tmp_path: Path) -> None:
    canonical = runpy.run_path(str(ROOT / "tools" / "notebooks.py"))["canonical"]
    clean = nbformat.read(ROOT / "book" / "Lecture10-Code-Intensity.ipynb", as_version=4)
    read = copy.deepcopy(clean)
    read.metadata.language_info["version"] = "3.13.1"
    for cell in read.cells:
        cell.metadata.pop("jp-MarkdownHeadingCollapsed", None)
    assert read != clean
    assert canonical(read, {}) == canonical(clean, {})


@pytest.mark.parametrize("text", ["### 练习：题\n\n问", "#### 解答\n\n答"])
def test_exercise_without_solution_and_solution_without_exercise_are_found(tmp_path: Path, text: str) -> None:
    assert book_checks.exercise_faults(planted(tmp_path, text=text))


def test_toc_fault_is_found(tmp_path: Path) -> None:
    (tmp_path / "book").mkdir()
    planted(tmp_path / "book")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters:\n- file: book/gone\n",
                                       encoding="utf-8")
    assert len(book_checks.toc_faults(tmp_path)) == 3  # two entries without a page, one page without an entry


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_only_measurements_are_left_out_of_the_comparison(path: Path) -> None:
    for cell in book_checks.cells(path):
        tags = set(cell["metadata"].get("tags", ())) & {"measurement", "nbval-ignore-output", "nbval-skip"}
        assert tags in (set(), {"measurement", "nbval-ignore-output"}), f"{cell['id']} is tagged {sorted(tags)}"
