"""Loading: are more workers faster? One table for each thing to load."""

from __future__ import annotations

from bench.report.arithmetic import pipeline_words
from bench.report.cells import BASELINE, marks
from bench.report.contents import Contents, common_line
from bench.report.frame import rows_of
from bench.report.loadings import WORKERS, Loading, loadings, over
from bench.report.markdown import ABSENT, escape, listing, number, plus_minus, table
from bench.report.rows import Row, figure, is_meaningless
from bench.report.seeds import ratio_cell
from bench.report.statistics import per_second

COMMON = ("machine", "code", "dataset", "image size [px]", "batch size", "device", "threads", "budget")
WORDS = ("pipeline", "marks")
TEXT = """\
Each sample is a whole pass over the items; workers start anew in each, as in the notes' loops. *Random data* is note
3's: tensors of random numbers, nothing done to them. *To 0 workers* has the widest range that the two 95 % intervals
allow in brackets; where one process measured, it counts from 10 % on."""


def section(contents: Contents) -> str:
    rows = rows_of(contents.frame, "loading")
    if not rows:
        return ""
    parts = ["## Loading", common_line(contents, rows, COMMON), TEXT]
    own = [name for name in COMMON if name != "dataset" and len({row[name] for row in rows}) > 1]
    for loading in loadings(rows):
        parts += [f"### {escape(loading.what)}", common_line(contents, loading.rows, own), _finding(loading)]
        parts.append(table([_line(loading, row) for row in loading.rows], left=WORDS))
    return "\n\n".join(filter(None, parts))


def _line(loading: Loading, row: Row) -> dict[str, str]:
    rate, base = per_second(row["timing"], row["items per step"]), loading.without_workers
    pass_interval = row["timing"].interval
    return {
        "pipeline": row["pipeline"] or ABSENT,
        "workers": str(row["settings"].get(WORKERS, ABSENT)),
        "items/s ↑": plus_minus(rate.value, rate.interval.error(rate.value) if rate.interval else None),
        "to 0 workers [×] ↑": BASELINE if row is base else ratio_cell(over(row, base) if base else None),
        "a pass [s] ↓": plus_minus(row["median [s]"], pass_interval and pass_interval.error(row["median [s]"])),
        "first pass [s] ↓": number(figure(row, "first_pass_seconds")),
        "samples": str(row["samples"]),
        "processes": str(row["repeats"]),
        "marks": "; ".join(marks(row)) or ABSENT,
    }


def _finding(loading: Loading) -> str:
    """The fastest way, and in how many pairs of numbers of workers the larger one was faster or slower."""
    if is_meaningless(loading.first):
        return ""
    fastest = max(loading.rows, key=lambda row: float(row["items per step"] / row["median [s]"]))
    how = pipeline_words(fastest["pipeline"], fastest["settings"].get(WORKERS))
    pairs = loading.worker_pairs()
    faster, slower = (
        [f"{more} than {fewer}" for fewer, more, found in pairs if found.side == side] for side in ("above", "below")
    )
    told = [f"{len(faster)} of {len(pairs)} pairs"] if pairs else []
    told += [f"slower in {len(slower)} ({listing(slower)})"] if slower else []
    workers = f"; more workers were faster in {', '.join(told)}" if told else ""
    return f"**Highest median with {escape(how)}{workers}.**"
