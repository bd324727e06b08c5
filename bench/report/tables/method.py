"""How the numbers came about, in few lines."""

from __future__ import annotations

from bench.report.contents import Contents
from bench.report.frame import rows_of
from bench.report.language_lines import EXPERIMENTS
from bench.report.markdown import listing

LINES = """\
- Every case runs in a fresh process: its peak memory is its own, and nothing that it does reaches the next case.
- A latency sample is one call, synchronised with the device at both ends, after a warm-up by count and by time.
  Sampling stops on a criterion of count, time and error; *criterion not met* marks rows that ran out of time before.
- ± of a latency is the longer side of the 95 % interval from order statistics; where a case was repeated, it takes in
  the value of each process. *Unstable* marks a large spread, or extremes 50 % away from the mean,
  *disturbed* that other processes used CPU or GPU meanwhile, *slow phase* that the machine itself was slower, by a
  fixed piece of work that is timed between samples. {once}
- fp32 is fp32: TF32 is off. Threads and flags are set by the worker, and stand in measurements.csv.
- Memory is measured in a pass of its own, never the timed one; weights are counted as bytes stored.
- ± of an accuracy is one standard error, of the test images and, for several seeds, of these. Precisions are compared
  image by image with fp32 on the same weights.
- Each precision is held against fp32 twice: in the same mode, which is what the precision does, and fp32 eager, which
  is the whole gain. Verdicts use the first.
- What was converted is counted from what is stored and from the operators that ran in an untimed, traced pass.
- *Corrected* accuracies use the test images as they are, in evaluation mode; *as the note measured* repeats the notes'
  test-time faults, to stand beside what they publish.
- Raw samples are in the JSON; [measurements.csv](measurements.csv) has one row a case, in SI units."""

LANGUAGE_LINES = """\
- Language models make a forced number of tokens when they are timed, first token and decoding apart; answers and
  perplexity are compared with fp32's token by token and window by window, on the same text."""

TRAINING_LINES = """\
- Trainings that are compared share their seeds, each a process of its own, interleaved: differences and ratios are
  paired by seed, with the 95 % interval of Student's t over the pairs (of logarithms for ratios)."""

PARTS: dict[str, tuple[str, ...]] = {
    "training of classifiers": ("training",),
    "inference of classifiers": ("inference",),
    "single layers": ("layers",),
    "language models": EXPERIMENTS,
    "ladders of training speed": ("ladder",),
    "training steps": ("training_step",),
    "loading": ("loading",),
    "transfer": ("transfer",),
    "ablations": ("ablation",),
    "speedruns": ("speedrun",),
    "ceilings of the machine": ("ceilings",),
    "a noise floor": ("noise",),
}
"""What the suite measures, by the experiments that do."""
UNTESTED = "Whether quantisation also makes training cheaper, as note 0 says, is not tested."


def section(contents: Contents) -> str:
    document = f"[docs/method.md]({contents.method})" if contents.method else "docs/method.md in the suite's checkout"
    lines = [
        LINES.format(once=_once(contents)),
        LANGUAGE_LINES if contents.languages else "",
        TRAINING_LINES if _compared(contents) else "",
    ]
    known = f"All of it, with the known sources of error: {document}."
    return "\n\n".join(("## How it was measured", "\n".join(filter(None, lines)), known, _missing(contents)))


def _once(contents: Contents) -> str:
    """What of the machine was measured, which no reader should have to find out by its absence."""
    known = [bool(rows_of(contents.frame, experiment)) for experiment in ("ceilings", "noise")]
    return {
        (True, True): "Ceilings and noise floor are measured once a run.",
        (True, False): "Ceilings are measured once a run; no noise floor was measured.",
        (False, True): "The noise floor is measured once a run; no ceilings were measured.",
        (False, False): "Neither ceilings nor a noise floor were measured.",
    }[known[0], known[1]]


def _compared(contents: Contents) -> bool:
    return not contents.experiments.isdisjoint(("ladder", "transfer", "ablation"))


def _missing(contents: Contents) -> str:
    absent = [name for name, experiments in PARTS.items() if contents.experiments.isdisjoint(experiments)]
    return " ".join(
        filter(None, (f"Not in this report: {listing(absent, most=len(absent))}." if absent else "", UNTESTED))
    )
