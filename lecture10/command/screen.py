"""The command's answers on a screen: a sentence, then tables as wide as the window; nothing is cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..hardware import accelerators
from ..models.load import known_models, load_model
from .answer import GIGA, hardware, seconds, sentence, size

SOURCES = (("data sheet", "peak"), ("data sheet", "bandwidth"), ("driver", "memory of a device"))


def show(found: Mapping[str, object], console: Console) -> None:
    """The sentence, the numbers with the basis of each, the operations of a step, the assumptions of the bound."""
    paragraph(console, sentence(found), style="bold")
    lines(console, "", found["notes"])
    console.print(_summary(found))
    console.print(_operations(found))
    lines(console, "The times are bounds under these assumptions:", found["assumptions"])
    lines(console, "Sources:", _sources(found["sources"]))


def paragraph(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style))


def lines(console: Console, title: str, sentences: Sequence[str]) -> None:
    """A list under a title; nothing for an empty one."""
    if sentences and title:
        paragraph(console, title)
    for each in sentences:
        table = Table.grid(padding=(0, 1))
        table.add_column()
        table.add_column(overflow="fold")
        table.add_row("-", Text(each))
        console.print(table)


def _sources(sources: Mapping[str, str]) -> list[str]:
    """The sentences in parentheses behind "data sheet" and "driver"."""
    named = {key: text.partition(" (") for key, text in sources.items() if " (" in text}
    found = {f"{kind} of {key.removeprefix('memory of a ')}" if kind == "driver" else kind: rest.removesuffix(")")
             for kind, key in SOURCES if key in named for start, _, rest in [named[key]] if start == kind}
    return [f"{kind}: {text}" for kind, text in found.items()]


def _summary(found: Mapping[str, object]) -> Table:
    table = Table("", "", "basis", title=f"{found['model']} on {hardware(found)}", title_justify="left")
    for column in table.columns:
        column.overflow = "fold"
    active = "" if found["parameters"] == found["active_parameters"] else f" ({found['active_parameters']:,} active)"
    used = f"{size(found['memory_per_device_bytes'])} of {size(found['capacity_per_device_bytes'])}"
    of = " of a device" if found["devices"] > 1 else ""
    basis = found["basis"]
    for name, text, key in (
        ("parameters", f"{found['parameters']:,}{active}", "parameters"),
        ("weights", size(found["weights_bytes"]), "weights_bytes"),
        ("KV cache of a sequence", size(found["kv_cache_per_sequence_bytes"]), "kv_cache_per_sequence_bytes"),
        (f"memory{of}, batch {found['batch']:,}", used, "capacity_per_device_bytes"),
        ("largest batch", f"{found['largest_batch']:,}", "largest_batch"),
        ("time to first token, batch 1", seconds(found["time_to_first_token_s"]), "time_to_first_token_s"),
        ("time per output token", seconds(found["time_per_output_token_s"]), "time_per_output_token_s"),
        ("  floor: everything overlaps", seconds(found["floor_time_per_output_token_s"]), "floor_time_per_output_token_s"),
        ("throughput", f"{found['throughput_tokens_per_s']:,.0f} tokens/s", "throughput_tokens_per_s"),
    ):
        table.add_row(name, text, basis[key])
    return table


def _operations(found: Mapping[str, object]) -> Table:
    title = f"one decode step, batch {found['batch']:,}, {found['context_tokens']:,} tokens each"
    table = Table(title=title + (", one device" if found["devices"] > 1 else ""), title_justify="left")
    table.add_column("operation", overflow="fold")
    for header in ("GFLOP", "GB", "ms", "share"):
        table.add_column(header, justify="right", overflow="fold")
    table.add_column("limited by", overflow="fold")
    for row in found["operations"]:
        share = row["seconds"] / found["time_per_output_token_s"]
        table.add_row(row["operation"], f"{row['flops'] / GIGA:,.2f}", f"{row['bytes'] / GIGA:,.3f}",
                      f"{1e3 * row['seconds']:,.3f}", f"{share:.1%}", row["limited_by"])
    return table


def show_known(console: Console) -> None:
    """Known models and accelerators."""
    models = Table("model", "parameters", "Hugging Face id", title="models", title_justify="left")
    for name, hub_id in known_models().items():
        models.add_row(name, f"{load_model(name).num_params:,}", hub_id)
    cards = Table("accelerator", "TFLOP/s, 16-bit", "GB/s", "GB", "ridge, FLOPs/byte", title="accelerators", title_justify="left")
    for card in accelerators().values():
        cards.add_row(card.name, f"{float(card.peak_flops) / 1e12:g}", f"{float(card.memory_bandwidth) / GIGA:,.0f}",
                      f"{float(card.memory_bytes) / GIGA:.0f}", f"{float(card.intensity):.0f}")
    for column in (*models.columns, *cards.columns):
        column.overflow = "fold"
    console.print(models, cards)
