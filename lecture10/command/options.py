"""What may be asked of the command, and the deployment that was asked for."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import sympy as sp

from ..hardware import Accelerator, find_accelerator
from ..measurements.compare import Workload
from ..measurements.results import Given, Result, read_results, same_model
from ..models.deployment import PEAK_OF, Deployment
from ..models.load import load_model
from ..models.parallel import ATTENTION, EXPERTS
from ..models.transformer import Transformer
from .values import element, number, one_of, quantity, size, size_or_none, weights

DEFAULT_CARD = "H100 SXM"
DEFAULT_CONTEXT = 4096
OWN = (("peak", "FLOP/s", "989T", "dense FLOP/s in the chosen arithmetic"),
       ("bandwidth", "B/s", "3.35TB/s", "bytes/s of the memory"),
       ("memory", "B", "80GB", "bytes that can hold something"),
       ("link", "B/s", "450GB/s", "bytes/s that one device sends, in one direction"))
"""Options that describe an accelerator of one's own: name, unit, example, meaning."""


class Parser(argparse.ArgumentParser):
    """One line for a wrong argument, as for every other mistake; the usage is what --help prints."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message.removeprefix('argument ')}; --help shows what is possible")


def answering() -> Parser:
    """The options of ``lecture10 MODEL``."""
    p = Parser(prog="lecture10", allow_abbrev=False,
               epilog="lecture10 compare --help: a measured speed beside the bound",
               description="Does a Transformer fit on an accelerator, how many sequences, how fast at best, and what "
                           "limits it: bounds whose assumptions are printed.")
    p.add_argument("model", nargs="?", help="a known model or its Hugging Face id, a config.json, its folder, a .gguf")
    p.add_argument("--batch", type=size, default=1, help="sequences decoded together (default: 1)")
    p.add_argument("--context", type=size,
                   help="tokens of each sequence, such as 64k: the prompt of the prefill, the cache of the decode "
                        f"(default: {DEFAULT_CONTEXT:,} or the model's longest)")
    p.add_argument("--list", action="store_true", help="list known models and accelerators")
    _add_deployment(p)
    return p


def comparing() -> Parser:
    """The options of ``lecture10 compare MODEL``."""
    p = Parser(prog="lecture10 compare", allow_abbrev=False,
               description="What share of the bound a measured speed is, and what the rest may be.")
    p.add_argument("model", nargs="?", help="as for lecture10")
    p.add_argument("--measured", metavar="RATE or FILE",
                   help="tokens/s of all sequences together, or the file of llama-bench -o json, vllm bench serve "
                        "--save-result, vllm bench throughput or latency --output-json")
    p.add_argument("--prompt", type=size_or_none, help="new tokens of each prompt (default: 0, only generating)")
    p.add_argument("--generate", type=size_or_none,
                   help="tokens generated after each prompt (default: 0, the rate counts the tokens of the prompts)")
    p.add_argument("--cached", type=size_or_none, help="tokens of each sequence at hand before (default: 0)")
    p.add_argument("--batch", type=size, help="sequences at a time (default: 1, with --requests as many as fit)")
    p.add_argument("--requests", type=size, help="requests in all: new ones begin as old ones end (maximum load)")
    _add_deployment(p)
    return p


def _add_deployment(p: Parser) -> None:
    p.add_argument("--accelerator", help=f"name as in --list or as the driver writes it (default: {DEFAULT_CARD})")
    p.add_argument("--devices", type=size, default=1, help="devices of one node (default: 1)")
    for name, known in (("attention", ATTENTION), ("experts", EXPERTS)):
        p.add_argument(f"--{name}", type=one_of(known), default=known[0], help=f"{' (default) or '.join(known)}")
    p.add_argument("--weights", type=weights, help="instead of what the model's file says: a format (INT8, mxfp4), "
                                                   "'4.85 bits', or the size of all, 4.68GB")
    p.add_argument("--kv", type=element, help="format of the KV cache instead of what the file says: fp8, '8.5 bits'")
    p.add_argument("--embeddings", type=element, help="format of both embeddings")
    p.add_argument("--arithmetic", type=one_of(PEAK_OF), default="bf16",
                   help=f"one of {', '.join(PEAK_OF)}; after the dash the format of the sums (default: bf16)")
    p.add_argument("--beyond-context", action="store_true", help="allow contexts beyond what the model's file allows")
    for name, unit, example, meaning in OWN:
        p.add_argument(f"--{name}", type=quantity(unit, example), metavar=example,
                       help=f"own accelerator, or instead of the named one's: {meaning}")
    p.add_argument("--json", action="store_true", help="print JSON, with units in the names, instead of tables")


def model(options: argparse.Namespace) -> Transformer:
    """The model that was asked for."""
    if options.model is None:
        raise ValueError("no model given: expected lecture10 MODEL, such as gpt2 or a config.json; --list shows known "
                         "models, --help all options")
    found = load_model(options.model)
    if not options.beyond_context or found.max_context is None:
        return found
    note = f"contexts beyond the {found.max_context:,} tokens of the model's file are allowed, as asked"
    return replace(found, max_context=None, notes=(*found.notes, note))


def within(asked: Transformer, tokens: int) -> int:
    """``tokens`` of context. Raises ValueError for more than the model's file allows, unless that was asked for."""
    if asked.max_context is not None and tokens > asked.max_context:
        raise ValueError(f"{tokens} tokens of context: expected at most {asked.max_context}, which the model's file "
                         "allows; --beyond-context asks for more")
    return tokens


