"""Inference in detail: what was stored and computed, and what memory and the first use take."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.cells import flag_cell, scaled
from bench.report.contents import headers, identity_cells, varying
from bench.report.markdown import integer, megabytes, number, table
from bench.report.rows import IDENTITY, PEAKS, Row, figure, grouped

SHOWN = ("model", "image size [px]", "batch size", "precision", "mode")
WORDS = (
    *("model", "precision", "mode", "recipe", "data set", "marks", "machine", "code", "device", "budget", "options"),
    *("computes in", "library"),
)
PEAK_NAMES = {
    "rss": "process",
    "cuda_allocated": "CUDA allocated",
    "cuda_reserved": "CUDA reserved",
    "device_process": "process on device",
}
HEADLINE = (("steady", "rss"), ("steady", "cuda_allocated"))
"""Peaks that stand in the first tables already."""
STORED_TEXT = """\
**Stored and computed.** Serialised is the weights' file. One FLOP is an addition or a multiplication. *Computes in* is
the number format that most of the FLOPs ran in. Neither depends on the batch size."""
MEMORY_TEXT = """\
**Memory and first use.** The peak while loading is apart from that of a step. Cold times are those of the first
process, with an empty compiler cache: each happens once, and has no ±. *Convert* goes from the loaded network to the
row's precision; the first step includes compiling."""


def parts(rows: Sequence[Row]) -> list[str]:
    """Two tables of all networks, each with its text."""
    columns = [*SHOWN, *varying(rows, SHOWN)]
    alone = [name for name in columns if name != "batch size"]
    once = [members[0] for members in grouped(rows, [name for name in IDENTITY if name != "batch size"]).values()]
    return [
        "### All networks in detail",
        STORED_TEXT,
        table([_stored(row, alone) for row in once], left=WORDS, key=headers(alone)),
        MEMORY_TEXT,
        table([_memory(row, columns) for row in rows], left=WORDS, key=headers(columns)),
    ]


def _stored(row: Row, columns: Sequence[str]) -> dict[str, str]:
    return {
        **identity_cells(row, columns),
        "parameters": integer(figure(row, "parameters")),
        "MFLOP/image": scaled(figure(row, "flops_per_image"), 1e-6),
        "computes in": flag_cell(row, "compute"),
        "library": flag_cell(row, "library"),
        "serialised [MB] ↓": megabytes(row["serialised [B]"]),
    }


def _memory(row: Row, columns: Sequence[str]) -> dict[str, str]:
    peaks = {
        f"{phase} peak, {PEAK_NAMES[kind]} [MB] ↓": megabytes(row[column])
        for phase, kind, column in PEAKS
        if (phase, kind) not in HEADLINE
    }
    return {
        **identity_cells(row, columns),
        **peaks,
        "load [s] ↓": number(row["cold load [s]"]),
        "convert [s] ↓": number(row["cold convert [s]"]),
        "compile [s] ↓": number(row["cold compile [s]"]),
        "first step [s] ↓": number(row["cold first step [s]"]),
        "graph breaks ↓": integer(figure(row, "graph_breaks")),
    }
