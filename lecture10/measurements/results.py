"""Result files of benchmarks: what was run, and how fast.

Read: ``llama-bench -o json`` or ``jsonl`` (its README shows the keys), ``vllm bench serve --save-result``, ``vllm bench
throughput --output-json`` and ``vllm bench latency --output-json`` (vLLM, ``vllm/benchmarks``). What a file does not
tell has to be given.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import sympy as sp

from ..checks import checked, instance, optional, real, text, whole
from ..models.formats import BYTES, FORMATS
from .compare import Workload

Row = Mapping[str, object]

CACHE_TYPES: Mapping[str, object] = MappingProxyType({
    "f32": BYTES["fp32"], "f16": BYTES["fp16"], "bf16": BYTES["bf16"],
    **{name: FORMATS[name].bits_per_weight / 8 for name in ("q8_0", "q4_0")}})
"""llama.cpp's types of the cache, bytes an element."""

MOST_BYTES = 10**9
UNLIKE = 0.05
"""Two counts of a model's parameters that differ by more are those of two models."""

_AT_LEAST_1 = partial(whole, at_least=1)


@checked(what=text, work=instance(Workload), tokens_per_second=real)
@dataclass(frozen=True)
class Result:
    """One run of a file: ``tokens_per_second`` of ``work``; the rest as far as the file tells, None or 0 where not."""

    what: str
    work: Workload
    tokens_per_second: float
    device: str | None = None
    parameters: int = 0
    weight_bytes: int = 0
    kv_bytes: sp.Expr | None = None
    notes: tuple[str, ...] = ()


@checked(prompt=optional(whole), generated=optional(whole), batch=optional(_AT_LEAST_1))
@dataclass(frozen=True)
class Given:
    """What was said beside the file, None where nothing was."""

    prompt: int | None = None
    generated: int | None = None
    batch: int | None = None

    def need(self, name: str, *names: str) -> None:
        """Raises ValueError naming what the file does not tell."""
        if missing := [each for each in names if getattr(self, each) is None]:
            raise ValueError(f"{name} does not tell {' and '.join(missing)}: expected to be told")

    def refuse(self, name: str, *names: str) -> None:
        """Raises ValueError naming what the file tells itself."""
        for each in names:
            if (value := getattr(self, each)) is not None:
                raise ValueError(f"{each} = {value}: expected none beside {name}, which tells it")


@checked(path=instance(str, Path), given=instance(Given))
def read_results(path: str | Path, given: Given = Given()) -> tuple[Result, ...]:
    """The runs of a result file. Raises ValueError naming the file and what in it is not understood."""
    name = str(path)[:80]
    rows = list(_rows(Path(path), name))
    results = tuple(_result(f"{name}, run {i}" if len(rows) > 1 else name, row, given) for i, row in enumerate(rows, 1))
    if not results:
        raise ValueError(f"{name} holds no run: expected at least one")
    return results


