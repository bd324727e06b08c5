"""All networks in one table, for a page that sorts and filters: summary.md, which does neither, has one a network."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.cells import accuracy_cell, marks, speed_up_cell, throughput_cell, with_error
from bench.report.contents import Contents, identity_cells, varying
from bench.report.markdown import ABSENT, megabytes, small_percent, table
from bench.report.rows import Row
from bench.report.tables.detail import SHOWN, WORDS

TEXT = "## All networks in one table\n\nThe same figures as under [Inference](#inference), to sort and filter."


def section(contents: Contents) -> str:
    """Markdown with its heading; empty where there are no two networks."""
    rows = contents.inferences
    if len({row["model"] for row in rows}) < 2:
        return ""
    columns = [*SHOWN, *varying(rows, SHOWN)]
    return f"{TEXT}\n\n{table([_cells(row, columns) for row in rows], left=WORDS)}\n"


def _cells(row: Row, columns: Sequence[str]) -> dict[str, str]:
    return {
        **identity_cells(row, columns),
        "p50 [ms] ↓": with_error(row, "median", scale=1e3),
        "throughput [images/s] ↑": throughput_cell(row),
        "accuracy [%] ↑": accuracy_cell(row),
        "weights [MB] ↓": megabytes(row["weights [B]"]),
        "steady peak, process [MB] ↓": megabytes(row["steady peak, rss [B]"]),
        "steady peak, CUDA allocated [MB] ↓": megabytes(row["steady peak, cuda allocated [B]"]),
        "speed-up over fp32, same mode [×] ↑": speed_up_cell(row, "same mode"),
        "speed-up over fp32 eager [×] ↑": speed_up_cell(row, "eager"),
        "parameters converted [%]": small_percent(row["converted parameters [1]"]),
        "FLOPs converted [%]": small_percent(row["converted FLOPs [1]"]),
        "marks": "; ".join(marks(row)) or ABSENT,
    }
