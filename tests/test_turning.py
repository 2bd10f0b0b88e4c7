"""What reacts on the site, in a real browser: every compiled formula, the planner and the numbers in sentences against
the package."""

from __future__ import annotations

import gzip
import http.server
import itertools
import json
import os
import random
import re
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import axe_checks
import book_checks
import numpy as np
import pytest
import site_checks
import sympy as sp
from playwright.sync_api import Browser, ElementHandle, Locator, Page, Response

from lecture10 import Deployment, find_accelerator, load_model
from lecture10.__main__ import main
from lecture10.command.answer import answer, size
from lecture10.hardware import accelerators
from lecture10.models.deployment import PEAK_OF
from lecture10.models.formats import BYTES, FORMATS
from lecture10.models.load import known_models
from lecture10.models.parallel import Layout
from lecture10.models.transformer import Transformer

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import deployments  # noqa: E402
import formulas  # noqa: E402
import planner  # noqa: E402
import turning  # noqa: E402

EXACT = 1e-12
PLANNER = "book/planner.html"
model = cache(load_model)


@pytest.fixture(scope="module")
def page(browser: Browser, site: str) -> Iterator[Page]:
    page = browser.new_page()
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(site + PLANNER)
    page.locator(".planner-answers[data-ready]").wait_for()
    yield page
    page.close()


# Formulas


SEARCH = os.environ.get("HYPOTHESIS_PROFILE") == "search"
POINTS, SETTINGS = (10_000, 200) if SEARCH else (2_000, 100)
LOAD = """async ([names]) => { for (const name of names) await lecture10.planner.load(name); }"""
ALIKE = """async ([address, text, lengths, rows]) => {
  const numbers = new Float64Array(await (await fetch(address)).arrayBuffer());
  const column = Array.from({ length: numbers.length / rows }, (_, k) => numbers.subarray(k * rows, (k + 1) * rows));
  const take = () => column.shift();
  const given = lengths.map((n) => (n === null ? take() : Array.from({ length: n }, take)));
  const formula = (0, eval)(text);
  let worst = 0;
  for (let i = 0; i < rows; i++)
    formula(...given.map((one) => (Array.isArray(one) ? one.map((each) => each[i]) : one[i]))).forEach((value, k) => {
      const right = column[k][i];
      worst = Math.max(worst, value === right ? 0 : Math.abs(value - right) / Math.abs(right));
    });
  return worst;
}"""
Column = np.ndarray | float


class Numbers(http.server.BaseHTTPRequestHandler):
    """Serves what was sent last: numbers as arguments of a call take a hundred times as long."""

    sent = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.end_headers()
        self.wfile.write(self.sent)

    def log_message(self, *_args: object) -> None:
        """Nothing is written to the screen."""


