"""Inference in detail: how the times were come by, and what memory and the first use take."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.cells import flag_cell, scaled, with_error
from bench.report.contents import identity_cells, varying
from bench.report.markdown import integer, megabytes, number, table
from bench.report.rows import PEAKS, Row, figure
from bench.report.statistics import P95_SAMPLES

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
TIMING_TEXT = f"""\
**Times in detail.** The 95th percentile is given from {P95_SAMPLES} samples on. Device time, on CUDA, is between events
around each call. *Samples* are those of all *processes* together; those of one are not independent of each other."""
MEMORY_TEXT = """\
**Memory and first use.** Serialised is the weights' file. The peak while loading is apart from that of a step. Cold
times are those of the first process, with an empty compiler cache: each happens once, and has no ±. *Convert* goes from
the loaded network to the row's precision; the first step includes compiling. One FLOP is an addition or a
multiplication. *Computes in* is the number format that most of the FLOPs ran in."""


def parts(rows: Sequence[Row]) -> list[str]:
    """Two tables of all networks, each with its text."""
    columns = [*SHOWN, *varying(rows, SHOWN)]
    return [
        "### All networks in detail",
        TIMING_TEXT,
        table([_timing(row, columns) for row in rows], left=WORDS),
        MEMORY_TEXT,
        table([_memory(row, columns) for row in rows], left=WORDS),
    ]


def _timing(row: Row, columns: Sequence[str]) -> dict[str, str]:
    return {
        **identity_cells(row, columns),
        "p95 [ms] ↓": with_error(row, "p95", scale=1e3),
        "device, p50 [ms] ↓": with_error(row, "device median", scale=1e3),
        "samples": integer(row["samples"]),
        "processes": str(row["repeats"]),
    }


def _memory(row: Row, columns: Sequence[str]) -> dict[str, str]:
    peaks = {
        f"{phase} peak, {PEAK_NAMES[kind]} [MB] ↓": megabytes(row[column])
        for phase, kind, column in PEAKS
        if (phase, kind) not in HEADLINE
    }
    return {
        **identity_cells(row, columns),
        "parameters": integer(figure(row, "parameters")),
        "MFLOP/image": scaled(figure(row, "flops_per_image"), 1e-6),
        "computes in": flag_cell(row, "compute"),
        "library": flag_cell(row, "library"),
        "serialised [MB] ↓": megabytes(row["serialised [B]"]),
        **peaks,
        "load [s] ↓": number(row["cold load [s]"]),
        "convert [s] ↓": number(row["cold convert [s]"]),
        "compile [s] ↓": number(row["cold compile [s]"]),
        "first step [s] ↓": number(row["cold first step [s]"]),
        "graph breaks ↓": integer(figure(row, "graph_breaks")),
    }
