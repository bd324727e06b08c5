"""What the machine could do at most, by what it was seen to do: the limits that rows are held against."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.contents import Contents, identity_cells
from bench.report.frame import rows_of, rows_without
from bench.report.language_lines import OF_MACHINE
from bench.report.limits import BACKWARD, FAR, arithmetic_limit
from bench.report.markdown import ABSENT, escape, number, table
from bench.report.rows import PLACE, Row, figure, is_meaningless

PRODUCT = "product_"
WORK = "_work"
TEXT = f"""\
Large copies, sums and matrix products, once a run; the fastest of each counts. *Share of limit* is the larger of two
shares: the fewest bytes that a step has to move (weights as stored, inputs, outputs; decoding: keys and values too)
against the bandwidth, and its FLOPs against those of the number format that most of them ran in (a training counts
{BACKWARD} times its forward pass). A format that is slower than float32 here could be widened to it, and is held
against that. A share without a word is of the bandwidth, where no other limit is known. A row below {100 * FAR:.0f} %
of both is marked *host-bound*: its time goes into starting one operation after another, or into what the two limits
leave out, as activations that lie in memory between operations. Where stored weights are expanded before they are
multiplied, the mark names that instead. A share can exceed 100 %: what lies in a processor's caches is read faster than
memory, zeros around the images of a convolution count as FLOPs though kernels may skip them, and other work or a slow
phase of the machine may have disturbed the ceilings."""


def headline(contents: Contents) -> str:
    """That no ceilings were measured, and what follows; empty where they were, or where all figures are smoke's."""
    rows = [row for row in rows_without(contents.frame, OF_MACHINE) if not is_meaningless(row)]
    if not rows or rows_of(contents.frame, "ceilings"):
        return ""
    shared = any(row["share of limit [1]"] is not None for row in rows)
    follows = (
        "shares of limit go by the bandwidth that decoding rows measured" if shared else "no row has a share of limit"
    )
    return f"No ceilings were measured: {follows}."


def section(contents: Contents) -> str:
    rows = rows_of(contents.frame, "ceilings")
    if not rows:
        return ""
    shown = [name for name in PLACE if len({row[name] for row in rows}) > 1]
    cells = [line for row in rows for line in _lines(row, shown)]
    return "\n\n".join(("## What the machine can do", TEXT, table(cells, left=("ceiling", *shown, "marks"))))


def _lines(row: Row, shown: Sequence[str]) -> list[dict[str, str]]:
    names = [name.removeprefix(PRODUCT) for name in row["figures"] if name.startswith(PRODUCT) and WORK not in name]
    place = identity_cells(row, shown)
    lines = [{**place, "ceiling": "memory bandwidth", "reached": f"{number(_giga(row, 'bandwidth'))} GB/s"}]
    for name in names:
        rate, limit = figure(row, f"{PRODUCT}{name}"), arithmetic_limit(row, name)
        widened = "held against float32, which is faster here" if rate and limit and limit > rate else ABSENT
        reached = f"{number(_giga(row, f'{PRODUCT}{name}'))} GFLOP/s"
        lines.append({**place, "ceiling": f"{name} products", "reached": reached, "marks": widened})
    if row["disturbed"]:
        lines[0]["marks"] = escape(str(row["disturbed"]))
    return lines


def _giga(row: Row, name: str) -> float | None:
    value = figure(row, name)
    return None if value is None else value / 1e9
