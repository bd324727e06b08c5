"""How the numbers came about, in few lines."""

from __future__ import annotations

from bench.report.contents import Contents
from bench.report.language_lines import EXPERIMENTS
from bench.report.markdown import listing

LINES = """\
- Every case runs in a fresh process: its peak memory is its own, and nothing that it does reaches the next case.
- A latency sample is one call, synchronised with the device at both ends, after a warm-up by count and by time.
- Sampling stops on a criterion: enough samples, enough seconds, a small enough standard error. *Criterion not met*
  marks rows that ran out of time before.
- ± of a latency is the longer side of the 95 % interval from order statistics. Samples of one process are not
  independent of each other: where a case was repeated, the interval takes in the value of each process.
- *Unstable* marks a standard deviation over 10 % of the mean (spread), or a shortest or longest sample 50 % away
  from the mean (extremes). *Disturbed* marks rows while whose samples other processes used the CPU or the GPU.
- Ceilings and the noise floor are measured once a run, in processes of their own.
- fp32 is fp32: TF32 is off. Threads and numeric flags are set by the worker, and stand in the `flags` column of
  measurements.csv.
- Memory of inference is measured in a pass of its own, never the timed one. The process's peak on a CPU is what the
  step adds; weights are counted as bytes stored.
- ± of an accuracy is one standard error: sqrt(p(1-p)/n) over n test images for one seed, sqrt(p(1-p)/n + s²/k) for
  k seeds of standard deviation s.
- Each precision is held against fp32 twice: in the same mode, which is what the precision does, and fp32 eager, which
  is the whole gain. Verdicts use the first.
- Accuracy is compared with fp32's image by image, on the same weights: agreement is the share of images labelled alike,
  the change has the paired error sqrt(b + c - (b - c)²/n)/n for b images that only fp32 gets right and c that only the
  row does, and p is McNemar's, exact and two-sided.
- What was converted is counted from what is stored and from the operators that ran in an untimed, traced pass, never
  from what a library announces.
- *Corrected* accuracies use the test images as they are, in evaluation mode. *As the note measured* repeats the
  notes' faults (augmented test images; dropout or batch norm in training mode), to stand beside what they publish.
- Raw samples are in the JSON; [measurements.csv](measurements.csv) has one row a case, in SI units."""

LANGUAGE_LINES = """\
- Language models make a forced number of tokens when they are timed; first token and decoding are timed apart.
- Greedy answers and perplexity are compared with fp32's token by token and window by window, on the same text."""

TRAINING_LINES = """\
- Trainings that are compared share their seeds, each a process of its own, interleaved: differences and ratios are
  paired by seed, with the 95 % interval of Student's t over the pairs (of logarithms for ratios)."""

PARTS: dict[str, tuple[str, ...]] = {
    "language models": EXPERIMENTS,
    "ladders of training speed": ("ladder",),
    "training steps": ("training_step",),
    "loading": ("loading",),
    "transfer": ("transfer",),
    "ablations": ("ablation",),
    "speedruns": ("speedrun",),
}
"""What the suite measures besides inference and training of classifiers, by the experiments that do."""
UNTESTED = "Whether quantisation also makes training cheaper, as note 0 says, is not tested."


def section(contents: Contents) -> str:
    document = f"[docs/method.md]({contents.method})" if contents.method else "docs/method.md in the suite's checkout"
    lines = [LINES, LANGUAGE_LINES if contents.languages else "", TRAINING_LINES if _compared(contents) else ""]
    known = f"All of it, with the known sources of error: {document}."
    return "\n\n".join(("## How it was measured", "\n".join(filter(None, lines)), known, _missing(contents)))


def _compared(contents: Contents) -> bool:
    return not contents.experiments.isdisjoint(("ladder", "transfer", "ablation"))


def _missing(contents: Contents) -> str:
    absent = [name for name, experiments in PARTS.items() if contents.experiments.isdisjoint(experiments)]
    return " ".join(filter(None, (f"Not in this report: {listing(absent)}." if absent else "", UNTESTED)))