@pytest.fixture(scope="module")
def differs(page: Page) -> Iterator[Callable[[str, list[Column | list[Column]], list[Column]], float]]:
    """The largest relative error of a function in JavaScript at POINTS inputs whose outputs are known."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Numbers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def differ(text: str, inputs: list[Column | list[Column]], outputs: list[Column]) -> float:
            lengths = [len(one) if isinstance(one, list) else None for one in inputs]
            single = [each for one in inputs for each in (one if isinstance(one, list) else [one])]
            rows = [np.broadcast_to(each, POINTS) for each in (*single, *outputs)]
            Numbers.sent = np.stack(rows).astype(float).tobytes()
            return page.evaluate(ALIKE, [f"http://127.0.0.1:{server.server_port}", text, lengths, POINTS])

        yield differ
        server.shutdown()


X, Y, Z = sp.symbols("x y z", positive=True)
SHAPES = {
    "arithmetic": X**2 / Y + sp.Rational(1, 3) * Z - 10**30 * Y, "Max and Min": sp.Max(X, Y / Z, 3) + sp.Min(X, Z),
    "floor": sp.Max(0, sp.floor((X * 10**6 - Y) / sp.floor(Z))), "ceiling": sp.ceiling(Y / 7) * sp.ceiling(Y / 49),
    "Piecewise": sp.Piecewise((X, X < Y), (Y**2, X < Z), (Z, True)), "power": 256 * (1 - sp.Rational(31, 32) ** X),
    "roots": sp.sqrt(X) + sp.log(Y, 2) + sp.exp(-Z / 10**6), "Float": sp.Float("0.1") * X,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_kind_of_term_is_spelled_right(differs: Callable[..., float], shape: str) -> None:
    rng, symbols, outputs = np.random.default_rng(0), [X, Y, Z], [SHAPES[shape], SHAPES[shape] * X]
    points = [np.exp(rng.uniform(0, np.log(1e6), POINTS)) for _ in symbols]
    points[1] = np.floor(points[1])
    right = sp.lambdify(symbols, outputs, modules="numpy", cse=True)(*points)
    assert differs(formulas.function(symbols, outputs), points, right) <= EXACT


def test_rounded_quotients_meet_whole_numbers(page: Page) -> None:
    text = formulas.function([X, Y], [sp.floor(X / Y), sp.ceiling(X / Y), sp.floor(X / 49), X / Y])
    wrong = page.evaluate("""(text) => { const formula = (0, eval)(text), wrong = [];
      for (let a = 1; a < 300; a++) for (let b = 1; b < 300; b++) {
        const [down, up, ninth] = formula(a * b, b);
        if (down !== a || up !== a || ninth !== (a * b - (a * b) % 49) / 49) wrong.push([a, b]); }
      return wrong.length; }""", text)
    assert wrong == 0


@pytest.mark.parametrize(("expr", "complaint"), [
    (sp.binomial(X, Y), "binomial: expected"), (sp.Function("f")(X), r"no values for \['f'\]"),
    (sp.Symbol("free") * X, r"no values for \['free'\]")])
def test_what_javascript_cannot_compute_is_refused(expr: sp.Expr, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        formulas.function([X, Y], [expr])


def test_reserved_words_are_refused() -> None:
    with pytest.raises(ValueError, match="mean something else in JavaScript"):
        formulas.function([sp.Symbol("in")], [sp.Symbol("in")])


def test_a_sum_is_a_loop(page: Page) -> None:
    step, index = sp.Function("step"), sp.Symbol("i")
    text = formulas.function([X, step], [X + sp.Sum(step(index) ** 2, (index, 3, X))])
    assert page.evaluate(f"({text})(10, (i) => i + 1)[0]") == 10 + sum((i + 1) ** 2 for i in range(3, 11))


RANGES = {symbol: (one.least, one.most, one.step) for symbol, one in turning.INPUTS.items()} | {
    symbol: (min(seen), max(seen), 0) for one in turning.CHOICES.values() for symbol in next(iter(one.values.values()))
    if (seen := [float(values[symbol]) for values in one.values.values()])}


@pytest.mark.parametrize("name", turning.results())
def test_every_result_of_a_sentence_is_exact(differs: Callable[..., float], name: str) -> None:
    rng, expr = np.random.default_rng(1), turning.results()[name].expr
    symbols = [symbol for symbol in RANGES if symbol in expr.free_symbols]
    points = [rng.uniform(least, most, POINTS) for least, most, _ in (RANGES[symbol] for symbol in symbols)]
    points = [np.round(values / step) * step if step else values
              for values, (_, _, step) in zip(points, (RANGES[symbol] for symbol in symbols))]
    right = sp.lambdify(symbols, expr, modules=[{"Largest": np.maximum}, "numpy"])(*points)
    text = re.search(rf'formulas\["{name}"\]=Object.assign\((.*),\{{', turning.script())[1]
    assert text == formulas.function(symbols, [expr])
    assert differs(text, points, [right]) <= EXACT


def test_bytes_follow_their_formats_and_what_turns_has_a_range() -> None:
    """Llama-2-13B: 13.02·10⁹ weights, 2·40·40·128 numbers of cache a token."""
    assert [turning.answered("weights-gb", {"weights": kind}) for kind in ("bf16", "int8")] == ["26.03", "13.02"]
    assert [turning.answered("cache-gb", {"B": "1", "kv": kind}) for kind in ("bf16", "fp8")] == ["0.8389", "0.4194"]
    assert all(0 <= one.least <= one.default <= one.most for one in turning.INPUTS.values())
    assert [one.least for one in turning.INPUTS.values() if one.unit not in ("", "倍")] == [1, 16, 1, 1]


OFFERED = [*known_models()] if SEARCH else [
    "llama-3-8b", "gpt-oss-20b", "deepseek-v3", "mixtral-8x7b", "deepseek-v4-pro", "qwen3-next-80b-a3b",
    "llama-4-scout", "gemma-3n-e4b"]
"""One of each kind; all with HYPOTHESIS_PROFILE=search."""
SIZES = {deployments.B: 3, deployments.T: 3, deployments.S: 3, deployments.KV: 1, deployments.DEVICES: 2}
"""Powers of ten up to which a number goes; what is no size goes up to 10¹²."""
Formula = tuple[tuple, list[sp.Expr]]


def formulas_of(name: str) -> dict[str, Formula]:
    """What the functions of a model's script were made of, those that many models share among them."""
    plain, table = deployments.in_any_format(model(name))
    whole, own, kept = deployments.costs(plain)
    total, weights, named = plain.weight_bytes(), [*table.values()], deployments.Named.of(plain, whole)
    given = (deployments.B, deployments.T, deployments.S, deployments.KV)
    found: dict[str, Formula] = {"cost": ((*given, weights), deployments.nonzero(whole)),
                                 "one": deployments.timed(named, 1)[1:], "floor": deployments.fastest(named)[1:]}
    for count, cached in kept.items():
        found[f"cache {count}"] = (given[2:], [cached])
        if count in own:
            found[f"own {count}"] = (given, deployments.nonzero(own[count]))
    for way in deployments.ways(plain):
        layout = deployments.AnyCount(deployments.DEVICES, *way)
        stored = layout.stored_weights(plain, deployments.Pass(1, 1, 1), total)
        found[f"weights {way}"] = ((deployments.DEVICES, weights), [stored])
        exchanges = tuple(Layout(max(own), *way).traffic(plain, 1, 1))
        found[f"times {way}"] = deployments.timed(deployments.replace(named, exchanges=exchanges),
                                                  deployments.DEVICES, *way)[1:]
    return found


