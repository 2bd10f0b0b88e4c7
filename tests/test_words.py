"""One spelling for each term of the glossary, and citations that lead into the bibliography; with planted faults."""

from __future__ import annotations

import itertools
import re
from functools import cache
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


@cache
def prose(path: Path) -> str:
    """Text a reader reads: Markdown and text alternatives, without code, link addresses and the glossary's comments."""
    figures = [cell["metadata"].get("mystnb", {}) for cell in book_checks.cells(path)]
    texts = [book_checks.markdown(path), *(f["image"]["alt"] for f in figures if "image" in f)]
    return re.sub(r"`[^`\n]+`|\]\([^)]*\)|<!--.*-->", "", "\n".join(texts))


@cache
def shown(path: Path) -> str:
    """The prose and the tables that cells make."""
    outputs = [output for cell in book_checks.cells(path) for output in cell.get("outputs", [])]
    return "\n".join([prose(path), *("".join(output.get("data", {}).get("text/markdown", "")) for output in outputs)])


def spelling_faults(text: str) -> list[str]:
    for term in sorted(TERMS, key=len, reverse=True):  # 分组查询注意力 contains a wrong spelling of itself
        text = text.replace(term, "·")
    return [f"{wrong}: the glossary writes {term}" for wrong, term in REPLACED.items() if wrong in text]


def gloss_faults(text: str) -> list[str]:
    """Where another word than the glossary's has the glossary's English beside it: two words for one concept.

    The term may be spread over the words before its English, as in 草稿就成了一棵树（draft tree）."""
    return [f"{said} ({english}): the glossary writes {ENGLISH[english]}" for said, english in GLOSS.findall(text)
            if english in ENGLISH and not re.search(".*".join(ENGLISH[english]) + "$", said)]


def rendering_faults(text: str) -> list[str]:
    """English that the glossary does not have beside words that end differently: it was translated twice."""
    said: dict[str, set[str]] = {}
    for chinese, english in GLOSS.findall(text):
        said.setdefault(english.removesuffix("s"), set()).add(chinese[-2:])
    return [f"{english}: {' and '.join(sorted(ends))}" for english, ends in said.items()
            if english not in ENGLISH and len(ends) > 1]


ALIKE = [forms.split() for forms in (
    "系数 因子", "延迟 时延 延时", "验证 校验 核验 查验", "核函数 内核", "词元 令牌", "缓存 快取", "吞吐量 吞吐率",
    "掩码 遮罩 蒙版", "草稿 草拟 起草", "采样 抽样 取样", "重抽 重采", "残差 残余 余差", "贪心 贪婪", "索引 检索",
    "抢占 驱逐", "带宽 频宽", "转折点 拐点 脊点", "离群 异常", "思想实验 假想实验", "下界 下限", "上界 上限",
    "传输 搬运", "先来 先到", "接受 采纳 接收", "强度 密度", "循环 递归", "查询 询问", "算力 计算能力", "分组 群组",
    "潜在 隐式", "稠密 密集", "连续 持续", "混合 复合", "奖励 附赠")]
"""Chinese words for one English word: the book uses one of each."""


def alike_faults(text: str) -> list[str]:
    """A term with a part said in another way, or two alike words where either could stand: after the same character."""
    for term in sorted(TERMS, key=len, reverse=True):
        text = text.replace(term, "·")
    variants = {term.replace(part, other): term for term in TERMS for forms in ALIKE
                for part, other in itertools.permutations(forms, 2) if part in term}
    faults = [f"{variant}: the glossary writes {term}" for variant, term in variants.items() if variant in text]
    for forms in ALIKE:
        places = {form: set(re.findall(f"(.){form}", _without_overlap(text, form, forms))) for form in forms}
        faults += [f"{one} and {other}: one word for one concept" for one, other in itertools.combinations(forms, 2)
                   if places[one] & places[other]]
    return faults


def _without_overlap(text: str, form: str, forms: list[str]) -> str:
    """``text`` where the others of ``forms`` are gone: 批次不变时延迟 holds 延迟, not 时延."""
    for other in forms:
        if other[0] in form[1:]:
            text = text.replace(other, "·")
    return text


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


def test_no_two_words_say_the_same() -> None:
    assert alike_faults("\n".join(map(shown, PAGES))) == []
    assert rendering_faults("\n".join(map(prose, PAGES))) == []


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
                                  "拐弯处 (ridge point)", "比例系数 (scale)"])
def test_second_word_for_a_concept_is_found(text: str) -> None:
    assert len(ENGLISH) > 40 and gloss_faults(text) and not gloss_faults("真实的核函数（kernel，一段程序）")


@pytest.mark.parametrize(("word", "other"), [("缩放系数", "缩放因子"), ("一次验证", "一次校验"), ("下界", "下限"),
                                             ("传输", "搬运"), ("每词延迟", "每词时延"), ("困惑度", "混乱度")])
def test_another_word_on_one_page_is_found(word: str, other: str) -> None:
    first, *rest = [text for text in map(prose, PAGES) if word in text]
    text = "\n".join([first.replace(word, other), *rest])
    assert rest and alike_faults(text) + rendering_faults(text)


def test_part_of_two_words_is_no_word() -> None:
    assert alike_faults("批次不变时延迟变短，延迟变短") == []


@pytest.mark.parametrize("text", ["见[某人](references.md#nobody2020)", "（arXiv 2405.04434，第 2.1 节）"])
def test_bad_citation_is_found(text: str) -> None:
    assert citation_faults(text)
