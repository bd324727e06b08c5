"""Method of the numbers, in few lines."""

from __future__ import annotations

from bench.report.beside import FAR
from bench.report.choosing import CLOSE
from bench.report.content import Content
from bench.report.formats import listing
from bench.report.pairing import ONE_DECODING, ONE_PROCESS, ONE_SET
from bench.report.parts import Line, Link, Paragraph, Section, bullets, paragraph
from bench.report.results import HARDLY, LANGUAGE
from bench.report.statistics import P95_SAMPLES

PARTS: dict[str, tuple[str, ...]] = {
    "training of classifiers": ("training",),
    "inference of classifiers": ("inference",),
    "single layers": ("layers",),
    "language models": LANGUAGE,
    "ladders of training speed": ("ladder",),
    "training steps": ("training_step",),
    "loading": ("loading",),
    "transfer": ("transfer",),
    "ablations": ("ablation",),
    "speedruns": ("speedrun",),
    "ceilings of the machine": ("ceilings",),
}
"""Parts of the suite, with their experiments."""


def method_section(content: Content) -> Section:
    return Section(title="Method", parts=(bullets(_lines(content)), paragraph(*_more(content)), *_missing(content)))


def _lines(content: Content) -> list[str]:
    margins = content.margins
    return [
        "A route is a runtime, a precision and a mode. The reference is PyTorch, fp32, eager; TF32 is off.",
        "The pick is the fastest route that was tried and is as accurate as the reference. Of routes within "
        f"{100 * CLOSE:.0f} % of the fastest the smallest is picked. A route that was not tried is never the fastest.",
        f"As accurate: the worse end of the 95 % interval of the change is above minus the margin ({margins.text}; "
        "--max-drop sets it). Less accurate: the better end is below it. Between them the images do not suffice.",
        "± is 95 % everywhere: between sets or processes where there are several, else within the process. Ratios "
        "of one process have none.",
        "Where routes took turns, a ratio compares both in each set while nothing disturbs the machine (5th percentile "
        "of equally many, equally long stretches), median over sets. Else it is one of medians. One process counts "
        "as faster or slower from "
        f"{100 * (ONE_PROCESS - 1):.0f} % on and beyond the noise of its run (decoding on a CPU: a factor of "
        f"{ONE_DECODING:g}; after turns in one set {100 * (ONE_SET - 1):.0f} %).",
        "p50 is the median of single calls, synchronised with the device at both ends, after a warm-up. p95 is given "
        f"from {P95_SAMPLES} samples on. Items/s come from blocks of calls.",
        "Weights are bytes as stored. In use is what a step adds to the process, weights included. Memory, quality and "
        "traces have passes of their own.",
        "Changes of accuracy are paired image by image, perplexity token by token or window by window. KL is the "
        "divergence of a route's outputs from the reference's; ECE is the expected calibration error.",
        f"Hardly converted: below {100 * HARDLY:.0f} % of parameters and of FLOPs; such a row is no answer for its "
        "precision. Criterion not met: the samples' error was not small enough in the time allowed.",
        "Disturbed: other processes used the device meanwhile. Slow phase: fixed work took longer than at its "
        "best. Unstable: a large spread, or extremes 50 % away. Host-bound: below "
        f"{100 * FAR:.0f} % of both limits of the machine.",
        "bf16 is listed as not tested only where the processor has it.",
    ]


def _more(content: Content) -> Line:
    if content.method:
        return ("All of it, with the known sources of error: ", Link("docs/method.md", content.method), ".")
    return ("All of it, with the known sources of error, is in docs/method.md of the suite's checkout.",)


def _missing(content: Content) -> list[Paragraph]:
    absent = [name for name, experiments in PARTS.items() if content.experiments.isdisjoint(experiments)]
    return [paragraph(f"Not in this report: {listing(absent, most=len(absent))}.")] if absent else []
