"""The command's answers on a screen: a sentence, then tables as wide as the window; nothing is cut off."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..hardware import accelerators
from ..models.load import known_models, load_model
from .answer import GIGA, hardware, memory, seconds, sentence, size

SOURCES = (("data sheet", "peak"), ("driver", "memory of a device"))


def show(found: Mapping[str, object], console: Console) -> None:
    """The sentence, the numbers with the basis of each, the operations of a step, the assumptions of the bound."""
    paragraph(console, sentence(found), style="bold")
    lines(console, "", found["notes"])
    console.print("", f"{found['model']} on {hardware(found)}", _summary(found), sep="\n")
    title = f"one decode step, batch {found['batch']:,}, {found['context_tokens']:,} tokens each"
    one = ", one device" if found["devices"] > 1 else ""
    console.print("", title + one, _operations(found), "", sep="\n")
    lines(console, "", _in_faster_arithmetic(found))
    lines(console, "The times are bounds under these assumptions:", found["assumptions"])
    lines(console, "Sources:", _sources(found["sources"]))


def paragraph(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style))


def lines(console: Console, title: str, sentences: Sequence[str]) -> None:
    """A list under a title; nothing for an empty one."""
    if sentences and title:
        paragraph(console, title)
    for each in sentences:
        paragraph(console, textwrap.fill(each, console.width, initial_indent="- ", subsequent_indent="  "))


def _in_faster_arithmetic(found: Mapping[str, object]) -> list[str]:
    times = found["time_to_first_token_in_faster_arithmetic_s"]
    listed = ", ".join(f"{seconds(value)} in {kind}" for kind, value in times.items())
    return [f"Engines that multiply in faster arithmetic: first token at least {listed}."] if times else []


def _sources(sources: Mapping[str, str]) -> list[str]:
    """The sentences in parentheses behind "data sheet" and "driver"."""
    named = {key: text.partition(" (") for key, text in sources.items() if " (" in text}
    found = {kind: named[key][2].removesuffix(")") for kind, key in SOURCES if key in named and named[key][0] == kind}
    return [f"{kind}: {text}" for kind, text in found.items()]


def _summary(found: Mapping[str, object]) -> Table:
    table = _table("", "", "basis")
    basis, floor = found["basis"], "floor_time_per_output_token_s"
    for name, text, key in (
        ("parameters", f"{found['parameters']:,}", "parameters"),
        ("  active in a token", f"{found['active_parameters']:,}", "parameters"),
        ("weights", size(found["weights_bytes"]), "weights_bytes"),
        ("KV cache of a sequence", size(found["kv_cache_per_sequence_bytes"]), "kv_cache_per_sequence_bytes"),
        *_state(found),
        (f"memory, batch {found['batch']:,}", memory(found), "capacity_per_device_bytes"),
        ("largest batch", f"{found['largest_batch']:,}", "largest_batch"),
        ("time to first token", f"{seconds(found['time_to_first_token_s'])}, batch 1", "time_to_first_token_s"),
        ("time per output token", seconds(found["time_per_output_token_s"]), "time_per_output_token_s"),
        ("  its floor", seconds(found[floor]), floor),
        ("throughput", f"{found['throughput_tokens_per_s']:,.0f} tokens/s", "throughput_tokens_per_s"),
    ):
        table.add_row(name, text, basis[key])
    return table


def _state(found: Mapping[str, object]) -> list[tuple[str, str, str]]:
    """A row on what layers keep beside the cache, where some do."""
    key = "state_per_sequence_bytes"
    return [("  state beside it", size(found[key]), key)] if found[key] else []


def _operations(found: Mapping[str, object]) -> Table:
    table = _table("operation", "GFLOP", "GB", "ms", "share", "limited by", numbers=range(1, 5))
    for row in found["operations"]:
        share = row["seconds"] / found["time_per_output_token_s"]
        table.add_row(row["operation"], f"{row['flops'] / GIGA:,.2f}", f"{row['bytes'] / GIGA:,.3f}",
                      f"{1e3 * row['seconds']:,.3f}", f"{share:.1%}", row["limited_by"])
    return table


def show_comparison(found: Mapping[str, object], console: Console) -> None:
    """The verdict, the numbers, the assumptions among which the rest, or the excess, has to be looked for."""
    paragraph(console, found["verdict"], style="bold")
    lines(console, "", found["notes"])
    sizes = ((f"{found['prompt_tokens']:,} tokens of prompt", found["prompt_tokens"]),
             (f"{found['generated_tokens']:,} generated", found["generated_tokens"]),
             (f"after {found['cached_tokens']:,} cached", found["cached_tokens"]))
    what = f"batch {found['batch']:,}, {', '.join(text for text, some in sizes if some)}"
    console.print("", f"{found['model']} on {hardware(found)}: {what}", _rates(found), "", sep="\n")
    lines(console, "", _remarks(found))
    lines(console, "The bound takes for granted:", found["assumptions"])
    lines(console, "Sources:", _sources(found["sources"]))


def _rates(found: Mapping[str, object]) -> Table:
    table = _table("", "tokens/s", "measured is", "basis", numbers=(1, 2))
    table.add_row("measured", f"{found['measured_tokens_per_s']:,.1f}", "", found["run"])
    for name, key, share in (("bound, step by step", "bound_tokens_per_s", "share_of_bound"),
                             ("floor, everything overlaps", "floor_tokens_per_s", "share_of_floor")):
        table.add_row(name, f"{found[key]:,.1f}", f"{found[share]:.1%}", found["basis"][key])
    return table


def _remarks(found: Mapping[str, object]) -> list[str]:
    said, first = [], found["bound_prefill_seconds"]
    if first and found["generated_tokens"]:
        said.append(f"The bound is reached in {seconds(found['bound_seconds'])}: {seconds(first)} for the prompts, "
                    f"{seconds(found['bound_seconds'] - first)} for what is generated.")
    if found["full_memory_batch"]:
        said.append(f"With the memory full, {found['full_memory_batch']:,} sequences at a time, the bound is "
                    f"{found['full_memory_bound_tokens_per_s']:,.0f} tokens/s (--requests: compare under load).")
    if not found["fits"]:
        said.append(f"{found['batch']:,} sequences do not fit at their longest: a real run waits for memory.")
    return said


def _table(*header: str, numbers: Iterable[int] = ()) -> Table:
    """A table that folds what is too wide, the columns of ``numbers`` on the right."""
    table = Table(*header, box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for i, column in enumerate(table.columns):
        column.overflow, column.justify = "fold", "right" if i in numbers else "left"
    return table


def show_known(console: Console) -> None:
    """Known models and accelerators."""
    models = _table("model", "parameters", "Hugging Face id", numbers=(1,))
    for name, hub_id in known_models().items():
        models.add_row(name, f"{load_model(name).num_params:,}", hub_id)
    cards = _table("accelerator", "TFLOP/s, 16-bit", "GB/s", "GB", "ridge, FLOPs/byte", numbers=range(1, 5))
    for card in accelerators().values():
        cards.add_row(card.name, f"{float(card.peak_flops) / 1e12:g}", f"{float(card.memory_bandwidth) / GIGA:,.0f}",
                      f"{float(card.memory_bytes) / GIGA:.0f}", f"{float(card.intensity):.0f}")
    console.print(models, "", cards, sep="\n")
