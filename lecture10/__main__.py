"""What a model does on an accelerator:
``python -m lecture10 CONFIG.json --accelerator "H100 SXM" --batch 64 --context 4096``.

All times are bounds under the assumptions that it prints (see ``lecture10.models.bounds``).
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import NoReturn

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .hardware import accelerators, find_accelerator
from .models.bounds import assumptions, basis
from .models.deployment import PEAK_OF, Deployment
from .models.formats import BYTES
from .models.load import known_models, load_model

GIGA = 1e9


class Parser(argparse.ArgumentParser):
    """One line for a wrong argument, as for every other mistake; the usage is what --help prints."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; --help shows what is possible\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = Parser(prog="python -m lecture10",
               description="Memory, time to first token, time per output token and throughput "
                           "of a Transformer on an accelerator, as bounds whose assumptions are printed.")
    p.add_argument("model", nargs="?", help="a Hugging Face config.json, its folder, or a known model")
    p.add_argument("--accelerator", default="H100 SXM", help="name of the accelerator (default: %(default)s)")
    p.add_argument("--devices", type=_count, default=1, help="devices of one node, tensor parallel (default: 1)")
    p.add_argument("--batch", type=_count, default=1, help="sequences decoded together (default: 1)")
    p.add_argument("--context", type=_count, default=4096,
                   help="tokens per sequence: prompt of the prefill, cache of the decode")
    p.add_argument("--weights", choices=BYTES, default="bf16", help="format of the weights (default: bf16)")
    p.add_argument("--kv", choices=BYTES, default="bf16", help="format of the KV cache (default: bf16)")
    p.add_argument("--arithmetic", choices=PEAK_OF, default="bf16", help="format of the arithmetic (default: bf16)")
    p.add_argument("--json", action="store_true", help="print JSON instead of tables")
    p.add_argument("--list", action="store_true", help="list known models and accelerators")
    return p


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a positive whole number")
    return int(text)


def answer(plan: Deployment, batch: int, context: int) -> dict[str, object]:
    """Everything the command reports, in bytes, seconds and tokens per second."""
    stats, node = plan.stats(batch, context), plan.node
    decode, first = plan.operations(batch, 1, context), float(plan.time_to_first_token(1, context))
    slowest = max(decode, key=lambda row: row[3])
    return {
        "model": plan.model.name, "num_params": plan.model.num_params,
        "num_active_params": plan.model.num_active_params,
        "accelerator": plan.accelerator.name, "devices": plan.devices, "batch": batch, "context": context,
        "memory_available": float(node.capacity), "weights": float(stats.parameter_size),
        "kv_cache_per_sequence": float(stats.kv_cache_size), "memory": float(stats.memory),
        "fits": bool(batch <= plan.largest_batch(context)), "devices_needed": plan.devices_needed(batch, context),
        "largest_batch": int(plan.largest_batch(context)),
        "floor_time_per_output_token": float(plan.floor_time(batch, 1, context)), "assumptions": assumptions(plan),
        "basis": basis(plan), "time_to_first_token": first, "time_per_output_token": float(stats.latency),
        "throughput": float(stats.throughput),
        "limited_by": f"{slowest[0]} ({slowest[4]})", "source": plan.accelerator.source,
        "operations": [dict(zip(("operation", "flops", "bytes", "seconds", "limited_by"), row)) for row in decode],
    }


def show(found: dict[str, object], console: Console) -> None:
    """The answer as two tables."""
    devices = f"{found['devices']} x " if found["devices"] > 1 else ""
    console.print(_summary(found, f"{escape(found['model'])} on {devices}{found['accelerator']}"))
    console.print(_operations(found))
    console.print("The times are bounds, under these assumptions:", *found["assumptions"], sep="\n", highlight=False)


def _summary(found: dict[str, object], title: str) -> Table:
    table, needed = Table(title=title, show_header=False), found["devices_needed"]
    active = "" if found["num_params"] == found["num_active_params"] else f" ({found['num_active_params']:,} active)"
    enough = f"needs {needed} devices" if needed else "on no number of devices"
    fits = "fits" if found["fits"] else f"[bold]does not fit[/bold], {enough}"
    used = f"{found['memory'] / GIGA:.1f} of {found['memory_available'] / GIGA:.0f} GB: {fits}"
    for name, text in (
        ("parameters", f"{found['num_params']:,}{active}"),
        ("weights", f"{found['weights'] / GIGA:.2f} GB"),
        ("KV cache per sequence", f"{found['kv_cache_per_sequence'] / GIGA:.3f} GB at {found['context']:,} tokens"),
        (f"memory at batch {found['batch']}", used),
        ("largest batch", f"{found['largest_batch']:,}"),
        ("time to first token, batch 1", f"{1e3 * found['time_to_first_token']:.2f} ms"),
        ("time per output token", f"{1e3 * found['time_per_output_token']:.3f} ms"),
        ("throughput", f"{found['throughput']:,.0f} tokens/s"),
        ("limited by", found["limited_by"]),
    ):
        table.add_row(name, text)
    return table


def _operations(found: dict[str, object]) -> Table:
    table = Table(title=f"one decode step, batch {found['batch']}")
    table.add_column("operation", overflow="fold")
    for header in ("GFLOP", "GB", "ms", "share"):
        table.add_column(header, justify="right")
    table.add_column("limited by")
    for row in found["operations"]:
        share = row["seconds"] / found["time_per_output_token"]
        table.add_row(row["operation"], f"{row['flops'] / GIGA:,.2f}", f"{row['bytes'] / GIGA:,.3f}",
                      f"{1e3 * row['seconds']:.3f}", f"{share:.1%}", row["limited_by"])
    return table


def show_known(console: Console) -> None:
    """Known models and accelerators."""
    models = Table("model", "parameters", "source", title="models")
    for name, hub_id in known_models().items():
        models.add_row(name, f"{load_model(name).num_params:,}", hub_id)
    cards = Table("accelerator", "TFLOP/s, 16-bit", "GB/s", "GB", "ridge, FLOPs/byte", title="accelerators")
    for card in accelerators().values():
        cards.add_row(card.name, f"{float(card.peak_flops) / 1e12:g}", f"{float(card.memory_bandwidth) / GIGA:,.0f}",
                      f"{float(card.memory_bytes) / GIGA:.0f}", f"{float(card.intensity):.0f}")
    console.print(models, cards)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 2 and one line on standard error for anything it cannot answer."""
    command = parser()
    options = command.parse_args(arguments)
    console = Console()
    try:
        if options.list:
            known = {"models": known_models(), "accelerators": [*accelerators()]}
            print(json.dumps(known, indent=2)) if options.json else show_known(console)
            return 0
        if options.model is None:
            raise ValueError("no model given: expected a config.json or a name that --list shows")
        plan = Deployment(load_model(options.model), find_accelerator(options.accelerator), options.devices,
                          BYTES[options.weights], BYTES[options.kv], arithmetic=PEAK_OF[options.arithmetic])
        found = answer(plan, options.batch, options.context)
    except ValueError as error:
        print(f"{command.prog}: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        show(found, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
