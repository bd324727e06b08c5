"""A comparison as Markdown: the verdict in its first line, then what it rests on."""

from __future__ import annotations

from bench.report.compare.case_tables import settings_section, transitions_section
from bench.report.compare.change_tables import exact_section, peaks_section, quality_section, times_section
from bench.report.compare.comparison import Comparison
from bench.report.compare.thresholds import (
    ACCURACY_OF_SAME_WEIGHTS,
    ACCURACY_TRAINED_ANEW,
    ALPHA,
    OTHER_TIMES,
    PEAK_GRAIN,
    PEAKS,
    PERPLEXITY,
    PROCESSES,
    TIMES,
)
from bench.report.compare.verdict import verdict
from bench.report.load import Run
from bench.report.markdown import ABSENT, integer, megabytes, percent, table


def document(comparison: Comparison) -> str:
    """The whole comparison, or why there is none."""
    parts = [verdict(comparison), "# Comparison of two runs", _files(comparison), _conditions(comparison)]
    if not comparison.refused:
        parts += [
            transitions_section(comparison.transitions),
            settings_section(comparison.pairs),
            times_section(comparison.times),
            exact_section(comparison.exact),
            peaks_section(comparison.peaks),
            quality_section(comparison.quality),
            _rules(),
        ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _files(comparison: Comparison) -> str:
    runs = {"OLD": comparison.old, "NEW": comparison.new}
    rows = [_file(name, run) for name, run in runs.items()]
    return table(rows, left=("", "file", "budget", "started", "commit", "fingerprint"))


def _file(name: str, run: Run) -> dict[str, str]:
    return {
        "": name,
        "file": run.label,
        "budget": run.budget or ABSENT,
        "started": run.started or ABSENT,
        "commit": run.commit or ABSENT,
        "fingerprint": run.code[:8] if run.code else ABSENT,
        "measured": integer(len(run.measurements)),
        "not measured": integer(len(run.failures)),
    }


def _conditions(comparison: Comparison) -> str:
    if not comparison.differences:
        return "Comparable: device, driver, versions, number formats, threads and data are the same in both runs."
    rows = [
        {
            "condition": item.name,
            "OLD": item.old or ABSENT,
            "NEW": item.new or ABSENT,
            "cases": "all" if item.cases is None else str(item.cases),
        }
        for item in comparison.differences
    ]
    told = "Every figure below has to be read with that." if comparison.anyway else ""
    parts = ("## Not comparable", told, table(rows, left=("condition", "OLD", "NEW"), keep=("OLD", "NEW")))
    return "\n\n".join(filter(None, parts))


def _rules() -> str:
    timed = {**TIMES, "any other experiment": OTHER_TIMES}
    rows = [
        *(
            {"of": experiment, "what": metric, "threshold [%]": percent(share)}
            for experiment, metrics in timed.items()
            for metric, share in metrics.items()
        ),
        *({"of": "memory", "what": f"peak, {kind}", "threshold [%]": percent(share)} for kind, share in PEAKS.items()),
        {"of": "quality", "what": "accuracy, same weights", "threshold [%]": percent(ACCURACY_OF_SAME_WEIGHTS)},
        {"of": "quality", "what": "accuracy, trained anew", "threshold [%]": percent(ACCURACY_TRAINED_ANEW)},
        {"of": "quality", "what": "perplexity", "threshold [%]": percent(PERPLEXITY)},
    ]
    told = (
        f"A timed row is worse or better if p, corrected, is at most {ALPHA}, and the ratios of medians and of the "
        "best quartiles of processes are both beyond the threshold, on the same side; below "
        f"{PROCESSES} undisturbed processes a side nothing can be told. A peak is the median over processes and "
        f"has to change by {megabytes(PEAK_GRAIN)} MB as well. Thresholds of accuracy are percentage points. Counts "
        "have no threshold. Cold figures are not compared: one process a run has them."
    )
    return f"## Rules\n\n{told}\n\n{table(rows, left=('of', 'what'))}"