def deployment(options: argparse.Namespace, default_card: str | None = None) -> Deployment:
    """The deployment that was asked for. Raises ValueError naming what is not understood."""
    asked = model(options)
    stored = options.weights
    if isinstance(stored, tuple):
        stored = stored[0] / asked.num_params
    return Deployment(asked, accelerator(options, default_card), options.devices, stored, options.kv,
                      options.embeddings, PEAK_OF[options.arithmetic], options.attention, options.experts)


def accelerator(options: argparse.Namespace, default: str | None = None) -> Accelerator:
    """The accelerator by name, with what was given instead of its values, or one described by its values alone."""
    given = {name: value for name, *_ in OWN if (value := getattr(options, name)) is not None}
    name, kind = options.accelerator, PEAK_OF[options.arithmetic]
    if not given or name is not None:
        return _changed(find_accelerator((default or DEFAULT_CARD) if name is None else name), given, kind)
    if missing := [f"--{name}" for name in ("peak", "bandwidth", "memory") if name not in given]:
        raise ValueError(f"--{next(iter(given))}: expected {' and '.join(missing)} too, or the --accelerator that has "
                         "the rest")
    own = Accelerator("own accelerator", given["peak"], given["bandwidth"], given["memory"], source="as given")
    return _changed(own, given, kind)


def _changed(card: Accelerator, given: dict[str, object], kind: str) -> Accelerator:
    if not given:
        return card
    values, fields = {}, {"bandwidth": "memory_bandwidth", "link": "link_bandwidth"}
    values |= {field: given[name] for name, field in fields.items() if name in given}
    if "memory" in given:
        values |= {"memory_bytes": given["memory"], "driver_bytes": given["memory"], "driver_source": "as given"}
    if "peak" in given:
        others = tuple(pair for pair in card.narrow_peaks if pair[0] != kind)
        peak = {"narrow_peaks": (*others, (kind, given["peak"]))}
        values |= {"peak_flops": given["peak"]} if kind == "16-bit" else peak
    source = card.source if card.source == "as given" else f"{', '.join(given)} as given; the rest: {card.source}"
    return replace(card, **values, source=source)


def runs(options: argparse.Namespace) -> list[tuple[Deployment, Result]]:
    """What was measured, and the deployment to compare each run with: a file's own where nothing else was said."""
    if options.measured is None:
        raise ValueError("no measured speed given: expected --measured TOKENS_PER_SECOND or --measured RESULTS.json")
    asked = model(options)
    try:
        rate = number(options.measured)
    except argparse.ArgumentTypeError as error:
        return [_with(options, asked, result) for result in _file(options, asked, error)]
    batch = options.batch or (None if options.requests else 1)
    work = Workload(options.prompt or 0, options.generate or 0, batch, options.cached or 0, options.requests)
    within(asked, work.longest)
    return [(deployment(options), Result("as given", work, rate))]


def _file(options: argparse.Namespace, asked: Transformer, error: Exception) -> tuple[Result, ...]:
    text = options.measured
    if not text.strip() or (text.strip()[0] in "+-.0123456789" and not Path(text[:255]).exists()):
        raise ValueError(f"--measured: {error}, or the path of a file") from None
    for name in ("cached", "requests"):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name}: expected none beside a file with results")
    results = read_results(text, Given(options.prompt, options.generate, options.batch))
    for result in results:
        same_model(text[:80], result, asked.num_params)
    return results


def _with(options: argparse.Namespace, asked: Transformer, result: Result) -> tuple[Deployment, Result]:
    own = argparse.Namespace(**vars(options))
    if own.weights is None and result.weight_bytes:
        own.weights = (sp.Integer(result.weight_bytes),)
    own.kv = result.kv_bytes if own.kv is None else own.kv
    within(asked, result.work.longest)
    return deployment(own, result.device), result
