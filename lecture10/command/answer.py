"""What the command reports of a deployment: a sentence, numbers with units in their names, and the basis of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..measurements.compare import compare
from ..measurements.results import Result
from ..models.bounds import assumptions, basis
from ..models.deployment import Deployment

GIGA = 1e9
LIMITS = {"memory": "the memory bandwidth", "compute": "the arithmetic", "link": "the links"}
MOST = 0.9
"""A limit that takes this share of the time is named alone."""


def answer(plan: Deployment, batch: int, context: int) -> dict[str, object]:
    """Everything that is reported of one prefill and one step of ``batch`` sequences at ``context`` tokens.

    Raises ValueError for a context that the model does not allow.
    """
    largest, step = int(plan.largest_batch(context)), float(plan.step_time(batch, 1, context))
    rows = plan.operations(batch, 1, context)
    return {
        "model": plan.model.name, "notes": [*plan.model.notes, *plan.overridden],
        "accelerator": plan.accelerator.name, "devices": plan.devices, "attention": plan.attention,
        "experts": plan.experts, "arithmetic": plan.arithmetic, "batch": batch, "context_tokens": context,
        "parameters": int(plan.model.num_params), "active_parameters": int(plan.model.num_active_params),
        "weights_bytes": float(plan.devices * plan.stored_weights()),
        "kv_cache_per_sequence_bytes": float(plan.stored_cache(context) - plan.stored_state()),
        "state_per_sequence_bytes": float(plan.stored_state()),
        "memory_per_device_bytes": float(plan.device_memory(batch, context)),
        "capacity_per_device_bytes": float(plan.accelerator.capacity),
        "fits": batch <= largest, "largest_batch": largest, "devices_needed": plan.devices_needed(batch, context),
        "time_to_first_token_s": float(plan.time_to_first_token(1, context)),
        "time_per_output_token_s": step, "floor_time_per_output_token_s": float(plan.floor_time(batch, 1, context)),
        "throughput_tokens_per_s": batch / step,
        "limits": {kind: sum(row[3] for row in rows if row[4] == kind) / step for kind in LIMITS},
        "time_to_first_token_in_faster_arithmetic_s": _faster(plan, context),
        "basis": _basis(plan), "sources": basis(plan), "assumptions": assumptions(plan),
        "operations": [dict(zip(("operation", "flops", "bytes", "seconds", "limited_by"), row)) for row in rows],
    }


def _faster(plan: Deployment, context: int) -> dict[str, float]:
    """Seconds to the first token in every arithmetic of the chip with a higher peak, of which engines may use one."""
    peaks = plan.accelerator.peaks
    return {kind: float(replace(plan, arithmetic=kind).time_to_first_token(1, context))
            for kind, peak in peaks.items() if peak > peaks[plan.arithmetic]}


def _basis(plan: Deployment) -> dict[str, str]:
    """The basis of each reported number in a few words; ``sources`` has the details."""
    short = {name: text.partition(" (")[0] for name, text in basis(plan).items()}
    rows = {"parameters": "parameters", "weights_bytes": "weights", "kv_cache_per_sequence_bytes": "KV cache",
            "state_per_sequence_bytes": "parameters",
            "memory_per_device_bytes": "weights", "capacity_per_device_bytes": "memory of a device",
            "largest_batch": "largest batch", "floor_time_per_output_token_s": "floor",
            "time_to_first_token_s": "times", "time_per_output_token_s": "times", "throughput_tokens_per_s": "times"}
    return {key: short[name] for key, name in rows.items()}


def comparison(plan: Deployment, run: Result) -> dict[str, object]:
    """A measured speed beside its bound, what the bound takes for granted, and the bound of a full memory."""
    found, full = compare(plan, run.work, run.tokens_per_second), int(plan.largest_batch(run.work.longest))
    loaded = None
    if not run.work.continuous and run.work.generated and full > run.work.batch:
        many = int(plan.largest_batch(1))
        loaded = compare(plan, replace(run.work, batch=None, requests=many), run.tokens_per_second)
    work = found.work
    return {
        "model": plan.model.name, "accelerator": plan.accelerator.name, "devices": plan.devices, "run": run.what,
        "notes": [*plan.model.notes, *(line.removesuffix(", as asked") for line in plan.overridden), *run.notes],
        "fits": full >= work.batch,
        "prompt_tokens": work.prompt, "generated_tokens": work.generated, "cached_tokens": work.cached,
        "batch": work.batch, "requests": work.requests, "counted_tokens_per_request": float(work.tokens),
        "measured_tokens_per_s": found.measured, "bound_tokens_per_s": found.bound, "floor_tokens_per_s": found.floor,
        "share_of_bound": found.share, "share_of_floor": found.share_of_floor, "verdict": found.verdict,
        "bound_seconds": found.seconds, "bound_prefill_seconds": None if work.continuous else found.prefill_seconds,
        "full_memory_batch": loaded and loaded.work.batch, "full_memory_bound_tokens_per_s": loaded and loaded.bound,
        "basis": {f"{name}_tokens_per_s": _basis(plan)[f"{key}time_per_output_token_s"]
                  for name, key in (("bound", ""), ("floor", "floor_"))},
        "sources": basis(plan), "assumptions": found.assumptions,
    }


def sentence(found: Mapping[str, object]) -> str:
    """Does it fit, how fast at best, and what limits it."""
    on = hardware(found)
    sequences = "1 sequence" if found["largest_batch"] == 1 else f"{found['largest_batch']:,} sequences"
    verb, of = "takes" if found["fits"] else "would take", f"of {found['context_tokens']:,} tokens"
    if found["fits"]:
        said = f"{found['model']} fits on {on} with at most {sequences} {of}"
    else:
        needed = found["devices_needed"]
        enough = f"{needed} devices would do" if needed else "no number of devices would do"
        wanted = "1 sequence" if found["batch"] == 1 else f"{found['batch']:,} sequences"
        most = f", at most {sequences} do" if found["largest_batch"] else ""
        said = f"{found['model']} does not fit on {on} with {wanted} {of}: {memory(found)}{most}; {enough}"
    return (f"{said}; at batch {found['batch']:,} a token {verb} at least {seconds(found['time_per_output_token_s'])}, "
            f"so at most {found['throughput_tokens_per_s']:,.0f} tokens/s; {limit(found['limits'])}.")


def hardware(found: Mapping[str, object]) -> str:
    """The devices in words."""
    return f"one {found['accelerator']}" if found["devices"] == 1 else f"{found['devices']} x {found['accelerator']}"


def memory(found: Mapping[str, object]) -> str:
    """What is needed of what there is."""
    each = " each" if found["devices"] > 1 else ""
    return f"{size(found['memory_per_device_bytes'])} of {size(found['capacity_per_device_bytes'])}{each}"


def limit(shares: Mapping[str, float]) -> str:
    """What the time goes to, the largest share first."""
    ordered = sorted((share, kind) for kind, share in shares.items() if share > 1 - MOST)[::-1]
    if ordered[0][0] >= MOST:
        return f"{LIMITS[ordered[0][1]]} {'limit' if ordered[0][1] == 'link' else 'limits'} it"
    return " and ".join(f"{LIMITS[kind]} ({share:.0%})" for share, kind in ordered) + " limit it"


def seconds(value: float) -> str:
    """A time with three significant digits."""
    unit, scale = next(((u, s) for u, s in (("s", 1), ("ms", 1e3)) if value * s >= 1), ("us", 1e6))
    return f"{_three(value * scale)} {unit}"


def size(value: float) -> str:
    """Bytes with three significant digits."""
    unit, scale = next(((u, s) for u, s in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)) if value >= s), ("kB", 1e3))
    return f"{_three(value / scale)} {unit}"


def _three(value: float) -> str:
    digits = max(0, 2 - len(str(int(value))) + 1) if value >= 1 else 3
    return f"{value:,.{digits}f}"
