"""The site builds without a warning."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_strict_build_has_no_warnings() -> None:
    program = Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", ".", "--all", "-W", "--keep-going", "-n"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-10_000:]