def columns(given: tuple) -> dict[sp.Symbol, np.ndarray]:
    """Random numbers for the symbols; a context holds the new tokens."""
    rng, found = np.random.default_rng(2), {}
    for symbol in (each for one in given for each in (one if isinstance(one, list) else [one])):
        found[symbol] = np.floor(np.exp(rng.uniform(0, np.log(10.0 ** SIZES.get(symbol, 12)), POINTS)))
    if deployments.T in found and deployments.S in found:
        found[deployments.S] += found[deployments.T]
    return found


@pytest.fixture(scope="module")
def known() -> set[str]:
    """Functions seen to be exact: many models have them in common."""
    return set()


@pytest.mark.parametrize("name", OFFERED)
def test_every_formula_of_a_deployment_is_exact(differs: Callable[..., float], known: set[str], name: str) -> None:
    """What is in the script of the model, against the expressions that it was made of."""
    script = (SITE / "_static" / "formulas" / f"{name}.js").read_text(encoding="utf-8")
    for what, (given, outputs) in formulas_of(name).items():
        text = formulas.function(given, outputs)
        assert text in script, what
        if text in known:
            continue
        known.add(text)
        exact = [value for value in map(sp.sympify, outputs) if not any(
            term.could_extract_minus_sign() for term in sp.Add.make_args(value))]  # no difference of two numbers
        found = columns(given)
        inputs = [[found[each] for each in one] if isinstance(one, list) else found[one] for one in given]
        right = sp.lambdify([*found], exact, modules=[{"Largest": np.maximum}, "numpy"])(*found.values())
        alike = text if len(exact) == len(outputs) else formulas.function(given, exact)
        assert differs(alike, inputs, right) <= EXACT, what


def test_exchanges_carry_the_same_for_every_token() -> None:
    """What the scripts take for granted: bytes for one token, times the tokens of the pass."""
    for name in known_models():
        for way in deployments.ways(model(name)):
            devices = next(n for n in Layout(1, *way).counts(model(name)) if n > 1)
            layout = Layout(devices, *way)
            one, many = layout.traffic(model(name), 1, 1), layout.traffic(model(name), 3, 5)
            assert many == {exchange: 15 * sent for exchange, sent in one.items()}


# The planner


