"""Profiles: the most expensive operators of each traced case."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.contents import SHORT, Contents, varying
from bench.report.markdown import escape, integer, number, small_percent, table
from bench.report.operators import Operator, operators
from bench.report.rows import Row

SHOWN = ("experiment", "model", "precision", "mode", "batch size")
TEXT = """\
Of one traced pass a case, which is never the timed one; tracing slows operators down, small ones most. *Self time* is
without that of operators called inside. The traces lie under `results/profiles/`: TensorBoard's profiler tab
(torch-tb-profiler) and Perfetto open them."""


def section(contents: Contents) -> str:
    """Empty where no case was traced."""
    names = [str(name) for name in contents.frame.columns]
    rows = [dict(zip(names, values, strict=True)) for values in contents.frame.itertuples(index=False, name=None)]
    traced = [(row, found) for row in rows if (found := operators(row))]
    if not traced:
        return ""
    columns = [*SHOWN, *varying([row for row, _ in traced], SHOWN)]
    parts = ["## Profiles", TEXT]
    for row, found in traced:
        parts += [f"### {_title(row, columns)}", _finding(row, found), table(_lines(found), left=("operator",))]
    return "\n\n".join(parts)


def _title(row: Row, columns: Sequence[str]) -> str:
    experiment, model, precision, mode, batch, *rest = (row[name] for name in columns)
    others = [f"{SHORT.get(name, name)} {value}" for name, value in zip(columns[len(SHOWN) :], rest, strict=True)]
    return escape(", ".join((f"{experiment} of {model}", f"{precision} {mode}", f"batch {batch}", *others)))


def _finding(row: Row, found: Sequence[Operator]) -> str:
    first, share = found[0], sum(operator.share for operator in found)
    told = f"{escape(first.name)} takes most, {small_percent(first.share)} % of all self time"
    trace = [escape(note) for note in row["notes"] if "profiles/" in note or ".json" in note]
    return " ".join((f"**{told}; the {len(found)} shown take {small_percent(share)} %.**", *trace))


def _lines(found: Sequence[Operator]) -> list[dict[str, str]]:
    return [
        {
            "operator": operator.name,
            "calls": integer(operator.calls),
            "self time [ms] ↓": number(operator.seconds * 1e3),
            "share [%]": small_percent(operator.share),
        }
        for operator in found
    ]
