"""The command: ``lecture10 MODEL``, or ``python -m lecture10 MODEL``, and ``lecture10 compare MODEL``.

All times are bounds under the assumptions that it prints (see ``lecture10.models.bounds``).
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from rich.console import Console

from .command.answer import answer, comparison
from .command.options import DEFAULT_CONTEXT, answering, comparing, deployment, runs, within
from .command.screen import show, show_comparison, show_known
from .hardware import accelerators
from .models.load import known_models
from .models.transformer import Transformer


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 2 and one line on standard error for anything it cannot answer, quiet when nobody reads on."""
    asked = sys.argv[1:] if arguments is None else arguments
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may have letters that a terminal has not
    try:
        if asked[:1] == ["compare"]:
            _compare(asked[1:])
        else:
            _answer(asked)
        sys.stdout.flush()
    except ValueError as error:
        print(f"lecture10: {_one_line(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that leaving does not flush into the pipe
        return 1  # as rich does
    return 0


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)


def _print_json(found: object) -> None:
    print(json.dumps(found, indent=2))


def _answer(asked: list[str]) -> None:
    options = answering().parse_args(asked)
    if options.list and options.json:
        _print_json({"models": dict(known_models()), "accelerators": [*accelerators()]})
        return
    if options.list:
        show_known(_console())
        return
    found = answer(plan := deployment(options), options.batch, _context(options, plan.model))
    if options.json:
        _print_json(found)
    else:
        show(found, _console())


def _context(options: argparse.Namespace, asked: Transformer) -> int:
    longest = [limit for limit in (asked.max_context, asked.positions) if limit]
    return within(asked, options.context or min([DEFAULT_CONTEXT, *longest]))


def _compare(asked: list[str]) -> None:
    options = comparing().parse_args(asked)
    found = [comparison(plan, run) for plan, run in runs(options)]
    if options.json:
        _print_json(found)
        return
    console = _console()
    for each in found:
        show_comparison(each, console)


if __name__ == "__main__":
    sys.exit(main())