def settings(count: int) -> list[dict[str, object]]:
    """Random settings that exist, every model among them."""
    rng, found = random.Random(0), []
    for name in itertools.islice(itertools.cycle(known_models()), count):
        shape, card = model(name), rng.choice([*accelerators().values()])
        longest = min(filter(None, (shape.max_context, shape.positions, 2**20)))
        context = round(2 ** rng.uniform(1, np.log2(longest)))
        attention, experts = rng.choice([*deployments.ways(shape)])
        counts = [n for n in Layout(1, attention, experts).counts(shape) if n <= deployments.MOST]
        found.append({
            "model": name, "accelerator": card.name,
            "devices": rng.choice(counts if card.link_bandwidth else [1]), "attention": attention, "experts": experts,
            "kv": rng.choice(["", *BYTES]),
            "weights": rng.choice(["", *BYTES, *FORMATS]), "B": round(2 ** rng.uniform(0, 10)), "S": context,
            "arithmetic": rng.choice([name for name, kind in PEAK_OF.items() if kind in card.peaks]),
            "answer": rng.randint(1, min(24, context - 1))})
    return found


def planned(one: dict[str, object]) -> Deployment:
    """The deployment of a setting."""
    return Deployment(model(one["model"]), find_accelerator(one["accelerator"]), one["devices"],
                      one["weights"] or None, one["kv"] or None, arithmetic=PEAK_OF[one["arithmetic"]],
                      attention=one["attention"], experts=one["experts"])


@pytest.fixture(scope="module")
def remembered() -> Iterator[None]:
    """Passes of the same sizes are derived once, which an answer asks for several times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transformer, "forward", cache(Transformer.forward))
        yield


ANSWERED = """async (all) => {
  const { planner } = lecture10, found = [];
  for (const one of all) {
    const facts = await planner.load(one.model), card = planner.facts.cards[one.accelerator];
    const { pass, memory, asked, ...numbers } = planner.answer({ ...one, facts, card, prompt: one.S - one.answer });
    found.push(numbers);
  }
  return found;
}"""


def test_the_planner_answers_as_the_command_does(page: Page, remembered: None) -> None:
    asked = settings(SETTINGS)
    assert {one["model"] for one in asked} == set(page.evaluate("lecture10.planner.facts.models"))
    for number, (one, told) in enumerate(zip(asked, page.evaluate(ANSWERED, asked), strict=True)):
        plan = planned(one)
        right, prompt = answer(plan, one["B"], one["S"]), one["S"] - one["answer"]
        same = {
            "fits": right["fits"], "largest": right["largest_batch"], "needed": right["devices_needed"] or 0,
            "capacity": right["capacity_per_device_bytes"], "memoryUsed": right["memory_per_device_bytes"],
            "cache": right["kv_cache_per_sequence_bytes"] + right["state_per_sequence_bytes"],
            "weights": right["weights_bytes"] / one["devices"],
            "latency": right["time_per_output_token_s"], "throughput": right["throughput_tokens_per_s"],
            "floor": right["floor_time_per_output_token_s"], "firstToken": float(plan.time_to_first_token(1, prompt))}
        if number % 8 == 0:  # these take long
            same["request"] = float(plan.time_to_first_token(one["B"], prompt)) + plan.generation_time(
                one["B"], prompt, one["answer"])
        told["needed"] = told["needed"] or 0
        assert {key: told[key] for key in same} == pytest.approx(same, rel=EXACT), one
        assert dict(told["shares"]) == pytest.approx(right["limits"], rel=EXACT, abs=EXACT)
        assert [row["name"] for row in told["rows"]] == [row["operation"] for row in right["operations"]]
        for row, wanted in zip(told["rows"], right["operations"], strict=True):
            assert row["limit"] == wanted["limited_by"]
            for key in ("flops", "bytes", "seconds"):
                assert row[key] == pytest.approx(wanted[key], rel=EXACT)


def shown(page: Page, column: int = 1) -> dict[str, str]:
    """The answers as a reader reads them."""
    return page.eval_on_selector_all(".answers tbody tr", "(rows, column) => Object.fromEntries(rows.map((row) => "
                                     "[row.cells[1].dataset.quantity, row.cells[column].textContent]))", column)


def expected(one: dict[str, object]) -> dict[str, str]:
    """The same from the package."""
    return planner.texts(planned(one), one["B"], one["S"], one["answer"])


def ask(page: Page, address: str) -> None:
    """Follow a link within the page and wait for its answer."""
    answered(page, lambda: page.evaluate("(hash) => { location.hash = hash; }", address))


def answered(page: Page, act: Callable[[], object]) -> None:
    """``act``, and wait for the answer that follows."""
    before = page.locator(".planner-answers").get_attribute("data-ready")
    act()
    page.wait_for_function("(old) => document.querySelector('.planner-answers').dataset.ready !== old", arg=before)


DEFAULT = {"model": "qwen3-8b", "accelerator": "H100 SXM", "devices": 1, "attention": "tensor-parallel",
           "experts": "tensor-parallel", "weights": "", "kv": "", "arithmetic": "bf16",
           "B": 16, "S": 8192, "answer": 1024}


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["wide and light", "narrow and dark"])
def asked(page: Page, site: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The planner with its default question, at one width in one colour; afterwards nothing has gone wrong."""
    width, scheme = request.param
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    with site_checks.watched(page, site) as faults:
        if page.url.split("#")[0] != site + PLANNER:
            page.goto(site + PLANNER)
            page.locator(".planner-answers[data-ready]").wait_for()
        answered(page, lambda: page.evaluate("lecture10.state.reset()"))
        yield page
    assert faults == []


