"""One spelling for each term of the glossary, and citations that lead into the bibliography; with planted faults."""

from __future__ import annotations

import re
from pathlib import Path

import book_checks
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = book_checks.pages(ROOT)
GLOSSARY = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
TERMS = re.findall(r"^- \*\*(.*?)\*\*：", GLOSSARY, re.M)
REPLACED = {wrong.strip(): term
            for term, wrongs in re.findall(r"^- \*\*(.*?)\*\*：.*<!-- 不写：(.*) -->$", GLOSSARY, re.M)
            for wrong in wrongs.split(",")}
ENGLISH = {english: term for term, meaning in re.findall(r"^- \*\*(.*?)\*\*：(.*?)[。，]", GLOSSARY, re.M)
           for english in re.split(", ", meaning) if re.fullmatch(r"[a-z][a-z-]+(?: [a-z-]+)*", english)}
GLOSS = re.compile(r"([\u4e00-\u9fff]+)\** ?[（(]([a-z][a-z-]+(?: [a-z-]+)*)(?:[，, ][^()（）]*)?[）)]")
BIBLIOGRAPHY = set(book_checks.ANCHOR.findall((ROOT / "book" / "references.md").read_text(encoding="utf-8")))


def prose(path: Path) -> str:
    """Text a reader reads: Markdown and text alternatives, without code, link addresses and the glossary's comments."""
    figures = [cell["metadata"].get("mystnb", {}) for cell in book_checks.cells(path)]
    texts = [book_checks.markdown(path), *(f["image"]["alt"] for f in figures if "image" in f)]
    return re.sub(r"`[^`\n]+`|\]\([^)]*\)|<!--.*-->", "", "\n".join(texts))


def spelling_faults(text: str) -> list[str]:
    for term in sorted(TERMS, key=len, reverse=True):  # 分组查询注意力 contains a wrong spelling of itself
        text = text.replace(term, "·")
    return [f"{wrong}: the glossary writes {term}" for wrong, term in REPLACED.items() if wrong in text]


def gloss_faults(text: str) -> list[str]:
    """Where another word than the glossary's has the glossary's English beside it: two words for one concept."""
    return [f"{said} ({english}): the glossary writes {ENGLISH[english]}" for said, english in GLOSS.findall(text)
            if english in ENGLISH and said[-1] != ENGLISH[english][-1]]


def citation_faults(text: str) -> list[str]:
    faults = [f"{key} is cited and not in the bibliography"
              for key in sorted(set(re.findall(r"\]\(references\.md#([\w-]+)\)", text)) - BIBLIOGRAPHY)]
    return faults + [f"arXiv {number} is named without a citation" for number in re.findall(
        r"^(?!.*references\.md#|- <a id=).*arXiv[: ](\d{4}\.\d{5})", text, re.M)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_terms_are_spelled_one_way(path: Path) -> None:
    assert spelling_faults(prose(path)) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_concept_has_one_word(path: Path) -> None:
    assert gloss_faults(prose(path)) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_citations_lead_into_the_bibliography(path: Path) -> None:
    assert citation_faults(book_checks.markdown(path)) == []


def test_every_work_of_the_bibliography_is_cited() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in PAGES)
    assert BIBLIOGRAPHY and {key for key in BIBLIOGRAPHY if f"(references.md#{key})" not in text} == set()


def test_every_term_is_used() -> None:
    text = "".join(prose(path) for path in PAGES if path.name != "glossary.md")
    assert TERMS and {term for term in TERMS if term not in text} == set()


@pytest.mark.parametrize("text", ["这叫推测解码", "KV缓存", "写作算数强度"])
def test_second_spelling_is_found(text: str) -> None:
    assert spelling_faults(text)


@pytest.mark.parametrize("text", ["真实的内核（kernel，一段程序）", "比例因子 (scale)", "再**检查** (verify)",
                                  "拐弯处 (ridge point)"])
def test_second_word_for_a_concept_is_found(text: str) -> None:
    assert len(ENGLISH) > 40 and gloss_faults(text) and not gloss_faults("真实的核函数（kernel，一段程序）")


@pytest.mark.parametrize("text", ["见[某人](references.md#nobody2020)", "（arXiv 2405.04434，第 2.1 节）"])
def test_bad_citation_is_found(text: str) -> None:
    assert citation_faults(text)
