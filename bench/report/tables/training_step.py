"""Training steps taken apart: loading, forward pass, backward pass, optimiser, and what the hardware leaves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.report.arithmetic import words_of
from bench.report.cells import limit_cell, marks
from bench.report.contents import Contents, common_line
from bench.report.frame import rows_of
from bench.report.markdown import ABSENT, escape, megabytes, plus_minus, small_percent, table
from bench.report.rows import IDENTITY, Row, grouped, is_meaningless
from bench.report.statistics import per_second, summarise

PARTS = {"loading": "loading", "forward": "forward", "backward": "backward", "optimizer": "optimiser"}
"""Series of a row, without their ``_seconds``, and how they are called."""
TABLE = tuple(name for name in IDENTITY if name not in ("precision", "mode", "pipeline", "options", "seed"))
COMMON = ("machine", "code", "recipe", "dataset", "image size [px]", "batch size", "device", "threads", "budget")
WORDS = ("settings", "marks")
TEXT = """\
Whole steps at the recipe's batch size, warm. Each part is the median over steps, ± the longer side of its 95 %
interval, and in brackets its share of the time of all steps. On a GPU the parts are synchronised one by one, so that
their sum is more than a step of a training takes. The peak is what one step adds; one that CUDA allocated includes
weights and images."""
LIMITED = """\
*Share of limit* is the part of the machine's measured ceiling that a step reaches: of the arithmetic by its FLOPs, of
the memory by reading and writing each weight once."""


def section(contents: Contents) -> str:
    rows = rows_of(contents.frame, "training_step")
    if not rows:
        return ""
    limited = any(row["share of limit [1]"] is not None for row in rows)
    parts = ["## Where a training step goes", common_line(contents, rows, COMMON), TEXT, LIMITED if limited else ""]
    own = [name for name in COMMON if len({row[name] for row in rows}) > 1]
    for members in grouped(rows, TABLE).values():
        ordered = sorted(members, key=_slowest_first)
        parts += [f"### {escape(members[0]['model'])}", common_line(contents, members, own)]
        parts += [_finding(ordered), table([_line(row) for row in ordered], left=WORDS)]
    return "\n\n".join(filter(None, parts))


def share(row: Row, part: str) -> float | None:
    """The share of ``part`` in the seconds of all steps of the first process, which the series are of."""
    seconds = row["series"].get(f"{part}_seconds")
    return math.fsum(seconds) / math.fsum(row["processes"][0]) if seconds else None


def _line(row: Row) -> dict[str, str]:
    rate = per_second(row["timing"], row["items per step"])
    return {
        "settings": ", ".join(words_of(row)),
        "images/s ↑": plus_minus(rate.value, rate.interval.error(rate.value) if rate.interval else None),
        **{f"{word} [ms] ↓ (share [%])": _part(row, name) for name, word in PARTS.items()},
        "steady peak, process [MB] ↓": megabytes(row["steady peak, rss [B]"]),
        "steady peak, CUDA allocated [MB] ↓": megabytes(row["steady peak, cuda allocated [B]"]),
        "share of limit [%] ↑": limit_cell(row),
        "marks": "; ".join(marks(row)) or ABSENT,
    }


def _part(row: Row, name: str) -> str:
    seconds, part = row["series"].get(f"{name}_seconds"), share(row, name)
    if not seconds or part is None:
        return ABSENT
    found = summarise([seconds])
    error = found.interval.error(found.median) if found.interval else None
    return f"{plus_minus(found.median, error, 1e3)} ({100 * part:.1f})"


def _finding(rows: Sequence[Row]) -> str:
    """What takes most of a step, in the slowest row and in the fastest."""
    told = [line for row in dict.fromkeys((0, len(rows) - 1)) if (line := _largest(rows[row]))]
    if is_meaningless(rows[0]) or not told:
        return ""
    return f"**Of a step of {escape(rows[0]['model'])}, {'; '.join(told)}.**"


def _largest(row: Row) -> str:
    shares = {word: part for name, word in PARTS.items() if (part := share(row, name)) is not None}
    if not shares:
        return ""
    most = max(shares, key=lambda word: shares[word])
    loading = f", loading {small_percent(shares['loading'])} %" if "loading" in shares and most != "loading" else ""
    return f"{most} takes most with {escape(', '.join(words_of(row)))}: {small_percent(shares[most])} %{loading}"


def _slowest_first(row: Row) -> float:
    return float(row["items per step"] / row["median [s]"])