def _rows(path: Path, name: str) -> Iterator[Row]:
    """The objects of a JSON array, of a single object, or of lines with one each."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"expected at most {MOST_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8-sig")
        try:
            found = json.loads(text)
        except ValueError:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror}: expected a result file, or a rate in tokens/s") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: expected JSON, UTF-8 ({error})") from None
    rows = found if isinstance(found, list) else [found]
    for row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"{name}: {str(row)[:40]!r}: expected an object with results")
        yield row


def _result(name: str, row: Row, given: Given) -> Result:
    for keys, read in READERS.items():
        if keys <= row.keys():
            return read(name, row, given)
    found = ", ".join(sorted(map(str, row))[:12])[:200] or "none"
    expected = "; or ".join(", ".join(sorted(keys)) for keys in READERS)
    raise ValueError(f"{name}: keys {found}: expected those of llama-bench or vllm bench ({expected})")


def _llama_bench(name: str, row: Row, given: Given) -> Result:
    """A test at batch 1: n_prompt tokens after n_depth, then n_gen one by one; avg_ts counts both."""
    given.refuse(name, "prompt", "generated", "batch")
    if row.get("embeddings") not in (None, False, 0):
        raise ValueError(f"{name}: embeddings = {row['embeddings']!r}: expected False, a run that makes tokens")
    prompt, generated, depth = (_whole(name, row, key, 0) for key in ("n_prompt", "n_gen", "n_depth"))
    if prompt + generated == 0:
        raise ValueError(f"{name}: n_prompt = 0 and n_gen = 0: expected at least one token")
    what = "+".join(f"{kind}{n}" for kind, n in (("pp", prompt), ("tg", generated)) if n)
    what += f" @ d{depth}" if depth else ""
    work = Workload(prompt, generated, cached=depth, counted=prompt + generated)
    device = row.get("gpu_info")
    return Result(what, work, _number(name, row, "avg_ts"), device if isinstance(device, str) and device else None,
                  _whole(name, row, "model_n_params", 0), _whole(name, row, "model_size", 0), _cache_type(name, row),
                  tuple(_partly(row)))


def _cache_type(name: str, row: Row) -> sp.Expr | None:
    kinds = [row[key] for key in ("type_k", "type_v") if key in row]
    for kind in kinds:
        if not isinstance(kind, str) or kind not in CACHE_TYPES:
            raise ValueError(f"{name}: type_k, type_v = {kind!r}: expected one of {', '.join(CACHE_TYPES)}")
    return sp.Add(*(CACHE_TYPES[kind] for kind in kinds)) / len(kinds) if kinds else None


def _partly(row: Row) -> Iterator[str]:
    """What the file says of work that was left to the processor."""
    layers, experts = row.get("n_gpu_layers"), row.get("n_cpu_moe")
    if isinstance(layers, int) and 0 <= layers < 99:
        yield f"n_gpu_layers = {layers}: layers beyond these ran on the processor, the bound is the accelerator's alone"
    if experts not in (None, 0):
        yield f"n_cpu_moe = {experts}: experts ran on the processor, the bound is the accelerator's alone"


def _serve(name: str, row: Row, given: Given) -> Result:
    """Requests of mean lengths, at most max_concurrency of them at a time; the rate counts the generated tokens."""
    limit = row.get("max_concurrency")
    given.refuse(name, "prompt", "generated", *(() if limit is None else ("batch",)))
    requests, seconds = _whole(name, row, "completed", 1), _number(name, row, "duration")
    prompts, made = (_whole(name, row, key, 1) for key in ("total_input_tokens", "total_output_tokens"))
    if min(prompts, made) < requests:
        raise ValueError(f"{name}: total_input_tokens = {prompts}, total_output_tokens = {made}: expected at least "
                         f"completed = {requests} of each")
    most = given.batch if limit is None else _whole(name, row, "max_concurrency", 1)
    batch = None if most is None else min(requests, most)
    notes = [f"requests taken as equal: {prompts / requests:,.1f} tokens of prompt, {made / requests:,.1f} generated"]
    if (rate := row.get("request_rate", "inf")) not in ("inf", math.inf):
        notes.append(f"request_rate = {str(rate)[:20]}: so many requests came a second, the accelerator may have idled")
    work = Workload(prompts // requests, made // requests, batch, requests=requests, counted=made / requests)
    return Result(f"{requests:,} requests in {seconds:,.1f} s", work, made / seconds, notes=tuple(notes))


def _throughput(name: str, row: Row, given: Given) -> Result:
    """All requests at once; the rate counts prompts too, which the file does not tell from what was generated."""
    given.need(name, "prompt", "generated")
    requests, tokens = _whole(name, row, "num_requests", 1), _whole(name, row, "total_num_tokens", 1)
    each = given.prompt + given.generated
    if requests * each != tokens:
        raise ValueError(f"{name}: total_num_tokens = {tokens}: expected num_requests = {requests} times {each}, the "
                         "tokens of prompt and generation together")
    batch = given.batch and min(given.batch, requests)
    work = Workload(given.prompt, given.generated, batch, requests=requests, counted=each)
    rate = tokens / _number(name, row, "elapsed_time")
    return Result(f"{requests:,} requests, prompts counted", work, rate)


def _latency(name: str, row: Row, given: Given) -> Result:
    """One batch from its prompts to its last token, in avg_latency seconds."""
    given.need(name, "prompt", "generated", "batch")
    work = Workload(given.prompt, given.generated, given.batch, requests=given.batch)
    seconds = _number(name, row, "avg_latency")
    return Result(f"a batch in {seconds:.4g} s", work, float(given.batch * work.tokens) / seconds)


READERS = MappingProxyType({
    frozenset({"n_prompt", "n_gen", "avg_ts"}): _llama_bench,
    frozenset({"completed", "duration", "total_input_tokens", "total_output_tokens"}): _serve,
    frozenset({"num_requests", "total_num_tokens", "elapsed_time"}): _throughput,
    frozenset({"avg_latency", "latencies"}): _latency})
"""How a run is read, by the keys that it has."""


def _whole(name: str, row: Row, key: str, least: int) -> int:
    value = row.get(key, 0 if least == 0 else None)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 10**12:
        raise ValueError(f"{name}: {key} = {str(value)[:40]!r}: expected a whole number of at least {least}")
    return value


def _number(name: str, row: Row, key: str) -> float:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e15:
        raise ValueError(f"{name}: {key} = {str(value)[:40]!r}: expected a positive number")
    return float(value)


@checked(name=text, result=instance(Result), parameters=_AT_LEAST_1)
def same_model(name: str, result: Result, parameters: int) -> None:
    """Raises ValueError when the file's parameters are not those of the model that it is compared with."""
    if result.parameters and abs(result.parameters / parameters - 1) > UNLIKE:
        raise ValueError(f"{name}: model_n_params = {result.parameters}: expected about {parameters}, as the model has")