def test_the_default_answer_is_that_of_the_package(asked: Page) -> None:
    assert shown(asked) == expected(DEFAULT)


def test_every_setting_turns_by_key_pointer_and_choice(asked: Page) -> None:
    question = dict(DEFAULT)

    def check(**changes: object) -> None:
        question.update(changes)
        assert shown(asked) == expected(question)

    field = {key: asked.locator(f".control input.turn[data-quantity={key}]") for key in ("B", "S", "prompt", "answer")}
    for key, value in {"accelerator": "L40S", "devices": 4, "weights": "fp8", "kv": "fp8", "arithmetic": "fp8"}.items():
        choice = asked.locator(f"select[data-quantity={key}]")
        answered(asked, lambda choice=choice, value=value: choice.select_option(str(value)))
        check(**{key: value})
    answered(asked, lambda: field["B"].press("ArrowUp"))
    check(B=17)
    answered(asked, lambda: field["B"].press("PageUp"))
    check(B=34)
    answered(asked, lambda: (field["S"].fill("32k"), field["S"].press("Enter")))
    check(S=32768)
    answered(asked, lambda: field["prompt"].press("ArrowDown"))
    check(S=32767)
    answered(asked, lambda: (field["answer"].fill("16"), field["answer"].press("Tab")))
    check(answer=16)
    answered(asked, lambda: drag(asked, field["B"], -48))
    check(B=68)
    answered(asked, lambda: asked.locator("input[type=range][data-of=B]").press("Home"))
    check(B=1)


