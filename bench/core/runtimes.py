"""Runtimes that a model is measured in: one literal table; and named reasons for the time of a route.

A route is runtime x precision x mode.

Importing it imports neither torch nor any runtime.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from bench.core import precisions
from bench.core.precisions import CLASSIFIER_PRECISIONS, COMPILED_MODES, LANGUAGE_PRECISIONS, MIXED, PRECISIONS

__all__ = [
    "CAUSES",
    "NATIVE",
    "REASON_KEY",
    "REFERENCE",
    "RUNTIMES",
    "Cause",
    "Kind",
    "Reason",
    "Runtime",
    "precisions_of",
    "why_not",
]

REFERENCE = "torch"
"""Runtime of the reference route: torch, fp32, eager."""
NATIVE = "native"
"""The one mode of a runtime that has no other: it always runs a graph that it compiled."""
Kind = Literal["classifiers", "languages"]


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A library that runs a network."""

    name: str
    title: str
    """Name as its developers write it."""
    summary: str
    classifiers: tuple[str, ...] = ()
    """Precisions of image classifiers in it, names in ``PRECISIONS``; empty if it runs no classifier."""
    languages: tuple[str, ...] = ()
    """Precisions of language models in it, names in ``PRECISIONS``; empty if it runs no language model."""
    devices: tuple[str, ...] = ("cpu",)
    modes: tuple[str, ...] = (NATIVE,)
    packages: tuple[str, ...] = ()
    """Packages that every route of it needs, as pip names them."""
    packages_for: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further packages of classifiers at one precision, or of all language models under ``languages``."""
    classifier_entry: str | None = None
    """``module:function`` that gives what prepares an image classifier at a precision; imported by its worker."""
    language_entry: str | None = None
    """``module:function`` that prepares a language model; imported by its worker. None for torch, whose models
    transformers loads: ``bench.experiments.language``."""

    @property
    def all_packages(self) -> tuple[str, ...]:
        """Packages of all that it runs."""
        return tuple(dict.fromkeys((*self.packages, *(name for more in self.packages_for.values() for name in more))))


RUNTIMES: dict[str, Runtime] = {
    "torch": Runtime(
        name="torch",
        title="PyTorch",
        summary="the network as it was written, eager or compiled by torch.compile",
        classifiers=(*CLASSIFIER_PRECISIONS, MIXED),
        languages=LANGUAGE_PRECISIONS,
        devices=("cpu", "cuda"),
        modes=("eager", *COMPILED_MODES),
        packages=("torch",),
        classifier_entry="bench.experiments.modes:preparer",
    ),
    "onnxruntime": Runtime(
        name="onnxruntime",
        title="ONNX Runtime",
        summary="the exported ONNX graph in ONNX Runtime's CPU provider, all of its graph optimisations on",
        classifiers=("fp32", "int8_static", MIXED),
        languages=("fp32", "int4_weights"),
        packages=("onnxruntime", "onnx", "onnxscript"),
        packages_for={"languages": ("onnxruntime-genai",)},
        classifier_entry="bench.runtimes.onnx_classifiers:preparer",
        language_entry="bench.runtimes.onnx_language:prepare",
    ),
    "openvino": Runtime(
        name="openvino",
        title="OpenVINO",
        summary="the converted graph in OpenVINO's CPU plugin, with its latency hint",
        classifiers=("fp32", "bf16", "int8_static", MIXED),
        languages=("fp32", "bf16", "int8_weights", "int4_weights"),
        packages=("openvino",),
        packages_for={
            "int8_static": ("nncf",),
            MIXED: ("nncf",),
            "languages": ("openvino-genai", "openvino-tokenizers", "nncf", "gguf"),
        },
        classifier_entry="bench.runtimes.openvino_classifiers:preparer",
        language_entry="bench.runtimes.openvino_language:prepare",
    ),
    "llama_cpp": Runtime(
        name="llama_cpp",
        title="llama.cpp",
        summary="GGUF files in llama.cpp's server, inside the process",
        languages=("gguf", "q8_0", "q4_0", "bf16"),
        packages=("xllamacpp", "gguf"),
        language_entry="bench.runtimes.llama_cpp:prepare",
    ),
}
"""Every runtime by its name."""


def precisions_of(runtime: str, kind: Kind) -> tuple[str, ...]:
    """Precisions at which ``runtime`` runs models of ``kind``; empty where it takes none of them."""
    chosen = RUNTIMES[runtime]
    return chosen.classifiers if kind == "classifiers" else chosen.languages


def why_not(runtime: str, precision: str, mode: str, device: str, *, kind: Kind = "classifiers") -> str | None:
    """Reason why a route cannot run on ``device`` (``cpu``, ``cuda``, ``cuda:N``), in one line; None if it may.

    What only the runtime can tell (an operator that it lacks, a processor without the number format) is raised by its
    entry, as ``Unsupported``.
    """
    chosen = RUNTIMES[runtime]
    models = "image classifiers" if kind == "classifiers" else "language models"
    known = precisions_of(runtime, kind)
    if not known:
        return f"{chosen.title} does not run {models} here"
    if precision not in known:
        return f"{chosen.title} runs {models} at {_listed(known)} only, not at {precision}"
    if runtime == REFERENCE:
        return precisions.why_not(PRECISIONS[precision], device, mode)
    if device.partition(":")[0] not in chosen.devices:
        return (
            f"{chosen.title} is measured on {_listed(chosen.devices)} only: this suite does not measure it on CUDA yet"
        )
    if mode not in chosen.modes:
        return f"{chosen.title} has the mode {_listed(chosen.modes)} only, not {mode}"
    further = chosen.packages_for.get(precision if kind == "classifiers" else "languages", ())
    return _missing(chosen.title, (*chosen.packages, *further))


def _missing(title: str, packages: tuple[str, ...]) -> str | None:
    missing = [name for name in packages if importlib.util.find_spec(name.replace("-", "_")) is None]
    if not missing:
        return None
    noun = "package" if len(missing) == 1 else "packages"
    verb = "is" if len(missing) == 1 else "are"
    return f"{title} needs the {noun} {_listed(missing)}, which {verb} not installed: pip install {' '.join(missing)}"


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


Cause = Literal[
    "weights converted at each call",
    "fallback kernel",
    "rounding between operators",
    "conversion of layout or format",
    "host-bound",
    "too small a batch",
    "memory-bound",
    "arithmetic",
]
CAUSES: tuple[Cause, ...] = get_args(Cause)
REASON_KEY = "reason"
"""Key of the line among a row's texts: ``kind | operator | share``."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Largest cause of a step's time."""

    kind: Cause
    operator: str
    """Most expensive operator of that kind."""
    share: float
    """Share of the step's time, from 0 to 1; of the memory's rate if the step is memory-bound."""

    def __str__(self) -> str:
        return f"{self.kind} | {' '.join(self.operator.replace('|', '/').split())} | {self.share:.4f}"

    @property
    def words(self) -> str:
        """For people: kind, share and operator."""
        return f"{self.kind}, {100 * self.share:.0f} % ({self.operator})"

    @staticmethod
    def read(text: str) -> Reason | None:
        """The reason that ``str`` wrote; None if ``text`` is none."""
        parts = text.split(" | ")
        kind = next((known for known in CAUSES if known == parts[0]), None)
        if kind is None or len(parts) != 3:
            return None
        return Reason(kind=kind, operator=parts[1], share=float(parts[2]))
