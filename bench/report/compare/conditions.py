"""Conditions of two runs that shape a number, our code apart, and which of them differ.

Clock readings, memory of the machine and the kernel's version are not among them: they differ from start to start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.core.precisions import COMPILED_MODES
from bench.core.records import Machine
from bench.core.runtimes import RUNTIMES
from bench.report.compare.matching import DIGESTS, PLACE, Entry, Pair
from bench.report.load import Run
from bench.report.results import LANGUAGE, Result

MACHINE: Mapping[str, Callable[[Machine], object]] = {
    "device": lambda machine: f"{machine.device}: {machine.device_name}",
    "capability": lambda machine: machine.capability,
    "device memory [B]": lambda machine: machine.device_memory_bytes,
    "CPU": lambda machine: machine.cpu,
    "cores": lambda machine: machine.cores,
    "CPU features": lambda machine: " ".join(sorted(machine.cpu_features)),
    "driver": lambda machine: machine.driver,
    "CUDA": lambda machine: machine.cuda,
    "Python": lambda machine: ".".join(machine.python.split(".")[:2]),
}
FLAGS = (
    "threads",
    "interop_threads",
    "omp_num_threads",
    "mkldnn",
    "matmul_tf32",
    "cudnn_tf32",
    "cudnn_benchmark",
    "cudnn_deterministic",
    "float32_matmul_precision",
    "inductor_freezing",
    "compute",
    "rest",
    "environment",
    "allocator",
)
"""Flags of a row that decide in which number formats, by how many threads and by which kernels it is computed."""
NO_DATA = "random"
"""Name of the data set of cases without images."""
ALWAYS = ("torch", "numpy")
OF_IMAGES = ("torchvision", "pillow")
OF_LANGUAGE = ("transformers", "accelerate")
OF_COMPILED = ("triton", "C++ compiler")
OF_A_GPU = ("cuDNN",)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A condition that is not the same in both runs; None where a run does not tell it."""

    name: str
    old: str | None
    new: str | None
    cases: int | None = None
    """Number of cases it is about; None where it is about the run."""


def differences(old: Run, new: Run, pairs: Sequence[Pair]) -> tuple[Difference, ...]:
    """Differences that make ``old`` and ``new`` incomparable, as far as the cases that both have are concerned."""
    machines = [(name, fact(old.machine), fact(new.machine)) for name, fact in MACHINE.items()]
    packages = [(name, old.machine.versions.get(name), new.machine.versions.get(name)) for name in _packages(pairs)]
    found = [
        Difference(name=name, old=_text(ours), new=_text(theirs))
        for name, ours, theirs in (*machines, *packages)
        if ours != theirs
    ]
    return (*found, *_of_cases(old, new, pairs))


def _packages(pairs: Sequence[Pair]) -> list[str]:
    """Packages whose version can matter to the cases that both runs have."""
    found = set(ALWAYS)
    for entry in (entry for pair in pairs for entry in pair.both or ()):
        case = entry.case
        if case.dataset != NO_DATA and case.experiment not in LANGUAGE:
            found.update(OF_IMAGES)
        if case.experiment in LANGUAGE:
            found.update(OF_LANGUAGE)
        if case.runtime != "torch":
            found.update(RUNTIMES[case.runtime].all_packages if case.runtime in RUNTIMES else ())
        if case.mode in COMPILED_MODES:
            found.update(OF_COMPILED)
        if case.device != "cpu":
            found.update(OF_A_GPU)
        if entry.result and entry.result.library:
            found.add(entry.result.library)
    return sorted(found)


def _of_cases(old: Run, new: Run, pairs: Sequence[Pair]) -> list[Difference]:
    """Each condition of single cases once for each two values, with the number of cases."""
    counts: dict[tuple[str, str | None, str | None], int] = {}
    for pair in pairs:
        if pair.both is None:
            continue
        facts = [dict(_facts(entry, run)) for entry, run in zip(pair.both, (old, new), strict=True)]
        if pair.results is not None:
            facts = [{**fact, **_flags(result)} for fact, result in zip(facts, pair.results, strict=True)]
        for name in dict.fromkeys(name for fact in facts for name in fact):
            ours, theirs = (_text(fact.get(name)) for fact in facts)
            if ours != theirs:
                counts[name, ours, theirs] = counts.get((name, ours, theirs), 0) + 1
    return [Difference(name=key[0], old=key[1], new=key[2], cases=count) for key, count in counts.items()]


def _facts(entry: Entry, run: Run) -> Iterator[tuple[str, object]]:
    case = entry.case
    yield from ((name, getattr(case, name)) for name in PLACE)
    options = dict(case.options)
    for name in DIGESTS:
        what = case.dataset if name == "text_digest" else case.model
        yield f"{name.removesuffix('_digest')} {what}, digest", options.get(name)
    yield f"data set {entry.dataset}, digest", data_digest(entry, run)


def _flags(result: Result) -> dict[str, object]:
    return {f"flag {name}": result.first.flags.get(name) for name in FLAGS}


def data_digest(entry: Entry, run: Run) -> str | None:
    """Digest of the data set of a case of ``run``; None where the file has none."""
    return next((item.digest or None for item in run.datasets if item.spec == entry.case.dataset), None)


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)