def test_the_question_travels_in_the_address(asked: Page, browser: Browser) -> None:
    answered(asked, lambda: asked.get_by_role("button", name="并排再比一种").click())
    second = asked.locator("select[data-quantity=accelerator]").nth(1)
    answered(asked, lambda: second.select_option("L40S"))
    other = DEFAULT | {"accelerator": "L40S"}
    assert (shown(asked), shown(asked, 2)) == (expected(DEFAULT), expected(other))
    assert site_checks.dom_faults(asked) == []
    page = browser.new_page()  # a colleague, with another session
    page.goto(asked.url)
    page.locator(".planner-answers[data-ready]").wait_for()
    assert (shown(page), shown(page, 2)) == (expected(DEFAULT), expected(other))
    page.close()
    answered(asked, asked.go_back)
    assert shown(asked, 2) == expected(DEFAULT)
    answered(asked, asked.go_back)
    assert asked.locator(".answers tr").first.locator("th").count() == 2
    answered(asked, asked.go_forward)
    answered(asked, lambda: asked.get_by_role("button", name="恢复默认").click())
    assert shown(asked) == expected(DEFAULT) and "#" not in asked.url


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_two_settings_side_by_side_are_accessible(page: Page, site: str, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    page.goto("about:blank")  # or the planner would only follow a link within itself
    page.goto(site + PLANNER + "#accelerator=L40S&model=llama-2-13b&vs.accelerator=H100+SXM")
    page.locator(".planner-answers[data-ready] .measured table").wait_for(state="attached")
    page.evaluate(site_checks.SETTLED)
    axe_checks.note_letters(page)
    faults = site_checks.dom_faults(page) + axe_checks.axe_faults(page)
    assert axe_checks.keep_one_of_each(page, set())
    assert faults + axe_checks.contrast_faults(page) == []
    page.goto("about:blank")  # the emptied page is not for the next test


def test_what_does_not_exist_is_not_offered(asked: Page) -> None:
    ask(asked, "model=qwen2.5-7b&accelerator=T4&devices=8&arithmetic=fp4&S=9999999&weights=fp7&B=0")
    offered = asked.eval_on_selector_all(".control.a select", "(all) => Object.fromEntries(all.map((one) => "
                                         "[one.dataset.quantity, [...one.options].map((option) => option.value)]))")
    assert offered["devices"] == ["1"] and "fp8" not in offered["arithmetic"]
    longest = load_model("qwen2.5-7b").max_context
    assert shown(asked) == expected({**DEFAULT, "model": "qwen2.5-7b", "accelerator": "T4", "S": longest})


def test_the_command_asks_the_same(asked: Page, capsys: pytest.CaptureFixture[str]) -> None:
    ask(asked, "model=mixtral-8x7b&accelerator=L40S&devices=4&weights=int4-g128&kv=fp8&arithmetic=fp8&B=8&S=30000")
    command = asked.locator(".planner-answers ~ div pre").inner_text().strip()
    assert main([*shlex.split(command)[1:], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert shown(asked)["latency"] == planner.seconds(found["time_per_output_token_s"])
    assert shown(asked)["memory"] == size(found["memory_per_device_bytes"])


# Numbers in sentences


PARAGRAPHS = [(page, paragraph) for page in book_checks.pages(ROOT) if page.suffix == ".ipynb"
              for paragraph in book_checks.markdown(page).split("\n\n") if turning.TURNED.search(paragraph)]
TURNING_PAGES = list(dict.fromkeys(page.stem for page, _ in PARAGRAPHS))


def given(paragraph: str) -> dict[str, str]:
    return {name: text.replace(",", "") for name, text in turning.given(paragraph).items()}


def test_sentences_stand_with_the_numbers_of_the_package() -> None:
    assert len(PARAGRAPHS) >= 10
    for _, paragraph in PARAGRAPHS:
        for found in turning.ANSWER.finditer(paragraph):
            assert found["text"] == turning.answered(found["name"], given(paragraph)), found[0]


@pytest.mark.parametrize("text", ["64<!-- Q -->", "1.5<!-- = speed -->", "<!-- chart: speed / B -->"])
def test_a_name_that_is_not_known_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected one of"):
        turning.marked(text)


def sentences(page: Page) -> list[ElementHandle]:
    """The paragraphs whose numbers turn, by the browser's own selector: Playwright's takes a hundred times as long."""
    found = page.evaluate_handle("[...document.querySelectorAll('p:has(input.turn)')]").get_properties()
    return [one.as_element() for one in found.values()]


def read(paragraph: ElementHandle) -> tuple[dict[str, str], dict[str, str]]:
    """The inputs and the answers of the paragraph, as they stand."""
    return tuple(paragraph.evaluate(
        """(p) => [[...p.querySelectorAll('.turn')].map((x) => [x.dataset.quantity, x.value.replaceAll(',', '')]),
                   [...p.querySelectorAll('output')].map((x) => [x.dataset.quantity, x.textContent])]
             .map(Object.fromEntries)"""))


@pytest.mark.parametrize(("name", "width", "scheme"), [
    (name, *look) for name, look in zip(TURNING_PAGES, itertools.cycle([(1280, "dark"), (390, "light"), (390, "dark"),
                                                                        (1280, "light")]))])
def test_every_number_of_a_sentence_turns(page: Page, site: str, name: str, width: int, scheme: str) -> None:
    paragraphs = [paragraph for path, paragraph in PARAGRAPHS if path.stem == name]
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    with site_checks.watched(page, site) as faults, loading(page, site) as loaded:
        page.goto(site + f"book/{name}.html")
        page.evaluate("lecture10.state.reset()")
        for paragraph, shown in zip(paragraphs, sentences(page), strict=True):
            for symbol, before in given(paragraph).items():
                turned(page, shown, symbol, before, first=symbol == next(
                    name for name in given(paragraph) if name not in turning.CHOICES))
            shown.query_selector(".turn-reset").click()
            assert read(shown)[0].items() >= given(paragraph).items()
        assert site_checks.dom_faults(page) == []
    assert faults == []
    assert weight_faults(loaded, 400_000) == []


def turned(page: Page, paragraph: ElementHandle, symbol: str, before: str, first: bool) -> None:
    """Turn a number by key and pointer, the ``first`` by typing; every answer must be the package's."""
    field = paragraph.query_selector(f".turn[data-quantity={symbol}]")
    seen, typed = set(), lambda: (field.fill("7"), field.press("Enter"))
    acts = [lambda: field.press("ArrowDown"), lambda: drag(page, field, 40), *([typed] if first else [])]
    if symbol in turning.CHOICES:
        acts = [lambda value=value: field.select_option(value) for value in [*turning.CHOICES[symbol].values][2:9:3]]
    for act in acts:
        act()
        inputs, outputs = read(paragraph)
        assert outputs == {name: turning.answered(name, inputs) for name in outputs}
        seen.add(inputs[symbol])
    assert len(seen | {before}) >= 3


def drag(page: Page, field: Locator | ElementHandle, far: int) -> None:
    x, y = field.evaluate("""(input) => {
        input.scrollIntoView({ block: "nearest", behavior: "instant" });
        const { x, y, height } = input.getBoundingClientRect();
        return [x + 5, y + height / 2]; }""")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - far, y, steps=3)
    page.mouse.up()


def test_a_number_turned_on_one_page_is_turned_on_the_next(page: Page, site: str) -> None:
    page.goto(site + PLANNER)
    page.evaluate("lecture10.state.set({ B: '32' })")
    page.goto(site + "book/Lecture10-Code-Stats.html")
    assert read(sentences(page)[0])[0]["B"] == "32"
    page.goto(site + PLANNER)
    page.locator(".planner-answers[data-ready]").wait_for()
    assert shown(page) == expected(DEFAULT | {"B": 32})
    page.evaluate("sessionStorage.clear()")


PARSED = """async (address) => {  // in what is only parsed no script runs
  const html = await (await fetch(address)).text();
  const { body } = new DOMParser().parseFromString(html, "text/html");
  return [...body.querySelectorAll("article p")].map((one) => one.textContent).join("");
}"""


def test_pages_are_complete_without_javascript(browser: Browser, page: Page, site: str) -> None:
    text = {name: page.evaluate(PARSED, f"{site}book/{name}.html") for name in TURNING_PAGES}
    for path, paragraph in PARAGRAPHS:
        assert re.sub(r"<!--.*?-->", "", paragraph) in text[path.stem]
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site + PLANNER)
    assert shown_text(page, ".answers td") == [*expected(DEFAULT).values()]
    assert not page.locator("form.planner").is_visible()
    context.close()


def shown_text(page: Page, selector: str) -> list[str]:
    return page.locator(selector).all_inner_texts()


@contextmanager
def loading(page: Page, site: str) -> Iterator[set[Path]]:
    """The files of the site that are loaded as long as the context lasts."""
    files: set[Path] = set()

    def loaded(response: Response) -> None:
        if response.url.startswith(site):
            files.add(SITE / re.split(r"[?#]", response.url.removeprefix(site))[0])

    page.on("response", loaded)
    yield files
    page.remove_listener("response", loaded)


def weight_faults(files: set[Path], limit: int) -> list[str]:
    """A first visit loads less than ``limit`` bytes, compressed, without images; among them the chart library."""
    total = sum(len(gzip.compress(path.read_bytes())) for path in files if path.suffix not in (".svg", ".png"))
    faults = [] if total < limit else [f"{total} bytes are loaded, expected less than {limit}"]
    return faults + ([] if any(path.name == "d3.min.js" for path in files) else ["no chart library is loaded"])


def test_the_planner_stays_light(page: Page, site: str) -> None:
    page.goto("about:blank")
    with loading(page, site) as loaded:
        page.goto(site + PLANNER)
        page.locator(".planner-answers[data-ready]").wait_for()
        page.wait_for_load_state("networkidle")
    assert weight_faults(loaded, 600_000) == []
    assert weight_faults(loaded, 1_000) and weight_faults(set(), 1)


def test_other_pages_load_no_charts() -> None:
    for path in (SITE / "book").glob("*.html"):
        if path.stem not in ("planner", *TURNING_PAGES):
            assert "d3.min.js" not in path.read_text(encoding="utf-8")
